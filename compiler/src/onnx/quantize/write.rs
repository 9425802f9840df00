//! The models that come out: the float one with outputs to observe, and the quantized one.

use std::collections::{BTreeMap, HashMap};

use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::tensor_proto::DataType;
use onnx_protobuf::{
    AttributeProto, ModelProto, NodeProto, StringStringEntryProto, ValueInfoProto,
};
use protobuf::Message as _;

use super::network::{Network, is};
use super::points::{Placement, Point};
use super::{Grid, Seen, weights};
use crate::error::{Error, Problem, Result};
use crate::onnx::WINOGRAD_OF_BYTES;
use crate::onnx::names::Names;

/// What protobuf can hold.
const MAX_BYTES: u64 = 2 << 30;

/// A quantized model.
#[derive(Debug, Clone)]
pub struct Quantized {
    model: ModelProto,
    /// Its quantized layers in order.
    pub layers: Vec<Layer>,
}

/// A quantized layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// The node's name.
    pub name: String,
    /// The point that it reads; `None` where only its weights are rounded.
    pub input: Option<String>,
    /// Power of the weights over that of their rounding errors.
    pub weights: f64,
}

impl Quantized {
    /// The bytes of a file that says `metadata` of itself, besides what the float model said, and that its
    /// convolutions may be computed by Winograd's filtering.
    ///
    /// # Errors
    /// A model of 2 GiB or more.
    pub fn to_bytes(&self, metadata: &[(String, String)]) -> Result<Vec<u8>> {
        let mut model = self.model.clone();
        let said = metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let said: Vec<(&str, &str)> = said.chain([WINOGRAD_OF_BYTES]).collect();
        model.metadata_props.retain(|entry| said.iter().all(|(key, _)| *key != entry.key));
        let entry = |(key, value): (&str, &str)| StringStringEntryProto {
            key: key.to_owned(),
            value: value.to_owned(),
            ..Default::default()
        };
        model.metadata_props.extend(said.into_iter().map(entry));
        serialize(&model)
    }
}

/// The network with the points for outputs, after its own.
pub(super) fn observed(network: &Network, points: &[Point]) -> Result<Vec<u8>> {
    let mut model = network.model.clone();
    let output = &mut model.graph.mut_or_insert_default().output;
    for point in points.iter().filter(|point| !network.is_output(&point.name)) {
        output.push(ValueInfoProto { name: point.name.clone(), ..Default::default() });
    }
    serialize(&model)
}

/// The network with its points and the weights of its layers rounded.
pub(super) fn quantized(
    network: &Network,
    placement: &Placement,
    seen: &BTreeMap<String, Seen>,
) -> Result<Quantized> {
    let mut writer = Writer {
        out: network.clone(),
        names: network.names(),
        seen,
        dequantized: HashMap::new(),
        nodes: Vec::new(),
    };
    let points: HashMap<&str, &Point> =
        placement.points.iter().map(|point| (point.name.as_str(), point)).collect();
    let point_of = |value: &String| points.get(value.as_str()).copied();
    for input in network.model.graph.input.iter().filter_map(|input| point_of(&input.name)) {
        writer.round_value(input)?;
    }
    let mut layers = Vec::new();
    for (index, node) in network.nodes().iter().enumerate() {
        let mut node = node.clone();
        if placement.convs.binary_search(&index).is_ok() {
            let signal = writer.round_weights(&mut node)?;
            let (name, input) = (network.node_name(index), Some(node.input[0].clone()));
            layers.push(Layer { name, input, weights: signal });
        }
        if let Some(axis) = placement.dense.get(&index) {
            let signal = writer.round_dense_weights(&mut node, *axis)?;
            layers.push(Layer { name: network.node_name(index), input: None, weights: signal });
        }
        writer.read_rounded(&mut node);
        let made = node.output.clone();
        writer.nodes.push(node);
        made.iter().filter_map(point_of).try_for_each(|point| writer.round_value(point))?;
    }
    let Writer { mut out, nodes, .. } = writer;
    out.model.graph.mut_or_insert_default().node = nodes;
    out.drop_unread();
    Ok(Quantized { model: out.model, layers })
}

struct Writer<'a> {
    out: Network,
    names: Names,
    seen: &'a BTreeMap<String, Seen>,
    /// What readers of a rounded value read.
    dequantized: HashMap<String, String>,
    nodes: Vec<NodeProto>,
}

impl Writer<'_> {
    fn seen(&self, point: &str) -> Result<&Seen> {
        self.seen.get(point).ok_or_else(|| {
            Problem::BadOption(format!("nothing is known of the values of `{point}`")).into()
        })
    }

    /// Adds the operators that round a value.
    fn round_value(&mut self, point: &Point) -> Result<()> {
        let Grid { scale, zero } = self.seen(&point.name)?.grid;
        let value = &point.name;
        let scale = self.constant(value, "scale", DataType::FLOAT, &[], scale.to_le_bytes().into());
        let zero = self.constant(value, "zero_point", DataType::UINT8, &[], vec![zero]);
        let [integers, floats] = ["quantized", "dequantized"].map(|what| self.name(value, what));
        self.push("QuantizeLinear", [value, &scale, &zero], &integers, None);
        self.push("DequantizeLinear", [&integers, &scale, &zero], &floats, None);
        self.dequantized.insert(value.clone(), floats);
        Ok(())
    }

    /// Replaces the weights and the bias of a convolution; gives the signal-to-noise ratio of the weights.
    fn round_weights(&mut self, node: &mut NodeProto) -> Result<f64> {
        let missing = || Error::internal("a quantized convolution has no constant weights");
        let (x, w) = (&node.input[0], node.input[1].clone());
        let floats = self.out.floats(&w).ok_or_else(missing)?;
        let bias = node.input.get(2).filter(|name| !name.is_empty()).cloned();
        let bias_floats = bias.as_ref().and_then(|name| self.out.floats(name));
        let groups = node.attribute.iter().find(|a| a.name == "group").map_or(1, |a| a.i) as usize;
        let Seen { grid, channel_means } = self.seen(x)?;
        let rounded =
            weights::round(&floats, bias_floats.as_ref(), (groups, grid.scale), channel_means);
        let steps = rounded.weights.iter().map(|w| w.to_le_bytes()[0]).collect();
        let steps = (DataType::INT8, floats.dims.as_slice(), steps);
        let weights = self.round_constant(&w, steps, &rounded.scales, 0);
        node.input.truncate(1);
        node.input.push(weights);
        if bias.is_some() || rounded.bias.iter().any(|bias| *bias != 0) {
            let name = bias.unwrap_or_else(|| self.name(&node.output[0], "bias"));
            let steps = rounded.bias.iter().flat_map(|b| b.to_le_bytes()).collect();
            let steps = (DataType::INT32, &[rounded.bias.len() as i64][..], steps);
            node.input.push(self.round_constant(&name, steps, &rounded.bias_scales, 0));
        }
        Ok(rounded.signal_to_noise)
    }

    /// Replaces the weights of a dense layer, whose channels are on an axis; gives their signal-to-noise ratio.
    fn round_dense_weights(&mut self, node: &mut NodeProto, axis: usize) -> Result<f64> {
        let missing = || Error::internal("a quantized dense layer has no constant weights");
        let name = node.input[1].clone();
        let floats = self.out.floats(&name).ok_or_else(missing)?;
        let rounded = weights::round_dense(&floats, axis);
        let steps = rounded.weights.iter().map(|w| w.cast_unsigned()).collect();
        let steps = (DataType::INT8, floats.dims.as_slice(), steps);
        node.input[1] = self.round_constant(&name, steps, &rounded.scales, axis);
        Ok(rounded.signal_to_noise)
    }

    /// Adds integers with a scale for each of an axis, and the operator that makes floats of
    /// them, whose name it gives.
    fn round_constant(
        &mut self,
        name: &str,
        (kind, dims, bytes): (DataType, &[i64], Vec<u8>),
        scales: &[f32],
        axis: usize,
    ) -> String {
        let rows = [scales.len() as i64];
        let size = if kind == DataType::INT8 { 1 } else { 4 };
        let integers = self.constant(name, "quantized", kind, dims, bytes);
        let scale = scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
        let scale = self.constant(name, "scale", DataType::FLOAT, &rows, scale);
        let zero = self.constant(name, "zero_point", kind, &rows, vec![0; size * scales.len()]);
        let floats = self.name(name, "dequantized");
        self.push("DequantizeLinear", [&integers, &scale, &zero], &floats, Some(axis as i64));
        floats
    }

    /// Lets a node read rounded values.
    fn read_rounded(&self, node: &mut NodeProto) {
        // A shape is the same, and is better taken without the rounding.
        if is(node, "Shape") {
            return;
        }
        for value in &mut node.input {
            if let Some(rounded) = self.dequantized.get(value) {
                value.clone_from(rounded);
            }
        }
    }

    fn name(&mut self, value: &str, what: &str) -> String {
        self.names.unique(&format!("{value}_{what}")).to_string()
    }

    fn constant(
        &mut self,
        value: &str,
        what: &str,
        kind: DataType,
        dims: &[i64],
        bytes: Vec<u8>,
    ) -> String {
        let name = self.name(value, what);
        self.out.add_tensor(&name, kind, dims, bytes);
        name
    }

    fn push(&mut self, operator: &str, input: [&str; 3], output: &str, axis: Option<i64>) {
        let axis = axis.map(|i| AttributeProto {
            name: "axis".into(),
            i,
            type_: AttributeType::INT.into(),
            ..Default::default()
        });
        let name = self.name(output, operator);
        self.nodes.push(NodeProto {
            name,
            op_type: operator.into(),
            input: input.map(str::to_owned).to_vec(),
            output: vec![output.to_owned()],
            attribute: axis.into_iter().collect(),
            ..Default::default()
        });
    }
}

fn serialize(model: &ModelProto) -> Result<Vec<u8>> {
    if model.compute_size() >= MAX_BYTES {
        let error = Error::from(Problem::Unsupported("writing a model of 2 GiB or more".into()));
        return Err(error.with_remedy("quantize a smaller model"));
    }
    model.write_to_bytes().map_err(|error| Error::internal(error.to_string()))
}
