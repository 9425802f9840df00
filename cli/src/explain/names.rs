//! What a name means: a node of the file, a value, a step of the plan, a function, or an operator.

use std::collections::BTreeSet;

use cardinal_compiler::ir::{Graph, NodeId, Origin};

use super::Compiled;
use super::code;
use crate::exit::{Failure, Outcome};

/// Names that are suggested at most.
const SUGGESTED: usize = 6;

/// What a name means, and all that belongs to it.
#[derive(Default)]
pub(super) struct Meaning {
    /// In full.
    pub(super) name: String,
    pub(super) kind: &'static str,
    /// Nodes of the file.
    pub(super) origins: BTreeSet<Origin>,
    /// Nodes after all passes.
    pub(super) fused: Vec<NodeId>,
    /// By number.
    pub(super) steps: Vec<usize>,
    /// If it is of functions that the name is.
    pub(super) functions: Vec<String>,
}

impl Meaning {
    /// Finds what is called so, or else the one thing whose name ends so.
    ///
    /// # Errors
    /// [`Failure::Usage`] for nothing and for several.
    pub(super) fn of(compiled: &Compiled<'_>, name: &str) -> Outcome<Meaning> {
        if let Some(meaning) = named(compiled, name) {
            return Ok(meaning);
        }
        let known = known(compiled);
        let ending: Vec<&String> = known.iter().filter(|known| known.ends_with(name)).collect();
        match ending[..] {
            [only] if !name.is_empty() => {
                named(compiled, only).ok_or_else(|| unknown(name, &known))
            }
            [_, _, ..] if !name.is_empty() => {
                Err(Failure::usage(format!("{} names end in `{name}`", ending.len()))
                    .with_help(format!("they are {}", listed(ending.into_iter()))))
            }
            _ => Err(unknown(name, &known)),
        }
    }
}

/// What is called exactly so.
fn named(compiled: &Compiled<'_>, name: &str) -> Option<Meaning> {
    let name_of = |meaning: Meaning| Meaning { name: name.to_owned(), ..meaning };
    let found = of_step(compiled, name)
        .or_else(|| of_origin(compiled, name))
        .or_else(|| of_value(compiled, name))
        .or_else(|| of_function(compiled, name))
        .or_else(|| of_operator(compiled, name));
    found.map(name_of)
}

/// `#12`
fn of_step(compiled: &Compiled<'_>, name: &str) -> Option<Meaning> {
    let number: usize = name.strip_prefix('#')?.parse().ok()?;
    let step = compiled.plan.steps.get(number)?;
    let origins = step.from.iter().cloned().collect();
    let fused = compiled.graph.find(&step.name).into_iter().collect();
    Some(Meaning {
        kind: "step of the plan",
        origins,
        fused,
        steps: vec![number],
        ..Meaning::default()
    })
}

fn of_origin(compiled: &Compiled<'_>, name: &str) -> Option<Meaning> {
    let origin: Origin = name.into();
    let is_from = |graph: &Graph, id: &NodeId| graph.node(*id).from.contains(&origin);
    let graph = &compiled.graph;
    // Of an artifact only those are known that something is left of.
    let known = compiled.imported.unwrap_or(graph);
    known.nodes().find(|id| is_from(known, id))?;
    let fused: Vec<NodeId> =
        graph.topological().into_iter().filter(|id| is_from(graph, id)).collect();
    let steps = steps_of(compiled, &fused);
    Some(Meaning {
        kind: "node of the file",
        origins: [origin].into(),
        fused,
        steps,
        ..Meaning::default()
    })
}

fn of_value(compiled: &Compiled<'_>, name: &str) -> Option<Meaning> {
    let name = name.strip_prefix('%').unwrap_or(name);
    let (imported, graph) = (compiled.imported, &compiled.graph);
    let fused = graph.find(name);
    let from = |graph: &Graph, id: NodeId| graph.node(id).from.iter().cloned().collect();
    let imported = imported.and_then(|graph| Some((graph, graph.find(name)?)));
    let (origin, id) = fused.map(|id| (graph, id)).or(imported)?;
    let origins: BTreeSet<Origin> = from(origin, id);
    // A value that is no more lives on in what came from the same nodes.
    let fused: Vec<NodeId> = match fused {
        Some(id) => vec![id],
        None => {
            let touches = |id: &NodeId| graph.node(*id).from.iter().any(|f| origins.contains(f));
            graph.topological().into_iter().filter(touches).collect()
        }
    };
    let steps = steps_of(compiled, &fused);
    Some(Meaning { kind: "value", origins, fused, steps, ..Meaning::default() })
}

fn of_function(compiled: &Compiled<'_>, name: &str) -> Option<Meaning> {
    compiled.code.functions.iter().find(|function| function.name == name)?;
    let callers = code::callers(compiled, name);
    let has = |number: &usize| callers.contains(compiled.functions[*number].as_str());
    let steps: Vec<usize> = (0..compiled.plan.steps.len()).filter(has).collect();
    let made = steps.iter().map(|number| &compiled.plan.steps[*number]);
    let origins = made.clone().flat_map(|step| step.from.iter().cloned()).collect();
    let mut fused: Vec<NodeId> = made.filter_map(|step| compiled.graph.find(&step.name)).collect();
    fused.dedup();
    Some(Meaning {
        kind: "function",
        origins,
        fused,
        steps,
        functions: vec![name.into()],
        ..Meaning::default()
    })
}

/// `split_attention`: the first of them that is left after all passes, as an example.
fn of_operator(compiled: &Compiled<'_>, name: &str) -> Option<Meaning> {
    let graph = &compiled.graph;
    let is_one = |id: &NodeId| graph.node(*id).op.mnemonic() == name;
    let first = graph.topological().into_iter().find(is_one)?;
    let meaning = of_value(compiled, &graph.node(first).name)?;
    Some(Meaning { kind: "kind of operator, of which this is the first", ..meaning })
}

/// The steps that make the values of nodes.
fn steps_of(compiled: &Compiled<'_>, nodes: &[NodeId]) -> Vec<usize> {
    let graph = &compiled.graph;
    let names: BTreeSet<&str> = nodes.iter().map(|id| graph.node(*id).name.as_str()).collect();
    let steps = compiled.plan.steps.iter().enumerate();
    steps.filter(|(_, step)| names.contains(step.name.as_str())).map(|(number, _)| number).collect()
}

/// Every name that means something.
fn known(compiled: &Compiled<'_>) -> BTreeSet<String> {
    let graphs = compiled.imported.into_iter().chain([&compiled.graph]);
    let nodes = graphs.flat_map(|graph| graph.nodes().map(|id| graph.node(id)));
    let names =
        nodes.flat_map(|node| node.from.iter().map(ToString::to_string).chain([node.name.clone()]));
    let functions = compiled.code.functions.iter().map(|function| function.name.clone());
    names.chain(functions).collect()
}

fn unknown(name: &str, known: &BTreeSet<String>) -> Failure {
    let mut near: Vec<(f64, &String)> =
        known.iter().map(|known| (strsim::jaro_winkler(known, name), known)).collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    let holding = known.iter().filter(|known| !name.is_empty() && known.contains(name));
    let mut suggested: Vec<&String> = holding.take(SUGGESTED).collect();
    suggested
        .extend(near.into_iter().filter(|(nearness, _)| *nearness > 0.6).map(|(_, known)| known));
    let mut seen = BTreeSet::new();
    suggested.retain(|known| seen.insert(known.as_str()));
    let help = match suggested.is_empty() {
        true => "cardinal inspect MODEL --stage import lists nodes and values".to_owned(),
        false => format!("similar names are {}", listed(suggested.into_iter())),
    };
    Failure::usage(format!("nothing in this model is called `{name}`")).with_help(help)
}

fn listed<'n>(names: impl Iterator<Item = &'n String>) -> String {
    names.take(SUGGESTED).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
