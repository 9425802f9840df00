//! Refusals of a node, without its place: whoever imports it adds that.

use crate::error::{Error, Problem};

/// An attribute or operand that the operator does not allow.
pub(super) fn bad(what: impl Into<String>) -> Error {
    Problem::BadNode(what.into()).into()
}

/// Something that the operator allows and Cardinal does not.
pub(super) fn unsupported(what: impl Into<String>) -> Error {
    Problem::Unsupported(what.into()).into()
}
