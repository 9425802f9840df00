//! Executables: a compiled model in one file with all that it takes to run it.
//!
//! `cardinal compile` puts a model behind a copy of the runner (`format.rs`); the runner is a
//! statically linked program whose `main` is [`main`]. It finds the model in its own file, maps
//! it, and from there on does what `cardinal run` and `cardinal bench` do.

mod args;
mod attached;
mod format;
mod own_file;
mod sample;
mod selftest;

#[cfg(feature = "compiler")]
mod write;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

pub use format::{FormatError, Parts, assemble, split};
pub use sample::{Output, Sample};
#[cfg(feature = "compiler")]
pub(crate) use write::{check_target, sample, write};

use args::ExecutableArgs;
use attached::Attached;

use crate::exit::Outcome;
use crate::infer::Job;
use crate::measure::measure;
use crate::{ending, own_pages, program, render};

/// Runs the command line of an executable.
pub fn main() -> ExitCode {
    ending::install();
    own_pages::own();
    render::install_panic_hook();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let name = name(arguments.first());
    match ExecutableArgs::parse(&name, arguments) {
        Ok(args) => render::outcome(run(&name, &args)),
        Err(error) => render::usage(&error),
    }
}

/// The executable's name for help and messages.
fn name(first: Option<&OsString>) -> String {
    let file = first.and_then(|path| Path::new(path).file_name());
    file.map_or_else(|| "executable".into(), |name| name.to_string_lossy().into_owned())
}

fn run(name: &str, args: &ExecutableArgs) -> Outcome {
    #[cfg(feature = "serving")]
    if let Some(args::Action::Serve(options)) = &args.command {
        return serve(name, options);
    }
    let ExecutableArgs { request, measurement, info, selftest, bench, .. } = args;
    let threads = request.threads.unwrap_or_else(program::available_threads);
    if *info {
        return Attached::open(name)?.describe(request.json);
    }
    if *selftest {
        let attached = Attached::open(name)?;
        let sample = attached.sample.clone();
        return selftest::run(&attached.load(&request.isa)?.0, &sample, threads, request.json);
    }
    if *bench {
        let (program, preparation) = Attached::open(name)?.load(&request.isa)?;
        return measure(&program, preparation, threads, measurement)?.print(request.json);
    }
    let job = Job::new(request, false)?;
    job.run(&Attached::open(name)?.load(&request.isa)?.0, name)
}

/// Serves the model under the executable's name.
#[cfg(feature = "serving")]
fn serve(name: &str, options: &crate::serving::ServingOptions) -> Outcome {
    let program = Attached::open(name)?.load(&options.isa)?.0;
    let hosted = crate::serve::Hosted::new(name.to_owned(), program, options, name)?;
    crate::serve::serve(vec![hosted], options)
}
