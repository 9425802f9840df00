//! Why other weights do not fit compiled code.

use super::{Error, Problem};

/// Why an artifact's code does not fit a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Difference {
    /// Another version of the compiler made the code, and may have planned it differently.
    #[error("version {artifact} of the compiler made the artifact, and this is {this}")]
    Version {
        /// The artifact's.
        artifact: String,
        /// This compiler's.
        this: String,
    },
    /// The artifact does not say what its code depends on.
    #[error("the artifact does not state the structure of its plan for {0}")]
    Unstated(String),
    /// Its features are not those of a CPU that this compiler generates code for.
    #[error("the artifact's {0} is no CPU that this compiler knows")]
    Cpu(String),
    /// Its code was not planned by estimates, but as something that this compiler does not know.
    #[error("{0}, and the artifact chose it for a convolution")]
    Choice(String),
    /// Its weights are to be stored in a way that this compiler does not know.
    #[error("the artifact's weights are to be stored in the unknown encoding {0}")]
    Encoding(u32),
    /// The model's inputs cannot have the shapes that the artifact has.
    #[error("its inputs are others: {0}")]
    Shapes(String),
    /// An input or an output is another.
    #[error("the model has {model}, and the artifact {artifact}")]
    Port {
        /// The model's, or `no such`.
        model: String,
        /// The artifact's, or `no such`.
        artifact: String,
    },
    /// A step is another.
    #[error("step {at} of its plan for {cpu} is another: `{step}`")]
    Step {
        /// The CPU planned for.
        cpu: String,
        /// Position of the step, from 1.
        at: usize,
        /// The model's step.
        step: String,
    },
    /// There are more or fewer steps.
    #[error("its plan for {cpu} has {model} steps, and the artifact's has {artifact}")]
    Steps {
        /// The CPU planned for.
        cpu: String,
        /// The model's number of steps.
        model: usize,
        /// The artifact's.
        artifact: usize,
    },
    /// All steps are equal, but not where they find their operands.
    #[error("its plan for {0} lays memory out differently")]
    Memory(String),
}

impl From<Difference> for Error {
    fn from(difference: Difference) -> Error {
        Error::from(Problem::OtherGraph(difference)).with_remedy("compile the model instead")
    }
}
