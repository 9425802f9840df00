//! Matrices in blocks of 8 rows, or of 16.

use super::CHANNEL_BLOCK;
use crate::ir::{DType, TensorType};
use crate::kernels::multiples::Multiples;
use crate::machine::BLOCK;
use crate::plan::weights::{Order, Packing, Places, Word};

/// `[matrices][m][depth]` as `[matrices][m/8][depth][8]`, zeros beyond `m`: so many matrices with
/// so many rows each.
///
/// A convolution's weight `[m, c/groups, kh, kw]` is `groups` matrices of `m/groups` rows; one row
/// is contiguous, so the contracted axes need no reordering.
#[derive(Debug)]
pub(in crate::kernels) struct Rows(pub(in crate::kernels) usize, pub(in crate::kernels) usize);

/// `[matrices][depth][m]` as `[matrices][m/8][depth][8]`, zeros beyond `m`: the right-hand operand
/// of a matrix product. So many matrices.
#[derive(Debug)]
pub(in crate::kernels) struct Columns(pub(in crate::kernels) usize);

/// A bias vector for so many groups, each padded to whole channel blocks.
#[derive(Debug)]
pub(in crate::kernels) struct Bias(pub(in crate::kernels) usize);

/// A matrix of so many groups, whose rows are segments of so many, with rows and columns of
/// each filled up to whole blocks of 16, and then as [`Rows`].
#[derive(Debug)]
pub(in crate::kernels) struct Filled {
    pub(in crate::kernels) groups: usize,
    pub(in crate::kernels) rows: usize,
    pub(in crate::kernels) fill_rows: bool,
    pub(in crate::kernels) fill_columns: bool,
}

/// What a packing makes a matrix of.
pub(in crate::kernels) trait Blocks: Packing {
    /// The matrix that it makes of a weight.
    fn matrix(&self, ty: &TensorType) -> Matrix;
}

/// The same in blocks of 16, for register tiles.
#[derive(Debug)]
pub(in crate::kernels) struct Wide<P>(pub(in crate::kernels) P);

impl<P: Blocks> Wide<P> {
    fn matrix(&self, ty: &TensorType) -> Matrix {
        Matrix { block: BLOCK, ..self.0.matrix(ty) }
    }
}

impl<P: Blocks> Packing for Wide<P> {
    fn accepts(&self, ty: &TensorType) -> bool {
        self.0.accepts(ty)
    }

    fn extents(&self, ty: &TensorType) -> Vec<usize> {
        stored(&self.matrix(ty))
    }

    fn order(&self, ty: &TensorType) -> Box<dyn Order> {
        Box::new(self.matrix(ty))
    }
}

impl Packing for Rows {
    fn accepts(&self, ty: &TensorType) -> bool {
        ty.dtype == DType::F32
    }

    fn extents(&self, ty: &TensorType) -> Vec<usize> {
        stored(&self.matrix(ty))
    }

    fn order(&self, ty: &TensorType) -> Box<dyn Order> {
        Box::new(self.matrix(ty))
    }
}

impl Blocks for Rows {
    fn matrix(&self, ty: &TensorType) -> Matrix {
        let Rows(matrices, m) = *self;
        Matrix::of_rows(matrices, m, ty.elements() / (matrices * m).max(1))
    }
}

impl Packing for Columns {
    fn accepts(&self, ty: &TensorType) -> bool {
        ty.dtype == DType::F32 && ty.axes.len() >= 2
    }

    fn extents(&self, ty: &TensorType) -> Vec<usize> {
        stored(&self.matrix(ty))
    }

    fn order(&self, ty: &TensorType) -> Box<dyn Order> {
        Box::new(self.matrix(ty))
    }
}

impl Blocks for Columns {
    fn matrix(&self, ty: &TensorType) -> Matrix {
        let shape = ty.shape();
        let (depth, m) = (shape[shape.len() - 2], shape[shape.len() - 1]);
        Matrix::of_columns(self.0, m, depth)
    }
}

impl Packing for Bias {
    fn accepts(&self, ty: &TensorType) -> bool {
        ty.dtype == DType::F32
    }

    fn extents(&self, ty: &TensorType) -> Vec<usize> {
        let [matrices, blocks, _] = self.matrix(ty).extents();
        vec![matrices, blocks, CHANNEL_BLOCK]
    }

    fn order(&self, ty: &TensorType) -> Box<dyn Order> {
        Box::new(self.matrix(ty))
    }
}

impl Blocks for Bias {
    fn matrix(&self, ty: &TensorType) -> Matrix {
        Matrix::of_rows(self.0, ty.elements() / self.0.max(1), 1)
    }
}

impl Packing for Filled {
    fn accepts(&self, ty: &TensorType) -> bool {
        ty.dtype == DType::F32 && ty.axes.len() == 2
    }

    fn extents(&self, ty: &TensorType) -> Vec<usize> {
        stored(&self.matrix(ty))
    }

    fn order(&self, ty: &TensorType) -> Box<dyn Order> {
        Box::new(self.matrix(ty))
    }
}

impl Blocks for Filled {
    fn matrix(&self, ty: &TensorType) -> Matrix {
        let shape = ty.shape();
        let (height, width) = (shape[0], shape[1]);
        let filled = |n: usize, segments: usize, fill: bool| match fill {
            true => Places::in_blocks(n, segments),
            false => Places::all(n),
        };
        let rows = filled(height, height / self.rows.max(1), self.fill_rows);
        Matrix::new(self.groups, width, rows, filled(width, 1, self.fill_columns))
    }
}

/// A matrix that is packed in blocks of 8 rows, each of multiples of a scale, as the scales of a block's
/// rows in f32, and then the multiples as i8 in the same order.
#[derive(Debug)]
pub(in crate::kernels) struct InBytes<P>(pub(in crate::kernels) P);

impl<P: Packing> Packing for InBytes<P> {
    fn accepts(&self, ty: &TensorType) -> bool {
        self.0.accepts(ty)
    }

    fn dtype(&self, _: &TensorType) -> DType {
        DType::I8
    }

    fn order(&self, ty: &TensorType) -> Box<dyn Order> {
        Box::new(ByteBlocks(self.0.order(ty)))
    }
}

/// Blocks of 8 rows of words, as bytes.
struct ByteBlocks(Box<dyn Order>);

impl Order for ByteBlocks {
    fn stripes(&self) -> Vec<usize> {
        let scales = CHANNEL_BLOCK * size_of::<Word>();
        self.0.stripes().into_iter().map(|words| scales + words / size_of::<Word>()).collect()
    }

    fn fill(&self, from: &[u8], stripe: usize, to: &mut [u8]) {
        let (scales, to) = to.split_at_mut(CHANNEL_BLOCK * size_of::<Word>());
        let mut block = vec![0; to.len() * size_of::<Word>()];
        self.0.fill(from, stripe, &mut block);
        let words = block.as_chunks::<4>().0;
        for (lane, scale) in scales.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let row: Vec<Word> = words[lane..].iter().step_by(CHANNEL_BLOCK).copied().collect();
            let multiples = Multiples::of(&row);
            *scale = multiples.scale.to_le_bytes();
            for (at, byte) in to[lane..].iter_mut().step_by(CHANNEL_BLOCK).enumerate() {
                *byte = multiples.steps(at).cast_unsigned();
            }
        }
    }
}

fn stored(matrix: &Matrix) -> Vec<usize> {
    let [matrices, blocks, width] = matrix.extents();
    vec![matrices, blocks, width, matrix.block]
}

/// Matrices as `[matrices][rows/b][columns][b]`, zeros beyond the rows. A stripe is a block of b rows.
pub(in crate::kernels) struct Matrix {
    /// Rows of a block.
    block: usize,
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
    fn new(matrices: usize, width: usize, rows: Places, columns: Places) -> Matrix {
        let (block, source) = (CHANNEL_BLOCK, Source::Rows(width));
        Matrix { block, matrices, rows, columns, source }
    }

    /// `[matrices][m][depth]` as it is.
    fn of_rows(matrices: usize, m: usize, depth: usize) -> Matrix {
        Matrix::new(matrices, depth, Places::all(matrices * m), Places::all(depth))
    }

    /// `[matrices][depth][m]`, turned.
    fn of_columns(matrices: usize, m: usize, depth: usize) -> Matrix {
        Matrix { source: Source::Columns(depth, m), ..Matrix::of_rows(matrices, m, depth) }
    }

    /// Matrices, blocks of rows of each, columns.
    fn extents(&self) -> [usize; 3] {
        [self.matrices, self.height().div_ceil(self.block), self.columns.len()]
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
        vec![columns * self.block * size_of::<Word>(); matrices * blocks]
    }

    fn fill(&self, from: &[u8], stripe: usize, to: &mut [u8]) {
        let (from, to) = (from.as_chunks::<4>().0, to.as_chunks_mut::<4>().0);
        let [_, blocks, _] = self.extents();
        let (matrix, first) = (stripe / blocks, stripe % blocks * self.block);
        let rows = first..self.height().min(first + self.block);
        to.fill([0; 4]);
        for (lane, row) in rows.enumerate() {
            let Some(row) = self.rows.get(matrix * self.height() + row) else { continue };
            let (begin, step) = self.line(row);
            let slots = to[lane..].iter_mut().step_by(self.block);
            for (slot, column) in slots.zip(self.columns.iter()) {
                if let Some(column) = column {
                    *slot = from[begin + column * step];
                }
            }
        }
    }
}
