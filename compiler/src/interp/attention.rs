//! Split-Attention, as its definition in `ir/attention.rs` has it.

use super::Data;
use super::norm::exponentials;
use super::operands::{Operands, ensure, floats, gives};
use crate::error::{Error, Result};
use crate::ir::{Excite, SplitAttention, TensorType, Unary, Weigh};

/// Extents.
struct Sizes {
    k: usize,
    r: usize,
    c: usize,
    /// Elements of a plane.
    plane: usize,
}

pub(super) fn split_attention(
    op: &SplitAttention,
    x: &Operands<'_>,
    ty: &TensorType,
) -> Result<Data> {
    let u = x.of(SplitAttention::U, ty.dtype)?;
    let &[n, channels, h, w] = &*u.shape else {
        return Err(Error::internal(format!("split_attention of {}", u.ty())));
    };
    let (k, r) = (op.cardinality, op.radix);
    let divides = k.checked_mul(r).is_some_and(|s| s > 0 && channels.is_multiple_of(s));
    ensure(divides, || format!("{channels} channels in {k}x{r} splits"))?;
    let sizes = Sizes { k, r, c: channels / (k * r), plane: h * w };
    gives(u.dtype, &[n, k * sizes.c, h, w], ty)?;
    ensure(sizes.plane > 0, || format!("split_attention of {}", u.ty()))?;
    let mut y = Vec::with_capacity(ty.elements());
    for u in floats(&u.data)?.chunks_exact((channels * sizes.plane).max(1)).take(n) {
        let z = each(&op.rounding.squeezed, squeeze(&sizes, u));
        let attention = each(&op.rounding.excited, excite(op, x, ty, &sizes, z)?);
        y.extend(weigh(op, &sizes, u, &attention));
    }
    Ok(Data::Float(y))
}

/// Each number with these functions applied, first to last.
fn each(functions: &[Unary], numbers: Vec<f64>) -> Vec<f64> {
    let apply = |x| functions.iter().fold(x, |x, f| f.of_floats(x));
    numbers.into_iter().map(apply).collect()
}

/// `z[k, c]`: the mean over the plane of the sum over the splits.
fn squeeze(sizes: &Sizes, u: &[f64]) -> Vec<f64> {
    let Sizes { k, r, c, plane } = *sizes;
    let sum = |at: usize| u[at * plane..][..plane].iter().sum::<f64>();
    (0..k * c)
        .map(|j| (0..r).map(|s| sum((j / c * r + s) * c + j % c)).sum::<f64>() / plane as f64)
        .collect()
}

/// `a[k, r, c]` from `z[k, c]`.
fn excite(
    op: &SplitAttention,
    x: &Operands<'_>,
    ty: &TensorType,
    sizes: &Sizes,
    z: Vec<f64>,
) -> Result<Vec<f64>> {
    let Sizes { k, r, c, .. } = *sizes;
    let layer = |[w, b]: [usize; 2], input: &[f64], rows: usize| -> Result<Vec<f64>> {
        let columns = input.len() / k;
        let weights = x.floats(w, ty.dtype, &[k * rows, columns])?;
        let bias = match x.get(b) {
            Some(_) => x.floats(b, ty.dtype, &[k * rows])?,
            None => &vec![0.0; k * rows],
        };
        let row = |i: usize| {
            let pairs = weights[i * columns..][..columns].iter().zip(&input[i / rows * columns..]);
            bias[i] + pairs.map(|(w, x)| w * x).sum::<f64>()
        };
        Ok((0..k * rows).map(row).collect())
    };
    let inner = match &op.excite {
        Excite::Direct => z,
        Excite::Inner { width, activation } => {
            ensure(*width > 0, || "an inner layer of width 0".to_owned())?;
            each(activation, layer([SplitAttention::W1, SplitAttention::B1], &z, *width)?)
        }
    };
    layer([SplitAttention::W2, SplitAttention::B2], &inner, r * c)
}

/// `y[k, c, plane]`: the splits, weighted and summed.
fn weigh(op: &SplitAttention, sizes: &Sizes, u: &[f64], attention: &[f64]) -> Vec<f64> {
    let Sizes { k, r, c, plane } = *sizes;
    let mut y = vec![0.0; k * c * plane];
    for (j, y) in y.chunks_exact_mut(plane).enumerate() {
        let at = |s: usize| (j / c * r + s) * c + j % c;
        let logits: Vec<f64> = (0..r).map(|s| attention[at(s)]).collect();
        let weights = match op.weigh {
            Weigh::Gate(function) => logits.iter().map(|x| function.of_floats(*x)).collect(),
            Weigh::Softmax => {
                let exponentials = exponentials(&logits);
                let sum: f64 = exponentials.iter().sum();
                exponentials.iter().map(|e| e / sum).collect::<Vec<_>>()
            }
        };
        let rounded = |x| op.rounding.products.iter().fold(x, |x, f| f.of_floats(x));
        for (s, weight) in each(&op.rounding.weights, weights).into_iter().enumerate() {
            for (y, x) in y.iter_mut().zip(&u[at(s) * plane..]) {
                *y += rounded(weight * x);
            }
        }
    }
    y
}
