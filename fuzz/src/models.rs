//! ONNX models of Cardinal's operators, mostly sound and broken in places.

use arbitrary::{Arbitrary, Result, Unstructured};
use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::tensor_shape_proto::{Dimension, dimension};
use onnx_protobuf::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};
use protobuf::{Message, MessageField};

use crate::must;
use table::{OPERATORS, Operator};

mod table;

/// Element types of ONNX, the usual ones more often: f32, i64, f64, i32, u8, i8, bool, f16.
const TYPES: [i32; 12] = [1, 1, 1, 1, 1, 7, 11, 6, 2, 3, 9, 10];
/// Extents, few of them, so that values fit each other.
const EXTENTS: [i64; 8] = [4, 4, 4, 4, 1, 2, 8, 3];

/// A model.
#[derive(Debug)]
pub struct Random(ModelProto);

impl Arbitrary<'_> for Random {
    fn arbitrary(u: &mut Unstructured<'_>) -> Result<Random> {
        let mut draft = Draft { u, graph: GraphProto::default(), values: Vec::new() };
        let version = draft.u.int_in_range(6..=24)?;
        for i in 0..draft.u.int_in_range(1..=2)? {
            draft.input(format!("x{i}"))?;
        }
        for _ in 0..draft.u.int_in_range(1..=8)? {
            draft.node()?;
        }
        draft.outputs()?;
        let opset_import = vec![OperatorSetIdProto { version, ..Default::default() }];
        let graph = MessageField::some(draft.graph);
        Ok(Random(ModelProto { ir_version: 8, opset_import, graph, ..Default::default() }))
    }
}

impl Random {
    /// The model as a file has it.
    pub fn to_bytes(&self) -> Vec<u8> {
        must(self.0.write_to_bytes())
    }
}

/// A graph on its way.
struct Draft<'a, 'u> {
    u: &'a mut Unstructured<'u>,
    graph: GraphProto,
    values: Vec<String>,
}

impl Draft<'_, '_> {
    fn input(&mut self, name: String) -> Result<()> {
        let kind = *self.u.choose(&TYPES)?;
        let rank = *self.u.choose(&[4, 4, 4, 4, 2, 3, 1, 0])?;
        let shape = self.extents(rank)?;
        self.graph.input.push(declared(&name, kind, &shape));
        self.values.push(name);
        Ok(())
    }

    fn extents(&mut self, rank: usize) -> Result<Vec<i64>> {
        (0..rank).map(|_| self.u.choose(&EXTENTS).copied()).collect()
    }

    /// Adds a node of any operator.
    fn node(&mut self) -> Result<()> {
        let operator = self.u.choose(OPERATORS)?;
        let mut input = Vec::new();
        for kind in operator.operands.chars() {
            // What is optional comes last.
            if kind.is_uppercase() && self.u.ratio(1, 3)? {
                break;
            }
            input.push(self.operand(kind.to_ascii_lowercase())?);
        }
        let attribute = self.attributes(operator)?;
        let output = format!("y{}", self.graph.node.len());
        let mut output = vec![output];
        if self.u.ratio(1, 16)? {
            output.push(format!("z{}", self.graph.node.len()));
        }
        self.values.extend(output.iter().cloned());
        let op_type = operator.name.into();
        self.graph.node.push(NodeProto { op_type, input, output, attribute, ..Default::default() });
        Ok(())
    }

    /// The name of an operand: of any value, or of a constant of this kind.
    fn operand(&mut self, kind: char) -> Result<String> {
        if self.u.ratio(1, 40)? {
            return Ok(self.u.choose(&["", "y9", "nowhere", "x0"])?.to_string());
        }
        match kind {
            // The last value, so that chains grow.
            'x' if self.u.ratio(2, 3)? => Ok(self.values.last().cloned().unwrap_or_default()),
            'x' => self.u.choose(&self.values).cloned(),
            'w' => {
                let kernel = *self.u.choose(&[1, 1, 3, 2])?;
                let shape = [self.extents(2)?, vec![kernel; 2]].concat();
                self.floats(&shape)
            }
            'm' => self.extents(2).and_then(|shape| self.floats(&shape)),
            'c' => self.extents(1).and_then(|shape| self.floats(&shape)),
            's' => self.floats(&[]),
            _ => self.integers(),
        }
    }

    fn floats(&mut self, shape: &[i64]) -> Result<String> {
        let count = shape.iter().product::<i64>();
        let seed: u8 = self.u.arbitrary()?;
        let value = |i: i64| ((i * 37 + i64::from(seed)) % 64 - 20) as f32 / 16.0;
        let raw_data = (0..count).flat_map(|i| value(i).to_le_bytes()).collect();
        let tensor = TensorProto { raw_data, data_type: 1, ..Default::default() };
        Ok(self.constant(tensor, shape))
    }

    /// A list of integers, as axes, shapes and indices are, or a single one.
    fn integers(&mut self) -> Result<String> {
        let length = self.u.int_in_range(0..=5)?;
        let int64_data: Vec<i64> = (0..length).map(|_| self.integer()).collect::<Result<_>>()?;
        let shape = [int64_data.len() as i64];
        let shape = if length == 1 && self.u.arbitrary()? { &[][..] } else { &shape };
        let tensor = TensorProto { int64_data, data_type: 7, ..Default::default() };
        Ok(self.constant(tensor, shape))
    }

    fn constant(&mut self, tensor: TensorProto, shape: &[i64]) -> String {
        let name = format!("w{}", self.graph.initializer.len());
        let (dims, tensor_name) = (shape.to_vec(), name.clone());
        self.graph.initializer.push(TensorProto { dims, name: tensor_name, ..tensor });
        name
    }

    /// A small integer, and now and then one where numbers end.
    fn integer(&mut self) -> Result<i64> {
        match self.u.ratio(1, 30)? {
            true => self.u.choose(&[i64::MIN, i64::MAX, 1 << 31, 1 << 40, -100]).copied(),
            false => self.u.int_in_range(-3..=8),
        }
    }

    /// Some of the operator's attributes, and now and then another one.
    fn attributes(&mut self, operator: &Operator) -> Result<Vec<AttributeProto>> {
        let mut all = Vec::new();
        for name in operator.attributes.split_whitespace() {
            if self.u.ratio(3, 5)? {
                all.push(self.attribute(name)?);
            }
        }
        if self.u.ratio(1, 40)? {
            let other = self.u.choose(OPERATORS)?.attributes;
            for name in other.split_whitespace().take(1) {
                all.push(self.attribute(name)?);
            }
        }
        Ok(all)
    }

    fn attribute(&mut self, name: &str) -> Result<AttributeProto> {
        let mut attribute = AttributeProto { name: name.into(), ..Default::default() };
        let kind = match name {
            "axes" | "perm" | "split" | "starts" | "ends" | "shape" | "value_ints" => {
                attribute.ints = self.list(4)?;
                AttributeType::INTS
            }
            "kernel_shape" | "strides" | "dilations" => {
                attribute.ints =
                    (0..2).map(|_| self.u.choose(&[1, 3, 2, 1]).copied()).collect::<Result<_>>()?;
                AttributeType::INTS
            }
            "pads" => {
                attribute.ints =
                    (0..4).map(|_| self.u.choose(&[1, 1, 0, 2]).copied()).collect::<Result<_>>()?;
                AttributeType::INTS
            }
            "mode"
            | "auto_pad"
            | "approximate"
            | "nearest_mode"
            | "coordinate_transformation_mode" => {
                attribute.s = self.u.choose(table::WORDS)?.as_bytes().to_vec();
                AttributeType::STRING
            }
            "alpha" | "beta" | "epsilon" | "min" | "max" | "momentum" | "value_float" => {
                attribute.f = self.float()?;
                AttributeType::FLOAT
            }
            "value" => {
                let tensor =
                    TensorProto { int64_data: self.list(3)?, data_type: 7, ..Default::default() };
                let dims = vec![tensor.int64_data.len() as i64];
                attribute.t = MessageField::some(TensorProto { dims, ..tensor });
                AttributeType::TENSOR
            }
            _ => {
                attribute.i = self.integer()?;
                AttributeType::INT
            }
        };
        attribute.type_ = kind.into();
        Ok(attribute)
    }

    fn list(&mut self, most: usize) -> Result<Vec<i64>> {
        (0..self.u.int_in_range(0..=most)?).map(|_| self.integer()).collect()
    }

    fn float(&mut self) -> Result<f32> {
        self.u.choose(&[0.5, 1.0, 1e-5, -1.0, 0.0, 6.0, f32::INFINITY, f32::NAN, 1e30]).copied()
    }

    /// The last value and another one, one of them with a type that it may not have.
    fn outputs(&mut self) -> Result<()> {
        let last = self.values.last().cloned().unwrap_or_default();
        self.graph.output.push(ValueInfoProto { name: last, ..Default::default() });
        if self.u.ratio(1, 3)? {
            let name = self.u.choose(&self.values)?.clone();
            let (kind, shape) = (*self.u.choose(&TYPES)?, self.extents(4)?);
            self.graph.output.push(declared(&name, kind, &shape));
        }
        Ok(())
    }
}

/// A value of this element type and shape; 8 is a dimension that is left open.
fn declared(name: &str, elem_type: i32, shape: &[i64]) -> ValueInfoProto {
    let open = || dimension::Value::DimParam("n".into());
    let value = |n: &i64| if *n == 8 { open() } else { dimension::Value::DimValue(*n) };
    let dim = |n| Dimension { value: Some(value(n)), ..Default::default() };
    let shape = TensorShapeProto { dim: shape.iter().map(dim).collect(), ..Default::default() };
    let shape = MessageField::some(shape);
    let tensor = type_proto::Tensor { elem_type, shape, ..Default::default() };
    let value = Some(type_proto::Value::TensorType(tensor));
    let type_ = MessageField::some(TypeProto { value, ..Default::default() });
    ValueInfoProto { name: name.into(), type_, ..Default::default() }
}
