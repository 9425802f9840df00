//! Samples of what a model will see, what it makes of them, and how near another model comes to that.

mod agreement;
mod files;
mod outputs;

pub(crate) use agreement::{Agreement, compare};
pub(crate) use files::{Feed, Read, Samples};
pub(crate) use outputs::{Outputs, outputs, rows};
