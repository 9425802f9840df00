//! What the fuzz targets share: how far models go, and where they come from.

pub mod artifacts;
pub mod graphs;
pub mod models;
pub mod running;

use std::fmt::Debug;

use bytes::Bytes;
use cardinal_compiler::error::{Error, Problem};
use cardinal_compiler::ir::{Graph, verify};
use cardinal_compiler::onnx::{ExternalData, Model, import};
use cardinal_compiler::{CompileOptions, ImportOptions, Pipeline, Target};

/// What an inference may take. Larger models only take longer.
const MEMORY: usize = 16 << 20;

/// How code is made.
pub fn options() -> CompileOptions {
    CompileOptions { memory: MEMORY, ..CompileOptions::default() }
}

/// The targets that plans are made for: each has vectors of its own.
pub fn targets() -> [Target; 2] {
    ["x86-64-v3", "x86-64-v4"].map(|cpu| must(Target::named("x86_64-unknown-linux-gnu", cpu)))
}

/// What cannot fail here.
pub fn must<T, E: Debug>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{error:?}"))
}

/// A result, or nothing where the compiler refuses what it was given. That it blames itself is a bug.
pub fn accepted<T>(result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            assert!(!matches!(error.problem, Problem::Internal(_)), "{error}");
            None
        }
    }
}

/// Files of zeros of every name and length.
struct Zeros;

impl ExternalData for Zeros {
    fn read(&self, location: &str, _: u64, length: Option<u64>) -> Result<Bytes, String> {
        match length.unwrap_or(64) {
            length @ 0..=4096 => Ok(vec![0; length as usize].into()),
            _ => Err(format!("`{location}` is shorter")),
        }
    }
}

/// Imports a model and checks its graph.
pub fn imported(model: Vec<u8>) -> Option<Model> {
    let model = accepted(import(model.into(), &Zeros, &ImportOptions::default()))?;
    must(verify(&model.graph));
    Some(model)
}

/// Whether a graph has at most so many nodes, and values of at most so many bytes altogether.
pub fn is_small(graph: &Graph, nodes: usize, bytes: usize) -> bool {
    let mut values = graph.nodes().map(|id| graph.ty(id).bytes());
    graph.len() <= nodes && values.try_fold(bytes, usize::checked_sub).is_some()
}

/// Runs the passes over a model, and checks what comes out.
pub fn passed(model: &Model) -> Option<()> {
    let trace = accepted(Pipeline::new(model, &options()).passes(None))?;
    must(verify(&trace.graph));
    Some(())
}
