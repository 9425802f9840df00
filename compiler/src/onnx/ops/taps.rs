//! Convolutions cut up into products of matrices, a tap of the kernel each: those are computed as they are
//! written, and by weights that need not be known.

use super::matmul::Multiply;
use crate::error::Result;
use crate::ir::{Op, Window};
use crate::onnx::builder::ValueId;
use crate::onnx::context::NodeContext;
use crate::onnx::refusal::bad;

/// A convolution as one product of matrices for each tap of its kernel.
pub(super) struct Taps {
    /// `[n, groups, c / groups, h, w]`, its border included.
    x: ValueId,
    /// `[groups, m / groups, c / groups, kh, kw]`
    w: ValueId,
    window: Window,
    /// `[n, m, h', w']`
    result: [usize; 4],
}

impl Taps {
    /// The taps of a convolution of x `[n, c, h, w]` by w `[m, c / groups, kh, kw]`.
    pub(super) fn new(
        ctx: &mut NodeContext<'_, '_>,
        x: ValueId,
        w: ValueId,
        groups: usize,
        window: Window,
    ) -> Result<Taps> {
        let ([n, c, height, width], [m, per_group, kh, kw]) = (four(ctx, x)?, four(ctx, w)?);
        let positions = |axis, input| window.positions(axis, input, false);
        let (Some(rows), Some(columns)) = (positions(0, height), positions(1, width)) else {
            return Err(bad("the kernel is larger than the padded input"));
        };
        let Window { pad_before: [top, left], pad_after: [bottom, right], .. } = window;
        let (before, after) = (vec![0, 0, top, left], vec![0, 0, bottom, right]);
        let x = ctx.emit(Op::Pad { before, after, value: 0.0 }, &[x])?;
        let padded = ctx.shape(x);
        let x = ctx.reshape(x, &[n, groups, c / groups, padded[2], padded[3]])?;
        let w = ctx.reshape(w, &[groups, m / groups, per_group, kh, kw])?;
        Ok(Taps { x, w, window, result: [n, m, rows, columns] })
    }

    /// The convolution, `[n, m, h', w']`, of products by `multiply`.
    pub(super) fn sum(
        &self,
        ctx: &mut NodeContext<'_, '_>,
        multiply: Multiply<'_>,
    ) -> Result<ValueId> {
        let mut sum = None;
        for row in 0..self.window.kernel[0] {
            for column in 0..self.window.kernel[1] {
                let product = self.product(ctx, [row, column], multiply)?;
                sum = Some(match sum {
                    Some(sum) => ctx.add(sum, product)?,
                    None => product,
                });
            }
        }
        let sum = sum.ok_or_else(|| bad("a kernel without taps"))?;
        ctx.reshape(sum, &self.result)
    }

    /// What one tap adds to the result, as `[n, groups, m / groups, h' * w']`.
    fn product(
        &self,
        ctx: &mut NodeContext<'_, '_>,
        tap: [usize; 2],
        multiply: Multiply<'_>,
    ) -> Result<ValueId> {
        let Window { stride, dilation, .. } = self.window;
        let [_, _, rows, columns] = self.result;
        let mut shape = ctx.shape(self.x);
        shape[3..].copy_from_slice(&[rows, columns]);
        let at = [0, 1].map(|axis| tap[axis] * dilation[axis]);
        let steps = vec![1, 1, 1, stride[0] as isize, stride[1] as isize];
        let pixels = Op::Slice { starts: vec![0, 0, 0, at[0], at[1]], steps };
        let pixels = ctx.emit_typed(pixels, self.x, &shape)?;
        let pixels = ctx.reshape(pixels, &[shape[0], shape[1], shape[2], rows * columns])?;
        let mut filter = ctx.shape(self.w);
        filter[3..].copy_from_slice(&[1, 1]);
        let weights = Op::Slice { starts: vec![0, 0, 0, tap[0], tap[1]], steps: vec![1; 5] };
        let weights = ctx.emit_typed(weights, self.w, &filter)?;
        let weights = ctx.reshape(weights, &[1, filter[0], filter[1], filter[2]])?;
        multiply(ctx, weights, pixels)
    }
}

fn four(ctx: &NodeContext<'_, '_>, id: ValueId) -> Result<[usize; 4]> {
    <[usize; 4]>::try_from(ctx.shape(id)).map_err(|_| bad(format!("{} is no image", ctx.ty(id))))
}
