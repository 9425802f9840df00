//! `cardinal run`: a model on images or tensors.

use crate::args::RunArgs;
use crate::exit::Outcome;
use crate::infer::Job;
use crate::loading;
use crate::model_file::ModelFile;
use crate::stdio::is_dash;

pub(crate) fn run(args: &RunArgs) -> Outcome {
    let job = Job::new(&args.request, is_dash(&args.model))?;
    let file = ModelFile::open(&args.model)?.with_weights(args.options.weights_from.as_ref());
    args.trust.check(&file)?;
    let isa = &args.request.isa;
    let loaded = loading::load(&file, &args.options, isa, job.given())?;
    job.run(&loaded.program, &file.name())
}
