//! The reference interpreter: every operator, naively, in f64. It shares no code with the code
//! generator and is what compiled results are compared with.

mod tensor;

pub use tensor::{Data, Tensor};

use crate::error::{Error, Result};
use crate::ir::{Graph, Op, TensorType};

/// Computes one operator. `operands` are (slot, value) by ascending slot; `ty` is the result's
/// type.
///
/// # Errors
/// [`crate::error::Problem::Internal`] when operands contradict `ty`.
pub fn evaluate(op: &Op, operands: &[(usize, &Tensor)], ty: &TensorType) -> Result<Tensor> {
    let _ = (op, operands, ty);
    Err(Error::internal("not here yet"))
}

/// Runs a whole graph on `inputs` (in the order of [`Graph::inputs`]) and returns its outputs.
pub fn run(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let _ = (graph, inputs);
    Err(Error::internal("not here yet"))
}
