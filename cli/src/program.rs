//! The one module that calls the runtime: compiled models that are checked, loaded and run.

#[cfg(feature = "compiler")]
use std::env;
use std::num::NonZeroUsize;
#[cfg(feature = "compiler")]
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
#[cfg(feature = "compiler")]
pub(crate) use cardinal_runtime::StepTrace;
use cardinal_runtime::manifest::Property;
use cardinal_runtime::{Artifact, LoadError, RunError, Tensor, TensorSpec};

use crate::ending::fallible;
use crate::exit::{Failure, Outcome};
use crate::own_pages;
use crate::tensors::{Array, Spec};

/// The environment's variable for a folder in which processes share weights that have to be expanded.
#[cfg(feature = "compiler")]
const EXPANDED_WEIGHTS: &str = "CARDINAL_WEIGHTS";

/// How many threads this machine runs at once.
pub(crate) fn available_threads() -> NonZeroUsize {
    cardinal_runtime::cpu::available_threads()
}

/// The model of this machine's CPU.
#[cfg(feature = "compiler")]
pub(crate) fn cpu_model() -> String {
    cardinal_runtime::cpu::model()
}

/// A loaded model.
pub(crate) struct Program {
    program: Arc<cardinal_runtime::Program>,
    inputs: Vec<Spec>,
    outputs: Vec<Spec>,
    metadata: Vec<(String, String)>,
}

/// Checks the bytes of an artifact; `file` is its name for messages.
///
/// # Errors
/// [`Failure::BadModel`] when it is damaged.
pub(crate) fn open_artifact(bytes: Bytes, file: &str) -> Outcome<Artifact> {
    Artifact::from_bytes(bytes).map_err(|error| not_loaded(error, file))
}

/// Where processes share weights that have to be expanded, they are looked for in the folder that the environment names.
#[cfg(feature = "compiler")]
fn load_program(
    artifact: Artifact,
    isa: Option<&str>,
) -> Result<Arc<cardinal_runtime::Program>, LoadError> {
    let folder = env::var_os(EXPANDED_WEIGHTS).filter(|folder| !folder.is_empty());
    cardinal_runtime::Program::load_sharing(artifact, isa, folder.as_deref().map(Path::new))
}

/// Executables stay small.
#[cfg(not(feature = "compiler"))]
fn load_program(
    artifact: Artifact,
    isa: Option<&str>,
) -> Result<Arc<cardinal_runtime::Program>, LoadError> {
    cardinal_runtime::Program::load_variant(artifact, isa)
}

impl Program {
    /// Makes an artifact runnable, with the code for the CPU named `isa` if there is a name; `file`
    /// is the artifact's name for messages.
    ///
    /// # Errors
    /// [`Failure::BadModel`] when it is for another machine, [`Failure::Usage`] when it has no code
    /// of that name.
    pub(crate) fn load(artifact: Artifact, isa: Option<&str>, file: &str) -> Outcome<Program> {
        let program = load_program(artifact, isa);
        let program = program.map_err(|error| not_loaded(error, file))?;
        Ok(Program {
            inputs: program.inputs().iter().map(spec).collect(),
            outputs: program.outputs().iter().map(spec).collect(),
            metadata: program.metadata().iter().map(pair).collect(),
            program,
        })
    }

    /// What it takes, in order.
    pub(crate) fn inputs(&self) -> &[Spec] {
        &self.inputs
    }

    /// What it gives, in order.
    pub(crate) fn outputs(&self) -> &[Spec] {
        &self.outputs
    }

    /// How many samples one inference takes.
    pub(crate) fn batch(&self) -> usize {
        self.inputs.first().and_then(|spec| spec.shape.first()).copied().unwrap_or(1).max(1)
    }

    /// Whether an inference may have fewer samples than that: any number, and as many rows of outputs.
    pub(crate) fn takes_fewer(&self) -> bool {
        self.program.takes_fewer()
    }

    /// Refuses tensors that are not what the model takes, but for their number of samples, which is for a session
    /// to check where it may vary, or where there is something to say of why it may not.
    ///
    /// # Errors
    /// Those of [`Spec::check`].
    pub(crate) fn check(&self, inputs: &[Array]) -> Outcome {
        let is_open = self.program.takes_fewer() || self.program.fixed_by().is_some();
        self.inputs.iter().zip(inputs).try_for_each(|(spec, input)| {
            let of_samples = |(own, samples): (&usize, &usize)| {
                let mut open =
                    Spec { name: spec.name.clone(), dtype: spec.dtype, shape: spec.shape.clone() };
                open.shape[0] = if is_open { *samples } else { *own };
                open
            };
            let open = spec.shape.first().zip(input.shape.first()).map(of_samples);
            open.as_ref().unwrap_or(spec).check(input)
        })
    }

    /// Whether each sample of an inference is a row of every output.
    pub(crate) fn has_a_row_a_sample(&self) -> bool {
        let batch = Some(&self.batch());
        self.outputs.iter().all(|spec| spec.shape.first() == batch)
    }

    /// The ONNX file's `metadata_props`.
    pub(crate) fn metadata(&self) -> &[(String, String)] {
        &self.metadata
    }

    /// The narrowest type that its convolutions multiply.
    pub(crate) fn precision(&self) -> &str {
        self.program.variant().precision()
    }

    /// Gives what tells this program from all that give other results: its sections' digests, and which code
    /// runs.
    #[cfg(feature = "compiler")]
    pub(crate) fn identify(&self, give: &mut dyn FnMut(&[u8])) {
        give(self.isa().as_bytes());
        self.program.artifact().sections().iter().for_each(|section| give(&section.digest));
    }

    /// The artifact, and the position of its code that runs.
    #[cfg(feature = "compiler")]
    pub(crate) fn running(&self) -> (&Artifact, usize) {
        (self.program.artifact(), self.program.variant_position())
    }

    /// The CPU whose code runs.
    #[cfg(feature = "compiler")]
    pub(crate) fn isa(&self) -> &str {
        &self.program.variant().name
    }
}

fn not_loaded(error: LoadError, file: &str) -> Failure {
    let (message, help) = (error.to_string(), error.remedy());
    match error {
        LoadError::NoVariant { .. } => {
            Failure::Usage { message: format!("`{file}`: {message}"), help }
        }
        LoadError::Sharing { folder, source } => Failure::Io {
            action: "keep expanded weights in",
            file: folder.display().to_string(),
            error: source,
        },
        _ => Failure::BadModel { file: file.to_owned(), message, help },
    }
}

/// A tensor's description in the terms of the command line.
pub(crate) fn spec(spec: &TensorSpec) -> Spec {
    Spec { name: spec.name.clone(), dtype: spec.dtype, shape: spec.shape.clone() }
}

/// A property as a key and a value.
pub(crate) fn pair(property: &Property) -> (String, String) {
    (property.key.clone(), property.value.clone())
}

/// Threads that sessions share.
#[cfg(feature = "serving")]
pub(crate) struct Threads(Arc<cardinal_runtime::Pool>);

#[cfg(feature = "serving")]
impl Threads {
    /// Starts them, but for one: whoever runs a session is another.
    ///
    /// # Errors
    /// [`Failure::Usage`] for absurdly many, [`Failure::Failed`] where the system refuses.
    pub(crate) fn new(count: NonZeroUsize) -> Outcome<Threads> {
        Ok(Threads(Arc::new(cardinal_runtime::Pool::new(count).map_err(not_run)?)))
    }
}

/// A program with its threads and scratch memory.
pub(crate) struct Session {
    session: cardinal_runtime::Session,
    /// Whether it has run nothing yet.
    is_new: bool,
}

/// Inputs in the form that the runtime takes, and memory for the outputs.
pub(crate) struct Prepared {
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

impl Session {
    /// Threads and memory for one inference at a time.
    ///
    /// # Errors
    /// [`Failure::Usage`] for absurdly many threads, [`Failure::Failed`] for want of memory.
    pub(crate) fn new(program: &Program, threads: NonZeroUsize) -> Outcome<Session> {
        let session = cardinal_runtime::Session::new(Arc::clone(&program.program), threads);
        Ok(Session { session: session.map_err(not_run)?, is_new: true })
    }

    /// The same, on threads that others run on too.
    ///
    /// # Errors
    /// [`Failure::Failed`] for want of memory.
    #[cfg(feature = "serving")]
    pub(crate) fn sharing(program: &Program, threads: &Threads) -> Outcome<Session> {
        let Threads(pool) = threads;
        let session =
            cardinal_runtime::Session::with_pool(Arc::clone(&program.program), Arc::clone(pool));
        Ok(Session { session: session.map_err(not_run)?, is_new: true })
    }

    /// Number of threads.
    pub(crate) fn threads(&self) -> usize {
        self.session.threads()
    }

    /// Runs the model once.
    ///
    /// # Errors
    /// [`Failure::Usage`] when the inputs are not the model's, [`Failure::Failed`] otherwise.
    pub(crate) fn run(&mut self, inputs: Vec<Array>) -> Outcome<Vec<Array>> {
        let mut prepared = self.prepare(inputs)?;
        self.run_prepared(&mut prepared)?;
        let array = |t: &Tensor| Array::copy(t.dtype(), t.shape(), t.as_bytes());
        prepared.outputs.iter().map(array).collect()
    }

    /// Converts inputs once, for [`run_prepared`](Self::run_prepared). They are as large again, so they are
    /// dropped.
    ///
    /// # Errors
    /// [`Failure::Failed`] for want of memory.
    pub(crate) fn prepare(&self, inputs: Vec<Array>) -> Outcome<Prepared> {
        let tensor = |array: &Array| Tensor::from_bytes(array.dtype, &array.shape, &array.bytes);
        let inputs: Result<Vec<Tensor>, _> = fallible(|| inputs.iter().map(tensor).collect());
        let inputs = inputs.map_err(|error| Failure::Failed(error.to_string()))?;
        let outputs = fallible(|| self.session.outputs_for(&inputs)).map_err(not_run)?;
        Ok(Prepared { inputs, outputs })
    }

    /// Runs the model once and leaves its results where they are.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    pub(crate) fn run_prepared(&mut self, prepared: &mut Prepared) -> Outcome {
        if std::mem::take(&mut self.is_new) {
            own_pages::give_back();
        }
        let Prepared { inputs, outputs } = prepared;
        self.session.run_into(inputs, outputs).map_err(not_run)
    }

    /// Runs the model once and says how long each call of a step took, in milliseconds, in the order
    /// of the plan's sequence.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    #[cfg(feature = "compiler")]
    pub(crate) fn time_calls(&mut self, prepared: &mut Prepared) -> Outcome<Vec<f64>> {
        let Prepared { inputs, outputs } = prepared;
        let calls = self.session.run_timed(inputs, outputs).map_err(not_run)?;
        Ok(calls.iter().map(|call| call.as_secs_f64() * 1e3).collect())
    }
}

#[cfg(feature = "compiler")]
impl Session {
    /// Runs the model once and says when each call of a step ran and on which threads, in the order of the
    /// plan's sequence.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    pub(crate) fn trace_calls(&mut self, prepared: &mut Prepared) -> Outcome<Vec<StepTrace>> {
        let Prepared { inputs, outputs } = prepared;
        self.session.run_traced(inputs, outputs).map_err(not_run)
    }
}

fn not_run(error: RunError) -> Failure {
    let help = error.remedy();
    match error {
        RunError::Count { .. }
        | RunError::Mismatch { .. }
        | RunError::Images { .. }
        | RunError::Fixed { .. }
        | RunError::TooManyThreads { .. } => {
            let message = error.to_string();
            Failure::Usage { message, help }
        }
        other => Failure::Failed(other.to_string()),
    }
}
