//! From a parsed model to a graph: inputs, initializers, nodes, outputs.

use std::collections::HashSet;

use onnx_protobuf::{GraphProto, ModelProto, TensorProto};

use super::attribute_versions;
use super::builder::{Builder, Environment, Value, ValueId};
use super::context::NodeContext;
use super::declared;
use super::flatten::{Branch, Branches, FlatNode, flatten};
use super::inputs::inputs;
use super::located::NodeOperators;
use super::names::Name;
use super::order::sort;
use super::refusal;
use super::registry::find;
use super::stored;
use super::tensor::TensorReader;
use super::versions::check_ir_version;
use crate::error::{Error, Problem, Result};
use crate::interp::Data;
use crate::ir::Graph;
use crate::onnx::ImportOptions;

/// The graph of a whole model, and the operators of its nodes.
pub(super) fn import_model<'m>(
    model: &'m ModelProto,
    reader: &mut TensorReader<'m>,
    options: &ImportOptions,
) -> Result<(Graph, NodeOperators)> {
    check_model(model)?;
    let nodes = flatten(model)?;
    let given = given(&model.graph)?;
    let nodes = sort(nodes, &given)?;
    let made = nodes.iter().flat_map(FlatNode::made);
    let mut builder = Builder::new(given.iter().cloned().chain(made).collect());
    let mut environment = Environment::new();
    add_inputs(&model.graph, options, &mut builder, &mut environment)?;
    let operators = NodeOperators::of(&nodes);
    let used = used(&model.graph, &nodes);
    add_initializers(&model.graph, &used, reader, &mut builder, &mut environment)?;
    for node in nodes {
        import_located(node, &mut builder, &mut environment, reader)?;
    }
    let outputs = outputs(&model.graph, &environment)?;
    declared::check(&model.graph, |name| match environment.get(name) {
        Some(Value::Tensor(id)) => Some(builder.ty(*id)),
        Some(Value::Widened(..) | Value::Sequence(_) | Value::Missing(_)) | None => None,
    })?;
    Ok((builder.finish(&model.graph.name, &outputs)?, operators))
}

fn check_model(model: &ModelProto) -> Result<()> {
    if model.graph.is_none() {
        return Err(Problem::Malformed("it has no graph".into()).into());
    }
    check_ir_version(model)?;
    if let Some(sparse) = model.graph.sparse_initializer.first() {
        let what = format!("the initializer `{}` is sparse", sparse.values.name);
        return Err(Error::from(Problem::Unsupported(what)).with_remedy("make it dense"));
    }
    Ok(())
}

/// The values that exist without a node. An initializer may share the name of an input, which it
/// then makes a constant.
fn given(graph: &GraphProto) -> Result<HashSet<Name>> {
    let twice = |name: &str, what| -> Error {
        Problem::InvalidGraph(format!("two {what} are called `{name}`")).into()
    };
    let mut inputs = HashSet::new();
    for input in &graph.input {
        if !inputs.insert(Name::from(input.name.as_str())) {
            return Err(twice(&input.name, "inputs"));
        }
    }
    let mut initializers = HashSet::new();
    for tensor in &graph.initializer {
        if tensor.name.is_empty() {
            return Err(Problem::InvalidGraph("an initializer has no name".into()).into());
        }
        if !initializers.insert(Name::from(tensor.name.as_str())) {
            return Err(twice(&tensor.name, "initializers"));
        }
    }
    inputs.extend(initializers);
    Ok(inputs)
}

fn add_inputs(
    graph: &GraphProto,
    options: &ImportOptions,
    builder: &mut Builder,
    environment: &mut Environment,
) -> Result<()> {
    for (name, ty) in inputs(graph, options)? {
        let name = Name::from(name);
        let id = builder.input(name.clone(), ty);
        environment.insert(name, Value::Tensor(id));
    }
    Ok(())
}

/// The values that a node or an output of the model reads.
fn used<'a>(graph: &'a GraphProto, nodes: &'a [FlatNode<'_>]) -> HashSet<&'a str> {
    let read = nodes.iter().flat_map(|n| n.read().map(|name| &**name));
    read.chain(graph.output.iter().map(|output| output.name.as_str())).collect()
}

fn add_initializers<'m>(
    graph: &'m GraphProto,
    used: &HashSet<&str>,
    reader: &mut TensorReader<'m>,
    builder: &mut Builder,
    environment: &mut Environment,
) -> Result<()> {
    for tensor in &graph.initializer {
        if !used.contains(tensor.name.as_str()) {
            reader.check(tensor, &tensor.name)?;
            continue;
        }
        add_initializer(tensor.name.as_str().into(), tensor, reader, builder, environment)?;
    }
    Ok(())
}

fn add_initializer<'m>(
    name: Name,
    tensor: &'m TensorProto,
    reader: &mut TensorReader<'m>,
    builder: &mut Builder,
    environment: &mut Environment,
) -> Result<()> {
    let constant = reader.read(tensor, &tensor.name)?;
    let id = builder.initializer(name.clone(), constant);
    let value = match stored::widened_element(tensor.data_type) {
        Some(element) => Value::Widened(id, element),
        None => Value::Tensor(id),
    };
    environment.insert(name, value);
    Ok(())
}

/// Imports a node, or the nodes of the branch that it chooses. Errors say where they are.
fn import_located<'m>(
    mut node: FlatNode<'m>,
    builder: &mut Builder,
    environment: &mut Environment,
    reader: &mut TensorReader<'m>,
) -> Result<()> {
    let imported = match node.branches.take() {
        None => import_node(&node, builder, environment, reader),
        Some(branches) => import_branch(&node, *branches, builder, environment, reader),
    };
    imported.map_err(|error| node.locate(refusal::advised(error)))
}

/// Imports the branch of an If whose condition is known.
fn import_branch<'m>(
    node: &FlatNode<'m>,
    branches: Branches<'m>,
    builder: &mut Builder,
    environment: &mut Environment,
    reader: &mut TensorReader<'m>,
) -> Result<()> {
    let mut context = NodeContext::new(node, 1, builder, environment, reader);
    let condition = match context.required(0).and_then(|condition| context.known(condition))? {
        Some(tensor) => match tensor.data {
            Data::Int(ref holds) if holds.len() == 1 => holds[0] != 0,
            Data::Int(_) | Data::Float(_) => {
                return Err(Problem::BadNode("its condition is not one bool".into()).into());
            }
        },
        None => {
            let what = "its condition depends on an input: Cardinal compiles no control flow";
            return Err(Error::from(Problem::Unsupported(what.into()))
                .with_remedy(refusal::remedy(node.operator)));
        }
    };
    let Branch { initializers, nodes, captured } =
        if condition { branches.then } else { branches.otherwise };
    let given = initializers.iter().map(|(name, _)| name.clone()).chain(captured).collect();
    for (name, tensor) in initializers {
        add_initializer(name, tensor, reader, builder, environment)?;
    }
    for node in sort(nodes, &given)? {
        import_located(node, builder, environment, reader)?;
    }
    Ok(())
}

fn import_node<'m>(
    node: &FlatNode<'m>,
    builder: &mut Builder,
    environment: &mut Environment,
    reader: &mut TensorReader<'m>,
) -> Result<()> {
    let (operator, since) = find(node.domain, node.operator, node.opset)?;
    operator.check_arity(node.inputs.len(), node.outputs.len())?;
    if node.domain.is_empty() {
        attribute_versions::check(node.operator, since, &node.attributes)?;
    }
    let mut context = NodeContext::new(node, since, builder, environment, reader);
    (operator.import)(&mut context)?;
    context.attributes.check_all_known()?;
    context.check_all_asked()?;
    context.leave_out(&format!("this output of {} is not supported", node.operator));
    Ok(())
}

/// An output that the model may have, and that Cardinal does not give.
fn withheld(name: &str, why: &str) -> Error {
    let what = format!("the output `{name}` cannot be given: {why}");
    Error::from(Problem::Unsupported(what)).with_remedy("export the model without this output")
}

fn outputs(graph: &GraphProto, environment: &Environment) -> Result<Vec<(Name, ValueId)>> {
    let mut outputs: Vec<(Name, ValueId)> = Vec::with_capacity(graph.output.len());
    let mut seen = HashSet::new();
    for output in &graph.output {
        let name = output.name.as_str();
        let wrong = |what: &str| -> Error {
            Problem::InvalidGraph(format!("the output `{name}` {what}")).into()
        };
        if !seen.insert(name) {
            return Err(wrong("is listed twice"));
        }
        match environment.get(name) {
            Some(Value::Tensor(id)) => outputs.push((name.into(), *id)),
            Some(Value::Widened(_, element)) => {
                let why = format!("its element type, {element}, is not supported");
                return Err(withheld(name, &why));
            }
            Some(Value::Sequence(_)) => return Err(withheld(name, "it is a sequence")),
            Some(Value::Missing(why)) => return Err(withheld(name, why)),
            None => return Err(wrong("is made by no node")),
        }
    }
    if outputs.is_empty() {
        return Err(Problem::InvalidGraph("it has no outputs".into()).into());
    }
    Ok(outputs)
}
