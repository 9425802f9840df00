//! `cardinal relink`: other weights for a compiled model.

use std::time::Instant;

use crate::args::RelinkArgs;
use crate::engine::{self, Settings};
use crate::exit::{Failure, Outcome};
use crate::loading;
use crate::model_file::ModelFile;
use crate::stdio::is_dash;
use crate::{image_input, output, program, render};

pub(crate) fn run(args: &RelinkArgs) -> Outcome {
    if is_dash(&args.artifact) && is_dash(&args.weights) {
        return Err(Failure::usage("only one thing can be read from stdin"));
    }
    // The artifact may be relinked in its place.
    output::check(&args.output, &[&args.weights])?;
    let begin = Instant::now();
    let signer = args.signing.signer(&args.output)?;
    let old = ModelFile::open(&args.artifact)?;
    args.trust.check(&old)?;
    let new = ModelFile::open(&args.weights)?;
    if new.is_artifact() {
        return Err(Failure::usage(format!("`{}` is compiled already", new.name()))
            .with_help("--weights takes an .onnx model"));
    }
    let artifact = program::open_artifact(old.bytes.clone(), &old.name())?;
    let progress = loading::progress(format!("packing the weights of {}", new.name()));
    let said = artifact.manifest().metadata.iter().map(program::pair).collect::<Vec<_>>();
    let relinked = engine::relink(
        &artifact,
        |options| {
            let mut model = loading::import(&new, &Settings::to_import(options.clone()))?;
            image_input::keep(&said, &mut model.metadata);
            Ok(model)
        },
        |error| loading::refused(&new, error),
    )?;
    progress.finish_and_clear();
    output::write_made(&args.output, &|file| relinked.write_to(file))?;
    signer.map_or(Ok(()), |signer| signer.sign(&args.output))?;
    render::note(format_args!(
        "{} with the weights of {} -> {}, in {:.2} s",
        old.name(),
        new.name(),
        if is_dash(&args.output) {
            "standard output".into()
        } else {
            args.output.display().to_string()
        },
        begin.elapsed().as_secs_f64(),
    ));
    relinked.out_of_range_lines().for_each(render::note);
    Ok(())
}
