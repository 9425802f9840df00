//! The model that is quantized, and compiling what becomes of it.

use std::num::NonZeroUsize;

use crate::engine::quantize::Quantizer;
use crate::engine::{self, ModelResult, Settings};
use crate::exit::{Failure, Outcome};
use crate::loading;
use crate::model_file::ModelFile;
use crate::program::Program;

/// A float model to be quantized.
pub(crate) struct Subject<'a> {
    file: &'a ModelFile,
    settings: Settings,
    /// What can be made of it.
    pub(crate) quantizer: Quantizer,
    /// Threads that models run on.
    pub(crate) threads: NonZeroUsize,
}

impl<'a> Subject<'a> {
    /// Reads the model.
    ///
    /// # Errors
    /// [`Failure::Model`] where it cannot be quantized, [`Failure::Usage`] for a compiled one.
    pub(crate) fn open(
        file: &'a ModelFile,
        settings: Settings,
        threads: NonZeroUsize,
    ) -> Outcome<Subject<'a>> {
        if file.is_artifact() {
            return Err(Failure::usage(format!("`{}` is compiled already", file.name()))
                .with_help("quantize the .onnx that it was compiled from, and compile that"));
        }
        if let Some((what, help)) = file.mistaken() {
            let (file, message) = (file.name(), what.to_owned());
            return Err(Failure::BadModel { file, message, help: Some(help.to_owned()) });
        }
        let external = file.external_data()?;
        let quantizer = Quantizer::open(&file.bytes, external.as_ref(), &settings.import);
        let quantizer = quantizer.map_err(|error| loading::refused(file, error))?;
        Ok(Subject { file, settings, quantizer, threads })
    }

    /// The model's name for messages.
    pub(crate) fn name(&self) -> String {
        self.file.name()
    }

    /// What the compiler gives, or this model's refusal.
    pub(crate) fn accepted<T>(&self, result: cardinal_compiler::error::Result<T>) -> Outcome<T> {
        result.map_err(|error| loading::refused(self.file, error))
    }

    /// Compiles a model made of this one, for this machine.
    ///
    /// # Errors
    /// Those of the compiler and of loading.
    pub(crate) fn load(&self, model: Vec<u8>) -> Outcome<Program> {
        let artifact: ModelResult<_> = engine::import_whole(model.into(), &self.settings.import)
            .and_then(|model| engine::compile(&model, &self.settings))
            .and_then(|compiled| compiled.to_artifact());
        let artifact = artifact.map_err(|error| loading::refused(self.file, error))?;
        Program::load(artifact, None, &self.file.name())
    }
}
