//! Threads that models run on, and how many there are.

use std::mem;
use std::num::NonZeroUsize;
use std::process;
use std::sync::{Arc, Mutex, PoisonError};

use cardinal_runtime::{RunError, cpu};
use pyo3::prelude::*;

use crate::errors::{Class, Raised};

/// The pool of what is not told which to take, and the process that it was made in: fork() leaves a child
/// without its threads.
static SHARED: Mutex<Option<(u32, Arc<cardinal_runtime::Pool>)>> = Mutex::new(None);

/// Threads that models share, each of which would have its own otherwise: ``Pool(threads=None)``.
#[pyclass(frozen, module = "cardinal_ml")]
pub(crate) struct Pool(Arc<cardinal_runtime::Pool>);

#[pymethods]
impl Pool {
    #[new]
    #[pyo3(signature = (threads=None))]
    fn new(threads: Option<usize>) -> Result<Pool, Raised> {
        Ok(Pool(started(threads.map_or(Ok(cpu::available_threads()), counted)?)?))
    }

    /// How many threads there are, that of the caller counted as one.
    #[getter]
    fn threads(&self) -> usize {
        self.0.threads()
    }

    fn __repr__(&self) -> String {
        format!("Pool(threads={})", self.0.threads())
    }
}

/// What ``threads=`` takes.
#[derive(FromPyObject)]
pub(crate) enum Threads<'py> {
    /// Those of a pool.
    Pool(PyRef<'py, Pool>),
    /// As many of its own.
    Count(usize),
}

/// The pool that is asked for; that of the process where none is.
pub(crate) fn pool(threads: Option<Threads<'_>>) -> Result<Arc<cardinal_runtime::Pool>, Raised> {
    match threads {
        Some(Threads::Pool(pool)) => Ok(Arc::clone(&pool.0)),
        Some(Threads::Count(count)) => started(counted(count)?),
        None => shared(),
    }
}

fn counted(threads: usize) -> Result<NonZeroUsize, Raised> {
    let remedy = || Some("give a number from 1 on, or None for those of this machine".to_owned());
    NonZeroUsize::new(threads)
        .ok_or_else(|| Raised::new(Class::Option, "0 threads cannot run a model", remedy()))
}

fn started(threads: NonZeroUsize) -> Result<Arc<cardinal_runtime::Pool>, Raised> {
    let pool = cardinal_runtime::Pool::new(threads);
    pool.map(Arc::new).map_err(|error| match error {
        RunError::TooManyThreads { .. } => {
            let remedy = Some("use fewer threads".to_owned());
            Raised::new(Class::Option, error.to_string(), remedy)
        }
        other => other.into(),
    })
}

fn shared() -> Result<Arc<cardinal_runtime::Pool>, Raised> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let here = process::id();
    if let Some((process, pool)) = &*shared
        && *process == here
    {
        return Ok(Arc::clone(pool));
    }
    let pool = started(cpu::available_threads())?;
    // The parent's has threads here that cannot be waited for.
    mem::forget(shared.replace((here, Arc::clone(&pool))));
    Ok(pool)
}
