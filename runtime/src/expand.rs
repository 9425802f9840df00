//! Weights as code reads them, from how they are stored.

use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Mutex;

use half::f16;
use half::slice::{HalfBitsSliceExt as _, HalfFloatSliceExt as _};
use memmap2::Mmap;

use crate::cpu::available_threads;
use crate::encoding::{Encoding, Run};
use crate::memory;
use crate::pool::Pool;

/// Loaded bytes that a thread expands at a time.
const PIECE: usize = 1 << 20;

/// A piece of a run, as stored and as loaded.
struct Piece<'a> {
    stored: &'a [u8],
    loaded: &'a mut [u8],
    encoding: Encoding,
}

/// The loaded form of a section that is stored in these runs, in read-only memory of its own that
/// begins on a page, as far as it is in one of `parts`: these are in order and apart from each other, and
/// begin at multiples of 64. What is between them is zero, and takes no room. All threads of the machine share the work.
///
/// `stored` is as long as the runs say and begins on a 64-byte boundary.
pub(crate) fn expand(runs: &[Run], stored: &[u8], parts: &[Range<usize>]) -> io::Result<Mmap> {
    let bytes = runs.iter().map(|run| run.bytes).sum();
    let mut map = memory::anonymous_in_parts(bytes, parts)?;
    let pieces = pieces(runs, stored, &mut map, parts);
    let threads =
        NonZeroUsize::new(pieces.len()).map_or(NonZeroUsize::MIN, |n| n.min(available_threads()));
    Pool::start(threads)?.for_ranges(pieces.len(), &|range| {
        pieces[range].iter().filter_map(|p| p.lock().ok()).for_each(|mut piece| piece.expand());
    });
    map.make_read_only()
}

/// What is in one of the parts, in pieces of one run each.
fn pieces<'a>(
    runs: &[Run],
    mut stored: &'a [u8],
    mut loaded: &'a mut [u8],
    parts: &[Range<usize>],
) -> Vec<Mutex<Piece<'a>>> {
    let mut pieces = Vec::new();
    let (mut at, mut parts) = (0, parts.iter().peekable());
    for Run { mut bytes, encoding } in runs.iter().copied() {
        while bytes > 0 {
            while parts.next_if(|part| part.end <= at).is_some() {}
            let (is_read, until) = match parts.peek() {
                Some(part) if part.start <= at => (true, part.end),
                Some(part) => (false, part.start),
                None => (false, usize::MAX),
            };
            let most = if is_read { PIECE } else { usize::MAX };
            let length = bytes.min(until - at).min(most);
            (at, bytes) = (at + length, bytes - length);
            let (from, to);
            (from, stored) = stored.split_at(encoding.stored(length));
            (to, loaded) = loaded.split_at_mut(length);
            if is_read {
                pieces.push(Mutex::new(Piece { stored: from, loaded: to, encoding }));
            }
        }
    }
    pieces
}

impl Piece<'_> {
    fn expand(&mut self) {
        match self.encoding {
            Encoding::Plain => self.loaded.copy_from_slice(self.stored),
            Encoding::Half => {
                // Runs begin at multiples of 64 loaded bytes, so of 32 stored ones, and so do pieces.
                let stored: &[u16] = bytemuck::cast_slice(self.stored);
                let loaded: &mut [f32] = bytemuck::cast_slice_mut(&mut *self.loaded);
                stored.reinterpret_cast::<f16>().convert_to_f32_slice(loaded);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_loaded_and_nothing_else() {
        // 192 plain bytes, then 3 MiB of f32 as halves, then 100 plain bytes.
        let halves = 3 << 18;
        let runs = [(192, Encoding::Plain), (4 * halves, Encoding::Half), (100, Encoding::Plain)]
            .map(|(bytes, encoding)| Run { bytes, encoding });
        let value = |i: usize| f16::from_f32((i % 1000 + 1) as f32);
        let mut stored = vec![7u8; 192];
        (0..halves).for_each(|i| stored.extend(value(i).to_le_bytes()));
        stored.extend([9u8; 100]);
        let mut whole = vec![7u8; 192];
        (0..halves).for_each(|i| whole.extend(value(i).to_f32().to_le_bytes()));
        whole.extend([9u8; 100]);
        let mut map = memory::anonymous(stored.len()).unwrap();
        map[..stored.len()].copy_from_slice(&stored);
        let (stored, end) = (&map[..stored.len()], whole.len());
        for parts in [
            vec![0..128, 128..end],
            vec![],
            vec![64..256, 1 << 20..2 << 20, (2 << 20) + 64..end - 100],
            vec![128..192, end - 100..end],
        ] {
            let expanded = expand(&runs, stored, &parts).unwrap();
            let in_part = |at: usize| parts.iter().any(|part: &Range<usize>| part.contains(&at));
            for (at, byte) in whole.iter().enumerate() {
                let expected = if in_part(at) { *byte } else { 0 };
                assert_eq!(expanded[at], expected, "byte {at} of {parts:?}");
            }
        }
    }
}
