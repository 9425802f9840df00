//! Graphs and schedules from their texts.

use std::collections::HashMap;

use cardinal_compiler::error::{Error as ModelError, Problem};
use cardinal_compiler::ir::{self, Graph, Node, NodeId, Op, Weight};
use cardinal_compiler::options::CompileOptions;
use cardinal_compiler::pipeline::{Keep, Pipeline};
use cardinal_compiler::schedule::{self, Summary};

use super::{Model, ModelResult};

/// The most bytes of weights that `rand` makes up in a text, which says so in a few words each.
const MADE_UP_BYTES: usize = 2 << 30;

/// Weights by their hashes.
type Weights = HashMap<u64, Weight>;

/// Reads a graph, and its weights from what another model has before, between and after its passes.
///
/// # Errors
/// Those of parsing and verifying, and [`Problem::BadTensor`] for a weight whose elements are not there.
pub(crate) fn import_text(source: &str, donor: Option<&Model>) -> ModelResult<Model> {
    let graph = ir::text::parse(source)?;
    ir::verify(&graph).map_err(by_hand)?;
    check_made_up(&graph)?;
    let weights = donor.map(weights).transpose()?.unwrap_or_default();
    let graph = filled(&graph, &weights)?;
    let mut digest = blake3::Hasher::new();
    digest.update(source.as_bytes());
    digest.update(&donor.map(|model| model.digest).unwrap_or_default());
    let metadata = donor.map(|model| model.metadata.clone()).unwrap_or_default();
    let operators = donor.map(|model| model.operators.clone()).unwrap_or_default();
    Ok(Model { graph, metadata, digest: *digest.finalize().as_bytes(), operators })
}

/// Refuses a graph whose made-up weights are more than [`MADE_UP_BYTES`].
fn check_made_up(graph: &Graph) -> ModelResult<()> {
    let mut all = 0usize;
    for id in graph.nodes() {
        let Node { op: Op::Weight(weight), ty, name, .. } = graph.node(id) else { continue };
        if weight.seed().is_none() {
            continue;
        }
        all = all.saturating_add(ty.bytes());
        if all > MADE_UP_BYTES {
            let what =
                format!("with it, weights of rand(…) are more than {} GiB", MADE_UP_BYTES >> 30);
            let problem = Problem::BadTensor { name: name.clone(), what };
            return Err(Box::new(
                ModelError::from(problem).with_remedy("make the weights of the text smaller"),
            ));
        }
    }
    Ok(())
}

/// What a rule of graphs that does not hold is in a text that somebody has written: no bug of Cardinal's.
fn by_hand(error: ModelError) -> ModelError {
    match error.problem {
        Problem::Internal(what) => ModelError { problem: Problem::InvalidGraph(what), ..error },
        problem => ModelError { problem, ..error },
    }
}

/// Reads a schedule.
///
/// # Errors
/// [`Problem::Text`].
pub(crate) fn read_schedule(source: &str) -> ModelResult<Summary> {
    Ok(schedule::text::parse(source)?)
}

/// All weights that a model has on its way through the passes.
fn weights(model: &Model) -> ModelResult<Weights> {
    let options = CompileOptions::default();
    let keep = Keep { graphs: true, ..Keep::default() };
    let trace = Pipeline::new(model, &options).keeping(keep).passes(None)?;
    let after = trace.passes.iter().filter_map(|pass| pass.after.as_ref());
    let mut weights = Weights::new();
    for graph in std::iter::once(&model.graph).chain(after) {
        for id in graph.nodes() {
            if let Op::Weight(weight) = &graph.node(id).op {
                weights.insert(weight.hash(), weight.clone());
            }
        }
    }
    Ok(weights)
}

/// The graph with the elements of its weights.
fn filled(graph: &Graph, weights: &Weights) -> ModelResult<Graph> {
    let mut copy = Graph::new(graph.name.clone());
    let mut copies = HashMap::<NodeId, NodeId>::new();
    // Inputs keep their order.
    let inputs = graph.inputs();
    let others = graph.topological().into_iter().filter(|id| !inputs.contains(id));
    for id in inputs.iter().copied().chain(others) {
        let operands = graph.operands(id).into_iter();
        let operands: Vec<_> = operands.map(|(slot, id)| (slot, copies[&id])).collect();
        copies.insert(id, copy.add(known(graph.node(id), weights)?, &operands));
    }
    for output in graph.outputs() {
        copy.add_output(output.name.clone(), copies[&output.node]);
    }
    Ok(copy)
}

/// The node, with its elements if it is a weight.
fn known(node: &Node, weights: &Weights) -> ModelResult<Node> {
    let Op::Weight(weight) = &node.op else { return Ok(node.clone()) };
    let found = if weight.is_known(&node.ty) { Some(weight) } else { weights.get(&weight.hash()) };
    match found.filter(|found| found.is_known(&node.ty)) {
        Some(found) => Ok(Node { op: Op::Weight(found.clone()), ..node.clone() }),
        None => {
            let what =
                format!("its elements are not known, only their hash #{:016x}", weight.hash());
            let problem = Problem::BadTensor { name: node.name.clone(), what };
            Err(Box::new(ModelError::from(problem).with_remedy(
                "give the model that has it with --weights-from MODEL.onnx, or write rand(1) for the hash",
            )))
        }
    }
}
