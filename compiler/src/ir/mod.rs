//! The graph IR: what a model computes, one operator a node, one value an operator.

mod graph;
mod infer;
mod op;
mod rewriter;
mod types;
mod weight;

pub use graph::{Graph, Node, NodeId, Origin, Output};
pub use infer::infer;
pub use op::{
    Binary, Conv, Epilogue, Op, Pool, PoolKind, Reduce, ReduceKind, Step, Unary, Window,
};
pub use rewriter::{Answer, Edit, NewNode, Operand, Rewriter};
pub use types::{Axis, DType, Factor, TensorType};
pub use weight::Weight;
