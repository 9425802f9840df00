//! Weights as code reads them, from how they are stored.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Mutex;

use half::f16;
use half::slice::{HalfBitsSliceExt as _, HalfFloatSliceExt as _};
use memmap2::Mmap;

use crate::cpu::available_threads;
use crate::encoding::{Encoding, Run};
use crate::memory;
use crate::pool::Pool;

/// Loaded bytes that a thread expands at a time.
const PART: usize = 1 << 20;

/// A part of a run, as stored and as loaded.
struct Part<'a> {
    stored: &'a [u8],
    loaded: &'a mut [u8],
    encoding: Encoding,
}

/// The loaded form of a section that is stored in these runs, in read-only memory of its own that
/// begins on a page. All threads of the machine share the work.
///
/// `stored` is as long as the runs say and begins on a 64-byte boundary.
pub(crate) fn expand(runs: &[Run], stored: &[u8]) -> io::Result<Mmap> {
    let bytes = runs.iter().map(|run| run.bytes).sum();
    let mut map = memory::anonymous(bytes)?;
    let parts = parts(runs, stored, &mut map);
    let threads =
        NonZeroUsize::new(parts.len()).map_or(NonZeroUsize::MIN, |n| n.min(available_threads()));
    Pool::start(threads)?.for_ranges(parts.len(), &|range| {
        parts[range].iter().filter_map(|part| part.lock().ok()).for_each(|mut part| part.expand());
    });
    map.make_read_only()
}

fn parts<'a>(runs: &[Run], mut stored: &'a [u8], mut loaded: &'a mut [u8]) -> Vec<Mutex<Part<'a>>> {
    let mut parts = Vec::new();
    for Run { mut bytes, encoding } in runs.iter().copied() {
        while bytes > 0 {
            let length = bytes.min(PART);
            bytes -= length;
            let (from, to);
            (from, stored) = stored.split_at(encoding.stored(length));
            (to, loaded) = loaded.split_at_mut(length);
            parts.push(Mutex::new(Part { stored: from, loaded: to, encoding }));
        }
    }
    parts
}

impl Part<'_> {
    fn expand(&mut self) {
        match self.encoding {
            Encoding::Plain => self.loaded.copy_from_slice(self.stored),
            Encoding::Half => {
                // Runs begin at multiples of 64 loaded bytes, so of 32 stored ones, and so do parts.
                let stored: &[u16] = bytemuck::cast_slice(self.stored);
                let loaded: &mut [f32] = bytemuck::cast_slice_mut(&mut *self.loaded);
                stored.reinterpret_cast::<f16>().convert_to_f32_slice(loaded);
            }
        }
    }
}
