//! The artifact format and the one function that checks it.
//!
//! ```text
//! 0       8-byte magic CARDINAL
//! 8       format version, u32 little-endian
//! 12      length of the manifest, u32 little-endian
//! 16      BLAKE3 of the manifest, 32 bytes
//! 48      the manifest: a protobuf message
//!         zeros up to the next page
//! page    code section of the first variant
//!         zeros up to the next page
//! …       the same of each other variant
//! page    weights section, as stored; the file ends with it
//! ```
//!
//! Rules, each checked before anything of the file is used:
//!
//! 1. The magic is ours; the manifest has its digest and decodes; the version is the oldest whose
//!    readers read what the manifest says: 3 where weights are encoded, 2 elsewhere.
//! 2. The first variant's code begins on the first page after the manifest, each other section on
//!    the first after the one before it, and the file ends where the weights do. So nothing
//!    overlaps and no byte is unaccounted for.
//! 3. Padding is zero, and all sections have their digests, those of variants for other machines
//!    too. So every bit of the file matters.
//! 4. There are 1 to [`MAX_VARIANTS`] variants with names of their own, each with its entry point
//!    inside its code. A later one, which is preferred, does not ask for less than an earlier one.
//! 5. Choices are sorted by layer, each layer has one, and no text of theirs is longer than
//!    [`MAX_CHOICE_BYTES`]. What they mean is for the compiler to say.
//! 6. Arenas and tensors are no larger than [`MAX_BYTES`]; element types are known; names are unique
//!    among inputs and among outputs.
//! 6. The runs of the weights make up their section exactly, and so bound what is loaded of it.
//!
//! Nothing is allocated before rule 1 holds, and then in proportion to a manifest of at most
//! [`MAX_MANIFEST_BYTES`]. Whether *this machine* can run the code is for
//! [`Program::load`](crate::Program::load) to say: artifacts for others can be inspected.

use std::collections::BTreeSet;
use std::ops::Range;

use prost::Message;

use crate::abi::ALIGNMENT;
use crate::cpu::missing_features;
use crate::dtype::DType;
use crate::encoding::{Encoding, Run, check_runs};
use crate::error::{LoadError, ManifestError, Part, Role};
use crate::manifest::{Choice, Manifest, Section, TensorInfo, Variant, WeightRun};
use crate::spec::TensorSpec;
use crate::tensor::byte_length;

/// The first bytes of every artifact.
pub const MAGIC: [u8; 8] = *b"CARDINAL";

/// Newest version of the format, of the manifest's meaning and of [`abi::Frame`](crate::abi::Frame):
/// that of artifacts whose code loops over images.
pub const FORMAT_VERSION: u32 = 4;

/// The version of artifacts whose weights are encoded, and whose code does not loop over images.
const ENCODED_VERSION: u32 = 3;

/// Oldest version that is read, and that of artifacts whose weights are stored as code reads them.
pub const OLDEST_VERSION: u32 = 2;

/// Sections begin at multiples of this.
pub const PAGE: u64 = 4096;

/// Manifests are no longer than this.
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// No artifact has code for more kinds of CPU than this.
pub const MAX_VARIANTS: usize = 16;

/// No text of a choice is longer than this.
pub const MAX_CHOICE_BYTES: usize = 1 << 10;

/// No arena and no input or output is larger than this (64 GiB).
pub const MAX_BYTES: u64 = 1 << 36;

/// No thread has more scratch memory of its own than this (1 GiB).
pub(crate) const MAX_WORKER_BYTES: u64 = 1 << 30;

/// Bytes before the manifest.
pub(crate) const HEADER_BYTES: u64 = 48;

/// Bytes of a BLAKE3 digest.
pub(crate) const DIGEST_BYTES: usize = 32;

/// What a manifest says, checked and in the types of this crate.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) manifest: Manifest,
    pub(crate) inputs: Vec<TensorSpec>,
    pub(crate) outputs: Vec<TensorSpec>,
    /// Where the code of each variant is in the artifact.
    pub(crate) code: Vec<Range<usize>>,
    /// Where the weights are in the artifact; they end it.
    pub(crate) weights: Range<usize>,
    /// How they are stored there.
    pub(crate) runs: Vec<Run>,
}

/// Checks a whole artifact.
pub(crate) fn validate(bytes: &[u8]) -> Result<Contents, LoadError> {
    let header = read_header(bytes)?;
    let manifest_end = HEADER_BYTES + header.manifest_length;
    let manifest_bytes = prefix(bytes, manifest_end)?.get(HEADER_BYTES as usize..).unwrap_or(&[]);
    check_digest(Part::Manifest, manifest_bytes, &header.manifest_digest)?;
    let manifest = Manifest::decode(manifest_bytes).map_err(ManifestError::Decode)?;
    let contents = check_manifest(manifest, manifest_end)?;
    check_version(header.version, &contents.manifest)?;
    check_length(bytes, contents.weights.end as u64)?;
    let mut end = manifest_end as usize;
    for (_, _, range) in sections(&contents) {
        check_padding(bytes, end..range.start)?;
        end = range.end;
    }
    for (part, section, range) in sections(&contents) {
        check_section(part, section, &bytes[range.clone()])?;
    }
    Ok(contents)
}

/// Every section with its place, in the order of the file.
fn sections(contents: &Contents) -> impl Iterator<Item = (Part, &Option<Section>, &Range<usize>)> {
    let code = contents.manifest.variants.iter().zip(&contents.code).enumerate();
    let code = code.map(|(i, (variant, range))| (Part::Code(i), &variant.code, range));
    code.chain([(Part::Weights, &contents.manifest.weights, &contents.weights)])
}

/// The fixed fields in front of the manifest.
struct Header {
    version: u32,
    manifest_length: u64,
    manifest_digest: [u8; DIGEST_BYTES],
}

fn read_header(bytes: &[u8]) -> Result<Header, LoadError> {
    let magic = &bytes[..bytes.len().min(MAGIC.len())];
    if magic.is_empty() || !MAGIC.starts_with(magic) {
        return Err(LoadError::NotAnArtifact { looks_like_onnx: looks_like_onnx(bytes) });
    }
    let version = u32::from_le_bytes(field(bytes, 8)?);
    let supported = OLDEST_VERSION..=FORMAT_VERSION;
    if !supported.contains(&version) {
        return Err(LoadError::Version { found: version, supported });
    }
    let manifest_length = u64::from(u32::from_le_bytes(field(bytes, 12)?));
    let manifest_digest = field(bytes, 16)?;
    check_manifest_length(manifest_length)?;
    Ok(Header { version, manifest_length, manifest_digest })
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

/// The format version of an artifact with this manifest: the oldest whose readers read it right.
pub(crate) fn version(manifest: &Manifest) -> u32 {
    let plain = |run: &WeightRun| run.encoding == Encoding::Plain as u32;
    let by_core = manifest.variants.windows(2).any(|v| v[0].cpu_features == v[1].cpu_features);
    let is_new = manifest.loops_over_images || by_core;
    match (is_new, manifest.weight_runs.iter().all(plain)) {
        (true, _) => FORMAT_VERSION,
        (false, false) => ENCODED_VERSION,
        (false, true) => OLDEST_VERSION,
    }
}

/// The header is under no digest, so this is what vouches for its version.
fn check_version(stated: u32, manifest: &Manifest) -> Result<(), ManifestError> {
    match version(manifest) {
        needed if needed != stated => Err(ManifestError::Version { stated, needed }),
        _ => Ok(()),
    }
}

/// Checks what a manifest that ends at `manifest_end` says, without the bytes it speaks of.
pub(crate) fn check_manifest(
    manifest: Manifest,
    manifest_end: u64,
) -> Result<Contents, ManifestError> {
    check_variants(&manifest.variants)?;
    let mut code = Vec::with_capacity(manifest.variants.len());
    let mut end = manifest_end;
    for (i, variant) in manifest.variants.iter().enumerate() {
        let range = check_placement(Part::Code(i), &variant.code, end)?;
        check_variant(variant, range.len() as u64)?;
        end = range.end as u64;
        code.push(range);
    }
    let weights = check_placement(Part::Weights, &manifest.weights, end)?;
    let runs = check_runs(&manifest.weight_runs, weights.len())?;
    if !matches!(manifest.model_digest.len(), 0 | DIGEST_BYTES) {
        return Err(ManifestError::ModelDigest(manifest.model_digest.len()));
    }
    check_choices(&manifest.choices)?;
    let inputs = check_tensors(Role::Input, &manifest.inputs)?;
    let outputs = check_tensors(Role::Output, &manifest.outputs)?;
    Ok(Contents { manifest, inputs, outputs, code, weights, runs })
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
        if !later.cpu_features.is_sorted_by(|a, b| a < b) {
            return Err(ManifestError::Features(name()));
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

/// Checks the sizes of a variant with so many bytes of code.
fn check_variant(variant: &Variant, code: u64) -> Result<(), ManifestError> {
    check_entry(variant.entry_offset, code)?;
    if variant.worker_bytes > MAX_WORKER_BYTES
        || !variant.worker_bytes.is_multiple_of(ALIGNMENT as u64)
    {
        return Err(ManifestError::Worker(variant.worker_bytes));
    }
    if variant.arena_bytes > MAX_BYTES {
        return Err(ManifestError::Arena(variant.arena_bytes));
    }
    if !matches!(variant.structure.len(), 0 | DIGEST_BYTES) {
        return Err(ManifestError::Structure(variant.structure.len()));
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

/// Checks where a section is, given where the part before it ends.
fn check_placement(
    part: Part,
    section: &Option<Section>,
    end: u64,
) -> Result<Range<usize>, ManifestError> {
    let Section { offset, length, digest } =
        section.as_ref().ok_or(ManifestError::NoSection(part))?;
    let (offset, length) = (*offset, *length);
    let expected = next_page(end).ok_or(ManifestError::SectionOverflow(part))?;
    if !offset.is_multiple_of(PAGE) {
        return Err(ManifestError::Misaligned { part, offset });
    }
    if offset < end {
        return Err(ManifestError::Overlap { part, offset, end });
    }
    if offset != expected {
        return Err(ManifestError::Gap { part, offset, expected });
    }
    if digest.len() != DIGEST_BYTES {
        return Err(ManifestError::SectionDigest { part, bytes: digest.len() });
    }
    byte_range(offset, length).ok_or(ManifestError::SectionOverflow(part))
}

/// `offset..offset + length`, where memory could hold it.
fn byte_range(offset: u64, length: u64) -> Option<Range<usize>> {
    let end = offset.checked_add(length).filter(|&end| end <= isize::MAX as u64)?;
    Some(usize::try_from(offset).ok()?..usize::try_from(end).ok()?)
}

/// The first multiple of the page size that is not below `offset`.
pub(crate) fn next_page(offset: u64) -> Option<u64> {
    offset.checked_next_multiple_of(PAGE)
}

fn check_entry(entry: u64, code: u64) -> Result<(), ManifestError> {
    if code == 0 {
        return Err(ManifestError::NoCode);
    }
    if entry >= code {
        return Err(ManifestError::EntryOutside { entry, code });
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

/// Checks the digest that the manifest has for a section.
pub(crate) fn check_section(
    part: Part,
    section: &Option<Section>,
    bytes: &[u8],
) -> Result<(), LoadError> {
    let section = section.as_ref().ok_or(ManifestError::NoSection(part))?;
    check_digest(part, bytes, &section.digest)
}

fn check_digest(part: Part, bytes: &[u8], digest: &[u8]) -> Result<(), LoadError> {
    if blake3::hash(bytes).as_bytes() != digest {
        return Err(LoadError::Digest(part));
    }
    Ok(())
}
