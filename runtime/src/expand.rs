//! Weights as code reads them, from how they are stored.

use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Mutex;

use memmap2::Mmap;

use crate::cpu::available_threads;
use crate::encoding::{Encoding, Run};
use crate::memory;
use crate::pool::Pool;

/// Loaded bytes that a thread expands at a time.
pub(crate) const PIECE: usize = 1 << 20;

/// Elements that are compared at a time.
const BLOCK: usize = 2048;

/// A piece of a run, as stored, and where it is as loaded.
pub(crate) struct Piece<'a> {
    stored: &'a [u8],
    encoding: Encoding,
    pub(crate) loaded: Range<usize>,
}

/// The loaded form of a section that is stored in these runs, in read-only memory of its own that
/// begins on a page, as far as it is in one of `parts`: these are in order and apart from each other, and
/// begin at multiples of 64. What is between them is zero, and takes no room. All threads of the machine share the work.
///
/// `stored` is as long as the runs say and begins on a 64-byte boundary.
pub(crate) fn expand(runs: &[Run], stored: &[u8], parts: &[Range<usize>]) -> io::Result<Mmap> {
    let mut map = memory::anonymous_in_parts(runs.iter().map(|run| run.bytes).sum(), parts)?;
    let (mut rest, mut at) = (&mut map[..], 0);
    let places: Vec<_> = pieces(runs, stored, parts)
        .into_iter()
        .map(|piece| {
            let from = std::mem::take(&mut rest).split_at_mut(piece.loaded.start - at).1;
            let (loaded, after) = from.split_at_mut(piece.loaded.len());
            (rest, at) = (after, piece.loaded.end);
            Mutex::new((piece, loaded))
        })
        .collect();
    for_each(&places, |place| {
        if let Ok(mut place) = place.lock() {
            let (piece, loaded) = &mut *place;
            piece.expand(loaded);
        }
    })?;
    map.make_read_only()
}

/// Does something with each, on all threads of the machine.
pub(crate) fn for_each<T: Sync>(all: &[T], work: impl Fn(&T) + Sync) -> io::Result<()> {
    let threads = NonZeroUsize::new(all.len()).unwrap_or(NonZeroUsize::MIN);
    Pool::start(threads.min(available_threads()))?
        .for_ranges(all.len(), &|range| all[range].iter().for_each(&work));
    Ok(())
}

/// What is in one of the parts, in pieces of one run each, in order.
pub(crate) fn pieces<'a>(
    runs: &[Run],
    mut stored: &'a [u8],
    parts: &[Range<usize>],
) -> Vec<Piece<'a>> {
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
            let from;
            (from, stored) = stored.split_at(encoding.stored(length));
            if is_read {
                pieces.push(Piece { stored: from, encoding, loaded: at..at + length });
            }
            (at, bytes) = (at + length, bytes - length);
        }
    }
    pieces
}

impl Piece<'_> {
    /// Writes its loaded form, to as many bytes, which begin where an f32 may.
    pub(crate) fn expand(&self, loaded: &mut [u8]) {
        match self.encoding {
            Encoding::Plain => loaded.copy_from_slice(self.stored),
            Encoding::Narrow(narrow) => {
                // Runs begin at multiples of 64 loaded bytes, so of 32 stored ones, and so do pieces.
                narrow.widen(bytemuck::cast_slice(self.stored), bytemuck::cast_slice_mut(loaded));
            }
        }
    }

    /// Whether this is its loaded form.
    pub(crate) fn is(&self, loaded: &[u8]) -> bool {
        let Encoding::Narrow(narrow) = self.encoding else { return self.stored == loaded };
        let mut block = [0f32; BLOCK];
        let stored: &[u16] = bytemuck::cast_slice(self.stored);
        let blocks = stored.chunks(BLOCK).zip(loaded.chunks(size_of_val(&block)));
        loaded.len() == self.loaded.len() && { blocks }.all(|(stored, loaded)| {
            let block = &mut block[..stored.len()];
            narrow.widen(stored, block);
            bytemuck::cast_slice::<f32, u8>(block) == loaded
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Narrow;

    #[test]
    fn parts_are_loaded_and_nothing_else() {
        Narrow::ALL.into_iter().for_each(loads_parts_alone);
    }

    fn loads_parts_alone(narrow: Narrow) {
        // 192 plain bytes, then 3 MiB of f32 in the format, then 100 plain bytes.
        let words = 3 << 18;
        let narrowed = Encoding::Narrow(narrow);
        let runs = [(192, Encoding::Plain), (4 * words, narrowed), (100, Encoding::Plain)]
            .map(|(bytes, encoding)| Run { bytes, encoding });
        // Of so few digits that no format rounds them.
        let values: Vec<f32> = (0..words).map(|i| (i % 250 + 1) as f32).collect();
        let mut rounded = vec![0; words];
        narrow.round(&values, &mut rounded);
        let mut stored = vec![7u8; 192];
        rounded.iter().for_each(|word| stored.extend(word.to_le_bytes()));
        stored.extend([9u8; 100]);
        let mut whole = vec![7u8; 192];
        values.iter().for_each(|value| whole.extend(value.to_le_bytes()));
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
