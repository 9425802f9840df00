//! What happened to a model on its way through the compiler.

use crate::codegen::Target;
use crate::ir::Graph;
use crate::passes::{Change, NearMiss, Pass};
use crate::plan::Plan;
use crate::schedule::Schedule;

/// What to keep of the passes besides their result. All of it costs memory, and compiling needs none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Keep {
    /// The graph after each pass.
    pub graphs: bool,
    /// What each rewrite removed and made.
    pub changes: bool,
}

/// What happened to a model, as far as it went.
#[derive(Debug, Clone)]
pub struct Trace {
    /// The passes that ran, in order.
    pub passes: Vec<PassTrace>,
    /// The graph after them.
    pub graph: Graph,
    /// What follows for each target, once; the one that asks for the least first. None where only
    /// passes ran.
    pub variants: Vec<VariantTrace>,
}

/// What one pass did.
#[derive(Debug, Clone)]
pub struct PassTrace {
    /// The pass.
    pub pass: &'static Pass,
    /// The graph after it, if that is kept.
    pub after: Option<Graph>,
    /// What each of its rewrites did, in order, if that is kept.
    pub changes: Vec<Change>,
    /// Where its pattern nearly fits, in its last round.
    pub near_misses: Vec<NearMiss>,
}

/// What a model becomes for one CPU.
#[derive(Debug, Clone)]
pub struct VariantTrace {
    /// The CPU.
    pub target: Target,
    /// What was chosen for it.
    pub schedule: Schedule,
    /// The plan, if the way went as far.
    pub(super) plan: Option<Plan>,
}

impl Trace {
    /// The near misses of all passes, in order.
    pub fn near_misses(&self) -> impl Iterator<Item = &NearMiss> {
        self.passes.iter().flat_map(|pass| &pass.near_misses)
    }
}
