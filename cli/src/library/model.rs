//! ONNX models that are compiled.

use std::num::NonZeroUsize;
use std::path::Path;

use bytes::Bytes;
use cardinal_compiler::relink;
use cardinal_runtime::Artifact;
use clap::ValueEnum as _;
use indicatif::ProgressBar;

use super::looking::story;
use super::refusal::Refusal;
use crate::args::{Arithmetic, ModelOptions, Stage, Stored, TuningOptions};
use crate::commands::text_of;
use crate::engine::{self, ModelResult, Settings};
use crate::exit::{Failure, Outcome};
use crate::explain::Compiled;
use crate::image_input::{self, Preprocess};
use crate::loading;
use crate::mapped::Mapped;
use crate::model_file::{ModelFile, UNNAMED};
use crate::tune;

/// Where a model comes from.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// A file, with its external data beside it.
    File(&'a Path),
    /// The bytes of one that has all its weights in it.
    Bytes(&'a Bytes),
}

impl Source<'_> {
    /// # Errors
    /// [`Failure::Io`].
    pub(super) fn open(self) -> Outcome<ModelFile> {
        match self {
            Source::File(path) => ModelFile::open(path),
            Source::Bytes(bytes) => Ok(ModelFile::of_bytes(UNNAMED, Mapped::copied(bytes.clone()))),
        }
    }
}

/// How a model is compiled: the options of `cardinal compile`.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `--batch`
    pub batch: Option<NonZeroUsize>,
    /// `--shape`, by the names of inputs.
    pub shapes: Vec<(String, Vec<usize>)>,
    /// `--cpu`; this machine's where there is none.
    pub cpus: Vec<String>,
    /// `--no-winograd`
    pub no_winograd: bool,
    /// `--int8-winograd`
    pub int8_winograd: bool,
    /// `--precision`; `f32` where there is none.
    pub precision: Option<String>,
    /// `--portable-bits`
    pub portable_bits: bool,
    /// `--max-memory`, in bytes.
    pub max_memory: Option<usize>,
    /// `--weights`; `f32` where there is none.
    pub weights: Option<String>,
    /// `--check-rewrites`
    pub check_rewrites: bool,
    /// `--preprocess`
    pub preprocess: Option<String>,
    /// `--tune`
    pub tune: bool,
}

impl Options {
    /// # Errors
    /// [`Failure::Usage`] for options that do not go together.
    pub(super) fn settings(&self) -> Outcome<Settings> {
        if self.int8_winograd && (self.no_winograd || self.portable_bits) {
            let (message, help) = (
                "--int8-winograd goes neither with --no-winograd nor with --portable-bits",
                "leave one of them out",
            );
            return Err(Failure::usage(message).with_help(help));
        }
        let precision = self.precision.as_deref().unwrap_or("f32");
        let precision = Arithmetic::from_str(precision, false).map_err(|_| {
            Failure::usage(format!("products are not computed in `{precision}`"))
                .with_help("give one of f32, bf16 and auto")
        })?;
        if precision != Arithmetic::F32 && self.portable_bits {
            return Err(Failure::usage("--precision does not go with --portable-bits")
                .with_help("leave one of them out"));
        }
        let options = ModelOptions {
            precision,
            batch: self.batch.into_iter().collect(),
            shape: self.shapes.clone(),
            cpu: self.cpus.clone(),
            no_winograd: self.no_winograd,
            int8_winograd: self.int8_winograd,
            portable_bits: self.portable_bits,
            max_memory: self.max_memory,
            weights_from: None,
            schedule: None,
        };
        let mut settings = loading::settings(&options);
        settings.compile.check_rewrites = self.check_rewrites;
        settings.compile.weights = self.stored()?.narrow();
        Ok(settings)
    }

    fn stored(&self) -> Outcome<Stored> {
        let weights = self.weights.as_deref().unwrap_or("f32");
        Stored::from_str(weights, false).map_err(|_| {
            Failure::usage(format!("weights are not stored as `{weights}`"))
                .with_help("give one of f32, f16 and bf16")
        })
    }
}

/// A model that was read, to be compiled.
pub struct Model {
    file: ModelFile,
    model: engine::Model,
    settings: Settings,
    options: Options,
}

impl Model {
    /// Reads a model.
    ///
    /// # Errors
    /// What is wrong with the model, or with options for it.
    pub fn read(source: Source<'_>, options: &Options) -> Result<Model, Refusal> {
        Ok(read(source, options)?)
    }

    /// The same model, to be looked at as an artifact of it was compiled: with what tuning has chosen.
    ///
    /// # Errors
    /// An artifact of another version.
    pub fn as_in(mut self, artifact: &Artifact) -> Result<Model, Refusal> {
        let choices = relink::choices(artifact).map_err(|error| self.refused(Box::new(error)))?;
        self.settings.compile.schedule.choices = choices;
        Ok(self)
    }

    /// What tells this from all models and options that other artifacts come of: 64 hexadecimal digits.
    ///
    /// # Errors
    /// A CPU that there is no code for.
    pub fn key(&self) -> Result<String, Refusal> {
        let cpus = engine::cpus(&self.settings).map_err(|error| self.refused(error))?;
        let cpus: Vec<String> = cpus.into_iter().map(|cpu| cpu.name).collect();
        let mut digest = blake3::Hasher::new();
        let about = (env!("CARGO_PKG_VERSION"), cpus, &self.options, &self.model.metadata);
        digest.update(&self.model.digest).update(format!("{about:?}").as_bytes());
        Ok(digest.finalize().to_string())
    }

    /// Compiles it, as `cardinal compile` does.
    ///
    /// # Errors
    /// What the compiler refuses.
    pub fn compile(&self) -> Result<Artifact, Refusal> {
        let mut settings = self.settings.clone();
        if self.options.tune {
            let (hidden, tuning) = (ProgressBar::hidden(), TuningOptions::default());
            let tuned = tune::tune(&self.file, &self.model, &settings, &tuning, &hidden)?;
            settings.compile.schedule.choices = tuned.0;
        }
        let artifact: ModelResult<_> =
            engine::compile(&self.model, &settings).and_then(|compiled| compiled.to_artifact());
        artifact.map_err(|error| self.refused(error))
    }

    /// What `cardinal inspect --stage` prints: `import`, `fused`, `schedule`, `plan`, `clif` or `asm`.
    ///
    /// # Errors
    /// A stage that there is not, and what the compiler refuses.
    pub fn inspect(&self, stage: &str) -> Result<String, Refusal> {
        let known = Stage::from_str(stage, false).map_err(|_| no_stage(stage))?;
        let text = text_of(&self.model, &self.settings, known, None);
        text.map_err(|error| self.refused(error))
    }

    /// What `cardinal explain --json` prints of something in this model, made for the CPU `cpu`; with `assembly` also the
    /// machine code.
    ///
    /// # Errors
    /// A name of nothing, or of several things, and what the compiler refuses.
    pub fn explain(&self, cpu: &str, name: &str, assembly: bool) -> Result<String, Refusal> {
        let settings = Settings { cpus: vec![cpu.to_owned()], ..self.settings.clone() };
        let compiled = Compiled::new(&self.model, &settings, assembly);
        Ok(story(&compiled.map_err(|error| self.refused(error))?, name)?)
    }

    fn refused(&self, error: Box<cardinal_compiler::Error>) -> Refusal {
        loading::refused(&self.file, error).into()
    }
}

fn no_stage(name: &str) -> Failure {
    let values = Stage::value_variants().iter().filter_map(Stage::to_possible_value);
    let names: Vec<String> = values.map(|value| value.get_name().to_owned()).collect();
    Failure::usage(format!("there is no stage `{name}`"))
        .with_help(format!("the stages are {}", names.join(", ")))
}

fn read(source: Source<'_>, options: &Options) -> Outcome<Model> {
    let file = source.open()?;
    if file.is_artifact() {
        return Err(Failure::usage(format!("`{}` is compiled already", file.name()))
            .with_help("load it, or compile the .onnx that it was made of"));
    }
    let settings = options.settings()?;
    let mut model = loading::import(&file, &settings)?;
    if let Some(what) = &options.preprocess {
        let what = Preprocess::parse(what).map_err(Failure::usage)?;
        image_input::store(&what, &mut model.metadata)?;
    }
    Ok(Model { file, model, settings, options: options.clone() })
}
