//! Other weights for compiled code.

use cardinal_compiler::error::Problem;
use cardinal_compiler::options::ImportOptions;
use cardinal_compiler::relink::{self, Difference};
use cardinal_runtime::Artifact;

use super::{Compiled, Model, ModelError, described};
use crate::exit::{Failure, Outcome};
use crate::program::available_threads;

/// Gives an artifact the weights of another model. `import` reads that model, with the options that
/// it gets; `refused` makes a failure of what the compiler says of it.
///
/// # Errors
/// Those of `import`, and what `refused` makes of a model whose graph is another.
pub(crate) fn relink(
    artifact: &Artifact,
    import: impl FnOnce(&ImportOptions) -> Outcome<Model>,
    refused: impl Fn(Box<ModelError>) -> Failure,
) -> Outcome<Compiled> {
    let model = import(&relink::import_options(artifact)).map_err(|failure| match failure {
        Failure::Model { error, .. } if is_about_shapes(&error.problem) => {
            refused(Box::new(Difference::Shapes(error.problem.to_string()).into()))
        }
        other => other,
    })?;
    let relinked = relink::relink(&model, artifact, available_threads());
    relinked.map(described).map_err(|error| refused(Box::new(error)))
}

fn is_about_shapes(problem: &Problem) -> bool {
    matches!(
        problem,
        Problem::BadOption(_) | Problem::FixedBatch { .. } | Problem::UnknownDimension { .. }
    )
}
