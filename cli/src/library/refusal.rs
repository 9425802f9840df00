//! Why something was not done.

use cardinal_runtime::text;

use crate::exit::{Failure, Status};

/// Why something was not done, for whoever shows it. Texts that come from files have no characters that do more
/// than show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Whose business it is.
    pub kind: Kind,
    /// What is wrong.
    pub message: String,
    /// What to do about it, as an imperative sentence without a full stop.
    pub remedy: Option<String>,
    /// The ONNX node that is concerned.
    pub node: Option<Node>,
}

/// Whose business a refusal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What was asked for cannot be.
    Usage,
    /// The model is bad or unsupported.
    Model,
    /// A file could not be read or written, or is damaged.
    File,
    /// The system gave no memory or threads, or there is a bug in Cardinal.
    Failed,
}

/// A node of an ONNX model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name, or `Operator#index` when it has none.
    pub name: String,
    /// Its operator.
    pub operator: String,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        let kind = match failure.status() {
            Status::Usage => Kind::Usage,
            Status::Model => Kind::Model,
            Status::Io => Kind::File,
            Status::Failed | Status::Mismatch | Status::Quiet => Kind::Failed,
        };
        Refusal {
            kind,
            message: text::line(&failure.to_string()),
            remedy: failure.help().map(text::line),
            node: failure.node().map(|(name, operator)| Node {
                name: text::line(name),
                operator: text::line(operator),
            }),
        }
    }
}
