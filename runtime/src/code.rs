//! Code sections: machine code for one kind of CPU, and what it says of itself.
//!
//! ```text
//! 0       the code: one position-independent block
//!         its variant, a protobuf message: needs, sizes, entry point
//!         length of that message, u32 little-endian; the section ends with it
//! ```
//!
//! So what code needs stands beside the code, under one digest, and nowhere else: no manifest can give it
//! less memory than it writes. What the manifest has to say too, the types of inputs and outputs, the size
//! of the weights and the target, is compared with what the code says.

use prost::Message;

use crate::abi::ALIGNMENT;
use crate::error::{CodeError, Role};
use crate::format::{
    DIGEST_BYTES, MAX_BYTES, MAX_CHOICE_BYTES, MAX_MANIFEST_BYTES, MAX_WORKER_BYTES,
};
use crate::manifest::{Manifest, TensorInfo, Variant, WeightRange};

/// Bytes of the length at the end.
const LENGTH_BYTES: usize = 4;

/// Code for one kind of CPU.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Code {
    /// What it needs, and where it begins.
    pub variant: Variant,
    /// The code: one position-independent block.
    pub bytes: Vec<u8>,
}

impl Code {
    /// The section, as it is stored.
    pub(crate) fn into_section(self) -> Vec<u8> {
        let Code { variant, bytes: mut section } = self;
        section.reserve_exact(variant.encoded_len() + LENGTH_BYTES);
        let variant = variant.encode_to_vec();
        section.extend(&variant);
        section.extend((variant.len() as u32).to_le_bytes());
        section
    }
}

/// The variant of a code section, and how long its code is.
pub(crate) fn read(section: &[u8]) -> Result<(Variant, usize), CodeError> {
    let (rest, length) = section.split_last_chunk::<LENGTH_BYTES>().ok_or(CodeError::NoRecord)?;
    let length = u64::from(u32::from_le_bytes(*length));
    if length > MAX_MANIFEST_BYTES {
        return Err(CodeError::TooLong { bytes: length, limit: MAX_MANIFEST_BYTES });
    }
    let code = rest.len().checked_sub(length as usize).ok_or(CodeError::NoRecord)?;
    Ok((Variant::decode(&rest[code..]).map_err(CodeError::Decode)?, code))
}

/// Checks what a variant says of so many bytes of code.
pub(crate) fn check(variant: &Variant, code: usize) -> Result<(), CodeError> {
    if code == 0 {
        return Err(CodeError::NoCode);
    }
    let (entry, code) = (variant.entry_offset, code as u64);
    if entry >= code {
        return Err(CodeError::EntryOutside { entry, code });
    }
    if variant.worker_bytes > MAX_WORKER_BYTES
        || !variant.worker_bytes.is_multiple_of(ALIGNMENT as u64)
    {
        return Err(CodeError::Worker(variant.worker_bytes));
    }
    if variant.arena_bytes > MAX_BYTES {
        return Err(CodeError::Arena(variant.arena_bytes));
    }
    if !matches!(variant.structure.len(), 0 | DIGEST_BYTES) {
        return Err(CodeError::Structure(variant.structure.len()));
    }
    if !variant.cpu_features.is_sorted_by(|a, b| a < b) {
        return Err(CodeError::Features);
    }
    check_images(variant)?;
    check_reads(variant)
}

/// Checks that what takes fewer images has as many of them in all inputs and outputs.
fn check_images(variant: &Variant) -> Result<(), CodeError> {
    if variant.fixed_by.len() > MAX_CHOICE_BYTES {
        return Err(CodeError::FixedBy(variant.fixed_by.len()));
    }
    let images = variant.inputs.first().and_then(|input| input.shape.first().copied());
    let all = || variant.inputs.iter().chain(&variant.outputs);
    let are_same = images.is_some_and(|n| n > 0)
        && all().all(|tensor| tensor.shape.first().copied() == images);
    match variant.takes_fewer && (!are_same || !variant.fixed_by.is_empty()) {
        true => Err(CodeError::Images),
        false => Ok(()),
    }
}

/// Checks that the parts of the weights that code reads are in order, apart from each other, aligned and inside.
fn check_reads(variant: &Variant) -> Result<(), CodeError> {
    let mut end = 0;
    for &WeightRange { offset, bytes } in &variant.reads {
        let begins = offset >= end && offset.is_multiple_of(ALIGNMENT as u64);
        let next = offset.checked_add(bytes).filter(|next| {
            let whole = next.is_multiple_of(ALIGNMENT as u64) || *next == variant.weight_bytes;
            begins && bytes > 0 && whole && *next <= variant.weight_bytes
        });
        end = next.ok_or(CodeError::Reads { offset, bytes })?;
    }
    Ok(())
}

/// Compares what code says of the model with what the manifest says: the target, the types of inputs and
/// outputs, and the size of the weights as loaded.
pub(crate) fn check_model(
    variant: &Variant,
    manifest: &Manifest,
    weights: usize,
) -> Result<(), CodeError> {
    let stated = Variant::default().of_model(manifest, weights);
    check_types(Role::Input, &stated.inputs, &variant.inputs)?;
    check_types(Role::Output, &stated.outputs, &variant.outputs)?;
    if stated.weight_bytes != variant.weight_bytes {
        return Err(CodeError::Weights {
            manifest: stated.weight_bytes,
            code: variant.weight_bytes,
        });
    }
    match stated.target == variant.target {
        true => Ok(()),
        false => Err(CodeError::Target(variant.target.clone())),
    }
}

impl Variant {
    /// The same code, which says of the model what the manifest says.
    pub(crate) fn of_model(self, manifest: &Manifest, weights: usize) -> Variant {
        let types = |tensors: &[TensorInfo]| {
            let nameless =
                |tensor: &TensorInfo| TensorInfo { name: String::new(), ..tensor.clone() };
            tensors.iter().map(nameless).collect()
        };
        let [inputs, outputs] = [&manifest.inputs, &manifest.outputs].map(|list| types(list));
        let (weight_bytes, target) = (weights as u64, manifest.target.clone());
        Variant { inputs, outputs, weight_bytes, target, ..self }
    }
}

fn check_types(role: Role, manifest: &[TensorInfo], code: &[TensorInfo]) -> Result<(), CodeError> {
    if manifest.len() != code.len() {
        return Err(CodeError::Count { role, manifest: manifest.len(), code: code.len() });
    }
    match manifest.iter().zip(code).position(|(manifest, code)| manifest != code) {
        Some(position) => Err(CodeError::Type { role, position }),
        None => Ok(()),
    }
}
