//! Where constants lie in the weights section: decided while plans are made. (`packed_weights` writes
//! them there.)

use std::collections::BTreeMap;

use crate::plan::{Constant, arena};

/// What the plans that are made so far store in the weights section, and where.
///
/// A constant is known by its key, the weight it comes from and its packing, never by its contents. So two
/// weights that happen to be equal are stored twice, and where constants lie depends on the plans
/// alone: an artifact's weights can be replaced by others.
pub(crate) struct SectionLayout<K> {
    stored: BTreeMap<K, usize>,
    /// Its length so far.
    pub(crate) bytes: usize,
}

impl<K: Ord> SectionLayout<K> {
    /// Nothing is stored yet.
    pub(crate) fn new() -> SectionLayout<K> {
        SectionLayout { stored: BTreeMap::new(), bytes: 0 }
    }

    /// The constant in its place: where another plan has stored it, or behind all others.
    pub(crate) fn store(&mut self, key: K, constant: Constant) -> Constant {
        let end = &mut self.bytes;
        let offset = *self.stored.entry(key).or_insert_with(|| {
            let offset = arena::round_up(*end);
            *end = offset + constant.ty.bytes();
            offset
        });
        Constant { offset, ..constant }
    }
}
