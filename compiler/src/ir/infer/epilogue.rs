//! What an epilogue demands of its operands.

use super::elementwise::{check_binary, check_unary};
use super::{Operands, bad};
use crate::error::Result;
use crate::ir::epilogue::Step;
use crate::ir::function::Binary;
use crate::ir::op::Op;
use crate::ir::types::TensorType;

/// Checks the epilogue of `op` against the type `ty` of its result, which it does not change.
pub(super) fn check(op: &Op, given: &Operands<'_>, ty: &TensorType) -> Result<()> {
    let Some((epilogue, first)) = op.epilogue().zip(op.epilogue_slot()) else { return Ok(()) };
    for step in &epilogue.steps {
        match step {
            Step::Unary(function) => check_unary(*function, ty.dtype)?,
            Step::Binary(function, slot) => {
                if *slot < first {
                    return bad(format!("the epilogue reads operand {slot}, which is not its own"));
                }
                check_operand(*function, given.required(*slot, "of the epilogue")?, ty)?;
            }
        }
    }
    Ok(())
}

fn check_operand(function: Binary, operand: &TensorType, ty: &TensorType) -> Result<()> {
    check_binary(function, ty.dtype)?;
    if function.compares() {
        return bad("an epilogue cannot compare: its result keeps its type");
    }
    if operand.dtype != ty.dtype || operand.shape() != ty.shape() {
        return bad(format!("the epilogue's operand is {operand}, but the result is {ty}"));
    }
    Ok(())
}
