//! The grids of quantized values, as far as passes need to know them.

use crate::interp::{Data, Tensor};
use crate::ir::{DType, Graph, NodeId, Op, Unary};

/// One constant scale and zero point for all elements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Grid {
    /// Distance between neighbours.
    pub(super) scale: f32,
    /// The integer that stands for 0.
    pub(super) zero: i64,
    /// The ends of the integers' type.
    ends: [i64; 2],
}

impl Grid {
    /// The grid of a `quantize` or `dequantize`; `None` for other operators, for several scales, and for
    /// what is not known.
    pub(super) fn of(graph: &Graph, id: NodeId) -> Option<Grid> {
        if !matches!(graph.node(id).op, Op::Quantize | Op::Dequantize) {
            return None;
        }
        let (scale, zero) = (graph.operand(id, 1)?, graph.operand(id, 2)?);
        let (Data::Float(scales), Data::Int(zeros)) = (number(graph, scale)?, number(graph, zero)?)
        else {
            return None;
        };
        let ends = match graph.ty(zero).dtype {
            DType::U8 => [0, 255],
            DType::I8 => [-128, 127],
            DType::F32 | DType::F64 | DType::I64 | DType::I32 | DType::Bool => return None,
        };
        let scale = *scales.first()? as f32;
        (scale > 0.0).then_some(Grid { scale, zero: *zeros.first()?, ends })
    }

    /// Going to integers and back, as a function.
    pub(super) fn function(&self) -> Unary {
        let [lowest, highest] = self.ends.map(|end| (end - self.zero) as f32);
        Unary::Quantized { scale: self.scale, lowest, highest }
    }

    /// The float that an integer stands for.
    pub(super) fn float(&self, integer: f64) -> f64 {
        f64::from((integer - self.zero as f64) as f32 * self.scale)
    }
}

/// The element of a constant without axes.
fn number(graph: &Graph, id: NodeId) -> Option<Data> {
    let node = graph.node(id);
    let Op::Weight(weight) = &node.op else { return None };
    if node.ty.rank() > 0 {
        return None;
    }
    Some(Tensor::from_bytes(&node.ty, &weight.bytes(&node.ty)?)?.data)
}

/// The function of a node that is `quantized` and nothing after it.
pub(super) fn quantized(graph: &Graph, id: NodeId) -> Option<Unary> {
    match &graph.node(id).op {
        Op::Unary(function @ Unary::Quantized { .. }, then) if then.is_empty() => Some(*function),
        _ => None,
    }
}
