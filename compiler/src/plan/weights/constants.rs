//! Where weights are stored.

use std::collections::BTreeMap;

use crate::ir::NodeId;
use crate::plan::{Constant, arena};

/// The weights section while plans are made: what is stored, and where.
///
/// A constant is known by its key, the weight it comes from and its packing, never by its contents. So two
/// weights that happen to be equal are stored twice, and where constants lie depends on the plans
/// alone: an artifact's weights can be replaced by others.
#[derive(Default)]
pub(crate) struct Section {
    stored: BTreeMap<(NodeId, String), usize>,
    /// Its length so far.
    pub(crate) bytes: usize,
}

impl Section {
    /// The constant in its place: where another plan has stored it, or behind all others.
    pub(crate) fn store(&mut self, key: (NodeId, String), constant: Constant) -> Constant {
        let end = &mut self.bytes;
        let offset = *self.stored.entry(key).or_insert_with(|| {
            let offset = arena::round_up(*end);
            *end = offset + constant.ty.bytes();
            offset
        });
        Constant { offset, ..constant }
    }
}
