//! Compiled models as relocatable ELF objects with C headers, for programs in any language.
//!
//! An object is freestanding: it needs no library, allocates nothing and has no variables. `.text`
//! holds the artifact's code section as it is, with a few functions behind it
//! (`codegen::callable`); `.rodata` holds the weights. So results have the same bits as those of the
//! artifact. [`Name`] says what the symbols are called, `template.h` what they do.

mod header;
mod name;

use std::ops::{Range, RangeInclusive};

use cardinal_runtime::abi::ALIGNMENT;
use cardinal_runtime::manifest::Variant;
use cardinal_runtime::{Artifact, TensorSpec};
use object::write::{self, SectionId, StandardSection, Symbol, SymbolSection};
use object::{Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind, SymbolScope};
use target_lexicon::{Architecture, BinaryFormat, PointerWidth};

pub use name::Name;

use crate::codegen::{self, Callable, Target, Tensors};
use crate::error::{Error, Problem, Result};

/// A model for a linker, and its declarations for a compiler.
#[derive(Debug)]
pub struct Object {
    /// The ELF object.
    pub elf: Vec<u8>,
    /// The C header, of C99 and C++11.
    pub header: String,
}

/// Code and weights reach each other within 32 bits, with room for what a linker puts between.
const MOST_BYTES: u64 = (1 << 31) - (1 << 20);

/// C guarantees 127 parameters, of which five are no tensors.
const MOST_TENSORS: usize = 127 - 5;

/// Makes an object of an artifact.
///
/// The result depends on nothing but the artifact, the name and the version of the compiler.
///
/// # Errors
/// [`Problem::Target`] when the artifact is for a platform whose objects are not ELF, or for several
/// CPUs,
/// [`Problem::Unsupported`] when the model is too large for an object or has too many tensors, and when
/// its weights are stored as halves.
pub fn build(artifact: &Artifact, name: &Name) -> Result<Object> {
    let manifest = artifact.manifest();
    let variant = only_variant(artifact.variants())?;
    let (target, code) = (Target::new(&manifest.target, &variant.cpu_features)?, artifact.code(0));
    let architecture = architecture(&target)?;
    check_encoding(artifact)?;
    check_size(code.len() as u64, artifact.weights().len() as u64)?;
    check_tensors(artifact.inputs().len() + artifact.outputs().len())?;
    let entry = variant.entry_offset as usize;
    let callable = codegen::callable(&target, code, entry, &tensors(artifact, variant))?;
    Ok(Object {
        elf: elf(&callable, artifact.weights(), architecture, name)?,
        header: header::text(artifact, variant, name),
    })
}

/// The one variant: an object cannot choose when it is loaded.
fn only_variant(variants: &[Variant]) -> Result<&Variant> {
    if let [variant] = variants {
        return Ok(variant);
    }
    let problem = Problem::Target(format!("an object with code for {} CPUs", variants.len()));
    Err(Error::from(problem).with_remedy("make one for each CPU, under names of their own"))
}

/// The architecture of the target's objects, which must be 64-bit little-endian ELF.
fn architecture(target: &Target) -> Result<object::Architecture> {
    let triple = target.machine_triple();
    let fits = triple.binary_format == BinaryFormat::Elf
        && triple.pointer_width() == Ok(PointerWidth::U64)
        && triple.endianness() == Ok(target_lexicon::Endianness::Little);
    match triple.architecture {
        Architecture::X86_64 if fits => Ok(object::Architecture::X86_64),
        Architecture::Aarch64(_) if fits => Ok(object::Architecture::Aarch64),
        _ => {
            let problem = Problem::Target(format!("there are no object files for `{triple}`"));
            Err(Error::from(problem).with_remedy(
                "objects are 64-bit ELF, as for x86_64-unknown-linux-gnu and \
                 aarch64-unknown-linux-gnu; elsewhere, use an artifact",
            ))
        }
    }
}

fn check_encoding(artifact: &Artifact) -> Result<()> {
    let Some((narrow, _)) = artifact.narrow() else { return Ok(()) };
    let problem = Problem::Unsupported(format!(
        "an object file with weights in {}: nothing would expand them",
        narrow.words()
    ));
    Err(Error::from(problem).with_remedy("store the weights in f32, or write an artifact"))
}

fn check_size(code: u64, weights: u64) -> Result<()> {
    let bytes = code.saturating_add(weights);
    if bytes <= MOST_BYTES {
        return Ok(());
    }
    let problem = Problem::Unsupported(format!(
        "{bytes} bytes of code and weights, and an object file holds {MOST_BYTES}"
    ));
    Err(Error::from(problem).with_remedy("write an artifact, which holds any number"))
}

fn check_tensors(count: usize) -> Result<()> {
    if count <= MOST_TENSORS {
        return Ok(());
    }
    let problem = Problem::Unsupported(format!(
        "{count} inputs and outputs, and a C function takes {MOST_TENSORS}"
    ));
    Err(Error::from(problem).with_remedy("write an artifact, which has any number"))
}

/// How many images an inference takes, from the fewest to the most.
fn images(artifact: &Artifact, variant: &Variant) -> RangeInclusive<usize> {
    let most = artifact.inputs().first().and_then(|spec| spec.shape.first().copied()).unwrap_or(1);
    if variant.takes_fewer { 1..=most } else { most..=most }
}

/// Elements are aligned to their size.
fn tensors(artifact: &Artifact, variant: &Variant) -> Tensors {
    let alignments = |specs: &[TensorSpec]| specs.iter().map(|spec| spec.dtype.size()).collect();
    Tensors {
        inputs: alignments(artifact.inputs()),
        outputs: alignments(artifact.outputs()),
        images: images(artifact, variant),
    }
}

fn elf(
    callable: &Callable,
    weights: &[u8],
    architecture: object::Architecture,
    name: &Name,
) -> Result<Vec<u8>> {
    let mut elf = write::Object::new(object::BinaryFormat::Elf, architecture, Endianness::Little);
    let text = elf.section_id(StandardSection::Text);
    elf.set_section_data(text, &callable.bytes[..], ALIGNMENT as u64);
    let constants = elf.section_id(StandardSection::ReadOnlyData);
    elf.set_section_data(constants, weights, ALIGNMENT as u64);
    // Says that the stack need not be executable: linkers assume the worst of objects without it.
    elf.add_section(Vec::new(), b".note.GNU-stack".to_vec(), SectionKind::Other);
    let mut add = |suffix: &str, scope, range: &Range<usize>| {
        elf.add_symbol(function(format!("{name}_{suffix}"), text, scope, range));
    };
    // For debuggers and profilers.
    add("kernels", SymbolScope::Compilation, &callable.kernels);
    add("run", SymbolScope::Dynamic, &callable.run);
    add("run_parallel", SymbolScope::Dynamic, &callable.run_parallel);
    add("run_images", SymbolScope::Dynamic, &callable.run_images);
    add("cpu_supported", SymbolScope::Dynamic, &callable.cpu_supported);
    let symbol = elf.section_symbol(constants);
    let fail = |error: write::Error| Error::internal(format!("object file: {error}"));
    for relocation in &callable.relocations {
        let (offset, addend) = (relocation.offset as u64, relocation.addend);
        let flags = RelocationFlags::Elf { r_type: relocation.kind };
        let relocation = write::Relocation { offset, symbol, addend, flags };
        elf.add_relocation(text, relocation).map_err(fail)?;
    }
    elf.write().map_err(fail)
}

fn function(name: String, text: SectionId, scope: SymbolScope, range: &Range<usize>) -> Symbol {
    Symbol {
        name: name.into_bytes(),
        value: range.start as u64,
        size: range.len() as u64,
        kind: SymbolKind::Text,
        scope,
        weak: false,
        section: SymbolSection::Section(text),
        flags: SymbolFlags::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(check_size(1 << 20, 1 << 30).is_ok());
        for (code, weights) in [(0, 1 << 31), (1 << 31, 0), (1, u64::MAX)] {
            let error = check_size(code, weights).unwrap_err();
            assert!(matches!(error.problem, Problem::Unsupported(_)), "{error}");
            assert!(error.remedy.is_some());
        }
        assert!(check_tensors(122).is_ok() && check_tensors(123).is_err());
    }

    #[test]
    fn only_platforms_of_64_bit_elf_have_objects() {
        let of = |triple: &str| architecture(&Target::named(triple, "generic").unwrap());
        assert_eq!(of("x86_64-unknown-linux-musl"), Ok(object::Architecture::X86_64));
        assert_eq!(of("aarch64-linux-android"), Ok(object::Architecture::Aarch64));
        assert_eq!(of("x86_64-unknown-none-elf"), Ok(object::Architecture::X86_64));
        for triple in [
            "x86_64-pc-windows-msvc",
            "aarch64-apple-darwin",
            "x86_64-unknown-linux-gnux32",
            "aarch64_be-unknown-linux-gnu",
        ] {
            let error = of(triple).unwrap_err();
            assert!(matches!(error.problem, Problem::Target(_)), "{error}");
        }
    }
}
