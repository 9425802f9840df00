//! ONNX files to graphs. Only this module names protobuf types.

#[allow(dead_code)]
mod context;

use bytes::Bytes;

use crate::error::{Problem, Result};
use crate::ir::Graph;
use crate::options::ImportOptions;

/// An imported model.
#[derive(Debug, Clone)]
pub struct Model {
    /// What it computes.
    pub graph: Graph,
    /// The file's `metadata_props`, in file order.
    pub metadata: Vec<(String, String)>,
    /// BLAKE3 of the model's bytes and of the external data it uses, in order of use.
    pub digest: [u8; 32],
}

/// Gives the bytes of external tensor data. The compiler itself opens no file.
pub trait ExternalData {
    /// `length` bytes (to the end when `None`) from `offset` of the file at `location`, a path that
    /// the importer has checked to be relative and free of `..`. The error says what is wrong with
    /// the file; the importer adds the tensor's name.
    fn read(
        &self,
        location: &str,
        offset: u64,
        length: Option<u64>,
    ) -> std::result::Result<Bytes, String>;
}

/// Refuses all external data: for models given as bytes alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoExternalData;

impl ExternalData for NoExternalData {
    fn read(&self, location: &str, _: u64, _: Option<u64>) -> std::result::Result<Bytes, String> {
        Err(format!("this model was given without a folder, and its weights are in `{location}`"))
    }
}

/// Reads an ONNX model.
///
/// # Errors
/// Everything that is wrong with the file, as [`crate::error::Problem`] describes.
pub fn import(model: Bytes, external: &dyn ExternalData, options: &ImportOptions) -> Result<Model> {
    let _ = (model, external, options);
    Err(Problem::Malformed("not here yet".into()).into())
}
