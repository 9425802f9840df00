//! `cardinal doctor`: what there is to know of a model before it is compiled.

use crate::args::DoctorArgs;
use crate::doctor::Findings;
use crate::exit::{Failure, Outcome};
use crate::loading;
use crate::model_file::ModelFile;
use crate::output;

pub(crate) fn run(args: &DoctorArgs) -> Outcome {
    let file = ModelFile::open(&args.model)?;
    loading::refuse_all_texts(&file, &args.options)?;
    if file.is_artifact() {
        return Err(Failure::usage(format!("`{}` is compiled already", file.name()))
            .with_help("cardinal inspect says what is in it, and cardinal bench how fast it is"));
    }
    let settings = loading::settings(&args.options);
    let findings = Findings::of(&file, &settings, &args.image)?;
    output::even_unread(match args.json {
        true => output::print_json(&findings.to_json()),
        false => findings.print(),
    })?;
    findings.refusal.map_or(Ok(()), |refusal| Err(as_bad_model(refusal, &file)))
}

/// Whatever keeps a model from compiling, this command has found that the model does not.
fn as_bad_model(refusal: Failure, file: &ModelFile) -> Failure {
    match refusal {
        Failure::Model { error, .. } => Failure::BadModel {
            file: file.name(),
            message: error.to_string(),
            help: error.remedy.clone(),
        },
        other => other,
    }
}
