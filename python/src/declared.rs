//! What an ONNX file says of itself, as other runtimes show it: open dimensions by name, who made it.
//!
//! Of the protobuf only these fields are read, and weights are passed over.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::compile::{Given, Onnx};
use crate::errors::{Class, Raised};

#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(string, tag = "2")]
    producer_name: String,
    #[prost(string, tag = "4")]
    domain: String,
    #[prost(int64, optional, tag = "5")]
    model_version: Option<i64>,
    #[prost(string, tag = "6")]
    doc_string: String,
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "14")]
    metadata_props: Vec<StringStringEntryProto>,
}

#[derive(Clone, PartialEq, Message)]
struct StringStringEntryProto {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct GraphProto {
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorProto>,
    #[prost(string, tag = "10")]
    doc_string: String,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfoProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorProto {
    #[prost(string, tag = "8")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct ValueInfoProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    ty: Option<TypeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TypeProto {
    #[prost(message, optional, tag = "1")]
    tensor: Option<TensorTypeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorTypeProto {
    #[prost(int32, tag = "1")]
    elem_type: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<ShapeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct ShapeProto {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<DimProto>,
}

#[derive(Clone, PartialEq, Message)]
struct DimProto {
    #[prost(int64, optional, tag = "1")]
    value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    param: Option<String>,
}

/// What an ONNX model declares, as a dict: for inputs and outputs their name, the number of their element type, and
/// their shape, in which an open dimension is its name or None.
#[pyfunction]
pub(crate) fn declared<'py>(py: Python<'py>, model: Given) -> PyResult<Bound<'py, PyDict>> {
    let onnx = Onnx::from(model);
    let model = py.detach(|| read(&onnx))?;
    let graph = model.graph.unwrap_or_default();
    let weights: BTreeSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let inputs = graph.input.iter().filter(|value| !weights.contains(value.name.as_str()));
    let metadata = PyDict::new(py);
    for entry in &model.metadata_props {
        metadata.set_item(&entry.key, &entry.value)?;
    }
    let about = PyDict::new(py);
    about.set_item("inputs", values(py, inputs)?)?;
    about.set_item("outputs", values(py, graph.output.iter())?)?;
    about.set_item("producer_name", model.producer_name)?;
    about.set_item("domain", model.domain)?;
    // ONNX Runtime's number of none.
    about.set_item("version", model.model_version.unwrap_or(i64::MAX))?;
    about.set_item("description", model.doc_string)?;
    about.set_item("graph_name", graph.name)?;
    about.set_item("graph_description", graph.doc_string)?;
    about.set_item("metadata", metadata)?;
    Ok(about)
}

fn read(onnx: &Onnx) -> Result<ModelProto, Raised> {
    let bytes = match onnx {
        Onnx::Bytes(bytes) => bytes.clone(),
        Onnx::File(path) => Bytes::from(std::fs::read(path).map_err(|error| {
            Raised::new(Class::File, format!("cannot read {}: {error}", path.display()), None)
        })?),
    };
    ModelProto::decode(bytes).map_err(|error| {
        let message = format!("{} is no ONNX model: {error}", onnx.name());
        Raised::new(Class::Model, message, Some("give an .onnx file, or its bytes".into()))
    })
}

fn values<'py, 'a>(
    py: Python<'py>,
    values: impl Iterator<Item = &'a ValueInfoProto>,
) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for value in values {
        let tensor = value.ty.as_ref().and_then(|ty| ty.tensor.clone()).unwrap_or_default();
        let shape = PyList::empty(py);
        for dim in tensor.shape.unwrap_or_default().dim {
            match dim.value {
                Some(extent) => shape.append(extent)?,
                None => shape.append(dim.param.filter(|name| !name.is_empty()))?,
            }
        }
        list.append((&value.name, tensor.elem_type, shape))?;
    }
    Ok(list)
}
