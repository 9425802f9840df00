//! Importing ONNX files: good ones, those that break rules, damaged ones, and those that mean harm.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod bad_models;
mod choices;
mod compositions;
mod contradictions;
mod damage;
mod functions;
mod fused;
mod hostile;
mod inputs;
mod models;
mod npy;
mod operators;
mod proto;
mod quantized;
mod sampled;
mod tensors;
