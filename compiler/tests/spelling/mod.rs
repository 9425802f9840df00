//! Random Split-Attention blocks, as the text of a graph.

mod attend;
mod choices;
mod source;

use std::collections::BTreeMap;

use attend::{Attend, Splits, chain};
use choices::{Block, Dims, Layer, Order, Slices, StemKind, TailKind};
use proptest::prelude::*;
use source::{Source, Value, Window};

/// How many operators of a kind there are, without inputs and weights.
pub(crate) type Operators = BTreeMap<&'static str, usize>;

/// A graph with one block, and what the passes should make of it.
pub(crate) struct Case {
    pub(crate) source: String,
    /// The operators that are left.
    pub(crate) left: Operators,
    pub(crate) cardinality: usize,
    pub(crate) radix: usize,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}leaves {:?}", self.source, self.left)
    }
}

/// Any block in any spelling.
pub(crate) fn blocks() -> impl Strategy<Value = Case> {
    choices::blocks().prop_map(|block| spell(&block))
}

fn spell(block: &Block) -> Case {
    let mut writer = Writer { block, source: Source::new(), left: [("split_attention", 1)].into() };
    let (x, groups) = writer.stem();
    let each: Vec<Value> =
        groups.iter().zip(0..).map(|(u, group)| writer.attention(u, group)).collect();
    let y = writer.tail(&x, each);
    let Dims { k: cardinality, r: radix, .. } = block.dims;
    Case { source: writer.source.finish(&y), left: writer.left, cardinality, radix }
}

impl Block {
    /// Whether the cardinal groups are not computed together.
    fn is_apart(&self) -> bool {
        let in_order = match self.stem.kind {
            StemKind::Branches => true,
            StemKind::Bare | StemKind::Trunk => self.stem.order == Order::CardinalMajor,
            StemKind::Inputs => false,
        };
        self.apart && self.dims.k > 1 && in_order
    }

    /// Whether the branches have windows of their own, so that they cannot be merged.
    fn has_kernels(&self) -> bool {
        self.stem.kernels && self.dims.k == 1 && self.dims.r > 1
    }

    /// Whether channels must be reordered for K and R.
    fn is_out_of_order(&self) -> bool {
        self.dims.k > 1 && self.dims.r > 1 && self.stem.order == Order::RadixMajor
    }
}

struct Writer<'b> {
    block: &'b Block,
    source: Source,
    left: Operators,
}

impl Writer<'_> {
    fn leaves(&mut self, operator: &'static str, count: usize) {
        if count > 0 {
            *self.left.entry(operator).or_default() += count;
        }
    }

    // ---- what is weighed -----------------------------------------------------------------------

    /// The input, and the splits: of each cardinal group when they are apart.
    fn stem(&mut self) -> (Value, Vec<Splits>) {
        let (block, Dims { n, k, r, c, h, w, .. }) = (self.block, self.block.dims);
        let stem = &block.stem;
        let (x, u) = match stem.kind {
            StemKind::Bare => {
                let x = self.source.input(&[n, k * r * c, h, w]);
                self.leaves("gather", block.is_out_of_order().into());
                self.leaves("relu", stem.relu[1].into());
                let u = if stem.relu[1] { self.source.unary(&x, "relu") } else { x.clone() };
                (x, Splits::Whole(u, stem.order))
            }
            StemKind::Inputs => {
                let each: Vec<Value> =
                    (0..r).map(|_| self.source.input(&[n, k * c, h, w])).collect();
                self.leaves("concat", (r > 1).into());
                self.leaves("gather", (r > 1 && k > 1).into());
                (each[0].clone(), Splits::Each(each))
            }
            StemKind::Trunk => self.trunk(),
            StemKind::Branches => return self.branches(),
        };
        let groups = match u {
            Splits::Whole(whole, order) if block.is_apart() => (0..k)
                .map(|group| self.source.slice(&whole, 1, group * r * c, r * c))
                .map(|part| Splits::Whole(part, order))
                .collect(),
            u => vec![u],
        };
        (x, groups)
    }

    /// All splits from one chain of convolutions.
    fn trunk(&mut self) -> (Value, Splits) {
        let (block, Dims { n, k, r, c, h, w, .. }) = (self.block, self.block.dims);
        let stem = &block.stem;
        let groups = if stem.grouped { k * r } else { 1 };
        let [first, last] = stem.branches[0].1;
        let channels = if stem.first.is_some() { 1 } else { groups } * stem.inputs;
        let mut x = self.source.input(&[n, channels, h, w]);
        let input = x.clone();
        if let Some(width) = stem.first {
            x = self.layer(&x, [k * r * width, 1], Window::of(1), first, stem.relu[0]);
            if let Some(counted) = stem.pool {
                x = self.source.average_pool(&x, counted);
            }
            self.leaves("average_pool", stem.pool.is_some().into());
            // The order of the groups must move on through that of the channels they read.
            if stem.reversed && stem.grouped && block.is_out_of_order() {
                let reversed: Vec<usize> = (0..x.shape[1]).rev().collect();
                x = self.source.gather(&x, 1, &reversed);
            }
        } else if stem.grouped {
            // The groups come in the order of the channels of an input, which has no weights.
            self.leaves("gather", block.is_out_of_order().into());
        }
        self.leaves("conv", 1 + usize::from(stem.first.is_some()));
        let window = Window { stride: stem.stride, ..Window::of(3) };
        let u = self.layer(&x, [k * r * c, groups], window, last, stem.relu[1]);
        (input, Splits::Whole(u, stem.order))
    }

    /// Each split from a chain of its own.
    fn branches(&mut self) -> (Value, Vec<Splits>) {
        let (block, Dims { n, k, r, h, w, .. }) = (self.block, self.block.dims);
        let stem = &block.stem;
        let slices = match stem.slices {
            Slices::Whole => 1,
            Slices::OfGroups => k,
            Slices::OfBranches => k * r,
        };
        let x = self.source.input(&[n, slices * stem.inputs, h, w]);
        let read: Vec<Value> = match stem.slices {
            Slices::Whole => vec![x.clone()],
            _ => (0..slices)
                .map(|at| self.source.slice(&x, 1, at * stem.inputs, stem.inputs))
                .collect(),
        };
        // In the order of their places in the text.
        let mut order: Vec<usize> = (0..k * r).collect();
        order.sort_by_key(|at| stem.branches[*at].0);
        let mut made = vec![None; k * r];
        for at in order {
            made[at] = Some(self.branch(&read[at * slices / (k * r)], at));
        }
        let made: Vec<Value> = made.into_iter().flatten().collect();
        self.leaves_branches(slices);

        let split = |k: usize, at: usize| made[k * r + at].clone();
        let groups = if block.is_apart() {
            made.chunks(r).map(|splits| Splits::Each(splits.to_vec())).collect()
        } else if stem.order == Order::RadixMajor {
            let across = |at| (0..k).map(|k| split(k, at)).collect::<Vec<_>>();
            let each = (0..r).map(|at| self.source.concat(&across(at), 1)).collect();
            vec![Splits::Each(each)]
        } else {
            vec![Splits::Whole(self.source.concat(&made, 1), Order::CardinalMajor)]
        };
        (x, groups)
    }

    fn leaves_branches(&mut self, slices: usize) {
        let (block, r) = (self.block, self.block.dims.r);
        let each = if block.has_kernels() { r } else { 1 };
        if block.has_kernels() {
            self.leaves("concat", 1);
            self.leaves("slice", if slices > 1 { slices } else { 0 });
        }
        let first = block.stem.first.is_some();
        self.leaves("conv", if first { 2 * each } else { each });
        self.leaves("average_pool", if first && block.stem.pool.is_some() { each } else { 0 });
    }

    fn branch(&mut self, x: &Value, at: usize) -> Value {
        let (block, Dims { r, c, .. }) = (self.block, self.block.dims);
        let stem = &block.stem;
        let [first, last] = stem.branches[at].1;
        let mut x = x.clone();
        if let Some(width) = stem.first {
            x = self.layer(&x, [width, 1], Window::of(1), first, stem.relu[0]);
            if let Some(counted) = stem.pool {
                x = self.source.average_pool(&x, counted);
            }
        }
        let windows = [(3, 1), (5, 1), (3, 2), (1, 1)];
        let (kernel, dilation) = if block.has_kernels() { windows[at % r] } else { windows[0] };
        let window = Window { kernel, dilation, stride: stem.stride };
        self.layer(&x, [c, 1], window, last, stem.relu[1])
    }

    fn layer(
        &mut self,
        x: &Value,
        size: [usize; 2],
        window: Window,
        layer: Layer,
        relu: bool,
    ) -> Value {
        let mut y = self.source.conv(x, size, window, layer.bias);
        if layer.norm {
            y = self.source.batch_norm(&y);
        }
        if relu { self.source.unary(&y, "relu") } else { y }
    }

    // ---- the attention, and after it -----------------------------------------------------------

    fn attention(&mut self, u: &Splits, group: usize) -> Value {
        let block = self.block;
        let apart = block.is_apart();
        let dims = Dims { k: if apart { 1 } else { block.dims.k }, ..block.dims };
        let (inner, gate) = (block.inner, block.gate);
        let mut attend = Attend { source: &mut self.source, dims, inner, gate };
        let flatten = apart || block.tail.kind != TailKind::Nothing;
        attend.write(u, &block.attention[group], flatten)
    }

    /// From the sums of the cardinal groups to the output.
    fn tail(&mut self, x: &Value, mut each: Vec<Value>) -> Value {
        let (block, tail) = (self.block, &self.block.tail);
        if tail.kind != TailKind::ConvOfEach && each.len() > 1 {
            each = vec![self.source.concat(&each, 1)];
        }
        if tail.kind == TailKind::Nothing {
            self.leaves("reshape", (each[0].rank() != 4).into());
            return each.remove(0);
        }
        self.leaves("conv", 1);
        self.leaves("average_pool", tail.pool.is_some().into());
        let adds_input = tail.kind != TailKind::Conv;
        let rows = if adds_input { x.shape[1] } else { 2 };
        let mut addends = Vec::new();
        for y in &each {
            let y = match tail.pool {
                Some(counted) => self.source.average_pool(y, counted),
                None => y.clone(),
            };
            addends.push(self.layer(&y, [rows, 1], Window::of(1), tail.layer, false));
        }
        if adds_input {
            let same = x.plane() == addends[0].plane();
            if same && tail.kind != TailKind::Downsample {
                addends.push(x.clone());
            } else {
                let window = Window { stride: block.stem.stride_of_all(), ..Window::of(1) };
                addends.push(self.layer(x, [rows, 1], window, tail.layer, false));
                self.leaves("conv", 1);
            }
        }
        let sum = chain(&mut self.source, addends, &block.attention[0].weigh.sum);
        if tail.relu { self.source.unary(&sum, "relu") } else { sum }
    }
}
