//! Rounding that the operator takes over from a quantized model.

use std::collections::BTreeSet;

use super::trace::Tracer;
use crate::ir::{NodeId, Unary};

/// What is applied to all elements alike.
#[derive(Default)]
pub(super) struct Alike {
    /// Of the elements so far; `None` before the first.
    functions: Option<Vec<Unary>>,
    nodes: BTreeSet<NodeId>,
    differ: bool,
}

impl Alike {
    /// Takes the path of one more element.
    pub(super) fn take(&mut self, path: &[(NodeId, Unary)]) {
        let functions = || path.iter().map(|(_, function)| *function);
        self.differ |= !self
            .functions
            .get_or_insert_with(|| functions().collect())
            .iter()
            .copied()
            .eq(functions());
        self.nodes.extend(path.iter().map(|(id, _)| *id));
    }

    /// What the operator is to apply to each element, and no longer these nodes; `None` where the elements differ
    /// in it.
    pub(super) fn kept(self, tracer: &mut Tracer<'_>) -> Option<Vec<Unary>> {
        if self.differ {
            return None;
        }
        tracer.kept.extend(self.nodes);
        Some(self.functions.unwrap_or_default())
    }
}
