//! What there is to know of an ONNX model before it is compiled: what its file says of itself, whether it would
//! compile, and what would become of it.
//!
//! - [`contents`] looks at the graph: attention, work, and weights that are no usual numbers,
//! - [`estimate`] says how long it would take here,
//! - [`text`] and [`json`] show it.

mod contents;
mod estimate;
mod json;
mod text;

use cardinal_compiler::codegen::Target;
use cardinal_compiler::onnx::{Survey, survey};
use cardinal_compiler::pipeline::{Keep, Trace};

use crate::engine::{self, Model, ModelResult, Pipeline, Settings};
use crate::exit::{Failure, Outcome};
use crate::image_input::{ImageOptions, Recipe};
use crate::loading;
use crate::model_file::ModelFile;
use crate::tensors::Spec;

use contents::Contents;
use estimate::Estimate;

/// What was found.
pub(crate) struct Findings {
    /// The file, as typed.
    model: String,
    survey: Survey,
    /// As far as it can be imported.
    imported: Option<Imported>,
    /// Why it would not compile, if it would not.
    pub(crate) refusal: Option<Failure>,
}

/// What the importer and all that follows make of it.
struct Imported {
    inputs: Vec<Spec>,
    images: Images,
    contents: Contents,
    /// What the passes did, if all of them ran.
    passes: Vec<PassWork>,
    near_misses: Vec<NearMiss>,
    /// What a plan takes, if there is one.
    memory: Option<Memory>,
    estimates: Vec<Estimate>,
}

/// How images would be prepared.
struct Images {
    /// What would be done, or why images are not for this model.
    what: Result<String, String>,
    /// What of it is only assumed.
    warnings: Vec<String>,
}

/// How often a pass rewrote something.
struct PassWork {
    name: &'static str,
    summary: &'static str,
    rewrites: usize,
}

/// Where a pass's pattern nearly fits.
struct NearMiss {
    pass: &'static str,
    node: String,
    because: String,
}

/// Bytes.
struct Memory {
    weights: usize,
    arena: usize,
    /// Of each thread besides.
    worker: usize,
}

impl Findings {
    /// Looks at a model, as far as it can be read.
    ///
    /// # Errors
    /// [`Failure::BadModel`] and [`Failure::Model`] for what is no ONNX model.
    pub(crate) fn of(
        file: &ModelFile,
        settings: &Settings,
        images: &ImageOptions,
    ) -> Outcome<Findings> {
        loading::check_kind(file)?;
        let survey = survey(&file.bytes).map_err(|error| loading::refused(file, error))?;
        let mut findings = Findings { model: file.name(), survey, imported: None, refusal: None };
        let model = match loading::import(file, settings) {
            Ok(model) => model,
            Err(refusal) => {
                findings.refusal = Some(refusal);
                return Ok(findings);
            }
        };
        let (imported, refusal) = Imported::of(file, &model, settings, images);
        findings.imported = Some(imported);
        findings.refusal = refusal.map(|error| loading::refused(file, error));
        Ok(findings)
    }
}

impl Imported {
    /// With why a plan is refused, if it is.
    fn of(
        file: &ModelFile,
        model: &Model,
        settings: &Settings,
        images: &ImageOptions,
    ) -> (Imported, Option<Box<cardinal_compiler::Error>>) {
        let graph = &model.graph;
        let inputs = graph.inputs().iter().map(|id| engine::spec(graph.node(*id)));
        let inputs: Vec<Spec> = inputs.collect();
        let mut imported = Imported {
            images: Images::of(&inputs, &model.metadata, images, &file.name()),
            inputs,
            contents: Contents::of(graph),
            passes: Vec::new(),
            near_misses: Vec::new(),
            memory: None,
            estimates: Vec::new(),
        };
        let planned = plan(model, settings);
        let refusal = planned.and_then(|(target, trace)| {
            imported.follow(&trace)?;
            imported.estimates = estimate::all(file, model, settings, &target)?;
            Ok(())
        });
        (imported, refusal.err())
    }

    /// What happened on the way to the plan.
    fn follow(&mut self, trace: &Trace) -> ModelResult<()> {
        let work = |pass: &cardinal_compiler::pipeline::PassTrace| PassWork {
            name: pass.pass.name,
            summary: pass.pass.summary,
            rewrites: pass.changes.len(),
        };
        self.passes = trace.passes.iter().map(work).filter(|work| work.rewrites > 0).collect();
        let near = |miss: &cardinal_compiler::passes::NearMiss| NearMiss {
            pass: miss.pass,
            node: miss.place().to_owned(),
            because: miss.because.clone(),
        };
        self.near_misses = trace.near_misses().map(near).collect();
        self.contents.recognised(&trace.graph);
        if let Some(variant) = trace.variants.first() {
            let plan = variant.plan()?;
            let (weights, arena, worker) = (plan.weight_bytes, plan.arena_bytes, plan.worker_bytes);
            self.memory = Some(Memory { weights, arena, worker });
        }
        Ok(())
    }
}

/// The way to a plan for the first CPU of the settings.
fn plan(model: &Model, settings: &Settings) -> ModelResult<(Target, Trace)> {
    let target = engine::first_target(settings)?;
    let keep = Keep { changes: true, ..Keep::default() };
    let pipeline = Pipeline::new(model, &settings.compile).keeping(keep);
    let trace = pipeline.plans(std::slice::from_ref(&target))?;
    Ok((target, trace))
}

impl Images {
    fn of(
        inputs: &[Spec],
        metadata: &[(String, String)],
        options: &ImageOptions,
        model: &str,
    ) -> Images {
        match Recipe::of(inputs, metadata, options, model) {
            Ok(recipe) => {
                Images { what: Ok(recipe.to_string()), warnings: recipe.warnings().collect() }
            }
            Err(why) => Images { what: Err(why.to_string()), warnings: Vec::new() },
        }
    }
}
