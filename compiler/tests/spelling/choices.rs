//! What a block computes and how it is spelled: one type for each choice, and how it is drawn.

use proptest::prelude::*;
use proptest::sample::select;

/// Extents of a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dims {
    pub(crate) n: usize,
    /// Cardinal groups.
    pub(crate) k: usize,
    /// Splits of a group.
    pub(crate) r: usize,
    /// Channels of a split.
    pub(crate) c: usize,
    /// Width of the inner layer of a group.
    pub(crate) i: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
}

/// A block.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) dims: Dims,
    pub(crate) stem: Stem,
    /// Each cardinal group has attention of its own.
    pub(crate) apart: bool,
    /// Whether there is an inner layer, and what is applied to it.
    pub(crate) inner: Option<&'static str>,
    /// What makes weights where there is one split.
    pub(crate) gate: &'static str,
    /// The spelling of each cardinal group's attention, or of all groups' in the first.
    pub(crate) attention: Vec<Attention>,
    pub(crate) tail: Tail,
}

// ---- before the attention ----------------------------------------------------------------------

/// What computes the splits.
#[derive(Debug, Clone)]
pub(crate) struct Stem {
    pub(crate) kind: StemKind,
    pub(crate) order: Order,
    /// Channels of the input, or of each of its slices.
    pub(crate) inputs: usize,
    /// A 1×1 convolution before the 3×3 one, of so many channels a split.
    pub(crate) first: Option<usize>,
    /// After the 1×1 convolution; padding counted or not.
    pub(crate) pool: Option<bool>,
    /// The channels between the convolutions of a trunk are reversed, where the order moves.
    pub(crate) reversed: bool,
    /// Activations after the convolutions.
    pub(crate) relu: [bool; 2],
    pub(crate) stride: usize,
    /// Groups of the 3×3 convolution: one for each split, or no groups.
    pub(crate) grouped: bool,
    /// What explicit branches read.
    pub(crate) slices: Slices,
    /// Explicit branches of one group differ in their windows.
    pub(crate) kernels: bool,
    /// For each explicit branch its place in the text, and its layers.
    pub(crate) branches: Vec<(usize, [Layer; 2])>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StemKind {
    /// The input is u.
    Bare,
    /// Each split is an input.
    Inputs,
    /// One chain of convolutions.
    Trunk,
    /// K·R chains of convolutions.
    Branches,
}

/// The order of splits among channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// (r k c)
    RadixMajor,
    /// (k r c)
    CardinalMajor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slices {
    /// All branches read all of the input.
    Whole,
    /// The branches of a cardinal group share a slice.
    OfGroups,
    /// Each branch has its own slice.
    OfBranches,
}

/// What a convolution has besides weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layer {
    pub(crate) bias: bool,
    pub(crate) norm: bool,
}

// ---- the attention -----------------------------------------------------------------------------

#[derive(Debug, Clone)]
pub(crate) struct Attention {
    pub(crate) squeeze: Squeeze,
    pub(crate) inner: Dense,
    /// Before the last dense layer.
    pub(crate) between: Between,
    pub(crate) outer: Dense,
    pub(crate) softmax: Softmax,
    pub(crate) weigh: Weigh,
}

#[derive(Debug, Clone)]
pub(crate) struct Squeeze {
    pub(crate) take: Take,
    /// First take the mean of each split, then, so, the splits of the means.
    pub(crate) means: Option<Take>,
    pub(crate) mean: Mean,
    pub(crate) sum: Sum,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Between {
    Nothing,
    /// What is left of a dropout.
    Identity,
    /// The channels of each group in reverse.
    Reversed,
}

/// How splits are taken from what holds them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Take {
    pub(crate) form: Form,
    pub(crate) part: Part,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `[n, (r k c), h, w]` or `[n, (k r c), h, w]`
    Whole,
    /// R of `[n, (k c), h, w]`
    Each,
    /// `[n, r, (k c), h, w]`
    Stacked,
    /// `[n, k, r, c, h, w]`
    Grouped,
}

/// How one split is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// A slice of channels, where they are contiguous.
    Slice,
    /// A `gather` of channels.
    Gather,
    /// A slice of an axis of splits, which a reshape then drops.
    SelectBySlice,
    /// A `gather` of an axis of splits by one index.
    SelectByGather,
}

/// How splits are summed.
#[derive(Debug, Clone)]
pub(crate) struct Sum {
    /// A zero that a chain of additions starts from, and whether it stands on the right.
    pub(crate) zero: Option<bool>,
    /// Which addends a chain adds next.
    pub(crate) picks: [usize; 8],
    /// Whether `reduce_sum` keeps the axis, for a reshape to drop.
    pub(crate) keep: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mean {
    /// Over both axes, which stay.
    Keep,
    /// Over both axes, which go.
    Drop,
    /// Over the last axis, twice.
    Rows,
    /// Over the last axis and the one before, which stay.
    RowsKeep,
    /// Over the last axis but one, then the last, which stay.
    ColumnsKeep,
    /// Over one axis of all pixels.
    Flat,
}

/// A dense layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dense {
    /// A product, with the weights transposed or not, where there is one group; otherwise a 1×1
    /// convolution.
    pub(crate) product: Option<bool>,
    pub(crate) bias: Bias,
    pub(crate) norm: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bias {
    None,
    /// The layer's own.
    Slot,
    /// A constant added; with leading axes of extent 1, on the left.
    Added {
        full: bool,
        left: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Softmax {
    /// `[n, k, r, c]`, axis 2.
    Grouped,
    /// `[n, r, k, c]`, axis 1, after a transposition.
    Transposed,
    /// `[n, r, c, 1, 1]`, axis 1, where there is one group.
    Stacked,
    /// R layers, stacked as `[n, r, (k c), 1, 1]`, axis 1.
    Heads,
    /// R layers, joined and reshaped to `[n, r, (k c)]`, axis 1.
    JoinedHeads,
    /// R layers, stacked as `[n, (k c), r]`, axis 2.
    HeadsLast,
}

#[derive(Debug, Clone)]
pub(crate) struct Weigh {
    pub(crate) take: Take,
    /// Use the splits that the squeeze took.
    pub(crate) shared: bool,
    /// The weights are the left factor.
    pub(crate) left: bool,
    /// The weights are expanded to the extents of what they weigh.
    pub(crate) expand: bool,
    /// The gate is applied to `[n, (k c)]`, not to `[n, (k c), 1, 1]`.
    pub(crate) flat: bool,
    pub(crate) sum: Sum,
}

// ---- after the attention -----------------------------------------------------------------------

#[derive(Debug, Clone)]
pub(crate) struct Tail {
    pub(crate) kind: TailKind,
    /// Before the convolution; padding counted or not.
    pub(crate) pool: Option<bool>,
    pub(crate) layer: Layer,
    pub(crate) relu: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TailKind {
    /// The sum, in whatever shape, is the output.
    Nothing,
    /// A 1×1 convolution.
    Conv,
    /// A 1×1 convolution, and the input added.
    Residual,
    /// A 1×1 convolution, and a convolution of the input added.
    Downsample,
    /// A 1×1 convolution for each cardinal group's sum, all added, and the input.
    ConvOfEach,
}

// ---- strategies --------------------------------------------------------------------------------

/// Any block in any spelling.
pub(crate) fn blocks() -> impl Strategy<Value = Block> {
    let inner = select(vec![
        Some("relu"),
        Some("hard_swish"),
        Some("leaky_relu\nalpha 0.1"),
        Some("identity"),
        None,
    ]);
    let gate = select(vec!["sigmoid", "hard_sigmoid\nalpha 0.2\nbeta 0.5", "tanh"]);
    let attention = proptest::collection::vec(attention(), 4);
    (dims(), stem(), any::<bool>(), inner, gate, attention, tail()).prop_map(
        |(dims, stem, apart, inner, gate, attention, tail)| Block {
            dims,
            stem,
            apart,
            inner,
            gate,
            attention,
            tail,
        },
    )
}

fn dims() -> impl Strategy<Value = Dims> {
    (1usize..=3, 1usize..=4, 1usize..=4, 1usize..=6, 1usize..=6, 1usize..=4, 1usize..=4)
        .prop_map(|(n, k, r, c, i, h, w)| Dims { n, k, r, c, i, h, w })
}

fn stem() -> impl Strategy<Value = Stem> {
    use StemKind::{Bare, Branches, Inputs, Trunk};
    let kind = select(vec![Bare, Inputs, Trunk, Trunk, Trunk, Branches, Branches, Branches]);
    let order = select(vec![Order::RadixMajor, Order::CardinalMajor]);
    let first = proptest::option::weighted(0.8, 1usize..=3);
    let slices = select(vec![Slices::Whole, Slices::OfGroups, Slices::OfBranches]);
    let places = Just((0..16).collect::<Vec<usize>>()).prop_shuffle();
    let layers = proptest::collection::vec([layer(), layer()], 16);
    let branches =
        (places, layers).prop_map(|(places, layers)| places.into_iter().zip(layers).collect());
    (
        (kind, order, 1usize..=4, first, any::<Option<bool>>()),
        (any::<[bool; 2]>(), 1usize..=2, any::<bool>(), any::<bool>(), slices, any::<bool>()),
        branches,
    )
        .prop_map(
            |(
                (kind, order, inputs, first, pool),
                (relu, stride, reversed, grouped, slices, kernels),
                branches,
            )| Stem {
                kind,
                order,
                inputs,
                first,
                pool,
                reversed,
                relu,
                stride,
                grouped,
                slices,
                kernels,
                branches,
            },
        )
}

fn layer() -> impl Strategy<Value = Layer> {
    any::<(bool, bool)>().prop_map(|(bias, norm)| Layer { bias, norm })
}

fn attention() -> impl Strategy<Value = Attention> {
    use Softmax::{Grouped, Heads, HeadsLast, JoinedHeads, Stacked, Transposed};
    let softmax = select(vec![Grouped, Transposed, Stacked, Heads, JoinedHeads, HeadsLast]);
    let between = select(vec![Between::Nothing, Between::Identity, Between::Reversed]);
    (squeeze(), dense(), between, dense(), softmax, weigh()).prop_map(
        |(squeeze, inner, between, outer, softmax, weigh)| Attention {
            squeeze,
            inner,
            between,
            outer,
            softmax,
            weigh,
        },
    )
}

fn squeeze() -> impl Strategy<Value = Squeeze> {
    use Mean::{ColumnsKeep, Drop, Flat, Keep, Rows, RowsKeep};
    let mean = select(vec![Keep, Drop, Rows, RowsKeep, ColumnsKeep, Flat]);
    (take(), proptest::option::of(take()), mean, sum())
        .prop_map(|(take, means, mean, sum)| Squeeze { take, means, mean, sum })
}

fn take() -> impl Strategy<Value = Take> {
    let form = select(vec![Form::Whole, Form::Each, Form::Each, Form::Stacked, Form::Grouped]);
    let part = select(vec![Part::Slice, Part::Gather, Part::SelectBySlice, Part::SelectByGather]);
    (form, part).prop_map(|(form, part)| Take { form, part })
}

fn sum() -> impl Strategy<Value = Sum> {
    (any::<Option<bool>>(), proptest::array::uniform8(0usize..64), any::<bool>())
        .prop_map(|(zero, picks, keep)| Sum { zero, picks, keep })
}

fn dense() -> impl Strategy<Value = Dense> {
    let added = any::<(bool, bool)>().prop_map(|(full, left)| Bias::Added { full, left });
    let bias = prop_oneof![Just(Bias::None), Just(Bias::Slot), added];
    (any::<Option<bool>>(), bias, any::<bool>()).prop_map(|(product, bias, norm)| Dense {
        product,
        bias,
        norm,
    })
}

fn weigh() -> impl Strategy<Value = Weigh> {
    (take(), any::<[bool; 4]>(), sum()).prop_map(|(take, [shared, left, expand, flat], sum)| {
        Weigh { take, shared, left, expand, flat, sum }
    })
}

fn tail() -> impl Strategy<Value = Tail> {
    use TailKind::{Conv, ConvOfEach, Downsample, Nothing, Residual};
    let kind = select(vec![Nothing, Conv, Residual, Downsample, ConvOfEach]);
    (kind, any::<Option<bool>>(), layer(), any::<bool>())
        .prop_map(|(kind, pool, layer, relu)| Tail { kind, pool, layer, relu })
}

impl Stem {
    /// The stride of everything before the attention.
    pub(crate) fn stride_of_all(&self) -> usize {
        match self.kind {
            StemKind::Bare | StemKind::Inputs => 1,
            StemKind::Trunk | StemKind::Branches => self.stride,
        }
    }
}
