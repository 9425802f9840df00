//! The model's nodes as one list: local functions inlined, attributes bound, names made unique.
//!
//! A value inside a function is named `call/value`, after the node that calls the function; the
//! function's results have the names that the call gives them.

use std::collections::{HashMap, HashSet};

use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto,
};

use super::names::{Name, Names};
use super::refusal;
use super::versions::{Opsets, canonical, opsets};
use crate::error::{Error, Problem, Result};
use crate::ir::Origin;
use crate::limits::{CALLS, INLINED};

/// So many bytes of a name count as one operand.
const NAME_BYTES: usize = 64;

/// An ONNX node after inlining.
#[derive(Debug)]
pub(super) struct FlatNode<'m> {
    /// Its name, or `Operator#index` when it has none.
    pub(super) origin: Origin,
    pub(super) operator: &'m str,
    /// `""` for ONNX's own.
    pub(super) domain: &'m str,
    /// The version of the domain's operator set.
    pub(super) opset: i64,
    /// `None` where an optional input is left out.
    pub(super) inputs: Vec<Option<Name>>,
    /// `None` where an output is not wanted.
    pub(super) outputs: Vec<Option<Name>>,
    /// By name; the name may differ from the message's own, which a function may have bound.
    pub(super) attributes: Vec<(&'m str, &'m AttributeProto)>,
    /// What an If chooses between; `None` of other operators.
    pub(super) branches: Option<Box<Branches<'m>>>,
}

/// The branches of an If, either of which makes the node's outputs.
#[derive(Debug)]
pub(super) struct Branches<'m> {
    pub(super) then: Branch<'m>,
    pub(super) otherwise: Branch<'m>,
}

/// One branch of an If: nodes of their own names, which also read values from around the If.
#[derive(Debug)]
pub(super) struct Branch<'m> {
    pub(super) initializers: Vec<(Name, &'m TensorProto)>,
    pub(super) nodes: Vec<FlatNode<'m>>,
    /// What it reads from around the If.
    pub(super) captured: HashSet<Name>,
}

impl<'m> FlatNode<'m> {
    /// Every value that the node reads, those included that only branches of it read.
    pub(super) fn read(&self) -> impl Iterator<Item = &Name> {
        let branches = self.branches.iter().flat_map(|both| [&both.then, &both.otherwise]);
        self.inputs.iter().flatten().chain(branches.flat_map(|branch| &branch.captured))
    }

    /// Names of all that is made by the node and by nodes of its branches.
    pub(super) fn made(&self) -> Vec<Name> {
        let mut made: Vec<Name> = self.outputs.iter().flatten().cloned().collect();
        for branch in self.branches.iter().flat_map(|both| [&both.then, &both.otherwise]) {
            made.extend(branch.initializers.iter().map(|(name, _)| name.clone()));
            made.extend(branch.nodes.iter().flat_map(FlatNode::made));
        }
        made
    }

    /// The error at this node.
    pub(super) fn locate(&self, error: Error) -> Error {
        error.at(self.origin.to_string(), qualified(self.domain, self.operator))
    }
}

/// The nodes of the model's graph, in file order, with calls replaced by what they call.
pub(super) fn flatten(model: &ModelProto) -> Result<Vec<FlatNode<'_>>> {
    let graph = &model.graph;
    let outputs = graph.node.iter().flat_map(|n| &n.output).map(String::as_str);
    let given = graph.input.iter().map(|v| v.name.as_str());
    let given = given.chain(graph.initializer.iter().map(|t| t.name.as_str()));
    let mut flattener = Flattener {
        functions: functions(model)?,
        names: Names::new(outputs.chain(given).map(Name::from)),
        size: 0,
        nodes: Vec::new(),
    };
    let mut scope = Scope { opsets: opsets(&model.opset_import)?, ..Scope::default() };
    flattener.body(&model.graph.node, &mut scope)?;
    Ok(flattener.nodes)
}

type Key<'m> = (&'m str, &'m str, &'m str);
type Attributes<'m> = Vec<(&'m str, &'m AttributeProto)>;

fn functions(model: &ModelProto) -> Result<HashMap<Key<'_>, &FunctionProto>> {
    let mut functions = HashMap::new();
    for f in &model.functions {
        let key = (canonical(&f.domain), f.name.as_str(), f.overload.as_str());
        if functions.insert(key, f).is_some() {
            let what = format!("two functions are called `{}`", qualified(key.0, key.1));
            return Err(Problem::InvalidGraph(what).into());
        }
    }
    Ok(functions)
}

/// The inside of the model's graph or of one function call.
#[derive(Default)]
struct Scope<'m> {
    /// `call/` inside a function.
    prefix: String,
    opsets: Opsets,
    /// Values of this scope by the names that its nodes use; absent arguments are `None`.
    values: HashMap<&'m str, Option<Name>>,
    /// What the function's attributes are bound to.
    attributes: HashMap<&'m str, &'m AttributeProto>,
    /// The functions around this scope.
    calls: Vec<Key<'m>>,
}

struct Flattener<'m> {
    functions: HashMap<Key<'m>, &'m FunctionProto>,
    names: Names,
    size: usize,
    nodes: Vec<FlatNode<'m>>,
}

impl<'m> Flattener<'m> {
    fn body(&mut self, nodes: &'m [NodeProto], scope: &mut Scope<'m>) -> Result<()> {
        for (index, node) in nodes.iter().enumerate() {
            let origin = origin(node, index, scope);
            self.node(node, &origin, scope).map_err(|error| {
                error.at(origin.to_string(), qualified(canonical(&node.domain), &node.op_type))
            })?;
        }
        Ok(())
    }

    fn node(&mut self, node: &'m NodeProto, origin: &Origin, scope: &mut Scope<'m>) -> Result<()> {
        let own = 1 + node.input.len() + node.output.len() + node.attribute.len();
        self.grow(own + origin.len() / NAME_BYTES)?;
        let domain = canonical(&node.domain);
        let key = (domain, node.op_type.as_str(), node.overload.as_str());
        if domain.is_empty() && node.op_type == "If" {
            return self.choice(node, origin, scope);
        }
        let attributes = bound_attributes(node, scope)?;
        let inputs = node.input.iter().map(|name| self.resolve(name, scope)).collect();
        let outputs = node.output.iter().map(|name| self.resolve(name, scope)).collect();
        if let Some(function) = self.functions.get(&key).copied() {
            return self.call(function, key, origin, (inputs, outputs, attributes), scope);
        }
        let opset = opset(domain, scope)?;
        let operator = node.op_type.as_str();
        let origin = origin.clone();
        let branches = None;
        let flat =
            FlatNode { origin, operator, domain, opset, inputs, outputs, attributes, branches };
        self.nodes.push(flat);
        Ok(())
    }

    /// An If, with the nodes of both of its branches.
    fn choice(
        &mut self,
        node: &'m NodeProto,
        origin: &Origin,
        scope: &mut Scope<'m>,
    ) -> Result<()> {
        let inputs = node.input.iter().map(|name| self.resolve(name, scope)).collect();
        let outputs: Vec<_> = node.output.iter().map(|name| self.resolve(name, scope)).collect();
        let then = self.branch(node, "then_branch", (origin, &outputs), scope)?;
        let otherwise = self.branch(node, "else_branch", (origin, &outputs), scope)?;
        self.nodes.push(FlatNode {
            origin: origin.clone(),
            operator: "If",
            domain: "",
            opset: opset("", scope)?,
            inputs,
            outputs,
            attributes: Vec::new(),
            branches: Some(Box::new(Branches { then, otherwise })),
        });
        Ok(())
    }

    /// A branch, whose results are given the names of the If's.
    fn branch(
        &mut self,
        node: &'m NodeProto,
        attribute: &str,
        (origin, outputs): (&Origin, &[Option<Name>]),
        scope: &Scope<'m>,
    ) -> Result<Branch<'m>> {
        let graph = graph_attribute(node, attribute)?;
        if graph.output.len() != outputs.len() {
            let what = format!("`{attribute}` has {} outputs", graph.output.len());
            return Err(Problem::BadNode(format!("{what}, not {}", outputs.len())).into());
        }
        // Names of the branch hide those around it, which are looked up by all that have been used.
        self.grow(graph.initializer.len() + scope.values.len() / NAME_BYTES)?;
        let mut inner = Scope {
            prefix: format!("{origin}/{attribute}/"),
            opsets: scope.opsets.clone(),
            values: scope.values.clone(),
            attributes: scope.attributes.clone(),
            calls: scope.calls.clone(),
        };
        let made = graph.node.iter().flat_map(|node| &node.output).filter(|name| !name.is_empty());
        let given = graph.initializer.iter().map(|tensor| &tensor.name);
        for name in made.chain(given) {
            let unique = self.unique(&format!("{}{name}", inner.prefix));
            inner.values.insert(name, Some(unique));
        }
        let around = std::mem::take(&mut self.nodes);
        let flattened = self.body(&graph.node, &mut inner);
        for (result, output) in graph.output.iter().zip(outputs) {
            if let Some(output) = output.clone() {
                let value = self.resolve(&result.name, &mut inner);
                self.pass_through(origin, value, output);
            }
        }
        let nodes = std::mem::replace(&mut self.nodes, around);
        flattened?;
        let initializers = graph
            .initializer
            .iter()
            .filter_map(|tensor| Some((inner.values.get(tensor.name.as_str())?.clone()?, tensor)));
        let initializers: Vec<(Name, &TensorProto)> = initializers.collect();
        let own: HashSet<Name> = nodes.iter().flat_map(FlatNode::made).collect();
        let given: HashSet<&Name> = initializers.iter().map(|(name, _)| name).collect();
        let read = nodes.iter().flat_map(FlatNode::read);
        let captured = read.filter(|name| !own.contains(*name) && !given.contains(name));
        let captured = captured.cloned().collect();
        Ok(Branch { initializers, nodes, captured })
    }

    /// Counts what is about to be inlined.
    fn grow(&mut self, by: usize) -> Result<()> {
        self.size = self.size.saturating_add(by);
        if self.size > INLINED {
            return Err(unsupported(format!("more than {INLINED} nodes and operands")));
        }
        Ok(())
    }

    /// The unique name of what a scope calls `name`.
    fn resolve(&mut self, name: &'m str, scope: &mut Scope<'m>) -> Option<Name> {
        if name.is_empty() {
            return None;
        }
        if let Some(known) = scope.values.get(name) {
            return known.clone();
        }
        let unique: Name = match scope.calls.is_empty() {
            true => name.into(),
            false => self.unique(&format!("{}{name}", scope.prefix)),
        };
        scope.values.insert(name, Some(unique.clone()));
        Some(unique)
    }

    fn unique(&mut self, wanted: &str) -> Name {
        self.size += wanted.len() / NAME_BYTES;
        self.names.unique(wanted)
    }

    fn call(
        &mut self,
        function: &'m FunctionProto,
        key: Key<'m>,
        origin: &Origin,
        (inputs, outputs, attributes): (Vec<Option<Name>>, Vec<Option<Name>>, Attributes<'m>),
        caller: &Scope<'m>,
    ) -> Result<()> {
        check_call(function, key, (&inputs, &outputs), caller)?;
        // A call costs what the function declares, however little the call itself writes.
        self.grow(function.input.len() + function.output.len() + function.opset_import.len())?;
        self.grow(function.attribute.len() + function.attribute_proto.len())?;
        let mut scope = Scope {
            prefix: format!("{origin}/"),
            opsets: opsets(&function.opset_import)?,
            calls: caller.calls.iter().copied().chain([key]).collect(),
            attributes: parameters(function, attributes)?,
            ..Scope::default()
        };
        let absent = std::iter::repeat(None);
        for (formal, actual) in function.input.iter().zip(inputs.into_iter().chain(absent)) {
            if scope.values.insert(formal, actual).is_some() {
                let what = format!("two inputs of the function are called `{formal}`");
                return Err(Problem::InvalidGraph(what).into());
            }
        }
        for (formal, actual) in function.output.iter().zip(outputs) {
            let Some(actual) = actual else { continue };
            match scope.values.get(formal.as_str()).cloned() {
                Some(value) => self.pass_through(origin, value, actual),
                None => {
                    scope.values.insert(formal, Some(actual));
                }
            }
        }
        self.body(&function.node, &mut scope)
    }

    /// A function's result that is one of its arguments, or another result once more.
    fn pass_through(&mut self, origin: &Origin, value: Option<Name>, result: Name) {
        self.nodes.push(FlatNode {
            origin: origin.clone(),
            operator: "Identity",
            domain: "",
            opset: 13,
            inputs: vec![value],
            outputs: vec![Some(result)],
            attributes: Vec::new(),
            branches: None,
        });
    }
}

fn check_call(
    function: &FunctionProto,
    key: Key<'_>,
    (inputs, outputs): (&[Option<Name>], &[Option<Name>]),
    caller: &Scope<'_>,
) -> Result<()> {
    if caller.calls.contains(&key) {
        return Err(Problem::InvalidGraph("the function calls itself".into()).into());
    }
    if caller.calls.len() >= CALLS {
        return Err(unsupported(format!("functions call functions more than {CALLS} deep")));
    }
    if inputs.len() > function.input.len() || outputs.len() > function.output.len() {
        let what = "more inputs or outputs than the function has";
        return Err(Problem::BadNode(what.into()).into());
    }
    Ok(())
}

/// A function's attributes as a call binds them: its own, else the default.
fn parameters<'m>(
    function: &'m FunctionProto,
    given: Attributes<'m>,
) -> Result<HashMap<&'m str, &'m AttributeProto>> {
    let defaults = function.attribute_proto.iter().map(|a| (a.name.as_str(), a));
    let mut parameters: HashMap<_, _> = defaults.collect();
    let required: HashSet<&str> = function.attribute.iter().map(String::as_str).collect();
    for (name, attribute) in given {
        if !required.contains(name) && !parameters.contains_key(name) {
            let what = format!("the function has no attribute `{name}`");
            return Err(Problem::BadNode(what).into());
        }
        parameters.insert(name, attribute);
    }
    Ok(parameters)
}

/// A node's attributes, those that refer to the function's replaced by what they refer to.
fn bound_attributes<'m>(node: &'m NodeProto, scope: &Scope<'m>) -> Result<Attributes<'m>> {
    let mut bound: Attributes<'m> = Vec::with_capacity(node.attribute.len());
    let mut seen = HashSet::with_capacity(node.attribute.len());
    for attribute in &node.attribute {
        let name = attribute.name.as_str();
        if !seen.insert(name) {
            return Err(Problem::BadNode(format!("attribute `{name}` is given twice")).into());
        }
        if attribute.ref_attr_name.is_empty() {
            refuse_graphs(attribute, &node.op_type)?;
            bound.push((name, attribute));
        } else if scope.calls.is_empty() {
            let what = format!("attribute `{name}` refers to a function's, but is in none");
            return Err(Problem::InvalidGraph(what).into());
        } else if let Some(value) = scope.attributes.get(attribute.ref_attr_name.as_str()) {
            bound.push((name, value));
        }
    }
    Ok(bound)
}

fn refuse_graphs(attribute: &AttributeProto, operator: &str) -> Result<()> {
    let kind = attribute.type_.enum_value();
    let graph = matches!(kind, Ok(AttributeType::GRAPH | AttributeType::GRAPHS));
    if !graph && attribute.g.is_none() && attribute.graphs.is_empty() {
        return Ok(());
    }
    let what =
        format!("attribute `{}` is a graph: Cardinal compiles no control flow", attribute.name);
    Err(unsupported(what).with_remedy(refusal::remedy(operator)))
}

/// The graph that an attribute of an If holds, which has no other attributes.
fn graph_attribute<'m>(node: &'m NodeProto, name: &str) -> Result<&'m GraphProto> {
    let refuse = |what: String| Error::from(Problem::BadNode(what));
    let known = |attribute: &&AttributeProto| {
        ["then_branch", "else_branch"].contains(&attribute.name.as_str())
    };
    if let Some(other) = node.attribute.iter().find(|attribute| !known(attribute)) {
        return Err(unsupported(format!("attribute `{}`", other.name)));
    }
    let mut named = node.attribute.iter().filter(|attribute| attribute.name == name);
    let found = named.next().ok_or_else(|| refuse(format!("attribute `{name}` is missing")))?;
    if named.next().is_some() {
        return Err(refuse(format!("attribute `{name}` is given twice")));
    }
    found.g.as_ref().ok_or_else(|| refuse(format!("attribute `{name}` holds no graph")))
}

fn opset(domain: &str, scope: &Scope<'_>) -> Result<i64> {
    if let Some(version) = scope.opsets.get(domain) {
        return Ok(*version);
    }
    let what = match domain {
        "" => "no opset_import for ONNX's own operators".to_owned(),
        _ => format!("no opset_import for the domain `{domain}`"),
    };
    Err(Problem::InvalidGraph(what).into())
}

fn origin(node: &NodeProto, index: usize, scope: &Scope<'_>) -> Origin {
    match node.name.as_str() {
        "" => format!("{}{}#{index}", scope.prefix, node.op_type).into(),
        name => format!("{}{name}", scope.prefix).into(),
    }
}

/// The operator with its domain, unless that is ONNX's own.
pub(super) fn qualified(domain: &str, operator: &str) -> String {
    if domain.is_empty() { operator.to_owned() } else { format!("{domain}::{operator}") }
}

fn unsupported(what: String) -> Error {
    Problem::Unsupported(what).into()
}
