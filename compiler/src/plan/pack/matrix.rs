//! Matrices in blocks of 8 rows.

use super::super::kernel::CHANNEL_BLOCK;
use super::places::Places;
use super::{Order, Word};

/// Matrices as `[matrices][rows/8][columns][8]`, zeros beyond the rows. A stripe is 8 rows.
pub(super) struct Matrix {
    matrices: usize,
    /// Where the weight's rows lie among those of all matrices.
    rows: Places,
    /// Where its columns lie in each.
    columns: Places,
    /// Where an element lies in the weight.
    source: Source,
}

enum Source {
    /// `[all rows][so many columns]`
    Rows(usize),
    /// `[matrices][so many columns][so many rows]`
    Columns(usize, usize),
}

impl Matrix {
    /// A weight `[all rows][width]` as matrices of as many rows each, its rows and columns in the places
    /// given.
    pub(super) fn new(matrices: usize, width: usize, rows: Places, columns: Places) -> Matrix {
        Matrix { matrices, rows, columns, source: Source::Rows(width) }
    }

    /// `[matrices][m][depth]` as it is.
    pub(super) fn of_rows(matrices: usize, m: usize, depth: usize) -> Matrix {
        Matrix::new(matrices, depth, Places::all(matrices * m), Places::all(depth))
    }

    /// `[matrices][depth][m]`, turned.
    pub(super) fn of_columns(matrices: usize, m: usize, depth: usize) -> Matrix {
        Matrix { source: Source::Columns(depth, m), ..Matrix::of_rows(matrices, m, depth) }
    }

    /// Matrices, blocks of rows of each, columns.
    pub(super) fn extents(&self) -> [usize; 3] {
        [self.matrices, self.height().div_ceil(CHANNEL_BLOCK), self.columns.len()]
    }

    /// Rows of a matrix.
    fn height(&self) -> usize {
        self.rows.len() / self.matrices.max(1)
    }

    /// Where the row's first element lies, and how far apart its elements are.
    fn line(&self, row: usize) -> (usize, usize) {
        match self.source {
            Source::Rows(width) => (row * width, 1),
            Source::Columns(depth, m) => (row / m * depth * m + row % m, m),
        }
    }
}

impl Order for Matrix {
    fn stripes(&self) -> Vec<usize> {
        let [matrices, blocks, columns] = self.extents();
        vec![columns * CHANNEL_BLOCK * size_of::<Word>(); matrices * blocks]
    }

    fn fill(&self, from: &[u8], stripe: usize, to: &mut [u8]) {
        let (from, to) = (from.as_chunks::<4>().0, to.as_chunks_mut::<4>().0);
        let [_, blocks, _] = self.extents();
        let (matrix, first) = (stripe / blocks, stripe % blocks * CHANNEL_BLOCK);
        let rows = first..self.height().min(first + CHANNEL_BLOCK);
        to.fill([0; 4]);
        for (lane, row) in rows.enumerate() {
            let Some(row) = self.rows.get(matrix * self.height() + row) else { continue };
            let (begin, step) = self.line(row);
            let slots = to[lane..].iter_mut().step_by(CHANNEL_BLOCK);
            for (slot, column) in slots.zip(self.columns.iter()) {
                if let Some(column) = column {
                    *slot = from[begin + column * step];
                }
            }
        }
    }
}
