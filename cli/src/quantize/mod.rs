//! Post-training quantization: ranges of values from samples, and what rounding changes.
//!
//! [`samples`] reads inputs; [`mod@observe`] runs the float model on them and keeps a [`histogram`] of each
//! value that will be rounded, of which [`range`] chooses where its grid ends; [`agreement`] compares the
//! quantized model with the float one, and [`report`] says what came of it.

mod agreement;
mod histogram;
mod observe;
mod range;
mod report;
mod samples;

pub(crate) use agreement::{Agreement, compare};
pub(crate) use observe::{Outputs, observe, outputs};
pub(crate) use range::Range;
pub(crate) use report::{Report, metadata};
pub(crate) use samples::{Feed, Read, Samples};
