//! The graph while it is built: values, what is known of them at compile time, and what is needed.
//!
//! Every value has an entry, made after those of its operands. Entries whose operands are all
//! constant can be evaluated; small integer ones are at once, so that shape arithmetic leaves no
//! nodes, the others when an operator wants to know them. [`Builder::finish`] makes a graph of the
//! entries that the outputs need.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use super::names::{Name, Names};
use super::tensor::{Constant, counted_type};
use crate::error::{Error, Problem, Result};
use crate::interp::{self, Tensor};
use crate::ir::{Graph, Node, NodeId, Op, Origin, TensorType, Weight, infer};
use crate::limits::{ALL_EVALUATED, EVALUATED, VALUES};

/// Integer results of at most so many elements are evaluated at once.
const SMALL: usize = 65_536;

/// Names an entry of the builder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ValueId(usize);

/// What an ONNX value name stands for.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// A tensor.
    Tensor(ValueId),
    /// A constant of elements that graphs do not have, by name, and that were read as i32: for what
    /// dequantizes it alone.
    Widened(ValueId, &'static str),
    /// A sequence of tensors, known by position.
    Sequence(Vec<ValueId>),
    /// An output that its operator's import does not give; why.
    Missing(String),
}

/// What the names of ONNX values stand for.
pub(super) type Environment = HashMap<Name, Value>;

#[derive(Debug)]
enum Content {
    Constant(Constant),
    Node(Op, Vec<(usize, ValueId)>),
}

#[derive(Debug)]
struct Entry {
    content: Content,
    ty: TensorType,
    name: Name,
    /// Whether the name is the ONNX value's, and not a derived one.
    named: bool,
    from: Vec<Origin>,
    constant: bool,
}

/// The graph while it is built.
#[derive(Debug)]
pub(super) struct Builder {
    entries: Vec<Entry>,
    inputs: Vec<ValueId>,
    /// Names that belong to ONNX values.
    reserved: HashSet<Name>,
    known: HashMap<ValueId, Rc<Tensor>>,
    spent: usize,
    /// Values and their axes.
    size: usize,
}

impl Builder {
    /// A builder that keeps derived names clear of the `reserved` ones.
    pub(super) fn new(reserved: HashSet<Name>) -> Builder {
        Builder {
            entries: Vec::new(),
            inputs: Vec::new(),
            reserved,
            known: HashMap::new(),
            spent: 0,
            size: 0,
        }
    }

    /// Adds an input of the model.
    pub(super) fn input(&mut self, name: Name, ty: TensorType) -> ValueId {
        let content = Content::Node(Op::Input, Vec::new());
        let id =
            self.push(Entry { content, ty, name, named: true, from: Vec::new(), constant: false });
        self.inputs.push(id);
        id
    }

    /// Adds an initializer.
    pub(super) fn initializer(&mut self, name: Name, constant: Constant) -> ValueId {
        let id = self.constant(name, constant);
        self.entries[id.0].named = true;
        id
    }

    /// Adds a constant under a derived name.
    pub(super) fn constant(&mut self, name: Name, constant: Constant) -> ValueId {
        let ty = constant.ty.clone();
        let content = Content::Constant(constant);
        self.push(Entry { content, ty, name, named: false, from: Vec::new(), constant: true })
    }

    /// Adds an operator's result under a derived name; the type where `infer` does not give it.
    pub(super) fn node(
        &mut self,
        name: Name,
        from: Origin,
        op: Op,
        operands: Vec<(usize, ValueId)>,
        ty: Option<TensorType>,
    ) -> Result<ValueId> {
        let ty = match ty {
            Some(ty) => ty,
            None => {
                let types: Vec<_> =
                    operands.iter().map(|&(slot, id)| (slot, self.ty(id))).collect();
                infer(&op, &types)?
            }
        };
        counted_type(ty.dtype, &ty.shape()).map_err(Problem::BadNode)?;
        if self.size > VALUES {
            let what = format!("a graph of more than {VALUES} values and axes");
            return Err(Problem::Unsupported(what).into());
        }
        let constant = !operands.is_empty() && operands.iter().all(|(_, id)| self.is_constant(*id));
        let small = !ty.dtype.is_float() && ty.elements() <= SMALL;
        let content = Content::Node(op, operands);
        let from = vec![from];
        let id = self.push(Entry { content, ty, name, named: false, from, constant });
        if constant && small {
            self.settle(id)?;
        }
        Ok(id)
    }

    fn push(&mut self, entry: Entry) -> ValueId {
        self.size += 1 + entry.ty.rank();
        self.entries.push(entry);
        ValueId(self.entries.len() - 1)
    }

    /// Replaces a constant node by its value, unless that is too dear to compute.
    fn settle(&mut self, id: ValueId) -> Result<()> {
        if let Some(tensor) = self.evaluate(id)? {
            let entry = &mut self.entries[id.0];
            let bytes = tensor.to_bytes();
            entry.content = Content::Constant(Constant { ty: entry.ty.clone(), bytes });
            entry.from.clear();
        }
        Ok(())
    }

    /// The value's type.
    pub(super) fn ty(&self, id: ValueId) -> &TensorType {
        &self.entries[id.0].ty
    }

    /// Whether the value depends on no input.
    pub(super) fn is_constant(&self, id: ValueId) -> bool {
        self.entries[id.0].constant
    }

    /// The stored bytes of a constant that is no computation.
    pub(super) fn stored(&self, id: ValueId) -> Option<&Constant> {
        match &self.entries[id.0].content {
            Content::Constant(constant) => Some(constant),
            Content::Node(..) => None,
        }
    }

    /// The operator and operands that compute the value.
    pub(super) fn computed(&self, id: ValueId) -> Option<(&Op, &[(usize, ValueId)])> {
        match &self.entries[id.0].content {
            Content::Constant(_) => None,
            Content::Node(op, operands) => Some((op, operands)),
        }
    }

    /// How many values there are; those made later are not below this.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Gives the value the name of an ONNX value, if it was made since there were `since` values
    /// and has no such name yet.
    pub(super) fn name(&mut self, id: ValueId, name: &Name, since: usize) -> bool {
        let entry = &mut self.entries[id.0];
        let fresh = id.0 >= since && !entry.named;
        if fresh {
            entry.name = name.clone();
            entry.named = true;
        }
        fresh
    }

    /// Gives a value that has only a derived name the name of an ONNX value, which `origin` makes
    /// of it without computing anything.
    pub(super) fn adopt(&mut self, id: ValueId, name: &Name, origin: &Origin) -> bool {
        let adopted = self.name(id, name, 0);
        let entry = &mut self.entries[id.0];
        if adopted && !entry.from.is_empty() {
            entry.from.push(origin.clone());
        }
        adopted
    }

    /// The value as far as it is known at compile time: `None` when it depends on an input or
    /// would be dear to compute.
    pub(super) fn evaluate(&mut self, id: ValueId) -> Result<Option<Rc<Tensor>>> {
        if !self.is_constant(id) {
            return Ok(None);
        }
        let needed = self.unknown_ancestors(id);
        let cost = needed.iter().map(|&n| self.cost(n)).fold(0, usize::saturating_add);
        // Looking is work too, whether or not it is worth computing.
        let dear = cost > EVALUATED;
        self.spent = self.spent.saturating_add(if dear { needed.len() } else { cost });
        if self.spent > ALL_EVALUATED {
            let what = "so much of the model is computed from constants that it should be folded";
            return Err(Error::from(Problem::Unsupported(what.into()))
                .with_remedy("export the model with constant folding"));
        }
        if dear {
            return Ok(None);
        }
        for n in needed {
            let tensor = self.compute(n)?;
            self.known.insert(n, Rc::new(tensor));
        }
        Ok(self.known.get(&id).cloned())
    }

    /// What must be computed to know `id`, itself last, each after its operands.
    fn unknown_ancestors(&self, id: ValueId) -> BTreeSet<ValueId> {
        let mut needed = BTreeSet::new();
        let mut work = vec![id];
        while let Some(next) = work.pop() {
            if self.known.contains_key(&next) || !needed.insert(next) {
                continue;
            }
            if let Content::Node(_, operands) = &self.entries[next.0].content {
                work.extend(operands.iter().map(|(_, operand)| *operand));
            }
        }
        needed
    }

    /// Elements touched to compute a value from its operands, roughly and not too few.
    fn cost(&self, id: ValueId) -> usize {
        let entry = &self.entries[id.0];
        let Content::Node(op, operands) = &entry.content else {
            return entry.ty.elements();
        };
        let sizes = operands.iter().map(|(_, operand)| self.ty(*operand).elements());
        match op {
            Op::Conv(_) | Op::MatMul { .. } | Op::Pool(_) => {
                sizes.fold(entry.ty.elements(), usize::saturating_mul)
            }
            _ => sizes.fold(entry.ty.elements(), usize::saturating_add),
        }
    }

    fn compute(&self, id: ValueId) -> Result<Tensor> {
        let entry = &self.entries[id.0];
        match &entry.content {
            Content::Constant(constant) => Tensor::from_bytes(&constant.ty, &constant.bytes)
                .ok_or_else(|| {
                    Error::internal(format!("constant `{}` has a wrong size", entry.name))
                }),
            Content::Node(op, operands) => {
                let mut values = Vec::with_capacity(operands.len());
                for (slot, operand) in operands {
                    let value = self.known.get(operand);
                    let value = value.ok_or_else(|| Error::internal("an operand is not known"))?;
                    values.push((*slot, value.as_ref()));
                }
                interp::fold(op, &values, &entry.ty)
            }
        }
    }

    /// The graph of what `outputs` need. Inputs are kept in any case.
    pub(super) fn finish(mut self, name: &str, outputs: &[(Name, ValueId)]) -> Result<Graph> {
        let needed = self.needed(outputs);
        let mut graph = Graph::new(name);
        let mut names = Names::new(std::mem::take(&mut self.reserved));
        let mut nodes: HashMap<ValueId, NodeId> = HashMap::new();
        for (index, entry) in self.entries.into_iter().enumerate() {
            let id = ValueId(index);
            if !needed.contains(&id) {
                continue;
            }
            let name = if entry.named {
                entry.name.to_string()
            } else {
                names.unique(&entry.name).to_string()
            };
            let (op, operands) = match entry.content {
                Content::Constant(c) => (Op::Weight(Weight::from_bytes(c.bytes)), Vec::new()),
                Content::Node(op, operands) => (op, operands),
            };
            let operands = operands.into_iter().map(|(slot, operand)| {
                let node = nodes.get(&operand).copied();
                node.map(|node| (slot, node)).ok_or_else(|| Error::internal("an operand is lost"))
            });
            let operands = operands.collect::<Result<Vec<_>>>()?;
            let node = Node { name, op, ty: entry.ty, from: entry.from };
            nodes.insert(id, graph.add(node, &operands));
        }
        for (name, id) in outputs {
            let node = nodes.get(id).ok_or_else(|| Error::internal("an output is lost"))?;
            graph.add_output(name.to_string(), *node);
        }
        Ok(graph)
    }

    fn needed(&self, outputs: &[(Name, ValueId)]) -> HashSet<ValueId> {
        let mut needed: HashSet<ValueId> = self.inputs.iter().copied().collect();
        let mut work: Vec<ValueId> = outputs.iter().map(|(_, id)| *id).collect();
        while let Some(id) = work.pop() {
            if !needed.insert(id) {
                continue;
            }
            if let Content::Node(_, operands) = &self.entries[id.0].content {
                work.extend(operands.iter().map(|(_, operand)| *operand));
            }
        }
        needed
    }
}
