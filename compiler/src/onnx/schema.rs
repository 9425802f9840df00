//! Which fields of ONNX's messages hold messages: all that the walk over untrusted bytes knows.
//!
//! From `onnx.proto` of IR version 10, the one `onnx-protobuf` was generated from. Fields that are
//! missing here are opaque both to the walk and to the parser after it.

/// A message type of `onnx.proto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    Model,
    OperatorSet,
    Entry,
    Training,
    Function,
    Graph,
    Annotation,
    Node,
    Attribute,
    ValueInfo,
    Tensor,
    Segment,
    SparseTensor,
    Type,
    TensorType,
    Sequence,
    Map,
    Optional,
    Shape,
    Dimension,
}

/// `TensorProto.raw_data`.
pub(super) const RAW_DATA: u32 = 9;

/// (message, field number, what the field holds).
const NESTED: &[(Message, u32, Message)] = {
    use Message::*;
    &[
        (Model, 7, Graph),
        (Model, 8, OperatorSet),
        (Model, 14, Entry),
        (Model, 20, Training),
        (Model, 25, Function),
        (Training, 1, Graph),
        (Training, 2, Graph),
        (Training, 3, Entry),
        (Training, 4, Entry),
        (Function, 7, Node),
        (Function, 9, OperatorSet),
        (Function, 11, Attribute),
        (Function, 12, ValueInfo),
        (Function, 14, Entry),
        (Graph, 1, Node),
        (Graph, 5, Tensor),
        (Graph, 11, ValueInfo),
        (Graph, 12, ValueInfo),
        (Graph, 13, ValueInfo),
        (Graph, 14, Annotation),
        (Graph, 15, SparseTensor),
        (Graph, 16, Entry),
        (Annotation, 2, Entry),
        (Node, 5, Attribute),
        (Node, 9, Entry),
        (Attribute, 5, Tensor),
        (Attribute, 6, Graph),
        (Attribute, 10, Tensor),
        (Attribute, 11, Graph),
        (Attribute, 14, Type),
        (Attribute, 15, Type),
        (Attribute, 22, SparseTensor),
        (Attribute, 23, SparseTensor),
        (ValueInfo, 2, Type),
        (ValueInfo, 4, Entry),
        (Tensor, 3, Segment),
        (Tensor, 13, Entry),
        (Tensor, 16, Entry),
        (SparseTensor, 1, Tensor),
        (SparseTensor, 2, Tensor),
        (Type, 1, TensorType),
        (Type, 4, Sequence),
        (Type, 5, Map),
        (Type, 8, TensorType),
        (Type, 9, Optional),
        (TensorType, 2, Shape),
        (Sequence, 1, Type),
        (Map, 2, Type),
        (Optional, 1, Type),
        (Shape, 1, Dimension),
    ]
};

impl Message {
    /// The message that field `tag` holds, if it holds one.
    pub(super) fn nested(self, tag: u32) -> Option<Message> {
        let row = NESTED.iter().find(|(message, field, _)| (*message, *field) == (self, tag));
        row.map(|(_, _, nested)| *nested)
    }

    /// What an error calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Message::Model => "model",
            Message::OperatorSet => "opset_import",
            Message::Entry => "metadata entry",
            Message::Training => "training_info",
            Message::Function => "function",
            Message::Graph => "graph",
            Message::Annotation => "quantization annotation",
            Message::Node => "node",
            Message::Attribute => "attribute",
            Message::ValueInfo => "value_info",
            Message::Tensor => "tensor",
            Message::Segment => "tensor segment",
            Message::SparseTensor => "sparse tensor",
            Message::Type => "type",
            Message::TensorType => "tensor type",
            Message::Sequence => "sequence type",
            Message::Map => "map type",
            Message::Optional => "optional type",
            Message::Shape => "shape",
            Message::Dimension => "dimension",
        }
    }
}
