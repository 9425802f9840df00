//! BLAKE3 digests of long sections, by several threads.
//!
//! BLAKE3 is a tree over the input (BLAKE3 paper, section 2.1), whose left side is always a power of two of
//! chunks. So pieces of a power of two are subtrees of it wherever they begin at a multiple of their length,
//! and the last one is whatever its length: each has a chaining value of its own, and these are merged.

use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use blake3::hazmat::{
    ChainingValue, HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root,
};
use blake3::{Hash, Hasher};

/// Bytes of a piece, a power of two.
const PIECE: usize = 1 << 20;
/// Fewer pieces for a thread are not worth starting one.
const LEAST_PIECES: usize = 4;

/// The digest of bytes, by as many threads as this machine has for them.
pub(crate) fn digest(bytes: &[u8]) -> Hash {
    let worthwhile = bytes.len() / (PIECE * LEAST_PIECES);
    if worthwhile < 2 {
        return blake3::hash(bytes);
    }
    let available = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let pieces: Vec<&[u8]> = bytes.chunks(PIECE).collect();
    merged(&values(&pieces, available.min(worthwhile)))
}

/// The chaining values of pieces, of which there are several.
fn values(pieces: &[&[u8]], threads: usize) -> Vec<ChainingValue> {
    let next = AtomicUsize::new(0);
    let done: Vec<OnceLock<ChainingValue>> = pieces.iter().map(|_| OnceLock::new()).collect();
    let work = || {
        while let Some(at) =
            Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < pieces.len())
        {
            done[at].get_or_init(|| value(pieces, at));
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            // Where the system has no more threads, those that there are do it all.
            let _ = thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    done.iter()
        .enumerate()
        .map(|(at, value_of)| *value_of.get_or_init(|| value(pieces, at)))
        .collect()
}

fn value(pieces: &[&[u8]], at: usize) -> ChainingValue {
    let mut hasher = Hasher::new();
    hasher.set_input_offset((at * PIECE) as u64);
    hasher.update(pieces[at]).finalize_non_root()
}

/// The digest of pieces with these chaining values, of which there are several.
fn merged(values: &[ChainingValue]) -> Hash {
    let (left, right) = halves(values);
    merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash)
}

/// The chaining value of a subtree of pieces with these.
fn subtree(values: &[ChainingValue]) -> ChainingValue {
    match values {
        [one] => *one,
        _ => {
            let (left, right) = halves(values);
            merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

/// On the left the largest power of two of pieces that leaves something on the right.
fn halves(values: &[ChainingValue]) -> (&[ChainingValue], &[ChainingValue]) {
    values.split_at(values.len().next_power_of_two() / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_digest_of_one_thread() {
        let bytes: Vec<u8> = (0..9 * PIECE + 12_345).map(|i| ((i * 7919) >> 3) as u8).collect();
        let lengths = [0, 1, PIECE, 2 * PIECE, 2 * PIECE + 1, 3 * PIECE - 1, 7 * PIECE + 64]
            .into_iter()
            .chain([8 * PIECE, 8 * PIECE + 1, bytes.len()]);
        for length in lengths {
            let bytes = &bytes[..length];
            assert_eq!(digest(bytes), blake3::hash(bytes), "{length}");
            let pieces: Vec<&[u8]> = bytes.chunks(PIECE).collect();
            for threads in [1, 2, 5] {
                if pieces.len() > 1 {
                    assert_eq!(merged(&values(&pieces, threads)), blake3::hash(bytes), "{length}");
                }
            }
        }
    }

    #[test]
    fn every_piece_has_a_part_in_it() {
        let mut bytes = vec![0u8; 8 * PIECE + 5];
        let whole = digest(&bytes);
        for at in (0..bytes.len()).step_by(PIECE / 2).chain([bytes.len() - 1]) {
            bytes[at] ^= 1;
            assert_ne!(digest(&bytes), whole, "{at}");
            bytes[at] ^= 1;
        }
    }
}
