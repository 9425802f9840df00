//! `cardinal explain`: what became of one thing of a model, there and back.

use crate::args::ExplainArgs;
use crate::exit::{Failure, Outcome};
use crate::explain::{Compiled, Story};
use crate::loading;
use crate::model_file::ModelFile;
use crate::{about, output, program};

pub(crate) fn run(args: &ExplainArgs) -> Outcome {
    if args.options.cpu.len() > 1 {
        return Err(Failure::usage("what becomes of a model is explained for one CPU")
            .with_help("give one --cpu, and explain once for each"));
    }
    let file = ModelFile::open(&args.model)?.with_weights(args.options.weights_from.as_ref());
    args.trust.check(&file)?;
    if file.is_artifact() {
        let artifact = program::open_artifact(file.bytes.clone(), &file.name())?;
        loading::check_shown(&artifact, &args.options)?;
        let position = about::variant(&artifact, &args.options.cpu)?;
        let compiled = Compiled::recorded(&artifact, position, args.asm);
        return explain(args, &compiled.map_err(|error| loading::refused(&file, error))?);
    }
    let mut settings = loading::settings(&args.options);
    let model = loading::import(&file, &settings)?;
    loading::schedule(&file, &model, &mut settings, &args.options)?;
    let compiled = Compiled::new(&model, &settings, args.asm);
    explain(args, &compiled.map_err(|error| loading::refused(&file, error))?)
}

fn explain(args: &ExplainArgs, compiled: &Compiled<'_>) -> Outcome {
    let story = Story::of(compiled, &args.name)?;
    match args.json {
        true => output::print_json(&story.to_json()),
        false => output::print(|out| story.print(out)),
    }
}
