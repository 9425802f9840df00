//! The type rule of every operator.

use super::op::Op;
use super::types::TensorType;
use crate::error::{Error, Problem, Result};

/// The type of `op`'s result, from the types of its operands given as (slot, type) by ascending
/// slot.
///
/// # Errors
/// [`Problem::BadNode`] saying which operand or attribute does not fit. Operators whose result
/// type is an attribute (inputs, weights, reshapes, expands, slices) are refused: their node
/// carries the type.
pub fn infer(op: &Op, operands: &[(usize, &TensorType)]) -> Result<TensorType> {
    let _ = (op, operands);
    Err(Error::from(Problem::BadNode("".into())))
}
