//! `cardinal bisect`: the first thing on a model's way to code that changes its results.
//!
//! The model as it was imported, in the reference interpreter, is what is right. Passes are searched first: the
//! interpreter runs the graph after ever fewer rewrites, until the one is found that it differs after ([`rewrites`]).
//! Where none is to blame, code is: of each value of the last graph, the first that differs is taken, and its node is run
//! alone, and then with more of those before it, until that shows the difference too ([`kernels`]). [`report`] says what
//! was found, and [`part`] writes the ONNX nodes that it came from to a model of their own, which it makes as small as the
//! difference allows.

mod kernels;
mod part;
mod report;
mod rewrites;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use cardinal_compiler::ir::{Graph, Origin};
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

    /// Another graph after all passes up to this one, or after all of them.
    fn passed(&self, graph: &Graph, until: Option<&str>) -> Outcome<Graph>;

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

/// What is to blame.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Suspect<'a> {
    /// A pass.
    Pass(&'a str),
    /// Code.
    Code,
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

    /// Whether what is to blame makes another graph give something else than it means.
    ///
    /// # Errors
    /// Those of compiling and running.
    fn shows(&self, graph: &Graph, inputs: &[Array], suspect: Suspect<'_>) -> Outcome<bool> {
        let stages = self.stages;
        let exact = stages.interpret(graph, inputs)?;
        let found = match suspect {
            Suspect::Pass(pass) => stages.interpret(&stages.passed(graph, Some(pass))?, inputs)?,
            Suspect::Code => stages.run(&stages.passed(graph, None)?, inputs)?,
        };
        Ok(self.differ(&found, &exact))
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

    /// The ONNX nodes that what was found came from.
    ///
    /// # Errors
    /// Those of the passes.
    pub(crate) fn origins(&self, found: &Found) -> Outcome<BTreeSet<Origin>> {
        match found {
            Found::Nothing | Found::Import(_) => Ok(BTreeSet::new()),
            Found::Rewrite(at) => {
                let removed = self.changes.get(*at).into_iter().flat_map(|r| &r.change.removed);
                Ok(removed.flat_map(|node| &node.from).cloned().collect())
            }
            Found::Kernel(kernel) => {
                let graph = self.after(self.rewrites())?;
                let nodes = kernel.nodes.iter().filter_map(|name| graph.find(name));
                Ok(nodes.flat_map(|id| graph.node(id).from.clone()).collect())
            }
        }
    }

    /// What is to blame.
    pub(crate) fn suspect(&self, found: &Found) -> Suspect<'static> {
        match found {
            Found::Rewrite(at) => match self.changes.get(*at) {
                Some(rewrite) => Suspect::Pass(rewrite.pass),
                None => Suspect::Code,
            },
            Found::Nothing | Found::Import(_) | Found::Kernel(_) => Suspect::Code,
        }
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

    fn passed(&self, graph: &Graph, until: Option<&str>) -> Outcome<Graph> {
        self.accepted(engine::passed(graph, until))
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
