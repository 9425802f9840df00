//! `cardinal score`: many images, a row of a table for each.

use std::path::Path;

use crate::args::ScoreArgs;
use crate::classify::Classifier;
use crate::exit::{Failure, Outcome};
use crate::image_input::Recipe;
use crate::loading;
use crate::model_file::ModelFile;
use crate::score::{Format, Inputs, Job, Listing, Reading};
use crate::stdio::is_dash;
use crate::{output, program};

pub(crate) fn run(args: &ScoreArgs) -> Outcome {
    let format = Format::of(&args.output)?;
    check_stdin(args)?;
    let inputs = Inputs::list(&Listing {
        paths: &args.inputs,
        files_from: args.files_from.as_deref(),
        image_column: &args.image_column,
        key_column: args.key_column.as_deref(),
    })?;
    check_output(args, &inputs)?;
    let file = ModelFile::open(&args.model)?.with_weights(args.options.weights_from.as_ref());
    args.trust.check(&file)?;
    let loaded = loading::load(&file, &args.options, &args.isa, &Vec::new())?;
    let program = &loaded.program;
    let (specs, metadata) = (program.outputs(), program.metadata());
    let classifier = Classifier::of(specs, metadata, &args.classes)?;
    let recipe = Recipe::of(program.inputs(), metadata, &args.image, &file.name())?;
    if !args.quiet {
        recipe.announce();
    }
    let job = Job {
        program,
        reading: Reading::new(recipe, classifier, args.outputs, program)?,
        inputs: &inputs,
        shard: args.shard,
        output: &args.output,
        format,
        threads: args.threads.unwrap_or_else(program::available_threads),
        quiet: args.quiet,
    };
    job.run()
}

/// Refuses an output that cannot be written, or that is read: of many images only those that are called so.
fn check_output(args: &ScoreArgs, inputs: &Inputs) -> Outcome {
    if is_dash(&args.output) {
        return Ok(());
    }
    let is_called_so = |path: &&Path| path.extension() == args.output.extension();
    let read = [args.model.as_path()].into_iter().chain(args.classes.labels.as_deref());
    let read = read.chain(args.files_from.as_deref());
    let read = read.chain(inputs.files().filter(is_called_so));
    output::check(&args.output, &read.collect::<Vec<&Path>>())
}

/// Refuses what needs stdin for two things.
fn check_stdin(args: &ScoreArgs) -> Outcome {
    let optional = [args.files_from.as_deref(), args.classes.labels.as_deref()];
    let paths = args.inputs.iter().map(AsRef::as_ref).chain(optional.into_iter().flatten());
    match paths.chain([args.model.as_path()]).filter(|path| is_dash(path)).count() {
        0 | 1 => Ok(()),
        _ => Err(Failure::usage("only one thing can be read from stdin")),
    }
}
