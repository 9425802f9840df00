//! Removes nodes that no output depends on.

use crate::ir::{Answer, Edit, Graph, NodeId, Op};

pub(super) fn remove_dead_nodes(graph: &Graph, id: NodeId) -> Answer {
    let alive = graph.is_output(id) || graph.is_used(id);
    if alive || graph.node(id).op == Op::Input {
        return Answer::NoMatch;
    }
    Answer::Edit(Edit::of([id]))
}
