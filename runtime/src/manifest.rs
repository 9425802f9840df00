//! The manifest: what an artifact says about itself, as a protobuf message.

use prost::Message;

/// Describes one compiled model, but for its code, which describes itself.
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
    /// Inputs in the order of the call frame.
    #[prost(message, repeated, tag = "5")]
    pub inputs: Vec<TensorInfo>,
    /// Outputs in the order of the call frame.
    #[prost(message, repeated, tag = "6")]
    pub outputs: Vec<TensorInfo>,
    /// The model's own `metadata_props`, in file order (preprocessing, labels, …).
    #[prost(message, repeated, tag = "7")]
    pub metadata: Vec<Property>,
    /// Whether the compiler was allowed Winograd's transforms: with the target, the variants'
    /// features and the inputs' shapes, everything that the code depends on besides the model.
    #[prost(bool, tag = "8")]
    pub winograd: bool,
    /// How the weights section is stored: runs that follow each other and make it up, neighbours in
    /// different encodings. Empty where it is stored as code reads it.
    #[prost(message, repeated, tag = "9")]
    pub weight_runs: Vec<WeightRun>,
    /// What was taken for convolutions instead of the compiler's estimates: the code depends on it too.
    /// Sorted by layer, each of which has one.
    #[prost(message, repeated, tag = "10")]
    pub choices: Vec<Choice>,
    /// Whether the compiler chose what gives the same bits on every CPU with fused multiply-add: the code
    /// depends on it too.
    #[prost(bool, tag = "11")]
    pub portable_bits: bool,
    /// Whether the compiler was asked for Winograd's transforms of bytes too: the code depends on it too.
    #[prost(bool, tag = "12")]
    pub winograd_of_bytes: bool,
    /// Whether the compiler was allowed to round factors of products to bfloat16: the code depends on it too.
    #[prost(bool, tag = "13")]
    pub bfloat16: bool,
    /// The code of the [`Encoding`](crate::Encoding) that weights were to be stored in where they can be, whichever
    /// [`weight_runs`](Manifest::weight_runs) say are: what other weights that take their places are to be stored in.
    /// Older compilers do not say, and knew half precision alone; they wrote runs where that was asked for.
    #[prost(uint32, tag = "14")]
    pub weights: u32,
}

/// A part of the weights section that is stored in one way; `encoding.rs` says how.
#[derive(Clone, PartialEq, Message)]
pub struct WeightRun {
    /// Length in bytes as code reads it, which is not zero. All but the last are multiples of
    /// [`ALIGNMENT`](crate::abi::ALIGNMENT).
    #[prost(uint64, tag = "1")]
    pub bytes: u64,
    /// The code of an [`Encoding`](crate::Encoding).
    #[prost(uint32, tag = "2")]
    pub encoding: u32,
}

/// How the convolutions of one kind are computed.
#[derive(Clone, PartialEq, Message)]
pub struct Choice {
    /// The kind: shapes, window, epilogue and vectors, as the compiler writes them.
    #[prost(string, tag = "1")]
    pub layer: String,
    /// The algorithm and its sizes, as the compiler writes them.
    #[prost(string, tag = "2")]
    pub choice: String,
}

/// Code for one kind of CPU, as it describes itself. All variants read one weights section.
#[derive(Clone, PartialEq, Message)]
pub struct Variant {
    /// The CPU, as `compile --cpu` names it: `x86-64-v3`, …
    #[prost(string, tag = "1")]
    pub name: String,
    /// CPU features the code needs, by Rust's names (`avx2`, `fma`, …), sorted.
    #[prost(string, repeated, tag = "2")]
    pub cpu_features: Vec<String>,
    /// Offset of the entry point in the code.
    #[prost(uint64, tag = "3")]
    pub entry_offset: u64,
    /// Scratch memory that one inference needs, in bytes.
    #[prost(uint64, tag = "4")]
    pub arena_bytes: u64,
    /// Scratch memory that each thread needs besides, in bytes, a multiple of
    /// [`ALIGNMENT`](crate::abi::ALIGNMENT).
    #[prost(uint64, tag = "5")]
    pub worker_bytes: u64,
    /// BLAKE3 of everything in the plan that code depends on, which is all but the contents of the
    /// weights: models of equal structure share this code. Empty where the maker does not say.
    #[prost(bytes = "vec", tag = "6")]
    pub structure: Vec<u8>,
    /// The first four bytes of the BLAKE3 of each part of that, to name the part that differs.
    #[prost(fixed32, repeated, tag = "7")]
    pub outline: Vec<u32>,
    /// The micro-architecture whose costs the compiler's estimates were for, by the name that compilers
    /// give it (`znver4`, …); empty for any with these features. The code runs on every CPU that has the
    /// features, and of variants that need the same ones, a machine runs that of its own.
    #[prost(string, tag = "8")]
    pub core: String,
    /// What it reads as the inputs, in order, without names. This and what follows is what the manifest
    /// says too: writing an artifact fills it in, and whoever reads one compares.
    #[prost(message, repeated, tag = "9")]
    pub inputs: Vec<TensorInfo>,
    /// What it writes as the outputs, in order, without names.
    #[prost(message, repeated, tag = "10")]
    pub outputs: Vec<TensorInfo>,
    /// How long the weights are that it reads, in bytes.
    #[prost(uint64, tag = "11")]
    pub weight_bytes: u64,
    /// The target triple that it is for.
    #[prost(string, tag = "12")]
    pub target: String,
    /// What it computes in, where that is not f32; see [`precision`](Variant::precision).
    #[prost(string, tag = "13")]
    pub precision: String,
    /// The parts of the weights that its code reads, in order and apart from each other; where there are none, all of
    /// them. Code reads nothing else, so nothing else need be loaded.
    #[prost(message, repeated, tag = "14")]
    pub reads: Vec<WeightRange>,
    /// Whether it takes any number of images up to the outermost extent of inputs and outputs, which is the same for
    /// all of them. Otherwise it takes as many as that, exactly; older code does not say.
    #[prost(bool, tag = "15")]
    pub takes_fewer: bool,
    /// Where it is compiled for several images and does not, what stands in the way, for errors to say.
    #[prost(string, tag = "16")]
    pub fixed_by: String,
}

/// A part of the weights, as code reads them.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct WeightRange {
    /// Where it begins, a multiple of [`ALIGNMENT`](crate::abi::ALIGNMENT).
    #[prost(uint64, tag = "1")]
    pub offset: u64,
    /// Its length in bytes, which is not zero, and a multiple of that too unless it is the last of the weights.
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
}

impl Variant {
    /// What it computes in: the narrowest type that any of its convolutions multiplies, `f32` or `int8`.
    /// What is not a convolution may be computed in wider ones.
    pub fn precision(&self) -> &str {
        // Neither does older code say more.
        if self.precision.is_empty() { "f32" } else { &self.precision }
    }
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
