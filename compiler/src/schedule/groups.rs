//! Groups of channels that are computed as one, so that channels lie densely.
//!
//! A group whose channels are no multiple of 16 begins at a block of its own, filled up with zeros, and
//! whatever makes or reads these channels computes the zeros too. Where a few neighbouring groups
//! together are whole blocks, they can be one group, with zeros between the inputs of one and the
//! outputs of another:
//!
//! ```text
//! 4 groups of 24     24 · 8   24 · 8   24 · 8   24 · 8      8 blocks
//! joined by 2        24   24           24   24              6 blocks
//! ```

use std::collections::BTreeMap;

use crate::ir::{Conv, NodeId};

/// How the groups of convolutions are computed where they could be joined: by how many, and why.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Groups {
    pub(super) joined: BTreeMap<NodeId, (usize, String)>,
}

impl Groups {
    /// How many groups of a convolution are computed as one.
    pub(crate) fn together(&self, id: NodeId) -> usize {
        self.joined.get(&id).map_or(1, |(by, _)| *by)
    }

    /// Groups of a convolution as they are computed.
    pub(crate) fn of(&self, id: NodeId, conv: &Conv) -> usize {
        conv.groups / self.together(id)
    }

    /// The convolution with its groups as they are computed. Its weight stays as it is.
    pub(crate) fn computed(&self, id: NodeId, conv: &Conv) -> Conv {
        Conv { groups: self.of(id, conv), ..conv.clone() }
    }

    /// Why, where there was a choice.
    pub(crate) fn why(&self, id: NodeId) -> Option<&str> {
        self.joined.get(&id).map(|(_, why)| why.as_str())
    }
}
