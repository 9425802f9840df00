//! What can go wrong between a file and its results. Errors are typed here and rendered elsewhere.

mod invalid;

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::cpu;
use crate::dtype::DType;
use crate::format::FORMAT_VERSION;
use crate::spec::{TensorSpec, TypeText};
use crate::text;

pub use invalid::{CodeError, EncodingError, ManifestError, TableError};

/// A digested part of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The table of contents, whose digest is in the header. It has those of all sections.
    Table,
    /// The manifest.
    Manifest,
    /// The code section of a variant, by its position.
    Code(usize),
    /// The weights section.
    Weights,
    /// A section that this runtime does not read, by its name.
    Other(String),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Table => f.write_str("table of contents"),
            Part::Manifest => f.write_str("manifest"),
            Part::Code(variant) => write!(f, "code section {}", variant + 1),
            Part::Weights => f.write_str("weights section"),
            Part::Other(name) => write!(f, "section {name:?}"),
        }
    }
}

/// Why an artifact was refused. No byte of a refused artifact has run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The operating system refused to read the file or to give memory.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried, as a verb phrase.
        action: String,
        /// The system's answer.
        source: io::Error,
    },
    /// Expanded weights cannot be kept in the folder that they are to be shared in.
    #[error("cannot keep expanded weights in {}: {source}", folder.display())]
    Sharing {
        /// The folder, as named.
        folder: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The first bytes are not [`MAGIC`](crate::MAGIC).
    #[error("not a Cardinal artifact{}", if *.looks_like_onnx { " but an ONNX model" } else { "" })]
    NotAnArtifact {
        /// Whether the bytes begin like an ONNX `ModelProto`.
        looks_like_onnx: bool,
    },
    /// Written in another version of the format: its compiler and this runtime do not fit.
    #[error(
        "the artifact has format version {found}, and this runtime reads version {FORMAT_VERSION}"
    )]
    Version {
        /// The file's version, which is not [`FORMAT_VERSION`].
        found: u32,
    },
    /// The artifact has a section that must not be passed over, and of a name unknown here.
    #[error(
        "the artifact has a section {name:?}, which this runtime does not know and may not ignore"
    )]
    UnknownSection {
        /// Its name.
        name: String,
    },
    /// The file ends early.
    #[error("the artifact is cut short: {actual} bytes of at least {expected}")]
    Truncated {
        /// Bytes that the part read so far calls for.
        expected: u64,
        /// Bytes there are.
        actual: u64,
    },
    /// The file goes on after its last section.
    #[error("the artifact has {} bytes after its end", actual - expected)]
    TrailingBytes {
        /// Bytes that the table of contents calls for.
        expected: u64,
        /// Bytes there are.
        actual: u64,
    },
    /// A part's bytes do not have the digest written down for them.
    #[error("the {0} is damaged: its digest does not match")]
    Digest(Part),
    /// Padding, which is zero by definition, is not.
    #[error("the artifact is damaged: padding at byte {offset} is not zero")]
    Padding {
        /// Offset of the first such byte.
        offset: u64,
    },
    /// The code is for another architecture or operating system.
    #[error("the artifact is for {}, and this machine is {host}", text::line(target))]
    Target {
        /// The artifact's target triple.
        target: String,
        /// The host's.
        host: String,
    },
    /// The code uses instructions that this CPU does not have: that of every variant, or that of
    /// the one asked for.
    #[error(
        "this CPU lacks what the artifact's code for {} needs: {}",
        text::line(variant),
        text::line(&missing.join(", "))
    )]
    MissingFeatures {
        /// The variant asked for, or else the one that asks for the least.
        variant: String,
        /// The features missing, sorted.
        missing: Vec<String>,
    },
    /// There is no code for the kind of CPU asked for.
    #[error("the artifact has no code for {name:?}")]
    NoVariant {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The table of contents is intact and wrong.
    #[error("the table of contents is invalid: {0}")]
    BadTable(#[from] TableError),
    /// The manifest is intact and wrong.
    #[error("the manifest is invalid: {0}")]
    BadManifest(#[from] ManifestError),
    /// A code section is intact and wrong.
    #[error("code section {} is invalid: {error}", variant + 1)]
    BadCode {
        /// Position of its variant.
        variant: usize,
        /// What is wrong with it.
        error: CodeError,
    },
    /// The system does not let this process run generated code.
    #[error("the system refuses to make memory executable: {0}")]
    Executable(io::Error),
}

/// What helps with a file of a later version.
const NEWER: &str = "use a newer Cardinal, or compile the model again with this one";

impl LoadError {
    /// What the user can do about it, as an imperative sentence without a full stop.
    pub fn remedy(&self) -> Option<String> {
        match self {
            LoadError::Io { .. } | LoadError::Sharing { .. } => None,
            LoadError::NotAnArtifact { looks_like_onnx: true } => {
                Some("compile it first: cardinal compile MODEL.onnx".into())
            }
            LoadError::NotAnArtifact { looks_like_onnx: false } => {
                Some("give a .cardinal file written by `cardinal compile`".into())
            }
            LoadError::BadManifest(ManifestError::Encoding {
                error: EncodingError::Unknown(_),
                ..
            }) => Some(NEWER.into()),
            LoadError::Version { found: ..=FORMAT_VERSION }
            | LoadError::BadTable(_)
            | LoadError::BadManifest(_)
            | LoadError::BadCode { .. } => {
                Some("compile the model again with this version of Cardinal".into())
            }
            LoadError::Version { .. } | LoadError::UnknownSection { .. } => Some(NEWER.into()),
            LoadError::Truncated { .. }
            | LoadError::TrailingBytes { .. }
            | LoadError::Digest(_)
            | LoadError::Padding { .. } => {
                Some("copy the file again, or compile the model again".into())
            }
            LoadError::Target { host, .. } => Some(format!("compile with --target {host}")),
            LoadError::MissingFeatures { .. } => Some(match cpu::host_level() {
                Some(level) => {
                    format!("compile with --cpu {level}, or --cpu native on this machine")
                }
                None => "compile with --cpu native on this machine".into(),
            }),
            LoadError::NoVariant { known, .. } => {
                Some(format!("it has code for {}", text::line(&known.join(", "))))
            }
            LoadError::Executable(_) => {
                Some("allow executable anonymous memory (SELinux: execmem) for this process".into())
            }
        }
    }

    /// The system's refusal of `action`, a verb phrase.
    pub(crate) fn io(action: impl Into<String>, source: io::Error) -> LoadError {
        LoadError::Io { action: action.into(), source }
    }
}

/// Whether a tensor goes into a model or comes out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Goes in.
    Input,
    /// Comes out.
    Output,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Input => "input",
            Role::Output => "output",
        })
    }
}

/// Why a [`Session`](crate::Session) could not be made or did not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The number of tensors is wrong.
    #[error("the model has {expected} {role}(s), {given} given")]
    Count {
        /// Inputs or outputs.
        role: Role,
        /// How many the model has.
        expected: usize,
        /// How many there were.
        given: usize,
    },
    /// A tensor has another element type or shape than the model's.
    #[error(
        "{role} {:?} is {}, {} given",
        expected.name,
        TypeText(expected.dtype, &expected.shape),
        TypeText(*dtype, shape)
    )]
    Mismatch {
        /// Inputs or outputs.
        role: Role,
        /// What the model wants.
        expected: TensorSpec,
        /// Element type given.
        dtype: DType,
        /// Shape given.
        shape: Vec<usize>,
    },
    /// Memory given for a tensor has another size than the tensor.
    #[error(
        "{role} {:?} is {} of {} bytes, {given} bytes given",
        expected.name,
        TypeText(expected.dtype, &expected.shape),
        expected.bytes()
    )]
    Bytes {
        /// Inputs or outputs.
        role: Role,
        /// What the model wants.
        expected: TensorSpec,
        /// Bytes given.
        given: usize,
    },
    /// A tensor has more images than the model takes at once, or none.
    #[error(
        "{role} {:?} has {given} images, and the model takes 1 to {} at once",
        expected.name,
        most(expected)
    )]
    Images {
        /// Inputs or outputs.
        role: Role,
        /// The model's, with as many images as it takes.
        expected: TensorSpec,
        /// Images given.
        given: usize,
    },
    /// A tensor has fewer images than the model takes, which computes something of all of them together.
    #[error(
        "{role} {:?} has {given} images, and the model takes exactly {} at once: {}",
        expected.name,
        most(expected),
        text::line(by)
    )]
    Fixed {
        /// Inputs or outputs.
        role: Role,
        /// The model's.
        expected: TensorSpec,
        /// Images given.
        given: usize,
        /// What stands in the way of fewer.
        by: String,
    },
    /// Memory given for a tensor begins where no element may.
    #[error("{role} {:?} is not aligned to its elements of {} bytes", expected.name, expected.dtype.size())]
    Misaligned {
        /// Inputs or outputs.
        role: Role,
        /// What the model wants.
        expected: TensorSpec,
    },
    /// More threads than [`MAX_THREADS`](crate::MAX_THREADS).
    #[error("{given} threads are more than the {limit} allowed")]
    TooManyThreads {
        /// How many were asked for.
        given: usize,
        /// The limit.
        limit: usize,
    },
    /// The system did not start a thread.
    #[error("cannot start a worker thread: {0}")]
    Thread(io::Error),
    /// The system did not give the arena's memory.
    #[error("cannot reserve {bytes} bytes of scratch memory: {source}")]
    Arena {
        /// Its size.
        bytes: u64,
        /// The system's answer.
        source: io::Error,
    },
    /// An output could not be made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// The images that a tensor has at most.
fn most(spec: &TensorSpec) -> usize {
    spec.shape.first().copied().unwrap_or(1)
}

impl RunError {
    /// What the user can do about it, as an imperative sentence without a full stop.
    pub fn remedy(&self) -> Option<String> {
        match self {
            RunError::Count { role, .. } => Some(format!("give one tensor for each {role}")),
            RunError::Misaligned { .. } => Some("give memory that an allocator returns".into()),
            RunError::Mismatch { expected, .. } | RunError::Bytes { expected, .. } => {
                Some(format!(
                    "give {}, or compile the model for the other shape with --shape or --batch",
                    TypeText(expected.dtype, &expected.shape)
                ))
            }
            RunError::Images { expected, given: 0, .. } => {
                Some(format!("give 1 to {} images", most(expected)))
            }
            RunError::Images { expected, given, .. } => Some(format!(
                "give at most {} at a time, or compile the model for more: --batch {given}",
                most(expected)
            )),
            RunError::Fixed { expected, given, .. } => Some(format!(
                "give {}, or compile the model for as many as there are: --batch {given}",
                most(expected)
            )),
            RunError::TooManyThreads { .. } | RunError::Thread(_) => {
                Some("use fewer threads: --threads N".into())
            }
            RunError::Arena { .. } | RunError::Tensor(_) => {
                Some("free some memory, or compile for a smaller batch".into())
            }
        }
    }
}

/// Why a tensor could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// The bytes of this shape cannot be counted.
    #[error("a tensor of shape {shape:?} is too large")]
    TooLarge {
        /// The shape.
        shape: Vec<usize>,
    },
    /// The data has another length than the shape.
    #[error("a tensor of {expected} bytes cannot hold {given}")]
    Length {
        /// Bytes that the shape calls for.
        expected: usize,
        /// Bytes given.
        given: usize,
    },
    /// There is not enough memory.
    #[error("cannot allocate a tensor of {bytes} bytes")]
    OutOfMemory {
        /// Bytes wanted.
        bytes: usize,
    },
}
