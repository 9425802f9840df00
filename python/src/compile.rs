//! Models to be compiled, and compiled ones to be loaded.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use cardinal_cli::library::{self, Options, Source};
use cardinal_runtime::{Artifact, Program};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::cache;
use crate::errors::Raised;
use crate::model::{Model, Origin};
use crate::sessions::Sessions;
use crate::threads::{Threads, pool};

/// A model as Python gives it.
#[derive(FromPyObject)]
pub(crate) enum Given {
    /// The bytes of an ONNX model.
    Bytes(PyBackedBytes),
    /// A file.
    Path(PathBuf),
}

/// Where an ONNX model is, for as long as it may be asked for.
#[derive(Debug, Clone)]
pub(crate) enum Onnx {
    /// A file, which may change.
    File(PathBuf),
    /// All of it.
    Bytes(Bytes),
}

impl From<Given> for Onnx {
    fn from(given: Given) -> Onnx {
        match given {
            Given::Bytes(bytes) => Onnx::Bytes(Bytes::from_owner(bytes)),
            Given::Path(path) => Onnx::File(path),
        }
    }
}

impl Onnx {
    pub(crate) fn source(&self) -> Source<'_> {
        match self {
            Onnx::File(path) => Source::File(path),
            Onnx::Bytes(bytes) => Source::Bytes(bytes),
        }
    }

    /// For messages, and as the name that says how a model's images are prepared.
    pub(crate) fn name(&self) -> String {
        match self {
            Onnx::File(path) => path.display().to_string(),
            Onnx::Bytes(_) => "<bytes>".into(),
        }
    }
}

/// The dict of options that `cardinal_ml.compile` makes of its arguments.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Asked {
    batch: Option<NonZeroUsize>,
    shapes: Vec<(String, Vec<usize>)>,
    cpu: Vec<String>,
    winograd: bool,
    int8_winograd: bool,
    precision: String,
    portable_bits: bool,
    max_memory: Option<usize>,
    weights: String,
    check_rewrites: bool,
    preprocess: Option<String>,
    tune: bool,
}

impl From<Asked> for Options {
    fn from(asked: Asked) -> Options {
        Options {
            batch: asked.batch,
            shapes: asked.shapes,
            cpus: asked.cpu,
            no_winograd: !asked.winograd,
            int8_winograd: asked.int8_winograd,
            precision: Some(asked.precision),
            portable_bits: asked.portable_bits,
            max_memory: asked.max_memory,
            weights: Some(asked.weights),
            check_rewrites: asked.check_rewrites,
            preprocess: asked.preprocess,
            tune: asked.tune,
        }
    }
}

/// Compiles a model, for ``cardinal_ml.compile``.
#[pyfunction]
pub(crate) fn compile(
    py: Python<'_>,
    model: Given,
    options: Asked,
    threads: Option<Threads<'_>>,
    cache_dir: Option<PathBuf>,
) -> Result<Model, Raised> {
    let pool = pool(threads)?;
    let (onnx, options) = (Onnx::from(model), Options::from(options));
    py.detach(move || {
        let artifact = compiled(&onnx, &options, cache_dir.as_deref())?;
        let name = onnx.name();
        let program = Program::load_sharing(artifact, None, cache_dir.as_deref())
            .map_err(|error| Raised::loading(&error, &name))?;
        Ok(Model::new(Sessions::new(program, pool)?, name, Some(Origin { onnx, options })))
    })
}

fn compiled(onnx: &Onnx, options: &Options, cache: Option<&Path>) -> Result<Artifact, Raised> {
    let model = library::Model::read(onnx.source(), options)?;
    match cache {
        Some(folder) => cache::artifact(&model, folder),
        None => Ok(model.compile()?),
    }
}

/// Loads an artifact from a file, for ``cardinal_ml.load``.
#[pyfunction]
pub(crate) fn load(
    py: Python<'_>,
    path: PathBuf,
    variant: Option<String>,
    threads: Option<Threads<'_>>,
    cache_dir: Option<PathBuf>,
) -> Result<Model, Raised> {
    let pool = pool(threads)?;
    py.detach(move || {
        let name = path.display().to_string();
        let program = Artifact::open(&path)
            .and_then(|artifact| {
                Program::load_sharing(artifact, variant.as_deref(), cache_dir.as_deref())
            })
            .map_err(|error| Raised::loading(&error, &name))?;
        Ok(Model::new(Sessions::new(program, pool)?, name, None))
    })
}

/// Loads an artifact from memory: what a pickled model becomes.
#[pyfunction]
pub(crate) fn loads(
    py: Python<'_>,
    artifact: PyBackedBytes,
    name: String,
    threads: Option<Threads<'_>>,
) -> Result<Model, Raised> {
    let pool = pool(threads)?;
    py.detach(move || {
        let program = Artifact::from_bytes(Bytes::from_owner(artifact))
            .and_then(Program::load)
            .map_err(|error| Raised::loading(&error, &name))?;
        Ok(Model::new(Sessions::new(program, pool)?, name, None))
    })
}
