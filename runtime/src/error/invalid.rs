//! What can be wrong with parts of an artifact that have the right digests.

use super::{Part, Role};

/// What is wrong with a table of contents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// Longer than [`MAX_TABLE_BYTES`](crate::MAX_TABLE_BYTES).
    #[error("{0} bytes are absurd")]
    TooLong(u64),
    /// Not a protobuf message of this type.
    #[error(transparent)]
    Decode(#[from] prost::DecodeError),
    /// More than [`MAX_SECTIONS`](crate::MAX_SECTIONS).
    #[error("{0} sections are absurd")]
    Sections(usize),
    /// What no section may be called.
    #[error("no section can be called {0:?}")]
    Name(String),
    /// There are two of what there is one of.
    #[error("there is more than one {0}")]
    Repeated(Part),
    /// What every artifact has is not there, or not where it has to be.
    #[error("the {0} is not in its place")]
    Missing(Part),
    /// What every reader needs is said to be optional.
    #[error("the {0} is not said to be required")]
    Optional(Part),
    /// A section does not begin on the first page after what precedes it.
    #[error("the {part} begins at byte {offset} instead of {expected}")]
    Offset {
        /// Which section.
        part: Part,
        /// Its offset.
        offset: u64,
        /// The offset it must have.
        expected: u64,
    },
    /// A section ends past what can be addressed.
    #[error("the {0} is impossibly long")]
    Overflow(Part),
    /// A section's digest is not 32 bytes.
    #[error("the digest of the {part} has {bytes} bytes instead of 32")]
    Digest {
        /// Which section.
        part: Part,
        /// Length of its digest.
        bytes: usize,
    },
}

/// What is wrong with a code section. The text completes "code section 1 is invalid: …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodeError {
    /// It does not end with what it says of itself.
    #[error("it does not say what it needs")]
    NoRecord,
    /// What it says of itself is longer than [`MAX_MANIFEST_BYTES`](crate::MAX_MANIFEST_BYTES).
    #[error("it says {bytes} bytes of itself, more than the {limit} allowed")]
    TooLong {
        /// Length of what it says.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// What it says of itself is not a protobuf message of that type.
    #[error(transparent)]
    Decode(prost::DecodeError),
    /// There is no code.
    #[error("it has no code")]
    NoCode,
    /// The entry point is outside the code.
    #[error("the entry point {entry} is outside the {code} bytes of code")]
    EntryOutside {
        /// Offset of the entry point.
        entry: u64,
        /// Length of the code.
        code: u64,
    },
    /// The arena is larger than [`MAX_BYTES`](crate::MAX_BYTES).
    #[error("an arena of {0} bytes is absurd")]
    Arena(u64),
    /// A thread's scratch memory is larger than 1 GiB, or not aligned.
    #[error("{0} bytes of scratch memory for each thread are absurd")]
    Worker(u64),
    /// The digest of the structure is neither absent nor 32 bytes.
    #[error("the digest of its structure has {0} bytes instead of 32")]
    Structure(usize),
    /// The CPU features are not sorted or not unique.
    #[error("its CPU features are not sorted or not unique")]
    Features,
    /// It takes fewer images than it was compiled for, and not all inputs and outputs have images; or something
    /// stands in the way of that.
    #[error("it takes fewer images than there can be, and does not say of what")]
    Images,
    /// What stands in the way of fewer images is a text of absurd length.
    #[error("it says in {0} bytes what stands in the way of fewer images")]
    FixedBy(usize),
    /// A part of the weights that it reads is empty, misaligned, outside of them, or not behind the one before it.
    #[error(
        "it reads {bytes} bytes of weights at {offset}, which is no part of them, or out of order"
    )]
    Reads {
        /// Where the part begins.
        offset: u64,
        /// Its length.
        bytes: u64,
    },
    /// It has another number of inputs or outputs than the manifest.
    #[error("it has {code} {role}(s), and the manifest {manifest}")]
    Count {
        /// Inputs or outputs.
        role: Role,
        /// How many the manifest has.
        manifest: usize,
        /// How many the code has.
        code: usize,
    },
    /// It reads or writes another type than the manifest says.
    #[error("{role} {} is of another type there than in the manifest", position + 1)]
    Type {
        /// Whether it is an input or an output.
        role: Role,
        /// Which one.
        position: usize,
    },
    /// It reads more or fewer weights than there are.
    #[error("it reads {code} bytes of weights, and there are {manifest}")]
    Weights {
        /// Bytes of the weights as loaded.
        manifest: u64,
        /// Bytes that the code reads.
        code: u64,
    },
    /// It is for another target than the manifest says.
    #[error("it is for {0:?}, and the manifest says otherwise")]
    Target(String),
}

/// What is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Longer than [`MAX_MANIFEST_BYTES`](crate::MAX_MANIFEST_BYTES).
    #[error("{bytes} bytes are more than the {limit} allowed")]
    TooLong {
        /// Its length.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Not a protobuf message of this type.
    #[error(transparent)]
    Decode(#[from] prost::DecodeError),
    /// The model's digest is neither absent nor 32 bytes.
    #[error("the model digest has {0} bytes instead of 32")]
    ModelDigest(usize),
    /// There is no variant, or more than [`MAX_VARIANTS`](crate::MAX_VARIANTS).
    #[error("code for {0} kinds of CPU is absurd")]
    Variants(usize),
    /// A variant has no name, or that of another.
    #[error("a variant is named {0:?}, which is empty or another's name")]
    VariantName(String),
    /// A variant asks for no more than one that it is preferred to, and is not for another core either.
    #[error("the variant {0:?} asks for no more than one before it")]
    VariantOrder(String),
    /// A run of stored weights cannot be.
    #[error("run {} of the weights {error}", run + 1)]
    Encoding {
        /// Its position.
        run: usize,
        /// What is wrong with it.
        error: EncodingError,
    },
    /// The runs of stored weights end before the weights section does.
    #[error("the runs of the weights make up {runs} bytes, and {stored} are stored")]
    Unencoded {
        /// Bytes that the runs make up.
        runs: u64,
        /// Bytes of the section.
        stored: u64,
    },
    /// Choices are not sorted, or a layer has two.
    #[error("its choices are not sorted, or a layer has two")]
    ChoiceOrder,
    /// A text of a choice is longer than [`MAX_CHOICE_BYTES`](crate::MAX_CHOICE_BYTES).
    #[error("a choice takes {bytes} bytes, more than the {limit} allowed")]
    ChoiceLength {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A tensor has a dtype code that names no [`DType`].
    #[error("{role} {name:?} has the unknown element type {code}")]
    UnknownDType {
        /// Whether it is an input or an output.
        role: Role,
        /// The tensor's name.
        name: String,
        /// The code.
        code: u32,
    },
    /// A tensor is larger than [`MAX_BYTES`](crate::MAX_BYTES).
    #[error("the shape of {role} {name:?} is absurdly large")]
    Shape {
        /// Whether it is an input or an output.
        role: Role,
        /// The tensor's name.
        name: String,
    },
    /// Two inputs or two outputs have the same name.
    #[error("there is more than one {role} {name:?}")]
    Duplicate {
        /// Whether they are inputs or outputs.
        role: Role,
        /// The name.
        name: String,
    },
}

/// What is wrong with a run of stored weights. The text completes "run 1 of the weights …".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodingError {
    /// The code names no [`Encoding`](crate::Encoding).
    #[error("has the unknown encoding {0}")]
    Unknown(u32),
    /// It has no bytes, or such as cannot be stored in its encoding.
    #[error("cannot have {0} bytes")]
    Length(u64),
    /// It is stored like the one before it, so they are one.
    #[error("belongs to the one before it")]
    Unmerged,
    /// It is not aligned once it is loaded.
    #[error("begins at byte {0}, which is not aligned")]
    Misaligned(u64),
    /// It ends past the end of the section, or of what can be addressed.
    #[error("ends outside of the {stored} bytes stored")]
    Outside {
        /// Bytes of the section.
        stored: u64,
    },
}
