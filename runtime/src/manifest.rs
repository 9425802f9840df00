//! The manifest: what an artifact says about itself, as a protobuf message.

use prost::Message;

/// Describes one compiled model. Stored in front of its sections.
#[derive(Clone, PartialEq, Message)]
pub struct Manifest {
    /// The model's name: the ONNX graph's, or the file's stem.
    #[prost(string, tag = "1")]
    pub model_name: String,
    /// BLAKE3 of the model: its ONNX bytes, external data included.
    #[prost(bytes = "vec", tag = "2")]
    pub model_digest: Vec<u8>,
    /// Version of the compiler that wrote this.
    #[prost(string, tag = "3")]
    pub compiler_version: String,
    /// Target triple of the code.
    #[prost(string, tag = "4")]
    pub target: String,
    /// CPU features the code needs, by their `/proc/cpuinfo`-like names (`avx2`, `fma`, …), sorted.
    #[prost(string, repeated, tag = "5")]
    pub cpu_features: Vec<String>,
    /// Inputs in the order of the call frame.
    #[prost(message, repeated, tag = "6")]
    pub inputs: Vec<TensorInfo>,
    /// Outputs in the order of the call frame.
    #[prost(message, repeated, tag = "7")]
    pub outputs: Vec<TensorInfo>,
    /// Scratch memory that one inference needs, in bytes.
    #[prost(uint64, tag = "8")]
    pub arena_bytes: u64,
    /// Offset of the entry point in the code section.
    #[prost(uint64, tag = "9")]
    pub entry_offset: u64,
    /// The code section.
    #[prost(message, optional, tag = "10")]
    pub code: Option<Section>,
    /// The weights section.
    #[prost(message, optional, tag = "11")]
    pub weights: Option<Section>,
    /// The model's own `metadata_props`, in file order (preprocessing, labels, …).
    #[prost(message, repeated, tag = "12")]
    pub metadata: Vec<Property>,
    /// Scratch memory that each thread needs besides, in bytes, a multiple of
    /// [`ALIGNMENT`](crate::abi::ALIGNMENT).
    #[prost(uint64, tag = "13")]
    pub worker_bytes: u64,
}

/// Name, element type and shape of a model input or output.
#[derive(Clone, PartialEq, Message)]
pub struct TensorInfo {
    /// The ONNX value name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// A [`DType`](crate::DType) code.
    #[prost(uint32, tag = "2")]
    pub dtype: u32,
    /// Extents, outermost first.
    #[prost(uint64, repeated, tag = "3")]
    pub shape: Vec<u64>,
}

/// A byte range of the artifact, with its digest.
#[derive(Clone, PartialEq, Message)]
pub struct Section {
    /// Offset from the start of the artifact, a multiple of the page size.
    #[prost(uint64, tag = "1")]
    pub offset: u64,
    /// Length in bytes.
    #[prost(uint64, tag = "2")]
    pub length: u64,
    /// BLAKE3 of the bytes.
    #[prost(bytes = "vec", tag = "3")]
    pub digest: Vec<u8>,
}

/// A key and a value.
#[derive(Clone, PartialEq, Message)]
pub struct Property {
    /// The key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The value.
    #[prost(string, tag = "2")]
    pub value: String,
}
