//! Which fields of ONNX's messages hold messages, and which may be there once: all that the walk over
//! untrusted bytes knows.
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

/// The fields of each message that are not repeated.
const SINGLE: &[(Message, &[u32])] = {
    use Message::*;
    &[
        (Model, &[1, 2, 3, 4, 5, 6, 7]),
        (OperatorSet, &[1, 2]),
        (Entry, &[1, 2]),
        (Training, &[1, 2]),
        (Function, &[1, 8, 10, 13]),
        (Graph, &[2, 10]),
        (Annotation, &[1]),
        (Node, &[3, 4, 6, 7, 8]),
        (Attribute, &[1, 2, 3, 4, 5, 6, 13, 14, 20, 21, 22]),
        (ValueInfo, &[1, 2, 3]),
        (Tensor, &[2, 3, 8, RAW_DATA, 12, 14]),
        (Segment, &[1, 2]),
        (SparseTensor, &[1, 2]),
        (Type, &[1, 4, 5, 6, 7, 8, 9]),
        (TensorType, &[1, 2]),
        (Sequence, &[1]),
        (Map, &[1, 2]),
        (Optional, &[1]),
        (Shape, &[]),
        (Dimension, &[1, 2, 3]),
    ]
};

/// Fields of which a message may have one, besides [`SINGLE`].
const ONE_OF: &[(Message, &[u32])] =
    &[(Message::Type, &[1, 4, 5, 7, 8, 9]), (Message::Dimension, &[1, 2])];

impl Message {
    /// The place of field `tag` among those of which the message may have one; `None` where it may
    /// have any number. Fields of which only one may be there share a place.
    pub(super) fn place(self, tag: u32) -> Option<u32> {
        let fields = |table: &'static [(Message, &'static [u32])]| {
            let row =
                table.iter().find(|(message, fields)| *message == self && fields.contains(&tag));
            row.map(|(_, fields)| *fields)
        };
        fields(SINGLE)?;
        fields(ONE_OF).map_or(Some(tag), |fields| fields.first().copied())
    }

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
