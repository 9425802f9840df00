//! `cardinal profile`: where the time of a model goes.

use crate::args::{ProfileArgs, ProfileFormat};
use crate::exit::{Failure, Outcome};
use crate::loading;
use crate::model_file::ModelFile;
use crate::profile::{Comparison, Older, Profile, Timeline};
use crate::{output, program};

pub(crate) fn run(args: &ProfileArgs) -> Outcome {
    check_format(args)?;
    // What is wrong with it is said before anything is measured.
    let older = args.against.as_deref().map(Older::read).transpose()?;
    let threads = args.threads.unwrap_or_else(program::available_threads);
    let file = ModelFile::open(&args.model)?.with_weights(args.options.weights_from.as_ref());
    args.trust.check(&file)?;
    let loaded = loading::load(&file, &args.options, &args.isa, &Vec::new())?;
    let running = loading::running(&file, &loaded)?;
    let program = loaded.program;
    let what = &args.measurement;
    if args.format() == ProfileFormat::ChromeTrace {
        let timeline = Timeline::record(&running.plan, &program, threads, what)?;
        return output::print_json(&timeline.to_json());
    }
    let profile = Profile::measure(&file, &program, &running, threads, what)?;
    profile.spread().warn();
    let older = older.map(|older| Comparison::new(&profile, older));
    show(args, &profile, older.as_ref())
}

fn show(args: &ProfileArgs, profile: &Profile, older: Option<&Comparison>) -> Outcome {
    match args.format() {
        ProfileFormat::Json => {
            let mut json = profile.to_json();
            if let Some(older) = older {
                json["against"] = older.to_json();
            }
            output::print_json(&json)
        }
        ProfileFormat::Html => output::print(|out| write!(out, "{}", profile.to_html())),
        ProfileFormat::Text | ProfileFormat::ChromeTrace => {
            profile.print(args.all)?;
            older.map_or(Ok(()), |older| older.print(args.all))
        }
    }
}

fn check_format(args: &ProfileArgs) -> Outcome {
    match args.format() {
        ProfileFormat::ChromeTrace | ProfileFormat::Html if args.against.is_some() => {
            Err(Failure::usage("two profiles are compared as text or json"))
        }
        ProfileFormat::Text
        | ProfileFormat::Json
        | ProfileFormat::ChromeTrace
        | ProfileFormat::Html => Ok(()),
    }
}
