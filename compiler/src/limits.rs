//! What a model may ask for at most. A file of a few kilobytes can ask for anything; whatever is beyond
//! these is refused before work or memory grows with it.

/// How deep messages of a file may nest. Exporters reach 6; each level of control flow adds 4.
pub(crate) const MESSAGE_DEPTH: usize = 100;

/// How many messages a file may hold: an empty one takes 2 bytes of the file and 400 of memory.
pub(crate) const MESSAGES: usize = 4_000_000;

/// How deep functions may call functions.
pub(crate) const CALLS: usize = 32;

/// How many nodes, calls, operands and attributes a model may have once its functions are inlined.
pub(crate) const INLINED: usize = 2_000_000;

/// Values and axes of values that a graph may have: one ONNX node may make thousands.
pub(crate) const VALUES: usize = 4_000_000;

/// Elements that one evaluation during the import may touch.
pub(crate) const EVALUATED: usize = 1 << 22;

/// Elements that all evaluations of an import may touch.
pub(crate) const ALL_EVALUATED: usize = 1 << 26;

/// Elements of a constant that the passes compute: larger results cost more to store than to make.
pub(crate) const FOLDED: usize = 1 << 24;

/// Bytes of one tensor that is planned: sums of so many do not overflow.
pub(crate) const TENSOR_BYTES: usize = 1 << 40;

/// Bytes that an inference may take besides weights, unless
/// [`CompileOptions::memory`](crate::CompileOptions::memory) says otherwise.
pub(crate) const INFERENCE_BYTES: usize = 64 << 30;
