//! What micro-kernels fetch before it is read.

use std::collections::BTreeSet;

use cardinal_compiler::asm::interpret::{
    Access, AccessKind, Call, Memory, Permission, Region, run,
};
use cardinal_compiler::asm::{Function, Vectors};
use cardinal_compiler::kernels::conv::micro_kernel::{MicroKernel, Prefetch};
use cardinal_compiler::kernels::conv::winograd::points::Points;
use cardinal_compiler::kernels::conv::winograd::{Elements, Transform};
use cardinal_compiler::machine::BLOCK;
use cardinal_compiler::plan::Loop;

/// Where parameters point at: so far apart that every address says what it is of.
const INPUT: u64 = 1 << 32;
const WEIGHTS: u64 = 2 << 32;
const OUTPUT: u64 = 3 << 32;
const SCRATCH: u64 = 4 << 32;

/// Bytes of a line of the caches.
const LINE: u64 = 64;

/// The accesses of a function, called with these places and so many tiles, in order.
fn accesses_of(function: &Function, places: [Option<u64>; 4], tiles: usize) -> Vec<Access> {
    const ENOUGH: usize = 1 << 16;
    let named = [("input", INPUT), ("weights", WEIGHTS), ("output", OUTPUT), ("scratch", SCRATCH)];
    let regions = named.map(|(name, address)| {
        Region::of(name, address, &vec![0.0; ENOUGH], Permission::ReadWrite)
    });
    let mut memory = Memory { regions: regions.into() };
    let [first, second, third, fourth] = places;
    let call = Call::new([first, second, third, fourth, Some(tiles as u64), None]);
    let mut all = Vec::new();
    run(function, &call, &mut memory, &mut |access| all.push(access)).unwrap();
    all
}

/// Those of a micro-kernel.
fn accesses(spec: &MicroKernel, tiles: usize) -> Vec<Access> {
    let places = [Some(INPUT), Some(WEIGHTS), Some(OUTPUT), None];
    accesses_of(&spec.assembled(Vectors::Avx2), places, tiles)
}

fn tile([count, stride]: [usize; 2], pixels: usize) -> MicroKernel {
    let blocks = Loop::reading(count, stride);
    MicroKernel {
        pixels,
        blocks: 1,
        input_pixel: BLOCK,
        output_pixel: BLOCK,
        reduce: vec![blocks, Loop::reading(BLOCK, 1)],
        ..MicroKernel::default()
    }
}

#[test]
fn blocks_on_pages_of_their_own_are_fetched_before_they_are_read_and_none_behind_them() {
    const STRIDE: usize = 2048;
    const PIXELS: usize = 6;
    for blocks in [2, 3, 4, 8] {
        let end = (blocks * STRIDE * 4) as u64;
        let mut fetched = BTreeSet::new();
        for Access { kind, address, .. } in accesses(&tile([blocks, STRIDE], PIXELS), 3) {
            let Some(at) = address.checked_sub(INPUT).filter(|at| *at < WEIGHTS - INPUT) else {
                continue;
            };
            if kind == AccessKind::PrefetchT0 {
                assert!(at < end, "{blocks} blocks: {at} is fetched");
                fetched.insert(at / LINE);
            } else {
                // Nothing comes before the first tile's first two blocks.
                let block = (STRIDE * 4) as u64;
                let first = at % block / LINE < PIXELS as u64 && at < 2 * block;
                assert!(first || fetched.contains(&(at / LINE)), "{blocks} blocks: {at} is read");
            }
        }
    }
}

#[test]
fn weights_of_the_next_call_are_fetched_once_in_all_passes() {
    const NEXT: usize = 8192;
    for (passes, blocks) in [(1, 1), (2, 2), (3, 1), (5, 3)] {
        let reduce = tile([blocks, 512], 4);
        let depth = reduce.depth() as u64;
        // The last of the passes is a tile of fewer pixels, as the last of a row is.
        let calls = [(4, passes - 1, 0), (3, 1, passes - 1)];
        let mut fetched = Vec::new();
        for (pixels, tiles, passed) in calls.into_iter().filter(|(_, tiles, _)| *tiles > 0) {
            let prefetch = Prefetch { tiles: passes, earlier: passed, distance: NEXT };
            let spec = MicroKernel { pixels, prefetch, ..reduce.clone() };
            let ahead = accesses(&spec, tiles).into_iter();
            let ahead = ahead.filter(|access| access.kind == AccessKind::PrefetchT1);
            fetched.extend(ahead.map(|access| (access.address - WEIGHTS) / LINE));
        }
        let first = (NEXT * 4) as u64 / LINE;
        let all: BTreeSet<u64> = fetched.iter().copied().collect();
        assert_eq!(all.len(), fetched.len(), "{passes} passes: some are fetched twice");
        assert!((first..first + depth).all(|line| all.contains(&line)), "{passes} passes: {all:?}");
        // A share is of whole lines.
        assert!(fetched.len() < depth as usize + passes * blocks, "{passes} passes");
    }
}

#[test]
fn transformed_tiles_but_the_first_are_fetched_before_they_are_written() {
    const TILES: usize = 24;
    // Lines of each element that nothing is in time for.
    const FIRST: u64 = 4;
    let (narrow, wide) = (Vectors::Avx2, Vectors::Avx512);
    for (rounds, vectors) in [(false, narrow), (false, wide), (true, wide)] {
        let size = if rounds { 2 } else { 4 };
        let elements = Elements { distance: (TILES + 2) * BLOCK, few: 6, nearer: 0 };
        let spec = Transform::Input {
            points: Points::of_floats(4),
            tile: [4, 4],
            beyond: [[0; 2]; 2],
            dilation: 1,
            row: (TILES * 4 + 2) * BLOCK,
            elements,
            bytes: None,
            rounds,
        };
        let places = [Some(INPUT), Some(SCRATCH), Some(OUTPUT), None];
        let (mut fetched, mut written) = (BTreeSet::new(), BTreeSet::new());
        for Access { kind, address, .. } in accesses_of(&spec.assembled(vectors), places, TILES) {
            let Some(at) = address.checked_sub(OUTPUT).filter(|at| *at < SCRATCH - OUTPUT) else {
                continue;
            };
            let (line, apart) = (at / LINE, (elements.distance * size) as u64);
            if kind == AccessKind::PrefetchWrite {
                fetched.insert(line);
                continue;
            }
            written.insert(line);
            let is_first = at % apart / LINE < FIRST;
            assert!(is_first || fetched.contains(&line), "{vectors:?}: {at} is written");
        }
        assert_eq!(written.len() as u64 * LINE, (36 * TILES * BLOCK * size) as u64);
    }
}
