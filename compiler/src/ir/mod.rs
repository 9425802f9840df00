//! The graph IR: what a model computes, one operator a node, one value an operator.

mod attention;
pub(crate) mod by_image;
pub mod dot;
mod epilogue;
pub mod expr;
pub(crate) mod function;
mod graph;
mod infer;
pub mod json;
mod nodes;
mod op;
mod part;
mod rebatch;
mod rewriter;
pub mod text;
mod types;
mod verify;
mod weight;
pub mod work;

pub use attention::{Excite, Rounding, SplitAttention, Weigh};
pub use epilogue::{Epilogue, Step};
pub use function::{Binary, Unary};
pub use graph::{Graph, Node, NodeId, Origin, Output};
pub use infer::{broadcast_shapes, infer};
pub use op::{Conv, Op, Pool, PoolKind, Reduce, ReduceKind, Window};
pub use part::part;
pub use rebatch::rebatch;
pub use rewriter::{Answer, Applied, Edit, Failure, NewNode, Operand, Rewriter};
pub use types::{Axis, DType, Factor, TensorType};
pub use verify::verify;
pub use weight::Weight;
