//! Writes the attention over splits, however these are held.

use super::choices::{
    Attention, Between, Bias, Dense, Dims, Form, Mean, Order, Part, Softmax, Squeeze, Sum, Take,
    Weigh,
};
use super::source::{Source, Value, Window};

/// R splits of K·c planes, of u or of what is computed from it.
#[derive(Debug, Clone)]
pub(crate) enum Splits {
    /// `[n, (r k c), h, w]` or `[n, (k r c), h, w]`
    Whole(Value, Order),
    /// R of `[n, (k c), h, w]`
    Each(Vec<Value>),
    /// `[n, r, (k c), h, w]`
    Stacked(Value),
    /// `[n, k, r, c, h, w]`
    Grouped(Value),
}

impl Splits {
    /// The same splits after something is done to each value.
    fn map(&self, mut f: impl FnMut(&Value) -> Value) -> Splits {
        match self {
            Splits::Whole(whole, order) => Splits::Whole(f(whole), *order),
            Splits::Each(each) => Splits::Each(each.iter().map(f).collect()),
            Splits::Stacked(stacked) => Splits::Stacked(f(stacked)),
            Splits::Grouped(grouped) => Splits::Grouped(f(grouped)),
        }
    }
}

/// Adds values up, in any order and association.
pub(crate) fn chain(source: &mut Source, mut values: Vec<Value>, sum: &Sum) -> Value {
    if let Some(right) = sum.zero {
        let zero = source.zero();
        values[0] = source.binary("add", &values[0], &zero, !right);
    }
    for pick in sum.picks.iter().cycle() {
        if values.len() == 1 {
            break;
        }
        let a = values.swap_remove(pick % values.len());
        let b = values.swap_remove(pick / 7 % values.len());
        let sum = source.binary("add", &a, &b, false);
        values.push(sum);
    }
    values.remove(0)
}

/// Attention over the splits of K groups.
pub(crate) struct Attend<'s> {
    pub(crate) source: &'s mut Source,
    pub(crate) dims: Dims,
    /// What is applied to the inner layer, if there is one.
    pub(crate) inner: Option<&'static str>,
    pub(crate) gate: &'static str,
}

impl Attend<'_> {
    /// The weighted sum: `[n, (k c), h, w]`, or as the last operator leaves it.
    pub(crate) fn write(&mut self, u: &Splits, spelled: &Attention, flatten: bool) -> Value {
        let taken = self.taken(u, spelled.squeeze.take);
        let z = self.squeeze(&taken, &spelled.squeeze);
        let weights = self.excite(&z, spelled);
        let u = if spelled.weigh.shared { &taken } else { u };
        self.weigh(u, &weights, &spelled.weigh, flatten)
    }

    fn squeeze(&mut self, u: &Splits, spelled: &Squeeze) -> Value {
        let Squeeze { take, means, mean, sum } = spelled;
        let Some(take_means) = means else {
            let sum = self.sum(u, take.part, sum, true);
            return self.mean(&sum, *mean);
        };
        let means = u.map(|value| {
            let z = self.mean(value, *mean);
            let mut shape = value.shape.clone();
            shape[value.rank() - 2..].fill(1);
            if z.shape == shape { z } else { self.source.reshape(&z, shape) }
        });
        let means = self.taken(&means, *take_means);
        self.sum(&means, take_means.part, sum, true)
    }

    /// The mean over the last two axes, which stay with extent 1 or go.
    fn mean(&mut self, x: &Value, mean: Mean) -> Value {
        let (last, source) = (x.rank() - 1, &mut self.source);
        let twice = |source: &mut Source, axes: [usize; 2], keep| {
            let once = source.reduce("mean", x, &axes[..1], keep);
            source.reduce("mean", &once, &axes[1..], keep)
        };
        match mean {
            Mean::Keep => source.reduce("mean", x, &[last - 1, last], true),
            Mean::Drop => source.reduce("mean", x, &[last - 1, last], false),
            Mean::Rows => twice(source, [last, last - 1], false),
            Mean::RowsKeep => twice(source, [last, last - 1], true),
            Mean::ColumnsKeep => twice(source, [last - 1, last], true),
            Mean::Flat => {
                let mut shape = x.shape[..last].to_vec();
                shape[last - 1] *= x.shape[last];
                let pixels = source.reshape(x, shape);
                source.reduce("mean", &pixels, &[last - 1], false)
            }
        }
    }

    // ---- dense layers --------------------------------------------------------------------------

    /// Weights of the splits, for planes of one element.
    fn excite(&mut self, z: &Value, spelled: &Attention) -> Splits {
        let Dims { n, k, r, c, i, .. } = self.dims;
        let mut hidden = z.clone();
        if let Some(activation) = self.inner {
            hidden = self.dense(&hidden, k * i, &spelled.inner);
            hidden = self.source.unary(&hidden, activation);
        }
        hidden = match spelled.between {
            Between::Nothing => hidden,
            Between::Identity => self.source.unary(&hidden, "identity"),
            Between::Reversed => {
                let width = hidden.shape[1] / k;
                let reversed: Vec<usize> =
                    (0..k).flat_map(|k| (0..width).rev().map(move |i| k * width + i)).collect();
                self.source.gather(&hidden, 1, &reversed)
            }
        };
        let outer = &spelled.outer;
        if r == 1 {
            let logits = self.dense(&hidden, k * c, outer);
            let logits = if spelled.weigh.flat { self.flat(&logits) } else { self.image(&logits) };
            let gate = self.source.unary(&logits, self.gate);
            return Splits::Whole(self.image(&gate), Order::CardinalMajor);
        }
        match spelled.softmax {
            Softmax::Heads | Softmax::JoinedHeads | Softmax::HeadsLast => {
                let heads = (0..r).map(|_| self.dense(&hidden, k * c, outer)).collect();
                self.softmax_of_heads(heads, spelled.softmax)
            }
            Softmax::Grouped => {
                let logits = self.dense(&hidden, k * r * c, outer);
                let lines = self.source.reshape(&logits, vec![n, k, r, c]);
                let weights = self.source.softmax(&lines, 2);
                Splits::Grouped(self.source.reshape(&weights, vec![n, k, r, c, 1, 1]))
            }
            Softmax::Stacked if k == 1 => {
                let logits = self.dense(&hidden, r * c, outer);
                let lines = self.source.reshape(&logits, vec![n, r, c, 1, 1]);
                Splits::Stacked(self.source.softmax(&lines, 1))
            }
            Softmax::Stacked | Softmax::Transposed => {
                let logits = self.dense(&hidden, k * r * c, outer);
                let lines = self.source.reshape(&logits, vec![n, k, r, c]);
                let lines = self.source.transpose(&lines, &[0, 2, 1, 3]);
                let weights = self.source.softmax(&lines, 1);
                let flat = self.source.reshape(&weights, vec![n, r * k * c]);
                Splits::Whole(self.image(&flat), Order::RadixMajor)
            }
        }
    }

    fn softmax_of_heads(&mut self, heads: Vec<Value>, softmax: Softmax) -> Splits {
        let Dims { n, k, r, c, .. } = self.dims;
        let weights = match softmax {
            Softmax::Heads => {
                let lines = self.stack(&heads);
                self.source.softmax(&lines, 1)
            }
            Softmax::HeadsLast => {
                let columns: Vec<Value> =
                    heads.iter().map(|a| self.source.reshape(a, vec![n, k * c, 1])).collect();
                let lines = self.source.concat(&columns, 2);
                let weights = self.source.softmax(&lines, 2);
                self.source.transpose(&weights, &[0, 2, 1])
            }
            _ => {
                let joined = self.source.concat(&heads, 1);
                let lines = self.source.reshape(&joined, vec![n, r, k * c]);
                self.source.softmax(&lines, 1)
            }
        };
        let shape = vec![n, r, k * c, 1, 1];
        let planes = weights.shape == shape;
        Splits::Stacked(if planes { weights } else { self.source.reshape(&weights, shape) })
    }

    /// A dense layer, of as many groups as there are cardinal groups: `[n, rows]` or
    /// `[n, rows, 1, 1]`.
    fn dense(&mut self, x: &Value, rows: usize, spelled: &Dense) -> Value {
        let slot = spelled.bias == Bias::Slot;
        let mut y = match spelled.product.filter(|_| self.dims.k == 1) {
            Some(transposed) => {
                let x = self.flat(x);
                self.source.matmul(&x, rows, transposed, slot)
            }
            None => {
                let x = self.image(x);
                self.source.conv(&x, [rows, self.dims.k], Window::of(1), slot)
            }
        };
        if let Bias::Added { full, left } = spelled.bias {
            let mut shape = y.shape.clone();
            shape[0] = 1;
            let bias = self.source.weight(if full { &shape } else { &shape[1..] });
            y = self.source.binary("add", &y, &bias, left);
        }
        if spelled.norm { self.source.batch_norm(&y) } else { y }
    }

    /// As `[n, m]`.
    fn flat(&mut self, x: &Value) -> Value {
        let shape = vec![x.shape[0], x.shape[1]];
        if x.rank() == 2 { x.clone() } else { self.source.reshape(x, shape) }
    }

    /// As `[n, m, 1, 1]`.
    fn image(&mut self, x: &Value) -> Value {
        let shape = vec![x.shape[0], x.shape[1], 1, 1];
        if x.rank() == 4 { x.clone() } else { self.source.reshape(x, shape) }
    }

    // ---- weights times splits, and their sum ---------------------------------------------------

    fn weigh(&mut self, u: &Splits, weights: &Splits, spelled: &Weigh, flatten: bool) -> Value {
        let Weigh { take, sum, .. } = spelled;
        let products = match take.form {
            Form::Each => {
                let (u, weights) = (self.each(u, take.part), self.each(weights, take.part));
                let pairs = u.iter().zip(&weights);
                Splits::Each(pairs.map(|(u, a)| self.product(u, a, spelled)).collect())
            }
            // One split is nothing to sum.
            _ if self.dims.r == 1 => {
                let (u, weights) = (self.whole(u, order(u)), self.whole(weights, order(weights)));
                return self.product(&u, &weights, spelled);
            }
            Form::Whole => {
                let order = order(u);
                let (u, weights) = (self.whole(u, order), self.whole(weights, order));
                Splits::Whole(self.product(&u, &weights, spelled), order)
            }
            Form::Stacked => {
                let (u, weights) = (self.stacked(u), self.stacked(weights));
                Splits::Stacked(self.product(&u, &weights, spelled))
            }
            Form::Grouped => {
                let (u, weights) = (self.grouped(u), self.grouped(weights));
                Splits::Grouped(self.product(&u, &weights, spelled))
            }
        };
        self.sum(&products, take.part, sum, flatten)
    }

    fn product(&mut self, u: &Value, weights: &Value, spelled: &Weigh) -> Value {
        if spelled.expand {
            let weights = self.source.expand(weights, &u.shape);
            return self.source.binary("mul", u, &weights, spelled.left);
        }
        self.source.binary("mul", u, weights, spelled.left)
    }

    /// The sum of the splits: `[n, (k c), h, w]`, or as the reduction leaves it.
    fn sum(&mut self, splits: &Splits, part: Part, sum: &Sum, flatten: bool) -> Value {
        let reduced = match splits {
            Splits::Whole(..) | Splits::Each(_) => {
                let each = self.each(splits, part);
                return chain(self.source, each, sum);
            }
            Splits::Stacked(stacked) => self.source.reduce("sum", stacked, &[1], sum.keep),
            Splits::Grouped(grouped) => self.source.reduce("sum", grouped, &[2], sum.keep),
        };
        if flatten && reduced.rank() != 4 { self.flattened(&reduced) } else { reduced }
    }

    // ---- forms of splits -----------------------------------------------------------------------

    fn taken(&mut self, splits: &Splits, take: Take) -> Splits {
        match take.form {
            Form::Whole => {
                let order = order(splits);
                Splits::Whole(self.whole(splits, order), order)
            }
            Form::Each => Splits::Each(self.each(splits, take.part)),
            Form::Stacked => Splits::Stacked(self.stacked(splits)),
            Form::Grouped => Splits::Grouped(self.grouped(splits)),
        }
    }

    fn whole(&mut self, splits: &Splits, wanted: Order) -> Value {
        let whole = match (splits, wanted) {
            (Splits::Whole(whole, order), wanted) if *order == wanted => return whole.clone(),
            (Splits::Each(each), Order::RadixMajor) => return self.source.concat(each, 1),
            (_, Order::RadixMajor) => self.stacked(splits),
            (_, Order::CardinalMajor) => self.grouped(splits),
        };
        self.reshaped_planes(&whole, &[self.dims.r * self.dims.k * self.dims.c])
    }

    fn stacked(&mut self, splits: &Splits) -> Value {
        let Dims { k, r, c, .. } = self.dims;
        match splits {
            Splits::Stacked(stacked) => stacked.clone(),
            Splits::Each(each) => self.stack(each),
            Splits::Whole(whole, Order::RadixMajor) => self.reshaped_planes(whole, &[r, k * c]),
            Splits::Whole(_, Order::CardinalMajor) | Splits::Grouped(_) => {
                let grouped = self.grouped(splits);
                let turned = self.source.transpose(&grouped, &[0, 2, 1, 3, 4, 5]);
                self.reshaped_planes(&turned, &[r, k * c])
            }
        }
    }

    fn grouped(&mut self, splits: &Splits) -> Value {
        let Dims { k, r, c, .. } = self.dims;
        match splits {
            Splits::Grouped(grouped) => grouped.clone(),
            Splits::Whole(whole, Order::CardinalMajor) => self.reshaped_planes(whole, &[k, r, c]),
            Splits::Whole(whole, Order::RadixMajor) | Splits::Stacked(whole) => {
                let lines = self.reshaped_planes(whole, &[r, k, c]);
                self.source.transpose(&lines, &[0, 2, 1, 3, 4, 5])
            }
            Splits::Each(each) => {
                let stacked = self.stack(each);
                self.grouped(&Splits::Stacked(stacked))
            }
        }
    }

    fn each(&mut self, splits: &Splits, part: Part) -> Vec<Value> {
        let Dims { k, r, c, .. } = self.dims;
        let select = matches!(part, Part::SelectBySlice | Part::SelectByGather);
        match splits {
            Splits::Each(each) => each.clone(),
            Splits::Whole(whole, Order::RadixMajor) if part == Part::Slice => {
                (0..r).map(|r| self.source.slice(whole, 1, r * k * c, k * c)).collect()
            }
            Splits::Whole(whole, order) if !select => {
                let channel = |at: usize, i: usize| match order {
                    Order::RadixMajor => at * k * c + i,
                    Order::CardinalMajor => (i / c * r + at) * c + i % c,
                };
                let channels = |at: usize| (0..k * c).map(move |i| channel(at, i));
                (0..r)
                    .map(|r| self.source.gather(whole, 1, &channels(r).collect::<Vec<_>>()))
                    .collect()
            }
            Splits::Whole(_, Order::RadixMajor) => {
                let stacked = self.stacked(splits);
                self.each(&Splits::Stacked(stacked), part)
            }
            Splits::Whole(_, Order::CardinalMajor) => {
                let grouped = self.grouped(splits);
                self.each(&Splits::Grouped(grouped), part)
            }
            Splits::Stacked(all) => (0..r).map(|r| self.selected(all, 1, r, part)).collect(),
            Splits::Grouped(all) => (0..r).map(|r| self.selected(all, 2, r, part)).collect(),
        }
    }

    /// One place of an axis, as `[n, (k c), h, w]`.
    fn selected(&mut self, x: &Value, axis: usize, at: usize, part: Part) -> Value {
        let one = match part {
            Part::Slice | Part::SelectBySlice => self.source.slice(x, axis, at, 1),
            Part::Gather | Part::SelectByGather => self.source.select(x, axis, at),
        };
        if one.rank() == 4 { one } else { self.flattened(&one) }
    }

    /// Values along a new axis 1.
    fn stack(&mut self, values: &[Value]) -> Value {
        let mut each = Vec::with_capacity(values.len());
        for value in values {
            let mut shape = value.shape.clone();
            shape.insert(1, 1);
            each.push(self.source.reshape(value, shape));
        }
        self.source.concat(&each, 1)
    }

    fn flattened(&mut self, x: &Value) -> Value {
        self.reshaped_planes(x, &[self.dims.k * self.dims.c])
    }

    /// The same planes under other axes.
    fn reshaped_planes(&mut self, x: &Value, axes: &[usize]) -> Value {
        let shape = [&[self.dims.n], axes, &x.plane()].concat();
        self.source.reshape(x, shape)
    }
}

/// The order in which these splits make a whole with the fewest operators.
fn order(splits: &Splits) -> Order {
    match splits {
        Splits::Whole(_, order) => *order,
        Splits::Each(_) | Splits::Stacked(_) => Order::RadixMajor,
        Splits::Grouped(_) => Order::CardinalMajor,
    }
}
