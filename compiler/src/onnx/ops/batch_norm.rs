//! BatchNormalization with fixed statistics.

use crate::error::Result;
use crate::ir::Op;
use crate::onnx::context::NodeContext;
use crate::onnx::refusal::unsupported;

/// BatchNormalization: in versions 7 and 9 further outputs mean training, from 14 an attribute does.
pub(in crate::onnx) fn batch_norm(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    ctx.attributes.ignore(&["momentum"]);
    let training = ctx.attributes.flag("training_mode", false)?;
    if training || (1..ctx.outputs()).any(|i| ctx.wants(i)) {
        return Err(unsupported("training mode").with_remedy("export the model in inference mode"));
    }
    if !ctx.attributes.flag("spatial", true)? {
        return Err(unsupported("statistics for each element (`spatial` 0)"));
    }
    let epsilon = ctx.attributes.float("epsilon", 1e-5)?;
    let operands = ctx.variadic(0)?;
    let y = ctx.emit(Op::BatchNorm { epsilon }, &operands)?;
    ctx.bind(0, y)
}
