//! How planes of outputs are cut into tiles, and where tiles lie in the transformed domain.

use crate::error::Result;
use crate::machine::BLOCK;
use crate::plan::kernel::Fields;

/// How planes are cut into tiles, and where the tiles of an item lie for each element and block.
///
/// Where the last row or column of tiles is of fewer outputs, it has fewer elements. So elements
/// differ in how many tiles have them, and the tiles of an item lie in four sections, each without gaps
/// for all images, of which an element has the first one and those that come to it:
///
/// ```text
/// [image][row][column]   whole tiles                  all elements
/// [image][row]           of the last column           those of its columns
/// [image][column]        of the last row              those of its rows
/// [image]                of the last row and column   those of both
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grid {
    /// m.
    pub outputs: usize,
    /// d.
    pub dilation: usize,
    /// Rows and columns of tiles, of all phases.
    pub tiles: [usize; 2],
    /// Outputs of the tiles of the last row along a column, and of the last column along a row. Where
    /// these are fewer than m, an item has all rows of tiles. Where they are m, what is beyond the plane
    /// is computed and not written.
    pub last: [usize; 2],
    /// Images whose tiles lie together.
    pub together: usize,
}

/// Where the tiles of a section are: of its first image and row, and from each to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// Tiles before it.
    pub first: usize,
    /// Tiles of an image.
    pub image: usize,
    /// Tiles of a row.
    pub row: usize,
}

/// Neighbouring tiles along an axis, within a phase, whose windows are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Tiles before them.
    pub first: usize,
    /// How many.
    pub count: usize,
    /// Outputs of each along the axis.
    pub outputs: usize,
    /// How much of a window is beyond the plane, before and behind, and so zero.
    pub beyond: [usize; 2],
}

impl Run {
    /// Outputs inside the plane.
    pub fn written(&self) -> usize {
        self.outputs + 1 - self.beyond[1].max(1)
    }
}

/// Elements that are in as many tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    /// Rows and columns of elements.
    pub elements: [usize; 2],
    /// Rows and columns of tiles.
    pub tiles: [usize; 2],
}

/// Distances between the elements of a tile in the transformed domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elements {
    /// From each to the next.
    pub distance: usize,
    /// Elements in columns from this one on have no tiles of the last column,
    pub few: usize,
    /// and so are as much nearer.
    pub nearer: usize,
}

impl Elements {
    /// Where an element is, of which there are so many in a row.
    pub fn at(&self, [row, column]: [usize; 2], of: usize) -> usize {
        let nearer = if column >= self.few { self.nearer } else { 0 };
        (row * of + column) * self.distance - nearer
    }
}

impl Grid {
    /// Tiles of `outputs`² over planes of this size, a multiple of the dilation, of which so many lie
    /// together. Where a plane is an item, its tiles fit it.
    pub fn new(outputs: usize, dilation: usize, size: [usize; 2], together: usize) -> Grid {
        // Products of a block that stay in a second-level cache.
        const MOST_BYTES: usize = 256 << 10;
        let tiles = size.map(|n| dilation * (n / dilation).div_ceil(outputs));
        let side = outputs + 2;
        let bytes =
            [tiles[0], tiles[1], side, side, BLOCK].into_iter().fold(4, usize::saturating_mul);
        let fits = bytes <= MOST_BYTES && dilation == 1;
        let last = size.map(|n| match n % outputs {
            rest if rest > 0 && fits => rest,
            _ => outputs,
        });
        Grid { outputs, dilation, tiles, last, together }
    }

    /// Whether its tiles are those of planes of this size, without a rest and without one too many.
    pub(super) fn is_of(&self, size: [usize; 2]) -> bool {
        let Grid { outputs, dilation, tiles, last, together } = *self;
        let covers = |axis: usize| {
            let phase = size[axis].checked_div(dilation).unwrap_or(0);
            let rest = size[axis].checked_rem(outputs.max(1)).unwrap_or(0);
            let is_last = last[axis] == outputs || (dilation == 1 && last[axis] == rest);
            outputs > 0
                && phase * dilation == size[axis]
                && tiles[axis] == dilation * phase.div_ceil(outputs)
                && is_last
        };
        together > 0 && size != [0; 2] && covers(0) && covers(1)
    }

    /// Visits every attribute.
    pub(super) fn fields(&mut self, v: &mut dyn Fields) -> Result<()> {
        v.field("outputs", &mut self.outputs)?;
        v.field("dilation", &mut self.dilation)?;
        v.field("tiles", &mut self.tiles)?;
        v.field("last", &mut self.last)?;
        v.field("together", &mut self.together)
    }

    /// Whether an item can have so many rows of tiles.
    pub fn allows(&self, rows: usize) -> bool {
        let all = self.tiles[0];
        let divides = rows > 0 && all.is_multiple_of(rows);
        divides && (rows == all || self.together == 1 && self.is_cut() == [false; 2])
    }

    /// Elements of a whole tile along an axis.
    pub fn side(&self) -> usize {
        self.outputs + 2
    }

    /// Elements of a whole tile.
    pub fn elements(&self) -> usize {
        self.side() * self.side()
    }

    /// Whether the last row and column of tiles are of fewer outputs.
    pub fn is_cut(&self) -> [bool; 2] {
        self.last.map(|last| last < self.outputs)
    }

    /// Rows and columns of tiles that have all elements.
    pub fn whole(&self) -> [usize; 2] {
        let [rows, columns] = self.is_cut();
        [self.tiles[0] - usize::from(rows), self.tiles[1] - usize::from(columns)]
    }

    /// Most tiles of an element in the images of an item.
    pub fn columns(&self) -> usize {
        self.together * self.tiles[0] * self.tiles[1]
    }

    /// Tiles in an image, each as often as it has elements.
    pub fn products(&self) -> usize {
        let axis = |n: usize, last: usize| (n - 1) * self.side() + last + 2;
        axis(self.tiles[0], self.last[0]) * axis(self.tiles[1], self.last[1])
    }

    /// Elements by rows, those of the last row of tiles first, and by columns likewise; with the tiles
    /// of `rows` rows in each image.
    pub fn classes(&self, rows: usize) -> [[Class; 2]; 2] {
        let cut = self.is_cut();
        let part = |axis: usize, tiles: usize| {
            let common = self.last[axis] + 2;
            [(common, tiles), (self.side() - common, tiles - usize::from(cut[axis]))]
        };
        part(0, rows).map(|(high, rows)| {
            part(1, self.tiles[1])
                .map(|(wide, columns)| Class { elements: [high, wide], tiles: [rows, columns] })
        })
    }

    /// Where the tiles of the last row (or the others) and the last column (or the others) are.
    pub fn section(&self, last: [bool; 2]) -> Section {
        let [rows, columns] = self.whole();
        let whole = self.together * rows * columns;
        let beside = if self.is_cut()[1] { self.together * rows } else { 0 };
        match last {
            [false, false] => Section { first: 0, image: rows * columns, row: columns },
            [false, true] => Section { first: whole, image: rows, row: 1 },
            [true, false] => Section { first: whole + beside, image: columns, row: 0 },
            [true, true] => {
                Section { first: whole + beside + self.together * columns, image: 1, row: 0 }
            }
        }
    }

    /// Where the elements of such tiles are, so far from each other in general.
    pub fn between(&self, distance: usize, last: [bool; 2]) -> Elements {
        if last == [true, false] && self.is_cut() == [true, true] {
            let nearer = self.together * self.whole()[0] * BLOCK;
            return Elements { distance, few: self.last[1] + 2, nearer };
        }
        Elements { distance, few: self.side(), nearer: 0 }
    }

    /// The tiles of a phase along an axis of planes of this size, by what is beyond the planes' edges.
    pub fn runs(&self, axis: usize, size: usize) -> Vec<Run> {
        let (m, last) = (self.outputs, self.last[axis]);
        let tiles = self.tiles[axis] / self.dilation;
        // Windows begin one before the plane, and the last one reads one more than its outputs.
        let beyond = (tiles - 1) * m + last + 1 - size / self.dilation;
        let mut runs = vec![Run { first: 0, count: 1, outputs: m, beyond: [1, 0] }];
        runs.push(Run { first: 1, count: tiles.saturating_sub(2), outputs: m, beyond: [0, 0] });
        match tiles {
            1 => runs[0] = Run { outputs: last, beyond: [1, beyond], ..runs[0] },
            _ => runs.push(Run { first: tiles - 1, count: 1, outputs: last, beyond: [0, beyond] }),
        }
        runs.retain(|run| run.count > 0);
        runs
    }
}
