//! Choices: which algorithm computes a convolution, and with which sizes of tiles and items. A choice is
//! a text that says what it is, not its rank among others: so it keeps its meaning in caches of
//! measurements and in artifacts. Each algorithm reads and writes its own.

use std::collections::BTreeMap;
use std::fmt;

/// How a convolution is computed, as a text such as `direct 14x2 by weights` or
/// `F(4x4) 7x2 rows 7 images 1`. The first word is the algorithm's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Choice(String);

/// A way to compute a convolution, and what it would cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// What the way is called: `F(4x4)`, `direct in bf16`.
    pub way: String,
    /// Its best choice of tiles and items.
    pub choice: Choice,
    /// Cycles of one core, by an estimate.
    pub cycles: f64,
}

/// The end of a choice whose products are of bfloat16.
const BFLOATS: &str = " in bf16";

/// A choice, and what speaks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The choice.
    pub choice: Choice,
    /// For the schedule's reader, such as times measured; may be empty. Code does not depend on it.
    pub because: String,
}

/// What a schedule says of a choice that was taken because of this.
pub(crate) fn tuned_because(because: &str) -> String {
    format!("tuned: {because}")
}

/// Choices by the [key](super::Layer::key) of the layers they are for.
pub type Choices = BTreeMap<String, Chosen>;

/// Text that is no [`Choice`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no way to compute a convolution")]
pub struct BadChoice(pub String);

impl Choice {
    /// The choice of this text, which an algorithm has written or can read.
    pub(crate) fn new(text: impl Into<String>) -> Choice {
        Choice(text.into())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same with factors of products rounded to bfloat16, or not.
    pub(crate) fn rounded(self, rounds: bool) -> Choice {
        if rounds { Choice(self.0 + BFLOATS) } else { self }
    }

    /// The text without what says that factors are rounded, and whether it says so.
    pub(crate) fn unrounded(&self) -> (&str, bool) {
        match self.0.strip_suffix(BFLOATS) {
            Some(text) => (text, true),
            None => (&self.0, false),
        }
    }

    /// Whether factors of its products are rounded to bfloat16.
    pub fn rounds(&self) -> bool {
        self.unrounded().1
    }

    /// The algorithm's name: `direct`, `F(4x4)`, `strassen`.
    pub fn algorithm(&self) -> &str {
        self.0.split(' ').next().unwrap_or_default()
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
