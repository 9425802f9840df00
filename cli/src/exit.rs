//! Everything that can go wrong, and the exit code each of it has.

use std::io;
use std::path::Path;

use crate::names;
#[cfg(feature = "compiler")]
use cardinal_compiler::error::{Error as ModelError, Problem};

/// The result of a command or of a part of one.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// What the exit codes mean. Success is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Status {
    /// Nothing went wrong that is the user's business, as when whoever reads stdout goes away.
    Quiet = 0,
    /// Something failed that none of the others describes.
    Failed = 1,
    /// The command line asks for something that cannot be.
    Usage = 2,
    /// The model is bad or unsupported.
    Model = 3,
    /// A comparison failed.
    Mismatch = 4,
    /// Input or output error.
    Io = 5,
}

impl Status {
    /// Its name in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Status::Quiet => "quiet",
            Status::Failed => "failed",
            Status::Usage => "usage",
            Status::Model => "model",
            Status::Mismatch => "mismatch",
            Status::Io => "io",
        }
    }
}

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line asks for something that cannot be.
    #[error("{message}")]
    Usage {
        /// What is wrong with it.
        message: String,
        /// What to do instead.
        help: Option<String>,
    },
    /// The compiler refuses the model.
    #[cfg(feature = "compiler")]
    #[error("cannot compile `{file}`: {error}")]
    Model {
        /// The model, as typed.
        file: String,
        /// What the compiler says.
        error: Box<ModelError>,
    },
    /// The model file is bad in a way that the compiler does not see.
    #[error("cannot use `{file}`: {message}")]
    BadModel {
        /// The model, as typed.
        file: String,
        /// What is wrong with it.
        message: String,
        /// What to do about it.
        help: Option<String>,
    },
    /// Results differ from what they should be. The details are on stdout.
    #[error("{0}")]
    Mismatch(String),
    /// The system could not read or write.
    #[error("cannot {action} `{file}`: {error}")]
    Io {
        /// `read`, `write`.
        action: &'static str,
        /// The file, as typed.
        file: String,
        /// What the system says.
        error: io::Error,
    },
    /// An input file could be read, but it is not what its kind of file should be.
    #[error("cannot read `{file}`: {what}")]
    Damaged {
        /// The file, as typed.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// Some images of many have no result. What is wrong with each is said already.
    #[error("{bad} of {all} images have no result{after}")]
    Images {
        /// How many have none.
        bad: usize,
        /// How many there are.
        all: usize,
        /// What follows from it.
        after: String,
    },
    /// The compiled model did not run.
    #[error("{0}")]
    Failed(String),
    /// The system's linker is not there, or did not link.
    #[cfg(feature = "compiler")]
    #[error("cannot make a shared library: {message}")]
    Linker {
        /// What happened.
        message: String,
        /// What to do about it.
        help: String,
    },
    /// Whoever reads our stdout has gone.
    #[error("standard output was closed")]
    ClosedPipe,
}

impl Failure {
    /// The exit code. This is the only place that decides on one.
    pub(crate) fn status(&self) -> Status {
        match self {
            Failure::Usage { .. } => Status::Usage,
            #[cfg(feature = "compiler")]
            Failure::Model { error, .. } => status_of(&error.problem),
            Failure::BadModel { .. } => Status::Model,
            Failure::Mismatch(_) => Status::Mismatch,
            Failure::Io { .. } | Failure::Damaged { .. } | Failure::Images { .. } => Status::Io,
            #[cfg(feature = "compiler")]
            Failure::Linker { .. } => Status::Failed,
            Failure::Failed(_) => Status::Failed,
            Failure::ClosedPipe => Status::Quiet,
        }
    }

    /// What the user can do about it.
    pub(crate) fn help(&self) -> Option<&str> {
        match self {
            Failure::Usage { help, .. } | Failure::BadModel { help, .. } => help.as_deref(),
            #[cfg(feature = "compiler")]
            Failure::Model { error, .. } => error.remedy.as_deref(),
            #[cfg(feature = "compiler")]
            Failure::Linker { help, .. } => Some(help),
            Failure::Mismatch(_)
            | Failure::Io { .. }
            | Failure::Damaged { .. }
            | Failure::Images { .. }
            | Failure::Failed(_)
            | Failure::ClosedPipe => None,
        }
    }

    /// The name and the operator of the ONNX node that is concerned.
    pub(crate) fn node(&self) -> Option<(&str, &str)> {
        #[cfg(feature = "compiler")]
        if let Failure::Model { error, .. } = self {
            return error.site.as_ref().map(|site| (site.node.as_str(), site.operator.as_str()));
        }
        None
    }

    /// The file that is concerned, as typed.
    pub(crate) fn file(&self) -> Option<&str> {
        match self {
            #[cfg(feature = "compiler")]
            Failure::Model { file, .. } => Some(file),
            Failure::BadModel { file, .. }
            | Failure::Io { file, .. }
            | Failure::Damaged { file, .. } => Some(file),
            #[cfg(feature = "compiler")]
            Failure::Linker { .. } => None,
            Failure::Usage { .. }
            | Failure::Mismatch(_)
            | Failure::Images { .. }
            | Failure::Failed(_)
            | Failure::ClosedPipe => None,
        }
    }

    /// Whether one image of many can be to blame, so that the others have results all the same.
    pub(crate) fn is_of_an_image(&self) -> bool {
        match self {
            Failure::Io { .. } | Failure::Damaged { .. } | Failure::Usage { .. } => true,
            #[cfg(feature = "compiler")]
            Failure::Model { .. } | Failure::Linker { .. } => false,
            Failure::BadModel { .. }
            | Failure::Mismatch(_)
            | Failure::Images { .. }
            | Failure::Failed(_)
            | Failure::ClosedPipe => false,
        }
    }

    /// Whether its text has lines of its own: those of another program.
    pub(crate) fn has_lines(&self) -> bool {
        match self {
            #[cfg(feature = "compiler")]
            Failure::Linker { .. } => true,
            #[cfg(feature = "compiler")]
            Failure::Model { .. } => false,
            Failure::Usage { .. }
            | Failure::BadModel { .. }
            | Failure::Mismatch(_)
            | Failure::Io { .. }
            | Failure::Damaged { .. }
            | Failure::Images { .. }
            | Failure::Failed(_)
            | Failure::ClosedPipe => false,
        }
    }

    /// A command line that cannot be.
    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure::Usage { message: message.into(), help: None }
    }

    /// The same failure with advice, where its kind takes any.
    pub(crate) fn with_help(mut self, advice: impl Into<String>) -> Failure {
        if let Failure::Usage { help, .. } | Failure::BadModel { help, .. } = &mut self {
            *help = Some(advice.into());
        }
        self
    }

    /// A file that cannot be read.
    pub(crate) fn reading(file: &Path, error: io::Error) -> Failure {
        Failure::Io { action: "read", file: names::shown(file), error }
    }

    /// A file that cannot be written.
    pub(crate) fn writing(file: &Path, error: io::Error) -> Failure {
        Failure::Io { action: "write", file: names::shown(file), error }
    }

    /// A file whose content is not what it should be.
    pub(crate) fn damaged(file: &Path, what: impl Into<String>) -> Failure {
        Failure::Damaged { file: names::shown(file), what: what.into() }
    }

    /// Memory that the system does not give.
    pub(crate) fn memory(bytes: usize) -> Failure {
        Failure::Failed(format!("not enough memory: {bytes} more bytes are needed"))
    }

    /// A failed write to stdout.
    pub(crate) fn stdout(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
            _ => Failure::Io { action: "write", file: "standard output".into(), error },
        }
    }
}

#[cfg(feature = "compiler")]
fn status_of(problem: &Problem) -> Status {
    match problem {
        Problem::BadOption(_)
        | Problem::FixedBatch { .. }
        | Problem::UnknownDimension { .. }
        | Problem::Target(_) => Status::Usage,
        Problem::Internal(_) | Problem::Memory(_) => Status::Failed,
        Problem::WrongRewrite(_) => Status::Mismatch,
        _ => Status::Model,
    }
}
