//! Kernels: for each, what it is, how operators become it, its code, and how its weights are packed. A
//! kernel is a folder, and a row of `ROWS` or of its algorithm for convolutions.
//!
//! [`lowering`] is what all of them write plans with, [`pointers`] how their code finds its arguments,
//! [`multiples`] weights that are packed as bytes, [`copies`] runs of bytes that move.
//! [`conv`] has the algorithms for convolutions, [`attention`] writes Split-Attention with the kernels of
//! others.

#![allow(
    private_interfaces,
    reason = "kernels are specified for all, and emitted in this crate only"
)]

pub mod argmax;
mod attention;
pub mod block_mean;
pub mod block_pool;
pub mod conv;
mod copies;
pub mod gather;
pub mod gemm;
mod lowering;
pub mod map;
mod multiples;
mod pointers;
pub mod pool;
pub mod reduce;
pub mod scatter;
pub mod softmax;
pub mod to_bfloat16;
pub mod validate;

use crate::error::{Error, Result};
use crate::ir::expr::Expr;
use crate::ir::{Epilogue, Graph, NodeId, Op};
use crate::machine::Machine;
use crate::plan::kernel::Row;
use crate::plan::weights::SectionLayout;
use crate::plan::{Plan, check};
use crate::schedule::{self, Preferences, Schedule};
use lowering::Lowering;

/// Kernels besides those of algorithms for convolutions.
const ROWS: &[Row] = &[
    Row::of::<map::Map>("elementwise: arithmetic, copies, broadcasts, fills"),
    Row::of::<gemm::RowMajorGemm>("row-major convolutions and matrix products"),
    Row::of::<block_mean::BlockMean>("means of whole planes of blocks"),
    Row::of::<block_pool::BlockPool>("sliding-window pooling of blocks"),
    Row::of::<reduce::Reduction>("sums, means, extremes over axes"),
    Row::of::<softmax::Softmax>("softmax over the middle one of three axes"),
    Row::of::<pool::Pooling>("sliding-window pooling of row-major planes"),
    Row::of::<gather::Gather>("slices picked by an index tensor"),
    Row::of::<scatter::Scatter>("slices put at places of an index tensor"),
    Row::of::<argmax::ArgMax>("index of the largest element"),
];

/// Every kernel that there is.
pub fn registry() -> Vec<Row> {
    ROWS.iter().chain(conv::kernels()).copied().collect()
}

/// The schedule of a verified graph.
pub fn schedule(graph: &Graph, machine: &Machine, preferences: &Preferences) -> Schedule {
    Schedule::new(graph, machine, preferences, conv::ALGORITHMS)
}

/// The plan of a verified graph, as scheduled.
///
/// # Errors
/// [`Problem::Unsupported`](crate::error::Problem::Unsupported) for element types that generated code does
/// not compute in, and [`Problem::Internal`](crate::error::Problem::Internal) when the result fails its own
/// check.
pub fn lower(graph: &Graph, schedule: &Schedule) -> Result<Plan> {
    let mut plans = lower_all(graph, std::slice::from_ref(schedule))?;
    plans.pop().ok_or_else(|| Error::internal("there is no plan"))
}

/// The plan of a verified graph for each schedule, over one weights section: what several plans pack
/// alike is stored once. The first plan's constants lie as they would if it were alone.
///
/// # Errors
/// Those of [`lower`].
pub fn lower_all(graph: &Graph, schedules: &[Schedule]) -> Result<Vec<Plan>> {
    for schedule in schedules {
        schedule::check::check(graph, schedule, conv::ALGORITHMS)?;
    }
    let mut section = SectionLayout::new();
    let plan = |schedule| Lowering::new(graph, schedule, &mut section).everything(node);
    let mut plans = schedules.iter().map(plan).collect::<Result<Vec<Plan>>>()?;
    for plan in &mut plans {
        plan.weight_bytes = section.bytes;
        check::check(plan)?;
    }
    for (schedule, plan) in schedules.iter().zip(&plans) {
        validate::check(graph, schedule, plan)?;
    }
    Ok(plans)
}

/// Writes a node down: one arm per operator.
fn node(l: &mut Lowering<'_, '_>, id: NodeId) -> Result<()> {
    if l.schedule.layout(id).is_some() {
        return blocked_node(l, id);
    }
    let graph = l.model;
    match &graph.node(id).op {
        Op::Input | Op::Weight(_) => Ok(()),
        Op::Identity | Op::Reshape => l.view(id, 0),
        Op::Slice { starts, steps } => map::lower::slice(l, id, starts, steps),
        Op::Conv(conv) => gemm::lower::conv(l, id, conv),
        Op::MatMul { transpose_a, transpose_b, epilogue } => {
            gemm::lower::matmul(l, id, [*transpose_a, *transpose_b], epilogue)
        }
        Op::BatchNorm { epsilon } => map::lower::batch_norm(l, id, *epsilon),
        Op::Unary(f, then) => {
            map::lower::elementwise(l, id, 0..1, Expr::Operand(1).unary(*f), then)
        }
        Op::Binary(f, then) => {
            let head = map::lower::binary(l, id, *f);
            map::lower::elementwise(l, id, 0..2, head, then)
        }
        Op::Where => {
            let [c, a, b] = [1, 2, 3].map(|i| Box::new(Expr::Operand(i)));
            map::lower::elementwise(l, id, 0..3, Expr::Select(c, a, b), &Epilogue::none())
        }
        Op::Cast { to } => {
            let head = Expr::Cast(*to, Box::new(Expr::Operand(1)));
            map::lower::elementwise(l, id, 0..1, head, &Epilogue::none())
        }
        Op::Quantize => {
            let head = map::lower::quantize(l.ty(id).dtype);
            map::lower::elementwise(l, id, 0..3, head, &Epilogue::none())
        }
        Op::Dequantize => {
            map::lower::elementwise(l, id, 0..3, map::lower::dequantize(), &Epilogue::none())
        }
        Op::Expand => map::lower::elementwise(l, id, 0..1, Expr::Operand(1), &Epilogue::none()),
        Op::Transpose { perm } => map::lower::transpose(l, id, perm),
        Op::Concat { axis } => map::lower::concat(l, id, *axis),
        Op::Pad { before, value, .. } => map::lower::pad(l, id, before, *value),
        Op::Softmax { axis, log } => softmax::lower(l, id, *axis, *log),
        Op::Pool(pool) => pool::lower(l, id, pool),
        Op::Reduce(reduce) => reduce::lower::lower(l, id, reduce),
        Op::SplitAttention(op) => l.split_attention(id, op),
        Op::Gather { axis } => gather::lower(l, id, *axis),
        Op::Scatter { extent } => scatter::lower(l, id, *extent),
        Op::ArgMax { axis, last, .. } => argmax::lower(l, id, *axis, *last),
    }
}

/// A node whose result lies in blocks.
fn blocked_node(l: &mut Lowering<'_, '_>, id: NodeId) -> Result<()> {
    let graph = l.model;
    match &graph.node(id).op {
        Op::Conv(_) => conv::lower(l, id),
        Op::Pool(pool) => block_pool::lower(l, id, pool),
        Op::SplitAttention(op) => l.split_attention(id, op),
        Op::Unary(f, then) => l.blocked_elementwise(id, 1, Expr::Operand(1).unary(*f), then),
        Op::Binary(f, then) => {
            let head = Expr::Operand(1).binary(*f, Expr::Operand(2));
            l.blocked_elementwise(id, 2, head, then)
        }
        Op::Concat { .. } => l.blocked_concat(id),
        Op::Transpose { .. } => l.channels_to_front(id),
        Op::Slice { starts, .. } => l.blocked_slice(id, starts[1]),
        Op::Input
        | Op::Weight(_)
        | Op::BatchNorm { .. }
        | Op::MatMul { .. }
        | Op::Where
        | Op::Cast { .. }
        | Op::Quantize
        | Op::Dequantize
        | Op::Softmax { .. }
        | Op::Reduce(_)
        | Op::Reshape
        | Op::Expand
        | Op::Gather { .. }
        | Op::Scatter { .. }
        | Op::Pad { .. }
        | Op::ArgMax { .. }
        | Op::Identity => Err(Error::internal(
            "an operator's result lies in blocks, and it has no kernel for that",
        )),
    }
}
