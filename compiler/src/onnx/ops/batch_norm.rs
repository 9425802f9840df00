//! BatchNormalization, with fixed statistics or with those of a constant.

use crate::error::Result;
use crate::ir::{Op, ReduceKind};
use crate::onnx::builder::ValueId;
use crate::onnx::context::NodeContext;
use crate::onnx::refusal::{bad, unsupported};

/// BatchNormalization: in versions 7 and 9 further outputs mean training, from 14 an attribute does.
pub(in crate::onnx) fn batch_norm(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    if !ctx.attributes.flag("spatial", true)? {
        return Err(unsupported("statistics for each element (`spatial` 0)"));
    }
    let training = ctx.attributes.flag("training_mode", false)?;
    let epsilon = ctx.attributes.float("epsilon", 1e-5)?;
    let operands = ctx.variadic(0)?;
    let [x, ..] = operands[..] else {
        return Err(bad("operand 0 is missing"));
    };
    // Weights may be standardized so, which is folded; activations would depend on the batch.
    if training && ctx.is_constant(x) {
        return by_own_statistics(ctx, &operands, epsilon);
    }
    ctx.attributes.ignore(&["momentum"]);
    if training || (1..ctx.outputs()).any(|i| ctx.wants(i)) {
        return Err(unsupported("training mode").with_remedy("export the model in inference mode"));
    }
    let y = ctx.emit(Op::BatchNorm { epsilon }, &operands)?;
    ctx.bind(0, y)
}

/// Training mode: by the mean and variance of x, which also move those that are given.
fn by_own_statistics(
    ctx: &mut NodeContext<'_, '_>,
    operands: &[ValueId],
    epsilon: f32,
) -> Result<()> {
    let &[x, scale, bias, mean, variance] = operands else {
        return Err(bad(format!("{} operands", operands.len())));
    };
    let momentum = f64::from(ctx.attributes.float("momentum", 0.9)?);
    let shape = ctx.shape(x);
    let axes: Vec<usize> = (0..shape.len()).filter(|axis| *axis != 1).collect();
    let channels = ctx.shape(mean);
    let own_mean = ctx.over(ReduceKind::Mean, x, &axes)?;
    let difference = ctx.sub(x, own_mean)?;
    let square = ctx.mul(difference, difference)?;
    let own_variance = ctx.over(ReduceKind::Mean, square, &axes)?;
    let own_mean = ctx.reshape(own_mean, &channels)?;
    let own_variance = ctx.reshape(own_variance, &channels)?;
    let operands = [x, scale, bias, own_mean, own_variance];
    let y = ctx.emit(Op::BatchNorm { epsilon }, &operands)?;
    ctx.bind(0, y)?;
    for (index, (given, own)) in
        [(mean, own_mean), (variance, own_variance)].into_iter().enumerate()
    {
        let kept = ctx.scaled(given, momentum)?;
        let new = ctx.scaled(own, 1.0 - momentum)?;
        let moved = ctx.add(kept, new)?;
        ctx.bind(index + 1, moved)?;
    }
    Ok(())
}
