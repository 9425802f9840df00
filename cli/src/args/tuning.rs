//! What tuning takes, and what looking at its results takes.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

/// Where measurements are kept, and how they are made.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Tuning options")]
pub(crate) struct TuningOptions {
    /// File that measurements are kept in [default: cardinal/tune.json in $XDG_CACHE_HOME or ~/.cache]
    ///
    /// It holds them by CPU, number of threads and layer, for one version of Cardinal. A cache that is
    /// damaged or another version's is ignored with a warning, and replaced by the next tuning. A file
    /// that is no cache is refused.
    ///
    /// Example: --tune-cache tune.json
    #[arg(long, value_name = "FILE", requires = "tune")]
    pub(crate) tune_cache: Option<PathBuf>,
    /// Threads that inferences are measured on [default: 1]
    ///
    /// Example: --tune-threads 4
    #[arg(long, value_name = "N", requires = "tune")]
    pub(crate) tune_threads: Option<NonZeroUsize>,
}
