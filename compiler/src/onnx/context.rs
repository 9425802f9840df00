//! What an operator's import sees: its ONNX node's operands and attributes, and the builder.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use super::attributes::Attributes;
use super::builder::{Builder, Environment, Value, ValueId};
use super::flatten::FlatNode;
use super::names::Name;
use super::refusal::{bad, unsupported};
use super::stored::widened_element;
use super::tensor::{Constant, TensorReader, counted_type};
use crate::error::{Error, Result};
use crate::interp::{Data, Tensor};
use crate::ir::{Binary, DType, Epilogue, Op, TensorType, Unary};

/// Bytes of an ONNX name that go into a derived one.
const MAX_STEM: usize = 512;

/// One ONNX node during its import.
pub(super) struct NodeContext<'a, 'm> {
    /// The since-version of the operator that the model's operator set gives.
    pub(super) since: i64,
    /// The node's attributes.
    pub(super) attributes: Attributes<'a, 'm>,
    node: &'a FlatNode<'m>,
    builder: &'a mut Builder,
    environment: &'a mut Environment,
    reader: &'a mut TensorReader<'m>,
    /// How many values there were before this node.
    before: usize,
    /// The operands that the import has looked at.
    asked: RefCell<BTreeSet<usize>>,
}

impl<'a, 'm> NodeContext<'a, 'm> {
    /// The context of `node`, whose operator has the version `since`.
    pub(super) fn new(
        node: &'a FlatNode<'m>,
        since: i64,
        builder: &'a mut Builder,
        environment: &'a mut Environment,
        reader: &'a mut TensorReader<'m>,
    ) -> Self {
        let before = builder.len();
        let attributes = Attributes::new(&node.attributes);
        let asked = RefCell::default();
        NodeContext { since, attributes, node, builder, environment, reader, before, asked }
    }

    /// The operator's name.
    pub(super) fn operator(&self) -> &'m str {
        self.node.operator
    }

    // Operands.

    /// How many operands are listed, absent ones included.
    pub(super) fn inputs(&self) -> usize {
        self.node.inputs.len()
    }

    /// Operand `index`, a tensor.
    pub(super) fn required(&self, index: usize) -> Result<ValueId> {
        self.optional(index)?.ok_or_else(|| bad(format!("operand {index} is missing")))
    }

    /// Operand `index`, a tensor, if it is given.
    pub(super) fn optional(&self, index: usize) -> Result<Option<ValueId>> {
        match self.lookup(index)? {
            None => Ok(None),
            Some((_, Value::Tensor(id))) => Ok(Some(*id)),
            Some((name, Value::Widened(_, element))) => {
                let what = format!("`{name}`: element type {element} is not supported here");
                Err(unsupported(what).with_remedy("quantize the model to 8 bits"))
            }
            Some((name, Value::Sequence(_))) => {
                Err(bad(format!("operand {index} (`{name}`) is a sequence, not a tensor")))
            }
            Some((name, Value::Missing(why))) => Err(unsupported(format!("`{name}`: {why}"))),
        }
    }

    /// As [`required`](Self::required), for what takes integers of any type, if only as i32.
    pub(super) fn integers(&self, index: usize) -> Result<ValueId> {
        let found = self.optional_integers(index)?;
        found.ok_or_else(|| bad(format!("operand {index} is missing")))
    }

    /// As [`optional`](Self::optional), for what takes integers of any type, if only as i32.
    pub(super) fn optional_integers(&self, index: usize) -> Result<Option<ValueId>> {
        match self.lookup(index)? {
            Some((_, Value::Widened(id, _))) => Ok(Some(*id)),
            _ => self.optional(index),
        }
    }

    /// Operand `index`, a sequence.
    pub(super) fn sequence(&self, index: usize) -> Result<Vec<ValueId>> {
        match self.lookup(index)? {
            Some((_, Value::Sequence(parts))) => Ok(parts.clone()),
            _ => Err(bad(format!("operand {index} is not a sequence"))),
        }
    }

    /// Accepts an operand that makes no difference.
    pub(super) fn ignore(&self, index: usize) {
        self.asked.borrow_mut().insert(index);
    }

    /// Refuses an operand that the import has not looked at: this version of the operator has none
    /// there.
    pub(super) fn check_all_asked(&self) -> Result<()> {
        let asked = self.asked.borrow();
        let given = self.node.inputs.iter().enumerate();
        let mut given = given.filter_map(|(index, name)| Some((index, name.as_ref()?)));
        match given.find(|(index, _)| !asked.contains(index)) {
            Some((index, name)) => {
                let (operator, since) = (self.operator(), self.since);
                let what = format!("operand {index} (`{name}`), which {operator} of operator set");
                Err(bad(format!("{what} {since} does not have")))
            }
            None => Ok(()),
        }
    }

    fn lookup(&self, index: usize) -> Result<Option<(&'a Name, &Value)>> {
        self.ignore(index);
        let Some(name) = self.node.inputs.get(index).and_then(Option::as_ref) else {
            return Ok(None);
        };
        let value = self.environment.get(name);
        let value = value.ok_or_else(|| Error::internal(format!("`{name}` is not there yet")))?;
        Ok(Some((name, value)))
    }

    /// All operands from `first` on.
    pub(super) fn variadic(&self, first: usize) -> Result<Vec<ValueId>> {
        (first..self.inputs()).map(|i| self.required(i)).collect()
    }

    /// The value's type.
    pub(super) fn ty(&self, id: ValueId) -> &TensorType {
        self.builder.ty(id)
    }

    /// The value's element type.
    pub(super) fn dtype(&self, id: ValueId) -> DType {
        self.ty(id).dtype
    }

    /// The value's extents.
    pub(super) fn shape(&self, id: ValueId) -> Vec<usize> {
        self.ty(id).shape()
    }

    // What is known at compile time.

    /// Whether the value depends on no input.
    pub(super) fn is_constant(&self, id: ValueId) -> bool {
        self.builder.is_constant(id)
    }

    /// The operator and operands that compute the value.
    pub(super) fn computed(&self, id: ValueId) -> Option<(&Op, &[(usize, ValueId)])> {
        self.builder.computed(id)
    }

    /// The value, if it is known at compile time.
    pub(super) fn known(&mut self, id: ValueId) -> Result<Option<Rc<Tensor>>> {
        self.builder.evaluate(id)
    }

    /// Operand `index` if it is given; it must be known at compile time.
    pub(super) fn constant(&mut self, index: usize) -> Result<Option<Rc<Tensor>>> {
        let Some(id) = self.optional(index)? else {
            return Ok(None);
        };
        if let Some(tensor) = self.known(id)? {
            return Ok(Some(tensor));
        }
        let name = self.lookup(index)?.map_or("", |(name, _)| name);
        Err(unsupported(format!("operand {index} (`{name}`) must be known at compile time"))
            .with_remedy("export the model for fixed shapes and with constant folding"))
    }

    /// The integers of operand `index`, if it is given: one, or a list of them.
    pub(super) fn constant_ints(&mut self, index: usize) -> Result<Option<Vec<i64>>> {
        match self.constant(index)?.as_deref() {
            None => Ok(None),
            Some(tensor) if tensor.shape.len() > 1 => Err(no_list(index, tensor)),
            Some(Tensor { data: Data::Int(values), .. }) => Ok(Some(values.clone())),
            Some(_) => Err(bad(format!("operand {index} must hold integers"))),
        }
    }

    /// The floats of operand `index`, if it is given: one, or a list of them.
    pub(super) fn constant_floats(&mut self, index: usize) -> Result<Option<Vec<f64>>> {
        match self.constant(index)?.as_deref() {
            None => Ok(None),
            Some(tensor) if tensor.shape.len() > 1 => Err(no_list(index, tensor)),
            Some(Tensor { data: Data::Float(values), .. }) => Ok(Some(values.clone())),
            Some(_) => Err(bad(format!("operand {index} must hold floats"))),
        }
    }

    /// The one number of operand `index`, if it is given: integers are widened.
    pub(super) fn constant_scalar(&mut self, index: usize) -> Result<Option<f64>> {
        let Some(tensor) = self.constant(index)? else {
            return Ok(None);
        };
        let one = match &tensor.data {
            Data::Float(v) if v.len() == 1 => Some(v[0]),
            Data::Int(v) if v.len() == 1 => Some(v[0] as f64),
            Data::Float(_) | Data::Int(_) => None,
        };
        one.map(Some).ok_or_else(|| bad(format!("operand {index} must hold one number")))
    }

    /// The constant of a tensor attribute.
    pub(super) fn tensor_attribute(&mut self, name: &str) -> Result<Option<Constant>> {
        match self.attributes.tensor(name)? {
            Some(tensor) if let Some(element) = widened_element(tensor.data_type) => {
                let what = format!("attribute `{name}`: element type {element} is not supported");
                Err(unsupported(what).with_remedy("store the constant as an initializer"))
            }
            Some(tensor) => Ok(Some(self.reader.read(tensor, name)?)),
            None => Ok(None),
        }
    }

    // New values.

    /// Adds an operator whose operands fill the slots from 0 on.
    pub(super) fn emit(&mut self, op: Op, operands: &[ValueId]) -> Result<ValueId> {
        let slots = operands.iter().copied().enumerate().collect();
        self.emit_slots(op, slots, None)
    }

    /// Adds an operator whose result type is its own: reshapes, expands and slices.
    pub(super) fn emit_typed(
        &mut self,
        op: Op,
        operand: ValueId,
        shape: &[usize],
    ) -> Result<ValueId> {
        let ty = counted_type(self.dtype(operand), shape).map_err(bad)?;
        self.emit_slots(op, vec![(0, operand)], Some(ty))
    }

    /// Adds an operator; the type where `infer` does not give it.
    pub(super) fn emit_slots(
        &mut self,
        op: Op,
        operands: Vec<(usize, ValueId)>,
        ty: Option<TensorType>,
    ) -> Result<ValueId> {
        let name = self.derived(op.mnemonic());
        let id = self.builder.node(name, self.node.origin.clone(), op, operands, ty)?;
        if self.dtype(id) == DType::F64 && !self.is_constant(id) {
            return Err(unsupported("computing in float64".to_owned())
                .with_remedy("export the model in float32"));
        }
        Ok(id)
    }

    /// Adds an elementwise function.
    pub(super) fn unary(&mut self, f: Unary, x: ValueId) -> Result<ValueId> {
        self.emit(Op::Unary(f, Epilogue::none()), &[x])
    }

    /// Adds an elementwise function of two operands.
    pub(super) fn binary(&mut self, f: Binary, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.emit(Op::Binary(f, Epilogue::none()), &[a, b])
    }

    /// The value under another shape; a stored constant is only relabelled.
    pub(super) fn reshape(&mut self, id: ValueId, shape: &[usize]) -> Result<ValueId> {
        if self.shape(id) == shape {
            return Ok(id);
        }
        let ty = counted_type(self.dtype(id), shape).map_err(bad)?;
        if ty.elements() != self.ty(id).elements() {
            return Err(bad(format!("{} does not reshape to {ty}", self.ty(id))));
        }
        match self.builder.stored(id).map(|constant| constant.bytes.clone()) {
            Some(bytes) => Ok(self.stored("shaped", Constant { ty, bytes })),
            None => self.emit_slots(Op::Reshape, vec![(0, id)], Some(ty)),
        }
    }

    /// The value as another element type; a known one is converted at once.
    pub(super) fn cast(&mut self, id: ValueId, to: DType) -> Result<ValueId> {
        if self.dtype(id) == to {
            return Ok(id);
        }
        let cast = self.emit(Op::Cast { to }, &[id])?;
        match self.known(cast)? {
            Some(tensor) => Ok(self.tensor(tensor.as_ref())),
            None => Ok(cast),
        }
    }

    /// Adds a constant.
    pub(super) fn tensor(&mut self, tensor: &Tensor) -> ValueId {
        self.stored("constant", Constant { ty: tensor.ty(), bytes: tensor.to_bytes() })
    }

    /// Adds a constant of i64 elements.
    pub(super) fn ints(&mut self, shape: &[usize], values: Vec<i64>) -> ValueId {
        let (dtype, shape) = (DType::I64, shape.to_vec());
        self.tensor(&Tensor { dtype, shape, data: Data::Int(values) })
    }

    /// Adds a constant of f32 elements.
    pub(super) fn floats(&mut self, shape: &[usize], values: Vec<f64>) -> ValueId {
        let (dtype, shape) = (DType::F32, shape.to_vec());
        self.tensor(&Tensor { dtype, shape, data: Data::Float(values) })
    }

    /// Adds one number as a constant without axes.
    pub(super) fn scalar(&mut self, dtype: DType, value: f64) -> ValueId {
        let data = match dtype.is_float() {
            true => Data::Float(vec![value]),
            false => Data::Int(vec![value as i64]),
        };
        self.tensor(&Tensor { dtype, shape: Vec::new(), data })
    }

    /// Adds a constant.
    pub(super) fn stored(&mut self, part: &str, constant: Constant) -> ValueId {
        let name = self.derived(part);
        self.builder.constant(name, constant)
    }

    /// `value:part`, after the node's first output, whose name may be as long as the file and is
    /// shortened.
    fn derived(&self, part: &str) -> Name {
        let output = self.node.outputs.iter().flatten().next();
        let stem = output.map_or(&*self.node.origin, |name| &**name);
        let stem = &stem[..stem.floor_char_boundary(MAX_STEM)];
        format!("{stem}:{part}").into()
    }

    // Results.

    /// How many outputs are listed, unwanted ones included.
    pub(super) fn outputs(&self) -> usize {
        self.node.outputs.len()
    }

    /// Whether output `index` is given a name.
    pub(super) fn wants(&self, index: usize) -> bool {
        self.node.outputs.get(index).is_some_and(Option::is_some)
    }

    /// Makes `id` the node's output `index`. A value of another node gets a name of its own.
    pub(super) fn bind(&mut self, index: usize, id: ValueId) -> Result<()> {
        let Some(Some(name)) = self.node.outputs.get(index) else {
            return Ok(());
        };
        let mut id = id;
        if !self.builder.name(id, name, self.before) {
            id = self.emit(Op::Identity, &[id])?;
            self.builder.name(id, name, self.before);
        }
        self.environment.insert(name.clone(), Value::Tensor(id));
        Ok(())
    }

    /// Makes a part of a sequence the node's first output.
    pub(super) fn bind_part(&mut self, part: ValueId) -> Result<()> {
        let Some(Some(name)) = self.node.outputs.first() else {
            return Ok(());
        };
        if !self.builder.adopt(part, name, &self.node.origin) {
            return self.bind(0, part);
        }
        self.environment.insert(name.clone(), Value::Tensor(part));
        Ok(())
    }

    /// Makes a sequence the node's only output.
    pub(super) fn bind_sequence(&mut self, parts: Vec<ValueId>) {
        if let Some(Some(name)) = self.node.outputs.first() {
            self.environment.insert(name.clone(), Value::Sequence(parts));
        }
    }

    /// Says why the outputs not bound yet are not there, should anything read them.
    pub(super) fn leave_out(&mut self, why: &str) {
        for name in self.node.outputs.iter().flatten() {
            if !self.environment.contains_key(name) {
                self.environment.insert(name.clone(), Value::Missing(why.to_owned()));
            }
        }
    }
}

fn no_list(index: usize, tensor: &Tensor) -> Error {
    bad(format!("operand {index} is {}, and must be a list: have one axis", tensor.ty()))
}

/// `axis` counted from the front, for `rank` axes.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize> {
    let signed = i64::try_from(rank).unwrap_or(i64::MAX);
    let counted = if axis < 0 { axis.saturating_add(signed) } else { axis };
    match usize::try_from(counted) {
        Ok(n) if n < rank => Ok(n),
        _ => Err(bad(format!("axis {axis} of {rank} axes"))),
    }
}

/// `axes` counted from the front, ascending, without repeats.
pub(super) fn sorted_axes(axes: &[i64], rank: usize) -> Result<Vec<usize>> {
    let mut sorted = axes.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<_>>>()?;
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(bad(format!("axes {axes:?} name one axis twice")));
    }
    Ok(sorted)
}
