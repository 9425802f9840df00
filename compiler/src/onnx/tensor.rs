//! Constants in a model file: initializers and tensor attributes, whatever field holds their bytes.

use std::collections::HashMap;

use bytes::Bytes;
use onnx_protobuf::TensorProto;
use onnx_protobuf::tensor_proto::DataLocation;

use super::ExternalData;
use super::external;
use super::stored::{Elements, StoredType};
use crate::error::{Error, Problem, Result};
use crate::ir::{DType, TensorType};

/// How many axes a tensor may have: every value of a graph keeps its own.
const MAX_RANK: usize = 64;

/// A constant: its type and its dense row-major little-endian elements.
#[derive(Debug, Clone)]
pub(super) struct Constant {
    pub(super) ty: TensorType,
    pub(super) bytes: Bytes,
}

/// Reads tensors, each once, and remembers what it has read from outside the model.
pub(super) struct TensorReader<'m> {
    raw: &'m [Bytes],
    external: &'m dyn ExternalData,
    digest: blake3::Hasher,
    read: HashMap<*const TensorProto, Constant>,
}

impl<'m> TensorReader<'m> {
    /// A reader for the tensors of `file`, of which `raw` are the weights lifted out.
    pub(super) fn new(file: &[u8], raw: &'m [Bytes], external: &'m dyn ExternalData) -> Self {
        let mut digest = blake3::Hasher::new();
        digest.update(file);
        TensorReader { raw, external, digest, read: HashMap::new() }
    }

    /// BLAKE3 of the model and of the external data read so far.
    pub(super) fn digest(&self) -> [u8; 32] {
        *self.digest.finalize().as_bytes()
    }

    /// Checks a tensor that nothing uses: as [`read`](Self::read), but nothing outside the model
    /// is read.
    pub(super) fn check(&mut self, tensor: &'m TensorProto, name: &str) -> Result<()> {
        if is_external(tensor) {
            check_fields(tensor, name)?;
            return external::check(tensor, &stored_type(tensor, name)?, name);
        }
        self.read(tensor, name).map(|_| ())
    }

    /// The tensor's value. `name` is what errors call it.
    pub(super) fn read(&mut self, tensor: &'m TensorProto, name: &str) -> Result<Constant> {
        if let Some(constant) = self.read.get(&std::ptr::from_ref(tensor)) {
            return Ok(constant.clone());
        }
        let stored = stored_type(tensor, name)?;
        let bytes = self.bytes(tensor, &stored, name)?;
        if bytes.len() != stored.bytes() {
            let what =
                format!("{} bytes for {stored}, which takes {}", bytes.len(), stored.bytes());
            return Err(bad(name, what));
        }
        let constant = Constant { bytes: stored.widened(bytes), ty: stored.ty };
        self.read.insert(std::ptr::from_ref(tensor), constant.clone());
        Ok(constant)
    }

    /// The tensor's elements as they are stored, all in one piece.
    pub(super) fn stored(&mut self, tensor: &TensorProto, name: &str) -> Result<Bytes> {
        let stored = stored_type(tensor, name)?;
        self.bytes(tensor, &stored, name)
    }

    fn bytes(&mut self, tensor: &TensorProto, stored: &StoredType, name: &str) -> Result<Bytes> {
        if tensor.segment.is_some() {
            return Err(bad(name, "split into segments, which no exporter does"));
        }
        check_fields(tensor, name)?;
        if is_external(tensor) {
            let bytes = external::read(tensor, stored, name, self.external)?;
            self.digest.update(&bytes);
            return Ok(bytes);
        }
        if tensor.raw_data.is_empty() {
            return stored.typed_bytes(tensor).map_err(|what| bad(name, what));
        }
        let index = <[u8; 8]>::try_from(tensor.raw_data.as_slice()).map(u64::from_le_bytes);
        let index = index.ok().and_then(|i| usize::try_from(i).ok());
        index
            .and_then(|i| self.raw.get(i).cloned())
            .ok_or_else(|| Error::internal(format!("tensor `{name}`: its bytes were not lifted")))
    }
}

/// Refuses elements that are given twice: in several fields, or in one and in another file.
fn check_fields(tensor: &TensorProto, name: &str) -> Result<()> {
    let fields = [
        ("raw_data", !tensor.raw_data.is_empty()),
        ("float_data", !tensor.float_data.is_empty()),
        ("int32_data", !tensor.int32_data.is_empty()),
        ("string_data", !tensor.string_data.is_empty()),
        ("int64_data", !tensor.int64_data.is_empty()),
        ("double_data", !tensor.double_data.is_empty()),
        ("uint64_data", !tensor.uint64_data.is_empty()),
        ("external_data", is_external(tensor)),
    ];
    let used: Vec<&str> =
        fields.iter().filter(|(_, used)| *used).map(|(field, _)| *field).collect();
    match used.as_slice() {
        [] | [_] => Ok(()),
        several => Err(bad(name, format!("elements in {} at once", several.join(" and ")))),
    }
}

fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location.enum_value() == Ok(DataLocation::EXTERNAL)
}

/// Puts a tensor's elements into it.
pub(super) fn embed(tensor: &mut TensorProto, raw_data: Vec<u8>) {
    let (name, dims) = (std::mem::take(&mut tensor.name), std::mem::take(&mut tensor.dims));
    let data_type = tensor.data_type;
    *tensor = TensorProto { name, dims, data_type, raw_data, ..Default::default() };
}

/// The type of `dims` elements of `dtype`, if its axes are few and its bytes can be counted.
pub(super) fn counted_type(dtype: DType, dims: &[usize]) -> Result<TensorType, String> {
    if dims.len() > MAX_RANK {
        return Err(format!("{} axes, more than {MAX_RANK}", dims.len()));
    }
    let extent = |n: &usize| (*n).max(1);
    let bytes = dims.iter().map(extent).try_fold(dtype.size(), |n, d| n.checked_mul(d));
    match bytes {
        Some(n) if isize::try_from(n).is_ok() => Ok(TensorType::new(dtype, dims)),
        _ => Err(format!("{} has more bytes than can be addressed", TensorType::new(dtype, dims))),
    }
}

fn stored_type(tensor: &TensorProto, name: &str) -> Result<StoredType> {
    let elements = Elements::of(tensor.data_type)
        .map_err(|(what, remedy)| bad(name, what).with_remedy(remedy))?;
    let dims = tensor
        .dims
        .iter()
        .map(|&d| usize::try_from(d).map_err(|_| bad(name, format!("it has the dimension {d}"))));
    let dims = dims.collect::<Result<Vec<usize>>>()?;
    let ty = counted_type(elements.dtype(), &dims).map_err(|what| bad(name, what))?;
    Ok(StoredType::new(elements, ty))
}

fn bad(name: &str, what: impl Into<String>) -> Error {
    Problem::BadTensor { name: name.to_owned(), what: what.into() }.into()
}
