//! The texts and bytes of the Open Inference Protocol, version 2, over REST: what requests say, and what is answered.
//!
//! Nothing here knows of HTTP but for the header that says how long the JSON before binary tensors is.

mod answer;
mod datatype;
mod metadata;
mod numbers;
mod request;

pub(super) use answer::{Answered, answer};
pub(super) use metadata::{index, of_model, of_server};
pub(super) use request::{Asked, parse};
