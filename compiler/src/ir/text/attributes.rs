//! The attributes of every operator, in the order they are written in.
//!
//! One function, [`visit`], lists them; the printer walks it to write them and the parser to read
//! them. So a new operator needs an arm in [`visit`] and a line in [`blanks`], both here.

use super::values::Value;
use crate::ir::attention::{Excite, Rounding, SplitAttention, Weigh};
use crate::ir::epilogue::Epilogue;
use crate::ir::function::{Binary, Unary};
use crate::ir::op::{Conv, Op, Pool, PoolKind, Reduce, ReduceKind, Window};
use crate::ir::types::DType;

/// What walks attributes: it takes each from the operator, or puts it there.
pub(super) trait Visitor {
    /// What can go wrong.
    type Error;

    /// An attribute that is always written.
    fn required<T: Value>(&mut self, key: &'static str, value: &mut T) -> Result<(), Self::Error>;

    /// An attribute that is left out when it is the default.
    fn optional<T: Value>(
        &mut self,
        key: &'static str,
        value: &mut T,
        default: T,
    ) -> Result<(), Self::Error>;

    /// An attribute that is written, as `word`, when it is true.
    fn flag(
        &mut self,
        key: &'static str,
        word: &'static str,
        value: &mut bool,
    ) -> Result<(), Self::Error>;

    /// A line that follows from the attributes before it.
    fn implied(&mut self, key: &'static str, value: &'static str) -> Result<(), Self::Error>;

    /// The epilogue, whose operands may use slots from `first`.
    fn then(&mut self, first: usize, epilogue: &mut Epilogue) -> Result<(), Self::Error>;

    /// The element type of the node's result.
    fn dtype(&self) -> DType;
}

/// Walks the attributes of an operator.
pub(super) fn visit<V: Visitor>(op: &mut Op, v: &mut V) -> Result<(), V::Error> {
    let first = op.epilogue_slot().unwrap_or(0);
    match op {
        Op::Input
        | Op::Weight(_)
        | Op::Where
        | Op::Quantize
        | Op::Dequantize
        | Op::Reshape
        | Op::Expand
        | Op::Identity => Ok(()),
        Op::Conv(conv) => {
            v.optional("groups", &mut conv.groups, 1)?;
            v.required("window", &mut conv.window)?;
            v.then(first, &mut conv.epilogue)
        }
        Op::BatchNorm { epsilon } => v.required("epsilon", epsilon),
        Op::MatMul { transpose_a, transpose_b, epilogue } => {
            v.flag("trans_a", "true", transpose_a)?;
            v.flag("trans_b", "true", transpose_b)?;
            v.then(first, epilogue)
        }
        Op::Unary(function, epilogue) => {
            for (key, value) in function.parameters() {
                v.required(key, value)?;
            }
            v.then(first, epilogue)
        }
        Op::Binary(_, epilogue) => v.then(first, epilogue),
        Op::Cast { to } => {
            let result = v.dtype();
            v.optional("to", to, result)
        }
        Op::Softmax { axis, log: _ } | Op::Concat { axis } | Op::Gather { axis } => {
            v.required("axis", axis)
        }
        Op::Scatter { extent } => v.required("extent", extent),
        Op::Pool(pool) => {
            v.required("window", &mut pool.window)?;
            v.flag("ceil", "true", &mut pool.ceil)?;
            match &mut pool.kind {
                PoolKind::Max => Ok(()),
                PoolKind::Average { count_padding } => v.flag("padding", "counted", count_padding),
            }
        }
        Op::Reduce(reduce) => {
            v.required("axes", &mut reduce.axes)?;
            v.flag("keep", "true", &mut reduce.keep)
        }
        Op::SplitAttention(attention) => {
            v.optional("cardinality", &mut attention.cardinality, 1)?;
            v.optional("radix", &mut attention.radix, 1)?;
            v.implied("squeeze", attention.squeeze())?;
            v.required("excite", &mut attention.excite)?;
            v.required("weigh", &mut attention.weigh)?;
            for (key, functions) in attention.rounding.lists() {
                v.optional(key, functions, Vec::new())?;
            }
            v.then(first, &mut attention.epilogue)
        }
        Op::Transpose { perm } => v.required("perm", perm),
        Op::Slice { starts, steps } => {
            v.required("starts", starts)?;
            v.optional("steps", steps, vec![1; starts.len()])
        }
        Op::Pad { before, after, value } => {
            v.required("before", before)?;
            v.required("after", after)?;
            v.optional("value", value, 0.0)
        }
        Op::ArgMax { axis, keep, last } => {
            v.required("axis", axis)?;
            v.flag("keep", "true", keep)?;
            v.flag("last", "true", last)
        }
    }
}

/// An operator with this mnemonic, its attributes still to be read. Inputs and weights have a
/// statement of their own.
pub(super) fn blank(mnemonic: &str) -> Option<Op> {
    all().find(|op| op.mnemonic() == mnemonic)
}

/// What operators are called, apart from inputs and weights, in no order.
pub fn mnemonics() -> impl Iterator<Item = &'static str> {
    all().map(|op| op.mnemonic())
}

fn all() -> impl Iterator<Item = Op> {
    let unary = Unary::ALL.into_iter().map(|f| Op::Unary(f, Epilogue::none()));
    let binary = Binary::ALL.into_iter().map(|f| Op::Binary(f, Epilogue::none()));
    blanks().into_iter().chain(reductions()).chain(unary).chain(binary)
}

/// One operator for each mnemonic that is not a function or a reduction.
fn blanks() -> [Op; 23] {
    let window = Window::POINT;
    let epilogue = Epilogue::none();
    let conv = |groups| Op::Conv(Conv { groups, window, epilogue: Epilogue::none() });
    let pool = |kind| Op::Pool(Pool { kind, window, ceil: false });
    [
        conv(1),
        conv(2),
        Op::BatchNorm { epsilon: 0.0 },
        Op::MatMul { transpose_a: false, transpose_b: false, epilogue },
        Op::Where,
        Op::Cast { to: DType::F32 },
        Op::Quantize,
        Op::Dequantize,
        Op::Softmax { axis: 0, log: false },
        Op::Softmax { axis: 0, log: true },
        pool(PoolKind::Max),
        pool(PoolKind::Average { count_padding: false }),
        Op::SplitAttention(SplitAttention {
            cardinality: 1,
            radix: 1,
            excite: Excite::Direct,
            weigh: Weigh::Softmax,
            rounding: Rounding::default(),
            epilogue: Epilogue::none(),
        }),
        Op::Reshape,
        Op::Expand,
        Op::Transpose { perm: Vec::new() },
        Op::Concat { axis: 0 },
        Op::Slice { starts: Vec::new(), steps: Vec::new() },
        Op::Gather { axis: 0 },
        Op::Scatter { extent: 0 },
        Op::Pad { before: Vec::new(), after: Vec::new(), value: 0.0 },
        Op::ArgMax { axis: 0, keep: false, last: false },
        Op::Identity,
    ]
}

fn reductions() -> impl Iterator<Item = Op> {
    let reduce = |kind| Op::Reduce(Reduce { kind, axes: Vec::new(), keep: false });
    ReduceKind::ALL.into_iter().map(reduce)
}
