//! What went wrong, as a code and as text.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use cardinal_runtime::{LoadError, Role, RunError};

use crate::text::c_string;

/// What functions return. A function that fails has changed nothing that its caller can see, but
/// for the text of cardinal_last_error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// An argument is null, or is not what the function or the model wants.
    Argument = 1,
    /// The session is running in another thread.
    Busy = 2,
    /// The file cannot be read.
    Io = 3,
    /// The file is no artifact, is damaged, or has another version of the format.
    Artifact = 4,
    /// The artifact has no code that this machine can run, or none of the name asked for.
    Unsupported = 5,
    /// The system gives no more memory or threads, or lets no generated code run.
    Resources = 6,
    /// A bug in Cardinal. Free what took part.
    Internal = 7,
}

/// Why a function did not do what it was called for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0} is null")]
    Null(&'static str),
    #[error("{role} {index} has {bytes} bytes, but its data is null")]
    NullTensor { role: Role, index: usize, bytes: usize },
    #[error("{0} is not UTF-8")]
    NotUtf8(&'static str),
    #[error("{0} is longer than memory")]
    TooLong(&'static str),
    #[error("output {0} overlaps another tensor")]
    Overlap(usize),
    #[error("the session is running in another thread: give each thread a session of its own")]
    Busy,
    #[error("{error}{help}", error = .0, help = advice(.0.remedy()))]
    Load(#[from] LoadError),
    #[error("{error}{help}", error = .0, help = advice(.0.remedy()))]
    Run(#[from] RunError),
    #[error("a bug in Cardinal: {0}")]
    Panic(String),
}

/// What to do, on a line of its own.
fn advice(remedy: Option<String>) -> String {
    remedy.map_or_else(String::new, |remedy| format!("\nhelp: {remedy}"))
}

impl Failure {
    /// The code of this failure. This is the only place that decides on one.
    fn status(&self) -> Status {
        match self {
            Failure::Null(_)
            | Failure::NullTensor { .. }
            | Failure::NotUtf8(_)
            | Failure::TooLong(_)
            | Failure::Overlap(_) => Status::Argument,
            Failure::Busy => Status::Busy,
            Failure::Load(error) => status_of_load(error),
            Failure::Run(error) => status_of_run(error),
            Failure::Panic(_) => Status::Internal,
        }
    }
}

fn status_of_load(error: &LoadError) -> Status {
    match error {
        LoadError::Io { .. } | LoadError::Sharing { .. } => Status::Io,
        LoadError::Target { .. }
        | LoadError::MissingFeatures { .. }
        | LoadError::NoVariant { .. } => Status::Unsupported,
        LoadError::Executable(_) => Status::Resources,
        _ => Status::Artifact,
    }
}

fn status_of_run(error: &RunError) -> Status {
    match error {
        RunError::Thread(_) | RunError::Arena { .. } | RunError::Tensor(_) => Status::Resources,
        _ => Status::Argument,
    }
}

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

/// Runs a function's body: no panic leaves it, and its failure is remembered for the thread.
pub(crate) fn guard(body: impl FnOnce() -> Result<(), Failure>) -> Status {
    let done = catch_unwind(AssertUnwindSafe(body));
    match done.unwrap_or_else(|payload| Err(Failure::Panic(panic_text(payload)))) {
        Ok(()) => Status::Ok,
        Err(failure) => {
            let text = c_string(&failure.to_string());
            // A thread that is ending may have no such variable any more: then there is no text.
            let _ = LAST_ERROR.try_with(|last| last.replace(text));
            failure.status()
        }
    }
}

fn panic_text(payload: Box<dyn Any + Send>) -> String {
    let payload = match payload.downcast::<String>() {
        Ok(text) => return *text,
        Err(payload) => payload,
    };
    payload.downcast::<&str>().map_or_else(|_| "a panic".into(), |text| (*text).into())
}

/// Says why the last call that failed in this thread did, in English and UTF-8: a sentence without
/// a full stop, and, where something can be done about it, a second line that begins "help: ".
/// Empty if none has failed. Valid until the next failure in this thread, or its end.
///
/// The text is the thread's because every function can fail: so there is nothing to free, and no
/// thread sees what went wrong in another.
#[unsafe(no_mangle)]
pub extern "C" fn cardinal_last_error() -> *const c_char {
    LAST_ERROR.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}
