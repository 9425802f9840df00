//! Errors, as exceptions of `cardinal_ml`.

use cardinal_cli::library::{Kind, Refusal};
use cardinal_runtime::{LoadError, RunError, text};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyModule;

/// The classes of `cardinal_ml/_errors.py`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Class {
    Artifact,
    File,
    Input,
    Model,
    Option,
    Resource,
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Class::Artifact => "ArtifactError",
            Class::File => "FileError",
            Class::Input => "InputError",
            Class::Model => "ModelError",
            Class::Option => "OptionError",
            Class::Resource => "ResourceError",
        }
    }
}

/// An exception, before there is an object of Python's for it: it can be made without the GIL.
#[derive(Debug)]
pub(crate) struct Raised {
    class: Class,
    message: String,
    remedy: Option<String>,
    /// Name and operator of the ONNX node.
    node: Option<(String, String)>,
}

impl Raised {
    pub(crate) fn new(class: Class, message: impl Into<String>, remedy: Option<String>) -> Raised {
        Raised { class, message: message.into(), remedy, node: None }
    }

    /// An artifact that is not loaded.
    pub(crate) fn loading(error: &LoadError, name: &str) -> Raised {
        let class = match error {
            LoadError::Io { .. } | LoadError::Sharing { .. } => Class::File,
            LoadError::Executable(_) => Class::Resource,
            _ => Class::Artifact,
        };
        let message =
            format!("cannot load {}: {}", text::line(name), text::line(&error.to_string()));
        Raised::new(class, message, error.remedy())
    }
}

impl From<Refusal> for Raised {
    fn from(refusal: Refusal) -> Raised {
        let Refusal { kind, message, remedy, node } = refusal;
        let class = match kind {
            Kind::Usage => Class::Option,
            Kind::Model => Class::Model,
            Kind::File => Class::File,
            Kind::Failed => Class::Resource,
        };
        Raised { class, message, remedy, node: node.map(|node| (node.name, node.operator)) }
    }
}

impl From<RunError> for Raised {
    fn from(error: RunError) -> Raised {
        let class = match error {
            RunError::Thread(_) | RunError::Arena { .. } | RunError::Tensor(_) => Class::Resource,
            RunError::TooManyThreads { .. } => Class::Option,
            _ => Class::Input,
        };
        Raised::new(class, text::line(&error.to_string()), error.remedy())
    }
}

impl From<Raised> for PyErr {
    fn from(raised: Raised) -> PyErr {
        Python::attach(|py| exception(py, raised).unwrap_or_else(|error| error))
    }
}

fn exception(py: Python<'_>, raised: Raised) -> PyResult<PyErr> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let import = || Ok::<_, PyErr>(py.import("cardinal_ml._errors")?.unbind());
    let class = MODULE.get_or_try_init(py, import)?.bind(py).getattr(raised.class.name())?;
    let (node, operator) = raised.node.unzip();
    Ok(PyErr::from_value(class.call1((raised.message, raised.remedy, node, operator))?))
}
