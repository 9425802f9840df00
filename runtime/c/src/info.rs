//! What a program says about its model, laid out for C.

use std::ffi::{CString, c_char};
use std::fmt::Write;

use cardinal_runtime::{DType, Program, TensorSpec};

use crate::text::c_string;

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub enum Dtype {
    /// float: IEEE 754 binary32.
    F32 = 1,
    /// double: IEEE 754 binary64.
    F64 = 2,
    /// int64_t.
    I64 = 3,
    /// int32_t.
    I32 = 4,
    /// uint8_t.
    U8 = 5,
    /// int8_t.
    I8 = 6,
    /// A byte that is 0 or 1.
    Bool = 7,
}

impl From<DType> for Dtype {
    fn from(dtype: DType) -> Dtype {
        match dtype {
            DType::F32 => Dtype::F32,
            DType::F64 => Dtype::F64,
            DType::I64 => Dtype::I64,
            DType::I32 => Dtype::I32,
            DType::U8 => Dtype::U8,
            DType::I8 => Dtype::I8,
            DType::Bool => Dtype::Bool,
        }
    }
}

/// An input or an output of a model: a dense row-major tensor.
#[derive(Debug)]
#[repr(C)]
pub struct TensorInfo {
    /// Its name in the model.
    pub name: *const c_char,
    /// The type of its elements.
    pub dtype: Dtype,
    /// How many extents its shape has.
    pub rank: usize,
    /// Its extents, outermost first.
    pub shape: *const usize,
    /// Its size in bytes.
    pub bytes: usize,
}

/// An entry of the model's metadata.
#[derive(Debug)]
#[repr(C)]
pub struct Property {
    /// Its key.
    pub key: *const c_char,
    /// Its value.
    pub value: *const c_char,
}

/// What a program is. Texts are UTF-8 (a zero inside one is shown as U+FFFD), and belong to the
/// program, as do arrays.
#[derive(Debug)]
#[repr(C)]
pub struct ProgramInfo {
    /// The model's name.
    pub model_name: *const c_char,
    /// BLAKE3 of the model's ONNX bytes in 64 hexadecimal digits; empty if its compiler did not say.
    pub model_digest: *const c_char,
    /// Version of the compiler.
    pub compiler_version: *const c_char,
    /// Target triple of the code.
    pub target: *const c_char,
    /// The kind of CPU whose code runs, as `cardinal compile --cpu` names it: "x86-64-v3".
    pub variant: *const c_char,
    /// The inputs, in the order of cardinal_session_run.
    pub inputs: *const TensorInfo,
    /// How many inputs there are.
    pub input_count: usize,
    /// The outputs, in the order of cardinal_session_run.
    pub outputs: *const TensorInfo,
    /// How many outputs there are.
    pub output_count: usize,
    /// The model's metadata (preprocessing, labels), in its order.
    pub metadata: *const Property,
    /// How many entries of metadata there are.
    pub metadata_count: usize,
    /// The fewest images of an inference: 1 where its inputs and outputs may have any number of images up
    /// to the outermost extent that their shapes state, else that extent.
    pub least_images: usize,
    /// The most images of an inference: that extent, or 1 where there is none.
    pub most_images: usize,
}

/// A [`ProgramInfo`] with what its pointers point to, on the heap, where moving this leaves it.
/// Shapes are the program's.
#[derive(Debug)]
pub(crate) struct Description {
    pub(crate) info: ProgramInfo,
    _texts: Vec<CString>,
    _tensors: [Vec<TensorInfo>; 2],
    _metadata: Vec<Property>,
}

impl Description {
    /// Describes a program; not to be used longer than it lives.
    pub(crate) fn new(program: &Program) -> Description {
        let manifest = program.manifest();
        let mut texts = Texts(Vec::new());
        let inputs = texts.tensors(program.inputs());
        let outputs = texts.tensors(program.outputs());
        let metadata = program.metadata().iter();
        let metadata: Vec<Property> = metadata
            .map(|p| Property { key: texts.keep(&p.key), value: texts.keep(&p.value) })
            .collect();
        let first = program.inputs().first().and_then(|spec| spec.shape.first().copied());
        let most_images = first.unwrap_or(1);
        let info = ProgramInfo {
            model_name: texts.keep(program.model_name()),
            model_digest: texts.keep(&hexadecimal(&manifest.model_digest)),
            compiler_version: texts.keep(&manifest.compiler_version),
            target: texts.keep(&manifest.target),
            variant: texts.keep(&program.variant().name),
            inputs: inputs.as_ptr(),
            input_count: inputs.len(),
            outputs: outputs.as_ptr(),
            output_count: outputs.len(),
            metadata: metadata.as_ptr(),
            metadata_count: metadata.len(),
            least_images: if program.takes_fewer() { 1 } else { most_images },
            most_images,
        };
        Description { info, _texts: texts.0, _tensors: [inputs, outputs], _metadata: metadata }
    }
}

/// Texts whose addresses are given out.
struct Texts(Vec<CString>);

impl Texts {
    fn keep(&mut self, text: &str) -> *const c_char {
        let text = c_string(text);
        let address = text.as_ptr();
        self.0.push(text);
        address
    }

    fn tensors(&mut self, specs: &[TensorSpec]) -> Vec<TensorInfo> {
        let describe = |spec: &TensorSpec| TensorInfo {
            name: self.keep(&spec.name),
            dtype: spec.dtype.into(),
            rank: spec.shape.len(),
            shape: spec.shape.as_ptr(),
            bytes: spec.bytes(),
        };
        specs.iter().map(describe).collect()
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // Writing to a string does not fail.
        text
    })
}
