//! Makes `dequantize(quantize(x))` on one grid the function `quantized` of x, so that nothing stands
//! between the operators of floats.

use super::grid::{Grid, quantized};
use crate::ir::{Answer, Edit, Epilogue, Graph, NodeId, Op, Operand};

pub(super) fn join_quantization(graph: &Graph, id: NodeId) -> Answer {
    let Some(integers) = graph.operand(id, 0).filter(|_| graph.node(id).op == Op::Dequantize)
    else {
        return Answer::NoMatch;
    };
    if graph.node(integers).op != Op::Quantize {
        return Answer::NoMatch;
    }
    let (Some(to), Some(from)) = (Grid::of(graph, integers), Grid::of(graph, id)) else {
        return Answer::failed("its scale and zero point are not one constant for all elements");
    };
    if to != from {
        return Answer::failed(format!(
            "it was quantized with scale {} and zero point {}, and is read with {} and {}",
            to.scale, to.zero, from.scale, from.zero
        ));
    }
    let Some(x) = graph.operand(integers, 0) else { return Answer::NoMatch };
    let function = to.function();
    // A value may be dequantized once for each of its users.
    let same = |user: NodeId| quantized(graph, user) == Some(function);
    if let Some((other, _)) = graph.uses(x).into_iter().find(|(user, _)| same(*user)) {
        return Edit::of([integers, other, id]).replace(id, Operand::Old(other));
    }
    let mut edit = Edit::of([integers, id]);
    let op = Op::Unary(function, Epilogue::none());
    let new = edit.add(&graph.node(id).name, op, vec![(0, Operand::Old(x))]);
    edit.replace(id, new)
}
