//! `cardinal serve`: models over HTTP.

use crate::args::ServeArgs;
use crate::exit::Outcome;

#[cfg(feature = "full")]
pub(crate) fn run(args: &ServeArgs) -> Outcome {
    use crate::serve::{Hosted, serve};
    serve(Hosted::load_all(args)?, args)
}

/// The refusal of what this build does not have.
#[cfg(not(feature = "full"))]
pub(crate) fn run(_: &ServeArgs) -> Outcome {
    use crate::exit::Failure;
    Err(Failure::usage("this Cardinal was built without its server")
        .with_help("build it with: cargo install --path cli --features full"))
}
