//! `cardinal bench`: how fast a model runs.

use std::path::Path;

use crate::args::BenchArgs;
use crate::exit::Outcome;
use crate::image_input::Recipe;
use crate::loading;
use crate::measure::measure;
use crate::model_file::ModelFile;
use crate::profile::StepTimes;
use crate::program::Program;
use crate::score::{Forecast, Inputs, Reading};
use crate::{output, program};

pub(crate) fn run(args: &BenchArgs) -> Outcome {
    let threads = args.threads.unwrap_or_else(program::available_threads);
    let file = ModelFile::open(&args.model)?.with_weights(args.options.weights_from.as_ref());
    args.trust.check(&file)?;
    let loaded = loading::load(&file, &args.options, &args.isa, &Vec::new())?;
    let running = || loading::running(&file, &loaded);
    let running = args.steps.then(running).transpose()?;
    let forecast =
        args.images.as_deref().map(|images| forecast(args, &loaded.program, &file, images));
    let forecast = forecast.transpose()?;
    let what = &args.measurement;
    let measured = measure(&loaded.program, loaded.preparation, threads, what)?;
    let steps = running
        .map(|running| StepTimes::measure(&running, &loaded.program, threads, what, None))
        .transpose()?;
    if args.json {
        let mut report = measured.to_json();
        if let Some(steps) = steps {
            report["steps"] = steps.to_json();
        }
        if let Some(forecast) = forecast {
            report["images"] = forecast.to_json();
        }
        return output::print_json(&report);
    }
    measured.print(false)?;
    steps.map_or(Ok(()), |steps| steps.print())?;
    forecast.map_or(Ok(()), Forecast::print)
}

/// What to expect of scoring these images.
fn forecast(
    args: &BenchArgs,
    program: &Program,
    file: &ModelFile,
    images: &Path,
) -> Outcome<Forecast> {
    let recipe = Recipe::of(program.inputs(), program.metadata(), &args.image, &file.name())?;
    recipe.announce();
    let reading = Reading::whole(recipe);
    let inputs = Inputs::of(&[images.to_owned()])?;
    let threads = args.threads.unwrap_or_else(program::available_threads);
    Forecast::measure(program, &reading, &inputs, threads)
}
