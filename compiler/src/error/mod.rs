//! Everything that can be wrong with a model, typed. Rendering is the command line's business.

mod difference;

use std::fmt;

pub use difference::Difference;

/// A model that cannot be compiled: where, what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", Place(.site))]
pub struct Error {
    /// The ONNX node concerned, when there is one.
    pub site: Option<Site>,
    /// What is wrong.
    pub problem: Problem,
    /// What to do about it, when something can be done.
    pub remedy: Option<String>,
}

/// The result of compiling or of a part of it.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A node of the model: its name and operator, as in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The node's name, or `Operator#index` when it has none.
    pub node: String,
    /// The operator, with its domain unless that is ONNX's own.
    pub operator: String,
}

/// What is wrong with a model. The text completes "node X (Conv): …" and stands alone too.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The bytes are not a well-formed ONNX protobuf.
    #[error("not a valid ONNX file: {0}")]
    Malformed(String),
    /// Well-formed, but the graph breaks ONNX's rules (dangling or duplicate names, cycles, …).
    #[error("invalid graph: {0}")]
    InvalidGraph(String),
    /// A tensor's bytes, dims or type contradict each other or overflow.
    #[error("bad tensor `{name}`: {what}")]
    BadTensor {
        /// The tensor's name.
        name: String,
        /// The contradiction.
        what: String,
    },
    /// External data that is absent, leaves the model's folder, or is out of range.
    #[error("external data of `{tensor}`: {what}")]
    ExternalData {
        /// The tensor's name.
        tensor: String,
        /// What is wrong with it.
        what: String,
    },
    /// An operator, domain or opset that Cardinal does not know.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// What takes more memory than is allowed, or than anything may.
    #[error("unsupported: {what}")]
    TooLarge {
        /// What takes it, and how much.
        what: String,
        /// The option with which it is allowed, where one is.
        allow: Option<String>,
    },
    /// An attribute or operand that the operator does not allow.
    #[error("{0}")]
    BadNode(String),
    /// A dimension that the options leave open.
    #[error("dimension `{dimension}` of input `{input}` is not known")]
    UnknownDimension {
        /// The input's name.
        input: String,
        /// The dimension's name, or its position.
        dimension: String,
    },
    /// An option contradicts the model.
    #[error("{0}")]
    BadOption(String),
    /// The model fixes another batch than is asked for.
    #[error("batch {asked} is asked for, but input `{input}` has batch {batch}")]
    FixedBatch {
        /// The input's name.
        input: String,
        /// Its first extent.
        batch: usize,
        /// What is asked for.
        asked: usize,
    },
    /// An artifact cannot be given the weights of this model.
    #[error("the graph is not the artifact's: {0}")]
    OtherGraph(Difference),
    /// An artifact's record of how it was compiled is absent, or is not what compilers write.
    #[error("the artifact's record of how it was compiled {0}")]
    Record(String),
    /// The target machine is not supported.
    #[error("target: {0}")]
    Target(String),
    /// Text that does not parse as a dump.
    #[error("line {line}: {what}")]
    Text {
        /// 1-based line.
        line: usize,
        /// What was expected.
        what: String,
    },
    /// The system has not as much memory.
    #[error("not enough memory for {0}")]
    Memory(String),
    /// A rewrite changed the meaning of the graph, as `--check-rewrites` finds: a bug of Cardinal's.
    #[error("wrong rewrite, please report it: {0}")]
    WrongRewrite(String),
    /// A rule of the IR does not hold, or generated code could not be made: a bug of Cardinal's.
    #[error("internal error, please report it: {0}")]
    Internal(String),
}

struct Place<'a>(&'a Option<Site>);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(site) => write!(f, "node `{}` ({}): ", site.node, site.operator),
            None => Ok(()),
        }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Error {
        Error { site: None, problem, remedy: None }
    }
}

impl Error {
    /// The same error with advice.
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Error {
        self.remedy = Some(remedy.into());
        self
    }

    /// The same error at a node, unless it already names one.
    pub fn at(mut self, node: impl Into<String>, operator: impl Into<String>) -> Error {
        self.site.get_or_insert_with(|| Site { node: node.into(), operator: operator.into() });
        self
    }

    /// What takes more memory than is allowed, and the option with which it is.
    pub(crate) fn too_large(what: String, allow: Option<String>) -> Error {
        Error::from(Problem::TooLarge { what, allow }).because_of("the batch, a shape or a padding")
    }

    /// The same error of what is too large, with advice to look at what makes it so; any other as it is.
    pub(crate) fn because_of(mut self, cause: &str) -> Error {
        if let Problem::TooLarge { allow, .. } = &self.problem {
            let allow = allow.as_deref().map(|option| format!(" Then allow it: {option}"));
            let allow = allow.unwrap_or_default();
            self.remedy = Some(format!("is {cause} meant to be this large?{allow}"));
        }
        self
    }

    /// Less memory than it takes, to hold this.
    pub fn memory(what: impl Into<String>) -> Error {
        let error = Error::from(Problem::Memory(what.into()));
        error.with_remedy("free some memory, or compile for a smaller batch")
    }

    /// A bug of Cardinal's.
    pub fn internal(what: impl Into<String>) -> Error {
        Problem::Internal(what.into()).into()
    }
}
