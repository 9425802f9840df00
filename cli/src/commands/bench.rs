//! `cardinal bench`: how fast a model runs.

use crate::args::BenchArgs;
use crate::exit::Outcome;
use crate::loading;
use crate::measure::measure;
use crate::model_file::ModelFile;
use crate::program;

pub(crate) fn run(args: &BenchArgs) -> Outcome {
    let threads = args.threads.unwrap_or_else(program::available_threads);
    let file = ModelFile::open(&args.model)?;
    let loaded = loading::load(&file, &args.options, None)?;
    measure(&loaded.program, loaded.preparation, threads, &args.measurement)?.print(args.json)
}
