//! `cardinal bench`: how fast a model runs.

mod steps;

use crate::args::BenchArgs;
use crate::engine;
use crate::exit::{Failure, Outcome};
use crate::loading;
use crate::measure::measure;
use crate::model_file::ModelFile;
use crate::{output, program};

use steps::StepTimes;

pub(crate) fn run(args: &BenchArgs) -> Outcome {
    let threads = args.threads.unwrap_or_else(program::available_threads);
    let file = ModelFile::open(&args.model)?;
    args.trust.check(&file)?;
    let loaded = loading::load(&file, &args.options, &args.isa, None)?;
    let plan = match (&loaded.model, args.steps) {
        (_, false) => None,
        (Some(model), true) => {
            let settings = loading::settings_for(&args.options, &args.isa);
            let plan = engine::running_plan(model, &settings, &loaded.program);
            Some(plan.map_err(|error| loading::refused(&file, error))?)
        }
        (None, true) => {
            return Err(Failure::usage("an artifact does not have the names of its plan's steps")
                .with_help("use --steps with the .onnx"));
        }
    };
    let what = &args.measurement;
    let measured = measure(&loaded.program, loaded.preparation, threads, what)?;
    let Some(plan) = plan else { return measured.print(args.json) };
    let steps = StepTimes::measure(&plan, &loaded.program, threads, what)?;
    if args.json {
        let mut report = measured.to_json();
        report["steps"] = steps.to_json();
        return output::print_json(&report);
    }
    measured.print(false)?;
    steps.print()
}
