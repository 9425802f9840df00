//! `cardinal bisect`: the first thing on a model's way to code that changes its results.
//!
//! The model as it was imported, in the reference interpreter, is what is right. Passes are searched first: the
//! interpreter runs the graph after ever fewer rewrites, until the one is found that it differs after ([`rewrites`]).
//! Where none is to blame, code is: of each value of the last graph, the first that differs is taken, and its node is run
//! alone, and then with more of those before it, until that shows the difference too ([`kernels`]). [`report`] says what
//! was found, and [`part`] writes the ONNX nodes that it came from to a model of their own.

mod kernels;
mod part;
mod report;
mod rewrites;

use cardinal_compiler::ir::Graph;
use cardinal_runtime::text;
use indicatif::ProgressBar;

use crate::engine::{self, Model, ModelResult, Rewrite, Settings};
use crate::exit::{Failure, Outcome};
use crate::loading;
use crate::model_file::ModelFile;
use crate::program::{Program, Session};
use crate::tensors::{Array, Spec};
use crate::verdict::{self, Tolerance, Verdict};

pub(crate) use part::Part;
pub(crate) use report::Report;

/// What is searched: a way from a model to results.
pub(crate) trait Stages {
    /// How many rewrites all passes make.
    fn rewrites(&self) -> usize;

    /// The graph after so many of them.
    fn after(&self, rewrites: usize) -> Outcome<Graph>;

    /// What the interpreter makes of a graph.
    fn interpret(&self, graph: &Graph, inputs: &[Array]) -> Outcome<Vec<Array>>;

    /// What compiled code makes of a graph.
    fn run(&self, graph: &Graph, inputs: &[Array]) -> Outcome<Vec<Array>>;
}

/// What the search is about.
pub(crate) struct Search<'a> {
    pub(crate) stages: &'a dyn Stages,
    pub(crate) inputs: &'a [Array],
    /// What the model's outputs are.
    pub(crate) outputs: &'a [Spec],
    pub(crate) tolerance: Tolerance,
    pub(crate) progress: &'a ProgressBar,
}

/// Where results begin to differ.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Found {
    /// They do not.
    Nothing,
    /// Before the first pass: what is expected is not what the model as imported gives. A line for each output.
    Import(Vec<String>),
    /// After the rewrite of this number, from 0.
    Rewrite(usize),
    /// In the code of a node of the last graph.
    Kernel(kernels::Kernel),
}

impl Search<'_> {
    /// Searches; `expected` is what is right, if that is not what the interpreter says.
    ///
    /// # Errors
    /// Those of compiling and running.
    pub(crate) fn run(&self, expected: Option<&[Array]>) -> Outcome<Found> {
        let stages = self.stages;
        self.say("running the model as imported");
        let exact = stages.interpret(&stages.after(0)?, self.inputs)?;
        let expected = expected.unwrap_or(&exact);
        let last = stages.after(stages.rewrites())?;
        self.say("running the compiled model");
        if !self.differ(&stages.run(&last, self.inputs)?, expected) {
            return Ok(Found::Nothing);
        }
        if self.differ(&exact, expected) {
            let verdicts = verdict::judge(self.outputs, &exact, expected, self.tolerance);
            return Ok(Found::Import(verdicts.iter().map(Verdict::text).collect()));
        }
        match rewrites::first(self, &exact)? {
            Some(rewrite) => Ok(Found::Rewrite(rewrite)),
            None => kernels::first(self, &last).map(Found::Kernel),
        }
    }

    /// Whether an output is not what it should be.
    fn differ(&self, actual: &[Array], expected: &[Array]) -> bool {
        let pairs = actual.iter().zip(expected);
        actual.len() != expected.len()
            || !pairs.into_iter().all(|(a, e)| self.tolerance.allows(a, e))
    }

    fn say(&self, what: &str) {
        self.progress.set_message(text::line(what));
    }
}

/// The compiler, for one model and some settings.
pub(crate) struct Compiler<'a> {
    file: &'a ModelFile,
    model: &'a Model,
    settings: &'a Settings,
    threads: std::num::NonZeroUsize,
    /// What each rewrite does.
    pub(crate) changes: Vec<Rewrite>,
}

impl<'a> Compiler<'a> {
    /// Runs all passes, to know what rewrites there are.
    ///
    /// # Errors
    /// Those of the passes.
    pub(crate) fn new(
        file: &'a ModelFile,
        model: &'a Model,
        settings: &'a Settings,
        threads: std::num::NonZeroUsize,
    ) -> Outcome<Compiler<'a>> {
        let changes = engine::rewrites(model);
        let changes = changes.map_err(|error| loading::refused(file, error))?;
        Ok(Compiler { file, model, settings, threads, changes })
    }

    fn accepted<T>(&self, result: ModelResult<T>) -> Outcome<T> {
        result.map_err(|error| loading::refused(self.file, error))
    }
}

impl Stages for Compiler<'_> {
    fn rewrites(&self) -> usize {
        self.changes.len()
    }

    fn after(&self, rewrites: usize) -> Outcome<Graph> {
        self.accepted(engine::after(self.model, rewrites))
    }

    fn interpret(&self, graph: &Graph, inputs: &[Array]) -> Outcome<Vec<Array>> {
        self.accepted(engine::interpret(graph, inputs))
    }

    fn run(&self, graph: &Graph, inputs: &[Array]) -> Outcome<Vec<Array>> {
        let model = Model { graph: graph.clone(), ..self.model.clone() };
        let compiled = self.accepted(engine::compile(&model, self.settings))?;
        let artifact = self.accepted(compiled.to_artifact())?;
        let program = Program::load(artifact, None, &self.file.name())?;
        Session::new(&program, self.threads)?.run(inputs.to_vec())
    }
}

/// What was found, as the end of the command.
pub(crate) fn conclude(found: &Found) -> Outcome {
    match found {
        Found::Nothing => Ok(()),
        Found::Import(_) => Err(Failure::Mismatch("the model as imported differs already".into())),
        Found::Rewrite(_) => Err(Failure::Mismatch("a rewrite changes results".into())),
        Found::Kernel(_) => Err(Failure::Mismatch("code changes results".into())),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::path::{Path, PathBuf};

    use cardinal_compiler::ir::{Graph, Node, NodeId, Op, Weight};
    use indicatif::ProgressBar;

    use super::*;
    use crate::random;
    use crate::tensors;

    /// The compiler with an error in it.
    struct Planted<'a> {
        compiler: Compiler<'a>,
        /// After so many rewrites the weights of this node are others.
        rewrite: Option<(usize, String)>,
        /// Where there is a node of this name, its code has other weights.
        kernel: Option<String>,
    }

    /// The graph with the first weight of the node of this name replaced.
    fn spoilt(graph: &Graph, name: &str) -> Graph {
        let Some(wrong) = graph.find(name) else { return graph.clone() };
        let weight = graph.operand(wrong, 1).unwrap();
        let mut copy = Graph::new(graph.name.clone());
        let mut copies = std::collections::HashMap::<NodeId, NodeId>::new();
        for id in graph.topological() {
            let mut node: Node = graph.node(id).clone();
            if id == weight {
                node.op = Op::Weight(Weight::rand(12));
            }
            let operands = graph.operands(id);
            let operands: Vec<_> = operands.iter().map(|(slot, id)| (*slot, copies[id])).collect();
            copies.insert(id, copy.add(node, &operands));
        }
        for output in graph.outputs() {
            copy.add_output(output.name.clone(), copies[&output.node]);
        }
        copy
    }

    impl Stages for Planted<'_> {
        fn rewrites(&self) -> usize {
            self.compiler.rewrites()
        }

        fn after(&self, rewrites: usize) -> Outcome<Graph> {
            let graph = self.compiler.after(rewrites)?;
            Ok(match &self.rewrite {
                Some((from, node)) if rewrites > *from => spoilt(&graph, node),
                _ => graph,
            })
        }

        fn interpret(&self, graph: &Graph, inputs: &[Array]) -> Outcome<Vec<Array>> {
            self.compiler.interpret(graph, inputs)
        }

        fn run(&self, graph: &Graph, inputs: &[Array]) -> Outcome<Vec<Array>> {
            let spoil = |name| spoilt(graph, name);
            self.compiler.run(&self.kernel.as_deref().map_or(graph.clone(), spoil), inputs)
        }
    }

    fn digits() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits/mnist_resnest.onnx")
    }

    fn specs(model: &Model) -> Vec<Spec> {
        let inputs = model.graph.inputs().iter();
        inputs.map(|id| engine::spec(model.graph.node(*id))).collect()
    }

    /// What is found in the digits model with errors planted.
    fn found(plant: impl FnOnce(&mut Planted<'_>)) -> (Found, usize) {
        let file = ModelFile::open(&digits()).unwrap();
        let settings = loading::settings(&Default::default());
        let model = loading::import(&file, &settings).unwrap();
        let compiler = Compiler::new(&file, &model, &settings, NonZeroUsize::MIN).unwrap();
        let mut stages = Planted { compiler, rewrite: None, kernel: None };
        plant(&mut stages);
        let inputs = random::arrays(&specs(&model), 7).unwrap();
        let (tolerance, progress) = (Tolerance::DEFAULT, &ProgressBar::hidden());
        let search = Search { stages: &stages, inputs: &inputs, outputs: &[], tolerance, progress };
        (search.run(None).unwrap(), stages.rewrites())
    }

    #[test]
    fn nothing_is_found_where_nothing_is_wrong() {
        assert_eq!(found(|_| {}).0, Found::Nothing);
    }

    #[test]
    fn the_rewrite_that_is_wrong_is_found() {
        for from in [0, 1, 17, 34] {
            let (found, all) = found(|stages| stages.rewrite = Some((from, LAYER.into())));
            assert!(from < all, "{from} of {all}");
            assert_eq!(found, Found::Rewrite(from), "of {all}");
        }
    }

    /// A convolution that is there after all rewrites and before them.
    const LAYER: &str = "/layer3/layer3.0/downsample/downsample.1/Conv_output_0";

    /// The nodes of every rewrite are a model of their own, which gives with its inputs what they give in the whole.
    #[test]
    fn parts_are_models_with_their_inputs() {
        let path = digits();
        let file = ModelFile::open(&path).unwrap();
        let settings = loading::settings(&Default::default());
        let model = loading::import(&file, &settings).unwrap();
        let inputs = random::arrays(&specs(&model), 7).unwrap();
        let values = engine::values(&model.graph, &inputs).unwrap();
        let folder = tempfile::tempdir().unwrap();
        for (at, rewrite) in engine::rewrites(&model).unwrap().into_iter().enumerate() {
            let nodes = rewrite.change.removed.iter().flat_map(|node| node.from.clone()).collect();
            let path = folder.path().join(format!("{at}.onnx"));
            let part = Part::write((&file, &model), &inputs, nodes, &path).unwrap();
            let alone = ModelFile::open(&part.model).unwrap();
            let alone = loading::import(&alone, &settings).unwrap();
            let given = tensors::read(part.inputs.to_str().unwrap()).unwrap();
            let given = tensors::assign(&specs(&alone), given, "input").unwrap();
            let outputs = engine::interpret(&alone.graph, &given).unwrap();
            assert!(!outputs.is_empty(), "{:?}", part.nodes);
            for (output, found) in alone.graph.outputs().iter().zip(&outputs) {
                let whole = &values[&model.graph.find(&output.name).unwrap()];
                assert!(Tolerance::DEFAULT.allows(found, whole), "{} of {at}", output.name);
            }
        }
    }

    #[test]
    fn the_kernel_that_is_wrong_is_found() {
        let (found, _) = found(|stages| stages.kernel = Some(LAYER.into()));
        let Found::Kernel(kernel) = found else { panic!("{found:?}") };
        assert_eq!((kernel.value.as_str(), kernel.alone), (LAYER, true));
        assert_eq!(kernel.nodes, [LAYER]);
    }
}
