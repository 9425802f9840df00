//! `verify --layers`: the error of each operator, beside what rounding alone explains.
//!
//! Every value of the graph after all passes becomes an output of compiled code. Each operator is then evaluated in
//! f64 on the values that its code has read, so that an error is that operator's own, and not what came to it. Where
//! all values are seen, layers may be computed otherwise than where they are not: the way that is taken is said.

mod report;

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;

use cardinal_compiler::ir::{Graph, NodeId, Op, Origin};
use cardinal_compiler::schedule::{Choice, Summary};

use crate::engine::{self, Alone, Model, Pipeline, Settings};
use crate::exit::Outcome;
use crate::loading;
use crate::model_file::ModelFile;
use crate::program::{Program, Session};
use crate::tensors::Array;

/// An error is more than rounding explains when it is more than this many times what is estimated.
const SUSPICIOUS: f64 = 4.0;

/// Factors of an error by other products than the definition's: Winograd's and Strassen's sums cancel.
const OTHER_PRODUCTS: f64 = 4.0;

/// Roundings to bfloat16 are as many times those to f32.
const BFLOAT16: f64 = 65_536.0;

/// Every operator that computes something, in the order of the graph.
pub(crate) struct Layers(Vec<Layer>);

/// An operator.
pub(crate) struct Layer {
    /// The value that it makes.
    name: String,
    op: &'static str,
    /// The way that it is computed, where there is a choice.
    by: Option<String>,
    from: Vec<Origin>,
    /// The largest difference from what the operator gives, in f64, on what its code has read. Infinite where
    /// only one of two elements is finite.
    error: f64,
    /// The largest magnitude of its result.
    magnitude: f64,
    /// What rounding alone explains.
    rounding: f64,
}

impl Layers {
    /// Runs the model with these inputs, and each of its operators.
    ///
    /// # Errors
    /// Those of compiling and running.
    pub(crate) fn measure(
        file: &ModelFile,
        model: &Model,
        settings: &Settings,
        inputs: &[Array],
        threads: NonZeroUsize,
    ) -> Outcome<Layers> {
        let refused = |error| loading::refused(file, error);
        let passes = Pipeline::new(model, &settings.compile).passes(None);
        let graph = passes.map_err(|error| loading::refused(file, error))?.graph;
        let computed: Vec<NodeId> =
            graph.topological().into_iter().filter(|id| is_computed(&graph, *id)).collect();
        let watched = Model { graph: watched(&graph, &computed), ..model.clone() };
        let values = values(file, &watched, settings, inputs, threads)?;
        let taken = taken(&watched, settings).map_err(refused)?;
        let layer = |id: &NodeId| {
            let alone = Alone::of(&graph, *id, &values).map_err(refused)?;
            let by = taken.get(&graph.node(*id).name);
            Ok(Layer::of(&graph, *id, &values, &alone, by))
        };
        Ok(Layers(computed.iter().map(layer).collect::<Outcome<_>>()?))
    }
}

fn is_computed(graph: &Graph, id: NodeId) -> bool {
    !matches!(graph.node(id).op, Op::Input | Op::Weight(_))
}

/// The graph with every value among its outputs.
fn watched(graph: &Graph, computed: &[NodeId]) -> Graph {
    let mut watched = graph.clone();
    let unseen = computed.iter().filter(|id| !graph.is_output(**id));
    unseen.for_each(|id| watched.add_output(graph.node(*id).name.clone(), *id));
    watched
}

/// What compiled code makes of each value, by name, inputs too.
fn values(
    file: &ModelFile,
    watched: &Model,
    settings: &Settings,
    inputs: &[Array],
    threads: NonZeroUsize,
) -> Outcome<HashMap<String, Array>> {
    let refused = |error| loading::refused(file, error);
    let compiled = engine::compile(watched, settings).map_err(refused)?;
    let program = Program::load(compiled.to_artifact().map_err(refused)?, None, &file.name())?;
    let outputs = Session::new(&program, threads)?.run(inputs.to_vec())?;
    let graph = &watched.graph;
    let name = |id: &NodeId| graph.node(*id).name.clone();
    let made = graph.outputs().iter().map(|output| name(&output.node)).zip(outputs);
    let given = graph.inputs().iter().map(name).zip(inputs.iter().cloned());
    Ok(given.chain(made).collect())
}

/// How each convolution is computed, by the value that it makes.
fn taken(model: &Model, settings: &Settings) -> engine::ModelResult<BTreeMap<String, Choice>> {
    let pipeline = Pipeline::new(model, &settings.compile);
    let trace = pipeline.schedules(&[engine::first_target(settings)?])?;
    let summary = trace.variants.first().map(|v| Summary::of(&trace.graph, &v.schedule));
    let nodes = summary.into_iter().flat_map(|summary| summary.nodes);
    Ok(nodes.filter_map(|node| Some((node.name, node.conv?.by))).collect())
}

impl Layer {
    fn of(
        graph: &Graph,
        id: NodeId,
        values: &HashMap<String, Array>,
        alone: &Alone,
        by: Option<&Choice>,
    ) -> Layer {
        let node = graph.node(id);
        let found = values.get(&node.name).map(Array::to_f64).unwrap_or_default();
        let pairs = found.iter().zip(&alone.exact);
        let of_products = by.map_or(1.0, |by| {
            let other = if by.algorithm() == "direct" { 1.0 } else { OTHER_PRODUCTS };
            other * if by.rounds() { BFLOAT16 } else { 1.0 }
        });
        let finite = alone.exact.iter().filter(|x| x.is_finite());
        Layer {
            name: node.name.clone(),
            op: node.op.mnemonic(),
            by: by.map(ToString::to_string),
            from: node.from.clone(),
            error: pairs.map(|(a, e)| difference(*a, *e)).fold(0.0, f64::max),
            magnitude: finite.fold(0.0, |most, x| most.max(x.abs())),
            rounding: alone.rounding * of_products,
        }
    }

    /// The error as a multiple of what rounding explains; none where nothing is rounded.
    fn ratio(&self) -> Option<f64> {
        (self.rounding > 0.0).then(|| self.error / self.rounding)
    }

    /// Whether rounding alone explains the error.
    fn is_explained(&self) -> bool {
        self.error <= SUSPICIOUS * self.rounding
    }
}

/// The magnitude of a difference: none of equal infinities and of two NaNs, all there is where one is finite alone.
fn difference(a: f64, e: f64) -> f64 {
    match (a - e).abs() {
        d if !d.is_nan() => d,
        _ if a == e || (a.is_nan() && e.is_nan()) => 0.0,
        _ => f64::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use cardinal_compiler::ir::text;

    use super::*;
    use crate::random;

    /// The error of a convolution whose result is off by so much in one element.
    fn layer(planted: f32) -> Layer {
        let source = "graph @g { input %x f32[1, 8, 9, 9] weight %w f32[8, 8, 3, 3] rand(1) \
                      %y f32[1, 8, 9, 9] = conv(%x, %w) window 3x3 pad 1 then relu output %y }";
        let graph = text::parse(source).unwrap();
        let x = random::arrays(&[engine::spec(graph.node(graph.inputs()[0]))], 3).unwrap();
        let mut y = engine::interpret(&graph, &x).unwrap().remove(0);
        let bytes = &mut y.bytes[400..404];
        let element = f32::from_le_bytes(bytes.try_into().unwrap());
        bytes.copy_from_slice(&(element + planted).to_le_bytes());
        let values = HashMap::from([("x".into(), x[0].clone()), ("y".into(), y)]);
        let id = graph.find("y").unwrap();
        Layer::of(&graph, id, &values, &Alone::of(&graph, id, &values).unwrap(), None)
    }

    #[test]
    fn planted_errors_are_more_than_rounding() {
        assert!(layer(0.0).is_explained());
        for planted in [1e-3, -1e-3, f32::NAN, f32::INFINITY] {
            assert!(!layer(planted).is_explained(), "{planted}");
        }
        assert!(layer(1e-3).error > 9e-4);
    }
}
