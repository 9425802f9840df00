//! Names of values, each unique in its model.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The name of a value.
pub(super) type Name = Arc<str>;

/// Makes names unique: of equal ones, those after the first get `.1`, `.2`, …
#[derive(Debug)]
pub(super) struct Names {
    taken: HashSet<Name>,
    /// The last number given to a name.
    numbers: HashMap<Name, usize>,
}

impl Names {
    /// Keeps clear of the names that are `taken`.
    pub(super) fn new(taken: impl IntoIterator<Item = Name>) -> Names {
        Names { taken: taken.into_iter().collect(), numbers: HashMap::new() }
    }

    /// `wanted`, or with a number what is nearest to it.
    pub(super) fn unique(&mut self, wanted: &str) -> Name {
        let mut name = Name::from(wanted);
        if self.taken.insert(name.clone()) {
            return name;
        }
        let number = self.numbers.entry(name.clone()).or_insert(0);
        while !self.taken.insert(name.clone()) {
            *number += 1;
            name = format!("{wanted}.{number}").into();
        }
        name
    }
}
