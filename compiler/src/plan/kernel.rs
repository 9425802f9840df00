//! Kernel specifications: what one step of a plan computes, with every extent and stride known.
//!
//! A kernel knows nothing of graphs or tensors. It gets an array of pointers, the destination
//! first, and a range of its items; items are independent of each other, so any partition of them
//! over threads gives the same bits. Strides are in elements. Two steps with equal kernels share
//! one function.

use super::expr::Expr;
use super::strassen::{StrassenInput, StrassenOutput};
use super::tile::{BLOCK, Tile};
use super::winograd::{WinogradInput, WinogradOutput};
use crate::ir::{DType, PoolKind, ReduceKind, Window};

/// What a step computes.
#[derive(Debug, Clone, PartialEq)]
pub enum Kernel {
    /// Elementwise, with strides: arithmetic, copies, broadcasts, fills.
    Map(Map),
    /// Convolutions and matrix products.
    Contract(Contract),
    /// Convolutions over blocked activations.
    Tile(Tile),
    /// Pixels to Winograd's transformed domain.
    WinogradInput(WinogradInput),
    /// Products in the transformed domain, and back to pixels.
    WinogradOutput(WinogradOutput),
    /// Sums of halves of pixels and channels.
    StrassenInput(StrassenInput),
    /// Products of halves, and their sums.
    StrassenOutput(StrassenOutput),
    /// Means of whole planes of blocks.
    BlockMean(BlockMean),
    /// Sliding-window pooling of blocks.
    BlockPool(BlockPool),
    /// Sums, means, extremes over axes.
    Reduce(Reduction),
    /// Softmax over the middle one of three axes.
    Softmax(Softmax),
    /// Sliding-window pooling.
    Pool(Pooling),
    /// Slices picked by an index tensor.
    Gather(Gather),
    /// Index of the largest element.
    ArgMax(ArgMax),
}

/// A loop nest over dense or strided operands; operand 0 is the destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nest {
    /// Trip counts, outermost first.
    pub dims: Vec<usize>,
    /// For each operand, its stride along each dim; 0 repeats.
    pub strides: Vec<Vec<isize>>,
}

/// `out[i] = expr(in1[i], in2[i], …)` over a nest. Items are the trips of the outermost loop.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    /// The loops.
    pub nest: Nest,
    /// Element type of each operand, destination first.
    pub dtypes: Vec<DType>,
    /// What is stored; operand `x{i}` is the `i`-th operand, sources start at 1.
    pub expr: Expr,
}

/// A tile contraction: `out[b, m, y, x] = expr(bias[m] + Σ_r w[b, m, r] · in[b, y, x, r])`.
///
/// Arguments: out, in, weights packed `[w blocks][m/8][r…][8]` (zeros beyond m), bias padded to a
/// multiple of 8 and laid out `[w blocks][m/8][8]` if `bias`, then one operand per `x{i}` of `then`,
/// i ≥ 1, laid out as out; `x0` is the sum. Items are (b, m block, y).
#[derive(Debug, Clone, PartialEq)]
pub struct Contract {
    /// Outer loops that share nothing (images, groups, matrices of a batch), outermost first.
    pub outer: Vec<Outer>,
    /// Output channels and their stride in out.
    pub channels: Span,
    /// Rows of output pixels.
    pub rows: Pixels,
    /// Pixels of a row.
    pub columns: Pixels,
    /// The contracted axes, outermost first: trip count and stride in the input.
    pub reduce: Vec<Span>,
    /// Pixels computed together: a tile is this many pixels by 8 channels.
    pub tile: usize,
    /// Whether sums start from a bias.
    pub bias: bool,
    /// Epilogue.
    pub then: Expr,
}

/// Channels in a block of packed weights.
pub const CHANNEL_BLOCK: usize = 8;

/// An outer loop of a contraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outer {
    /// Trips.
    pub count: usize,
    /// Stride in the input.
    pub input: usize,
    /// Stride in units of whole packed matrices; 0 where all trips share weights.
    pub weights: usize,
    /// Stride in the output.
    pub output: usize,
}

/// A trip count and a stride.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Trips.
    pub count: usize,
    /// Stride in elements.
    pub stride: usize,
}

/// A loop over output pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pixels {
    /// Trips.
    pub count: usize,
    /// Stride in the input.
    pub input: usize,
    /// Stride in the output.
    pub output: usize,
}

/// A reduction. Items are output elements.
#[derive(Debug, Clone, PartialEq)]
pub struct Reduction {
    /// How elements combine.
    pub kind: ReduceKind,
    /// Element type.
    pub dtype: DType,
    /// Loops over the kept axes: out, in.
    pub kept: Nest,
    /// Loops over the reduced axes: in only.
    pub reduced: Nest,
}

/// Softmax over `extent` elements that lie `inner` apart. Items are (outer, inner) pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Softmax {
    /// Trips outside the axis.
    pub outer: usize,
    /// Extent of the axis.
    pub extent: usize,
    /// Trips inside the axis.
    pub inner: usize,
    /// LogSoftmax.
    pub log: bool,
}

/// Sliding-window pooling of dense planes. Items are planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pooling {
    /// What is taken of each window.
    pub kind: PoolKind,
    /// Images times channels.
    pub planes: usize,
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Height and width of the output.
    pub output: [usize; 2],
    /// The window.
    pub window: Window,
}

/// `out[kept][16] = scale · Σ over the reduced of in[kept + reduced][16]`. Items are trips of the
/// kept loops.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockMean {
    /// Loops over what is kept: out, in.
    pub kept: Nest,
    /// Loops over what is summed: in only.
    pub reduced: Nest,
    /// What the sum is multiplied by.
    pub scale: f64,
}

/// Sliding-window pooling over values in blocks. Items are (image, block, output row).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockPool {
    /// What is taken of each window.
    pub kind: PoolKind,
    /// The window.
    pub window: Window,
    /// Height and width of the input, its border not counted: padding is never read.
    pub input: [usize; 2],
    /// Height and width of the output.
    pub output: [usize; 2],
    /// Count, and strides in the input and the output.
    pub images: [usize; 3],
    /// Count, and strides in the input and the output.
    pub blocks: [usize; 3],
    /// Strides between rows of the input and of the output.
    pub rows: [usize; 2],
}

/// `out[o, j, i] = in[o, clamp(index[j]), i]`. Arguments: out, in, index. Items are (o, j) pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gather {
    /// Trips outside the axis.
    pub outer: usize,
    /// Extent of the axis in the input.
    pub extent: usize,
    /// Elements inside the axis.
    pub inner: usize,
    /// How many indices.
    pub count: usize,
    /// Element type of the indices.
    pub index: DType,
    /// Element type of the data.
    pub dtype: DType,
}

/// Index of the largest of `extent` elements that lie `inner` apart. Items are (outer, inner)
/// pairs; the first NaN wins over every number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArgMax {
    /// Trips outside the axis.
    pub outer: usize,
    /// Extent of the axis.
    pub extent: usize,
    /// Trips inside the axis.
    pub inner: usize,
    /// Of equal elements take the last.
    pub last: bool,
    /// Element type of the input.
    pub dtype: DType,
}

impl Nest {
    /// The nest over `dims` with the given strides, with loops of one trip dropped and loops that
    /// run on into each other merged.
    pub fn collapsed(dims: &[usize], strides: &[Vec<isize>]) -> Nest {
        let mut out = Nest { dims: Vec::new(), strides: vec![Vec::new(); strides.len()] };
        for (axis, &count) in dims.iter().enumerate() {
            if count == 1 {
                continue;
            }
            let here: Vec<isize> = strides.iter().map(|s| s[axis]).collect();
            out.push(count, &here);
        }
        out
    }

    fn push(&mut self, count: usize, here: &[isize]) {
        let runs_on = !self.dims.is_empty()
            && self.strides.iter().zip(here).all(|(s, h)| s.last() == Some(&(h * count as isize)));
        if runs_on {
            if let Some(last) = self.dims.last_mut() {
                *last *= count;
            }
            for (s, h) in self.strides.iter_mut().zip(here) {
                if let Some(last) = s.last_mut() {
                    *last = *h;
                }
            }
        } else {
            self.dims.push(count);
            for (s, h) in self.strides.iter_mut().zip(here) {
                s.push(*h);
            }
        }
    }

    /// Product of the trip counts.
    pub fn trips(&self) -> usize {
        self.dims.iter().product()
    }
}

impl Contract {
    /// Blocks of output channels.
    pub fn blocks(&self) -> usize {
        self.channels.count.div_ceil(CHANNEL_BLOCK)
    }

    /// Multiply-adds per output element.
    pub fn depth(&self) -> usize {
        self.reduce.iter().map(|r| r.count).product()
    }
}

impl Kernel {
    /// Number of independent items.
    pub fn items(&self) -> usize {
        match self {
            Kernel::Map(m) => m.nest.dims.first().copied().unwrap_or(1),
            Kernel::Contract(c) => {
                let outer: usize = c.outer.iter().map(|o| o.count).product();
                outer * c.blocks() * c.rows.count
            }
            Kernel::Tile(t) => t.items(),
            Kernel::WinogradInput(w) => w.items(),
            Kernel::WinogradOutput(w) => w.items(),
            Kernel::StrassenInput(s) => s.items(),
            Kernel::StrassenOutput(s) => s.tile.items(),
            Kernel::BlockMean(m) => m.kept.trips(),
            Kernel::BlockPool(p) => p.images[0] * p.blocks[0] * p.output[0],
            Kernel::Reduce(r) => r.kept.trips(),
            Kernel::Softmax(s) => s.outer * s.inner,
            Kernel::Pool(p) => p.planes,
            Kernel::Gather(g) => g.outer * g.count,
            Kernel::ArgMax(a) => a.outer * a.inner,
        }
    }

    /// Whether the step writes to this argument.
    pub fn writes(&self, argument: usize) -> bool {
        let beside = match self {
            Kernel::WinogradOutput(w) => w.totals.then(|| w.last()),
            Kernel::StrassenOutput(s) => s.optional()[2],
            _ => None,
        };
        argument == 0 || beside == Some(argument)
    }

    /// Multiply-adds that the definition of a convolution or product has over the channels
    /// that are there and those that fill up blocks, and with zeros between groups that are computed as
    /// one, whatever algorithm computes it; 0 for everything else.
    pub fn multiply_adds(&self) -> usize {
        match self {
            Kernel::Contract(c) => {
                let outer: usize = c.outer.iter().map(|o| o.count).product();
                outer * c.channels.count * c.rows.count * c.columns.count * c.depth()
            }
            Kernel::Tile(t) => {
                let pixels = t.images.count * t.rows.count * t.columns;
                t.groups.count * t.blocks * BLOCK * pixels * t.micro.depth()
            }
            Kernel::WinogradOutput(w) => {
                let pixels = w.images.count * w.size[0] * w.size[1];
                w.groups.count * w.blocks * BLOCK * pixels * w.micro.depth() * 9
            }
            Kernel::StrassenOutput(s) => s.multiply_adds(),
            _ => 0,
        }
    }

    /// A readable name of the shape of the computation, for listings and symbols.
    pub fn name(&self) -> &'static str {
        match self {
            Kernel::Map(_) => "map",
            Kernel::Contract(_) => "contract",
            Kernel::Tile(_) => "tile",
            Kernel::WinogradInput(_) => "winograd_input",
            Kernel::WinogradOutput(_) => "winograd_output",
            Kernel::StrassenInput(_) => "strassen_input",
            Kernel::StrassenOutput(_) => "strassen_output",
            Kernel::BlockMean(_) => "block_mean",
            Kernel::BlockPool(_) => "block_pool",
            Kernel::Reduce(_) => "reduce",
            Kernel::Softmax(_) => "softmax",
            Kernel::Pool(_) => "pool",
            Kernel::Gather(_) => "gather",
            Kernel::ArgMax(_) => "argmax",
        }
    }
}
