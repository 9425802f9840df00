//! The artifact format and the one function that checks it; `format.rs` has its numbers.
//!
//! ```text
//! 0       8-byte magic CARDINAL
//! 8       format version, u32 little-endian
//! 12      length of the table of contents, u32 little-endian
//! 16      BLAKE3 of the table of contents, 32 bytes
//! 48      the table of contents: a protobuf message
//!         zeros up to the next page
//! page    the manifest: a protobuf message
//!         zeros up to the next page
//! page    code section of the first variant
//!         zeros up to the next page
//! …       the same of each other variant, and sections that may be passed over
//! page    weights section, as stored; the file ends with it
//! ```
//!
//! Rules, each checked before anything of the file is used:
//!
//! 1. The magic and the version are ours; the table of contents has its digest and decodes.
//! 2. The manifest is the first section and the weights are the last; there is code; no section but code
//!    is there twice. One whose name is unknown is passed over, unless the table says that it is required.
//! 3. The first section begins on the first page after the table, each other one on the first after the
//!    one before it, and the file ends where the last does. So nothing overlaps and no byte is
//!    unaccounted for.
//! 4. Padding is zero, and all sections have their digests, those of variants for other machines
//!    too. So every bit of the file matters.
//! 5. There are 1 to [`MAX_VARIANTS`] variants with names of their own, each with its entry point
//!    inside its code. A later one, which is preferred, does not ask for less than an earlier one.
//! 6. What code says of the model is what the manifest says.
//! 7. Choices are sorted by layer, each layer has one, and no text of theirs is longer than
//!    [`MAX_CHOICE_BYTES`]. What they mean is for the compiler to say.
//! 8. Arenas and tensors are no larger than [`MAX_BYTES`]; element types are known; names are unique
//!    among inputs and among outputs.
//! 9. Code that takes fewer images than it was made for has as many of them in all inputs and outputs.
//! 10. The runs of the weights make up their section exactly, and so bound what is loaded of it.
//!
//! Nothing is allocated before rule 1 holds, and then in proportion to a table of at most
//! [`MAX_TABLE_BYTES`], a manifest of at most [`MAX_MANIFEST_BYTES`], and as much for each variant. Whether
//! *this machine* can run the code is for [`Program::load`](crate::Program::load) to say: artifacts for
//! others can be inspected.

use std::collections::BTreeSet;
use std::ops::Range;

use prost::Message;

use crate::code;
use crate::cpu::missing_features;
use crate::digest::digest;
use crate::dtype::DType;
use crate::encoding::{Run, check_runs};
use crate::error::{LoadError, ManifestError, Part, Role, TableError};
use crate::format::{
    DIGEST_BYTES, FORMAT_VERSION, HEADER_BYTES, MAGIC, MAX_BYTES, MAX_CHOICE_BYTES,
    MAX_MANIFEST_BYTES, MAX_TABLE_BYTES, MAX_VARIANTS,
};
use crate::manifest::{Choice, Manifest, TensorInfo, Variant};
use crate::spec::TensorSpec;
use crate::table::Table;
use crate::tensor::byte_length;

/// What an artifact says, checked and in the types of this crate.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) table: Table,
    /// Where each section of the table is in the artifact.
    pub(crate) ranges: Vec<Range<usize>>,
    pub(crate) description: Description,
}

/// What the manifest and the code sections say.
#[derive(Debug)]
pub(crate) struct Description {
    pub(crate) manifest: Manifest,
    pub(crate) variants: Vec<Variant>,
    /// How long the code of each is.
    pub(crate) code_bytes: Vec<usize>,
    pub(crate) inputs: Vec<TensorSpec>,
    pub(crate) outputs: Vec<TensorSpec>,
    /// How the weights are stored.
    pub(crate) runs: Vec<Run>,
}

impl Contents {
    /// The sections of this name, by position in the table, in order.
    pub(crate) fn named(&self, name: &str) -> impl Iterator<Item = usize> {
        let sections = self.table.sections.iter().enumerate();
        sections.filter(move |(_, section)| section.name == name).map(|(at, _)| at)
    }
}

/// Checks a whole artifact.
pub(crate) fn validate(bytes: &[u8]) -> Result<Contents, LoadError> {
    let header = read_header(bytes)?;
    let table_end = HEADER_BYTES + header.table_length;
    let table = prefix(bytes, table_end)?.get(HEADER_BYTES as usize..).unwrap_or(&[]);
    check_digest(Part::Table, table, &header.table_digest)?;
    let table = Table::decode(table).map_err(TableError::Decode)?;
    let ranges = table.check(table_end)?;
    check_length(bytes, ranges.last().map_or(table_end, |weights| weights.end as u64))?;
    let mut end = table_end as usize;
    for range in &ranges {
        check_padding(bytes, end..range.start)?;
        end = range.end;
    }
    for (at, range) in ranges.iter().enumerate() {
        check_section(&table, at, &bytes[range.clone()])?;
    }
    let description = describe(&table, &ranges, bytes)?;
    Ok(Contents { table, ranges, description })
}

/// Reads and checks what the sections say.
fn describe(
    table: &Table,
    ranges: &[Range<usize>],
    bytes: &[u8],
) -> Result<Description, LoadError> {
    let (mut manifest, mut weights) = (Manifest::default(), 0);
    let mut variants = Vec::new();
    for (at, range) in ranges.iter().enumerate() {
        let section = &bytes[range.clone()];
        match table.part(at) {
            Part::Manifest => manifest = read_manifest(section)?,
            Part::Code(variant) => variants
                .push(code::read(section).map_err(|error| LoadError::BadCode { variant, error })?),
            Part::Weights => weights = section.len(),
            Part::Table | Part::Other(_) => {}
        }
    }
    check(manifest, variants, weights)
}

fn read_manifest(bytes: &[u8]) -> Result<Manifest, ManifestError> {
    check_manifest_length(bytes.len() as u64)?;
    Ok(Manifest::decode(bytes)?)
}

/// The fixed fields in front of the table of contents.
struct Header {
    table_length: u64,
    table_digest: [u8; DIGEST_BYTES],
}

fn read_header(bytes: &[u8]) -> Result<Header, LoadError> {
    let magic = &bytes[..bytes.len().min(MAGIC.len())];
    if magic.is_empty() || !MAGIC.starts_with(magic) {
        return Err(LoadError::NotAnArtifact { looks_like_onnx: looks_like_onnx(bytes) });
    }
    let version = u32::from_le_bytes(field(bytes, 8)?);
    if version != FORMAT_VERSION {
        return Err(LoadError::Version { found: version });
    }
    let table_length = u64::from(u32::from_le_bytes(field(bytes, 12)?));
    let table_digest = field(bytes, 16)?;
    if table_length > MAX_TABLE_BYTES {
        return Err(TableError::TooLong(table_length).into());
    }
    Ok(Header { table_length, table_digest })
}

/// The `N` bytes at `offset` of the header.
fn field<const N: usize>(bytes: &[u8], offset: usize) -> Result<[u8; N], LoadError> {
    bytes
        .get(offset..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .ok_or(LoadError::Truncated { expected: HEADER_BYTES, actual: bytes.len() as u64 })
}

/// The first `length` bytes.
fn prefix(bytes: &[u8], length: u64) -> Result<&[u8], LoadError> {
    usize::try_from(length)
        .ok()
        .and_then(|length| bytes.get(..length))
        .ok_or(LoadError::Truncated { expected: length, actual: bytes.len() as u64 })
}

/// Whether bytes begin like an ONNX `ModelProto`: `ir_version` as a small varint, then a tag among
/// `producer_name` .. `opset_import`.
fn looks_like_onnx(bytes: &[u8]) -> bool {
    matches!(bytes, [0x08, 1..=0x7F, 0x12 | 0x1A | 0x22 | 0x28 | 0x32 | 0x3A | 0x42, ..])
}

/// Refuses what could not be written either.
pub(crate) fn check_manifest_length(bytes: u64) -> Result<(), ManifestError> {
    if bytes > MAX_MANIFEST_BYTES {
        return Err(ManifestError::TooLong { bytes, limit: MAX_MANIFEST_BYTES });
    }
    Ok(())
}

/// Checks what a manifest says, and code sections with so many bytes of code and one of weights.
pub(crate) fn check(
    manifest: Manifest,
    code: Vec<(Variant, usize)>,
    weights: usize,
) -> Result<Description, LoadError> {
    if !matches!(manifest.model_digest.len(), 0 | DIGEST_BYTES) {
        return Err(ManifestError::ModelDigest(manifest.model_digest.len()).into());
    }
    check_choices(&manifest.choices)?;
    let inputs = check_tensors(Role::Input, &manifest.inputs)?;
    let outputs = check_tensors(Role::Output, &manifest.outputs)?;
    let runs = check_runs(&manifest.weight_runs, weights)?;
    let loaded = runs.iter().map(|run| run.bytes).sum();
    for (position, (variant, bytes)) in code.iter().enumerate() {
        let checked = code::check(variant, *bytes);
        checked
            .and_then(|()| code::check_model(variant, &manifest, loaded))
            .map_err(|error| LoadError::BadCode { variant: position, error })?;
    }
    let (variants, code_bytes): (Vec<Variant>, _) = code.into_iter().unzip();
    check_variants(&variants)?;
    Ok(Description { manifest, variants, code_bytes, inputs, outputs, runs })
}

/// Checks what variants are to each other.
fn check_variants(variants: &[Variant]) -> Result<(), ManifestError> {
    if !(1..=MAX_VARIANTS).contains(&variants.len()) {
        return Err(ManifestError::Variants(variants.len()));
    }
    for (i, later) in variants.iter().enumerate() {
        let name = || later.name.clone();
        if later.name.is_empty() || variants[..i].iter().any(|v| v.name == later.name) {
            return Err(ManifestError::VariantName(name()));
        }
        // Those for several cores need the same.
        let asks_for_less = |earlier: &Variant| {
            missing_features(&later.cpu_features, &earlier.cpu_features).is_empty()
                && (later.cpu_features != earlier.cpu_features || later.core == earlier.core)
        };
        if variants[..i].iter().any(asks_for_less) {
            return Err(ManifestError::VariantOrder(name()));
        }
    }
    Ok(())
}

/// Checks the order and the lengths of choices.
fn check_choices(choices: &[Choice]) -> Result<(), ManifestError> {
    if !choices.is_sorted_by(|a, b| a.layer < b.layer) {
        return Err(ManifestError::ChoiceOrder);
    }
    for Choice { layer, choice } in choices {
        let longest = layer.len().max(choice.len());
        if longest > MAX_CHOICE_BYTES {
            return Err(ManifestError::ChoiceLength { bytes: longest, limit: MAX_CHOICE_BYTES });
        }
    }
    Ok(())
}

fn check_tensors(role: Role, tensors: &[TensorInfo]) -> Result<Vec<TensorSpec>, ManifestError> {
    let mut names = BTreeSet::new();
    let mut specs = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        if !names.insert(&tensor.name) {
            return Err(ManifestError::Duplicate { role, name: tensor.name.clone() });
        }
        specs.push(check_tensor(role, tensor)?);
    }
    Ok(specs)
}

fn check_tensor(role: Role, tensor: &TensorInfo) -> Result<TensorSpec, ManifestError> {
    let name = tensor.name.clone();
    let Some(dtype) = DType::from_code(tensor.dtype) else {
        return Err(ManifestError::UnknownDType { role, name, code: tensor.dtype });
    };
    let shape: Option<Vec<usize>> = tensor.shape.iter().map(|&n| usize::try_from(n).ok()).collect();
    match shape {
        Some(shape) if is_sane(dtype, &shape) => Ok(TensorSpec { name, dtype, shape }),
        Some(_) | None => Err(ManifestError::Shape { role, name }),
    }
}

fn is_sane(dtype: DType, shape: &[usize]) -> bool {
    byte_length(dtype, shape).is_some_and(|bytes| bytes as u64 <= MAX_BYTES)
}

fn check_length(bytes: &[u8], expected: u64) -> Result<(), LoadError> {
    let actual = bytes.len() as u64;
    if actual < expected {
        return Err(LoadError::Truncated { expected, actual });
    }
    if actual > expected {
        return Err(LoadError::TrailingBytes { expected, actual });
    }
    Ok(())
}

fn check_padding(bytes: &[u8], range: Range<usize>) -> Result<(), LoadError> {
    match bytes[range.clone()].iter().position(|&byte| byte != 0) {
        Some(at) => Err(LoadError::Padding { offset: (range.start + at) as u64 }),
        None => Ok(()),
    }
}

/// Checks the digest that the table has for the section at a position.
pub(crate) fn check_section(table: &Table, at: usize, bytes: &[u8]) -> Result<(), LoadError> {
    check_digest(table.part(at), bytes, &table.sections[at].digest)
}

fn check_digest(part: Part, bytes: &[u8], stated: &[u8]) -> Result<(), LoadError> {
    if digest(bytes).as_bytes() != stated {
        return Err(LoadError::Digest(part));
    }
    Ok(())
}
