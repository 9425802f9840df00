//! Sizes that leave every kind of rest: of tiles of up to 30 pixels (AVX-512), of blocks of 16
//! channels, of tiles of up to 4 blocks, of Winograd's tiles, of parts of sums.

use super::{End, Extents};

const ENDS: [End; 3] = [End::Bare, End::Relu, End::Residual];

/// Every end in turn.
fn in_turn(all: Vec<Extents>) -> Vec<Extents> {
    all.into_iter().zip(ENDS.into_iter().cycle()).map(|(e, end)| e.then(end)).collect()
}

/// Rows of every length up to twice the largest tile and one more, and blocks up to twice the
/// widest.
pub(super) fn points() -> Vec<Extents> {
    let mut all: Vec<Extents> =
        (1..=61).map(|w| Extents::of([16, 16 * (1 + w % 9), 1], [1, w])).collect();
    all.extend(channels([3, 2]));
    // So deep that sums are made in parts, or just not.
    all.extend([496, 512, 528, 1056].map(|c| Extents::of([c, 32, 1], [3, 5])));
    all.push(Extents::of([64, 96, 2], [4, 7]).times(2));
    in_turn(all)
}

/// Every number of channels around one and two blocks, on either side.
fn channels(size: [usize; 2]) -> Vec<Extents> {
    let read = (1..=33).map(|c| Extents::of([c, 16, 1], size));
    let made = (1..=33).map(|c| Extents::of([16, c, 1], size).times(2));
    read.chain(made).collect()
}

/// Halves of every length, of even and of odd numbers of pixels, and of blocks up to more than the
/// widest.
pub(super) fn halves() -> Vec<Extents> {
    let blocks = |n: usize| 32 * (1 + n % 5);
    let mut all: Vec<Extents> = (1..=31).map(|w| Extents::of([32, blocks(w), 1], [2, w])).collect();
    all.extend((3..=61).step_by(2).map(|w| Extents::of([32, blocks(w), 1], [1, w])));
    all.extend((1..=3).map(|n| Extents::of([64 * n, 64, 1], [5, 5]).times(n)));
    // So deep that sums of halves are made in parts, or just not.
    all.extend([1024, 1056, 2112].map(|c| Extents::of([c, 32, 1], [3, 5])));
    // Channels that fill up blocks.
    all.extend([[20, 40], [31, 63], [33, 32]].map(|[c, m]| Extents::of([c, m, 1], [4, 3])));
    in_turn(all)
}

/// Windows over halves of the rows.
pub(super) fn halves_of_windows() -> Vec<Extents> {
    let blocks = |n: usize| 32 * (1 + n % 3);
    let mut all: Vec<Extents> =
        (1..=33).map(|w| Extents::of([32, blocks(w), 1], [3 + w % 2, w])).collect();
    all.extend((3..=16).map(|h| Extents::of([64, 32, 1], [h, 5]).times(2)));
    all.extend([128, 160].map(|c| Extents::of([c, 32, 1], [3, 4])));
    in_turn(all)
}

/// Windows with borders, alone and in groups.
pub(super) fn windows() -> Vec<Extents> {
    let mut all: Vec<Extents> =
        (1..=33).map(|w| Extents::of([16, 16 * (1 + w % 5), 1], [3, w])).collect();
    all.extend((1..=7).map(|h| Extents::of([32, 16, 1], [h, 4]).times(2)));
    all.extend((1..=33).step_by(3).map(|c| Extents::of([c, c, 1], [4, 5])));
    all.extend(
        [[48, 96, 2], [32, 48, 2], [40, 24, 2], [120, 48, 3]].map(|c| Extents::of(c, [4, 5])),
    );
    all.extend([[57, 16, 1], [64, 16, 1], [128, 32, 1]].map(|c| Extents::of(c, [3, 3])));
    in_turn(all)
}

/// Large windows of few channels, which lie row-major.
pub(super) fn stems() -> Vec<Extents> {
    let mut all: Vec<Extents> = (5..=19).map(|w| Extents::of([3, 24, 1], [9, w])).collect();
    all.extend((1..=5).map(|c| Extents::of([c, 16, 1], [8, 8]).times(2)));
    in_turn(all)
}

/// Groups that are parts of a block.
pub(super) fn narrow(width: usize) -> Vec<Extents> {
    let group = |blocks: usize| [16 * blocks, 16 * blocks, 16 * blocks / width];
    let mut all: Vec<Extents> =
        (1..=61).map(|w| Extents::of(group(1), [if w < 9 { 3 } else { 1 }, w])).collect();
    all.extend((1..=4).map(|b| Extents::of(group(b), [4, 6]).times(2)));
    in_turn(all)
}

/// Channels that are alone, the last block of which is not full.
pub(super) fn alone() -> Vec<Extents> {
    let all = (1..=47).map(|c| Extents::of([c, c, c], [3, 1 + c % 7]).times(1 + c % 2));
    in_turn(all.filter(|e| e.groups > 1).collect())
}

/// Rows, depths and columns of products with many rows: every rest of tiles, stripes and blocks.
pub(super) fn tables() -> Vec<Extents> {
    let rows = (4..=31).map(|rows| Extents::of([9, 40, 1], [1, rows]));
    let columns = (1..=70).step_by(3).map(|made| Extents::of([6, made, 1], [1, 7]).times(2));
    let depths = [1, 2, 16, 17, 31, 48, 80].map(|read| Extents::of([read, 96, 1], [1, 9]));
    // So deep that rows fall into several chunks.
    let chunks = [([800, 40, 1], 260), ([1024, 70, 1], 200), ([96, 40, 1], 130)];
    let chunks = chunks.map(|(channels, rows)| Extents::of(channels, [1, rows]));
    rows.chain(columns).chain(depths).chain(chunks).collect()
}

/// Groups of widths that are neither narrow nor whole blocks.
pub(super) fn odd_groups() -> Vec<Extents> {
    let groups = [[6, 4, 2], [10, 15, 5], [21, 14, 7], [12, 12, 4], [24, 24, 4]];
    in_turn(groups.into_iter().map(|c| Extents::of(c, [4, 5]).times(2)).collect())
}

/// Planes cut off on either side at every place, large enough for the planner to take Winograd's
/// way.
pub(super) fn winograd() -> Vec<Extents> {
    let mut all = Vec::new();
    for h in 20..24 {
        for w in 20..24 {
            all.push(Extents::of([16, 32, 1], [h, w]));
        }
    }
    for (h, w) in [(9, 9), (9, 10), (10, 9), (10, 10), (7, 11), (13, 3)] {
        all.push(Extents::of([64, 48, 1], [h, w]));
    }
    all.push(Extents::of([32, 64, 2], [22, 21]).times(2));
    all.push(Extents::of([20, 40, 1], [21, 22]));
    // Small planes, whose images share products.
    all.extend((2..=4).map(|n| Extents::of([64, 48, 1], [7, 7]).times(n)));
    in_turn(all)
}

/// Planes that fall into phases of one size, and some that do not.
pub(super) fn phases() -> Vec<Extents> {
    let mut all = Vec::new();
    for h in [20, 22, 24, 26] {
        all.extend([20, 22, 24, 26, 25].map(|w| Extents::of([16, 32, 1], [h, w])));
    }
    all.push(Extents::of([32, 64, 2], [22, 20]).times(2));
    // Phases of all images share products.
    all.extend((1..=3).map(|n| Extents::of([64, 48, 1], [14, 14]).times(n)));
    in_turn(all)
}

/// Pools and attention over values in blocks.
pub(super) fn planes() -> Vec<Extents> {
    let mut all: Vec<Extents> = (1..=9).map(|w| Extents::of([16, 16, 1], [3, w])).collect();
    all.extend((1..=9).map(|h| Extents::of([16, 48, 1], [h, 5]).times(2)));
    all.extend([8, 17, 33, 40].map(|c| Extents::of([16, c, 1], [4, 3])));
    all
}

/// The same with an even window, which needs two rows and columns.
pub(super) fn even_planes() -> Vec<Extents> {
    planes().into_iter().filter(|e| e.size.iter().all(|n| *n > 1)).collect()
}

/// Attention: alone and with several cardinal groups, of whole blocks and of parts.
pub(super) fn attention() -> Vec<Extents> {
    let mut all = planes();
    all.extend(
        [[16, 32, 2], [16, 40, 2], [16, 96, 3], [16, 24, 4]].map(|c| Extents::of(c, [3, 5])),
    );
    all
}

/// Rows, depths and columns of products, and axes of everything else that lies row-major.
pub(super) fn cubes() -> Vec<Extents> {
    let mut all: Vec<Extents> = (1..=13).map(|n| Extents::of([5, 9, 1], [3, 4]).times(n)).collect();
    all.extend((1..=17).map(|m| Extents::of([3, m, 1], [1, 2]).times(2)));
    all.extend((1..=17).map(|w| Extents::of([2, 3, 1], [2, w])));
    all.extend([1, 16, 31, 63, 65, 300].map(|c| Extents::of([c, 7, 1], [2, 1]).times(3)));
    all
}
