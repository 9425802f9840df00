//! ONNX files to graphs. Only this module names protobuf types.
//!
//! An import goes through these, in this order:
//!
//! - [`wire`] bounds the untrusted bytes and lifts the weights out; [`schema`] tells it which
//!   fields nest;
//! - [`versions`] checks the format and the operator sets;
//! - [`flatten`] inlines local functions, [`order`] checks [`names`] and sorts the nodes;
//! - [`inputs`] fixes every dimension of the inputs;
//! - [`tensor`] reads constants, however they are [`stored`], from other files through [`external`];
//! - [`import`](mod@import) takes node after node, finds its operator in the [`registry`] and
//!   calls the function in [`ops`] that translates it, unless the node has attributes of other
//!   versions ([`attribute_versions`]). That function sees the node through
//!   [`context`] and [`attributes`], and says what is wrong with it by [`refusal`];
//! - [`builder`] keeps the values, evaluates what is constant, and makes the graph;
//! - [`declared`] compares the types that the model states with those that its values have.
//!
//! What goes wrong later at a node is said in the file's terms by [`located`].
//!
//! [`survey`](mod@survey) says what a file says of itself, though it be one that cannot be imported.
//!
//! [`quantize`] goes the other way, to a model with rounded weights and values, and [`extract`](mod@extract) to one that
//! is a part of it, which [`excerpt`] makes smaller.

mod attribute_versions;
mod attributes;
mod builder;
mod context;
mod declared;
mod excerpt;
mod external;
mod extract;
mod flatten;
mod import;
mod inputs;
mod located;
mod names;
mod ops;
mod order;
pub mod quantize;
mod refusal;
mod registry;
mod schema;
mod stored;
mod survey;
mod tensor;
mod versions;
mod wire;

use bytes::Bytes;

pub use excerpt::Excerpt;
pub use extract::extract;
pub use located::NodeOperators;
pub use registry::{KnownOperator, operators};
pub use survey::{DeclaredTensor, OperatorUse, Survey, survey};

use crate::error::Result;
use crate::ir::Graph;

/// An imported model.
#[derive(Debug, Clone)]
pub struct Model {
    /// What it computes.
    pub graph: Graph,
    /// The file's `metadata_props`, in file order.
    pub metadata: Vec<(String, String)>,
    /// BLAKE3 of the model's bytes and of the external data it uses, in order of use.
    pub digest: [u8; 32],
    /// The operators of its nodes, for errors to name.
    pub operators: NodeOperators,
}

/// How to read a model.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Extent of the batch axis where the model leaves it open; 1 when absent. A model that fixes
    /// another batch is refused.
    pub batch: Option<usize>,
    /// Whole shapes of inputs, by input name.
    pub shapes: std::collections::BTreeMap<String, Vec<usize>>,
}

/// What metadata says of a file whose convolutions of bytes may be computed by Winograd's filtering.
const WINOGRAD_OF_BYTES: (&str, &str) = ("cardinal.quantize.winograd", "allowed");

impl Model {
    /// Whether the file says that its convolutions of bytes may be computed by Winograd's filtering, as those do
    /// that [`quantize`] has made.
    pub fn allows_winograd_of_bytes(&self) -> bool {
        let (key, allowed) = WINOGRAD_OF_BYTES;
        self.metadata.iter().any(|(k, value)| k == key && value == allowed)
    }

    /// Reads an ONNX model that has its weights in it, for the shapes that it states; a batch that it
    /// leaves open is 1. [`import`] takes other shapes, and weights from other files.
    ///
    /// # Errors
    /// Those of [`import`].
    pub fn read(bytes: impl Into<Bytes>) -> Result<Model> {
        import(bytes.into(), &NoExternalData, &ImportOptions::default())
    }
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
/// The graph holds what the model's outputs need, and the inputs. Its values have their ONNX
/// names; where one ONNX node becomes several, the last has the name and the others derived ones,
/// `value:part`. Whatever depends on shapes alone has been computed.
///
/// # Errors
/// Everything that is wrong with the file, as [`crate::error::Problem`] describes.
pub fn import(model: Bytes, external: &dyn ExternalData, options: &ImportOptions) -> Result<Model> {
    let lifted = wire::parse(&model)?;
    let mut reader = tensor::TensorReader::new(&model, &lifted.raw, external);
    let (graph, operators) = import::import_model(&lifted.model, &mut reader, options)?;
    let metadata = lifted.model.metadata_props.iter();
    let metadata = metadata.map(|entry| (entry.key.clone(), entry.value.clone())).collect();
    Ok(Model { graph, metadata, digest: reader.digest(), operators })
}
