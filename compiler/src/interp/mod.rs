//! The reference interpreter: every operator, naively, in f64. It shares no code with the code
//! generator and is what compiled results are compared with.
//!
//! Floats stay f64 from one operator to the next, whatever their element type, and are rounded to
//! it only when they leave ([`Tensor::to_bytes`]) and where a cast says so. Integers wrap to
//! theirs after every operator. A NaN wins every comparison for the largest or the smallest.

mod attention;
mod conv;
mod elementwise;
mod fold;
mod layout;
mod matmul;
mod norm;
mod operands;
mod pool;
mod quantize;
mod reduce;
mod run;
mod scalar;
mod tensor;
mod walk;

pub use fold::fold;
pub use run::{run, run_with};
pub use tensor::{Data, Tensor};

use crate::error::{Error, Problem, Result};
use crate::ir::{Op, TensorType, Weight};
use operands::{Operands, ensure};

/// Computes one operator, its epilogue included. `operands` are (slot, value) by ascending slot;
/// `ty` is the result's type.
///
/// # Errors
/// [`Problem::Internal`] when the operator's attributes or its operands contradict `ty`, and for
/// an `input`, whose value is not computed. [`Problem::BadTensor`] for a weight whose elements are
/// not known; [`Problem::Memory`] for a result that there is no memory for.
pub fn evaluate(op: &Op, operands: &[(usize, &Tensor)], ty: &TensorType) -> Result<Tensor> {
    let x = Operands::new(op, operands, ty)?;
    check_memory(ty)?;
    let data = compute(op, &x, ty)?;
    let data = match op.epilogue() {
        Some(epilogue) => elementwise::epilogue(epilogue, data, &x, ty)?,
        None => data,
    };
    let result = Tensor { dtype: ty.dtype, shape: ty.shape(), data };
    ensure(result.is_whole(), || format!("the result is not {ty}"))?;
    Ok(result)
}

/// Refuses a result that there is no memory for. Operators have one block of its size at a time; what is
/// asked for here is given back, and asked for again by them.
fn check_memory(ty: &TensorType) -> Result<()> {
    let mut all: Vec<f64> = Vec::new();
    // Integers take eight bytes too.
    all.try_reserve_exact(ty.elements())
        .map_err(|_| Error::memory(format!("a result {ty} of the interpreter")))
}

fn compute(op: &Op, x: &Operands<'_>, ty: &TensorType) -> Result<Data> {
    match op {
        Op::Input => Err(Error::internal("an input is given, not computed")),
        Op::Weight(weight) => constant(weight, ty),
        Op::Conv(conv) => conv::conv(conv, x, ty),
        Op::BatchNorm { epsilon } => norm::batch_norm(*epsilon, x, ty),
        Op::MatMul { transpose_a, transpose_b, epilogue: _ } => {
            matmul::matmul(*transpose_a, *transpose_b, x, ty)
        }
        Op::Unary(function, _) => elementwise::unary(*function, x, ty),
        Op::Binary(function, _) => elementwise::binary(*function, x, ty),
        Op::Where => elementwise::choose(x, ty),
        Op::Cast { to } => elementwise::cast(*to, x, ty),
        Op::Quantize => quantize::quantize(x, ty),
        Op::Dequantize => quantize::dequantize(x, ty),
        Op::Softmax { axis, log } => norm::softmax(*axis, *log, x, ty),
        Op::Pool(pool) => pool::pool(pool, x, ty),
        Op::SplitAttention(op) => attention::split_attention(op, x, ty),
        Op::Reduce(reduce) => reduce::reduce(reduce, x, ty),
        Op::Reshape => layout::reshape(x, ty),
        Op::Expand => layout::expand(x, ty),
        Op::Transpose { perm } => layout::transpose(perm, x, ty),
        Op::Concat { axis } => layout::concat(*axis, x, ty),
        Op::Slice { starts, steps } => layout::slice(starts, steps, x, ty),
        Op::Gather { axis } => layout::gather(*axis, x, ty),
        Op::Scatter { extent } => layout::scatter(*extent, x, ty),
        Op::Pad { before, after, value } => layout::pad(before, after, *value, x, ty),
        Op::ArgMax { axis, keep, last } => reduce::argmax(*axis, *keep, *last, x, ty),
        Op::Identity => layout::identity(x, ty),
    }
}

fn constant(weight: &Weight, ty: &TensorType) -> Result<Data> {
    let name = || format!("#{:016x}", weight.hash());
    let Some(bytes) = weight.bytes(ty) else {
        let what = match weight.seed() {
            Some(_) => format!("{ty} is too large to be made up"),
            None => "its elements are not known, the dump has only their hash".to_owned(),
        };
        return Err(Problem::BadTensor { name: name(), what }.into());
    };
    let found = bytes.len();
    let tensor = Tensor::from_bytes(ty, &bytes).ok_or_else(|| Problem::BadTensor {
        name: name(),
        what: format!("{found} bytes for {ty}, which takes {}", ty.bytes()),
    })?;
    Ok(tensor.data)
}
