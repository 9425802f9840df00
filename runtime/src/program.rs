//! A model ready to run on this machine.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use crate::abi::Entry;
use crate::artifact::Artifact;
use crate::cpu;
use crate::encoding::Encoding;
use crate::error::LoadError;
use crate::expand::expand;
use crate::kept::expand_in;
use crate::manifest::{Manifest, Property, Variant, WeightRange};
use crate::memory;
use crate::spec::TensorSpec;
use crate::variant::choose;

/// A loaded model: its artifact, with the code for this machine made executable, and its weights
/// expanded where they are encoded. Shared by sessions.
pub struct Program {
    artifact: Artifact,
    /// Position of the variant that runs.
    variant: usize,
    /// Its code section.
    code: Mmap,
    /// Offset of its entry point, inside `code`.
    entry: usize,
    /// The weights, where they are not stored as code reads them.
    weights: Option<Mmap>,
}

impl Program {
    /// Picks the best code that this machine can run, and maps it.
    ///
    /// The code is copied to memory of its own, its digest is checked once more *there* (so what
    /// was checked is what runs, even if a mapped file changes), and only then does the memory
    /// become executable and cease to be writable. Weights stay where they are, shared with other
    /// processes that mapped the file; encoded ones are expanded to memory of this program's own
    /// (or [of all](Self::load_sharing)).
    pub fn load(artifact: Artifact) -> Result<Arc<Program>, LoadError> {
        Program::load_variant(artifact, None)
    }

    /// As [`load`](Self::load), with the code for the CPU of this name, where one is given: to
    /// compare variants, or to use less than the machine has.
    pub fn load_variant(artifact: Artifact, name: Option<&str>) -> Result<Arc<Program>, LoadError> {
        Program::load_sharing(artifact, name, None)
    }

    /// As [`load_variant`](Self::load_variant). Where a folder is given, weights that are encoded are expanded once for
    /// all processes that name it: to a file in it, which they map, and which is compared with the artifact's own
    /// before it is used. The folder is made if there is none; files in it can be deleted at any time.
    ///
    /// # Errors
    /// Those of [`load`](Self::load), and [`LoadError::Sharing`].
    pub fn load_sharing(
        artifact: Artifact,
        name: Option<&str>,
        folder: Option<&Path>,
    ) -> Result<Arc<Program>, LoadError> {
        check_target(artifact.manifest())?;
        let variant = choose(artifact.variants(), &cpu::host_features(), cpu::host_core(), name)?;
        let code = map_code(&artifact, variant)?;
        let entry = artifact.variants()[variant].entry_offset as usize;
        let weights = expand_weights(&artifact, variant, folder)?;
        Ok(Arc::new(Program { artifact, variant, code, entry, weights }))
    }

    /// The variant that runs.
    pub fn variant(&self) -> &Variant {
        &self.artifact.variants()[self.variant]
    }

    /// Its position among the artifact's variants.
    pub fn variant_position(&self) -> usize {
        self.variant
    }

    /// The model's inputs, in order.
    pub fn inputs(&self) -> &[TensorSpec] {
        self.artifact.inputs()
    }

    /// The model's outputs, in order.
    pub fn outputs(&self) -> &[TensorSpec] {
        self.artifact.outputs()
    }

    /// Whether it takes any number of images up to the outermost extent of its inputs. Its outputs have as many
    /// then, and a row has the same bits whatever that number is.
    pub fn takes_fewer(&self) -> bool {
        self.variant().takes_fewer
    }

    /// What stands in the way of fewer images, where there is something.
    pub fn fixed_by(&self) -> Option<&str> {
        Some(self.variant().fixed_by.as_str()).filter(|by| !by.is_empty())
    }

    /// The model's own `metadata_props`, in file order.
    pub fn metadata(&self) -> &[Property] {
        &self.manifest().metadata
    }

    /// The model's name.
    pub fn model_name(&self) -> &str {
        &self.manifest().model_name
    }

    /// What the artifact says about itself.
    pub fn manifest(&self) -> &Manifest {
        self.artifact.manifest()
    }

    /// The artifact this was loaded from.
    pub fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// The weights as code reads them. They begin on a 64-byte boundary. Where they are encoded, what other variants
    /// read and this one does not is zero.
    pub fn weights(&self) -> &[u8] {
        self.weights.as_deref().unwrap_or(self.artifact.weights())
    }

    /// The executable copy of the code section.
    pub(crate) fn code(&self) -> &[u8] {
        &self.code
    }

    /// The entry point. May be called while the program is alive.
    pub(crate) fn entry(&self) -> Entry {
        let address = self.code[self.entry..].as_ptr();
        // SAFETY: the address is inside executable memory, at the offset where the compiler says
        // that a function of this type begins; its digest vouches that this is what it wrote.
        unsafe { std::mem::transmute::<*const u8, Entry>(address) }
    }
}

fn check_target(manifest: &Manifest) -> Result<(), LoadError> {
    if !cpu::matches_host(&manifest.target) {
        return Err(LoadError::Target {
            target: manifest.target.clone(),
            host: cpu::host_triple(),
        });
    }
    Ok(())
}

fn map_code(artifact: &Artifact, variant: usize) -> Result<Mmap, LoadError> {
    let section = artifact.code_section(variant);
    let mut map = memory::anonymous(section.len())
        .map_err(|source| LoadError::io("allocate memory for the code", source))?;
    map[..section.len()].copy_from_slice(section);
    artifact.check_code(variant, &map[..section.len()])?;
    memory::make_executable(map).map_err(LoadError::Executable)
}

/// Encoded weights, expanded as far as a variant reads them; `None` where none are encoded.
fn expand_weights(
    artifact: &Artifact,
    variant: usize,
    folder: Option<&Path>,
) -> Result<Option<Mmap>, LoadError> {
    if artifact.runs().iter().all(|run| run.encoding == Encoding::Plain) {
        return Ok(None);
    }
    let parts = parts_read(&artifact.variants()[variant], artifact.loaded_weight_bytes());
    let (runs, stored) = (artifact.runs(), artifact.weights());
    let expanded = match folder {
        None => expand(runs, stored, &parts)
            .map_err(|source| LoadError::io("expand the weights", source)),
        Some(folder) => expand_in(folder, artifact.weights_digest(), runs, stored, &parts)
            .map_err(|source| LoadError::Sharing { folder: folder.to_owned(), source }),
    };
    expanded.map(Some)
}

/// The parts of the weights, which are so many bytes as code reads them, that a variant's code reads.
fn parts_read(variant: &Variant, bytes: usize) -> Vec<Range<usize>> {
    if variant.reads.is_empty() {
        return std::iter::once(0..bytes).collect();
    }
    // They are inside of the weights, so they fit.
    let range = |part: &WeightRange| part.offset as usize..(part.offset + part.bytes) as usize;
    variant.reads.iter().map(range).collect()
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("artifact", &self.artifact).finish_non_exhaustive()
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Code;
    use crate::write::ArtifactParts;

    /// The permissions of the mapping that holds an address.
    fn permissions(address: usize) -> Option<String> {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        maps.lines().find_map(|line| {
            let (range, rest) = line.split_once(' ')?;
            let (begin, end) = range.split_once('-')?;
            let bound = |text| usize::from_str_radix(text, 16).unwrap();
            (bound(begin)..bound(end)).contains(&address).then(|| rest[..4].to_owned())
        })
    }

    #[test]
    fn code_is_executable_while_the_program_lives() {
        let variant = Variant { name: "any".into(), ..Variant::default() };
        let manifest = Manifest { target: cpu::host_triple(), ..Manifest::default() };
        let code = vec![Code { variant, bytes: vec![0xC3; 10_000] }];
        let parts = ArtifactParts { manifest, code, weights: vec![1], ..ArtifactParts::default() };
        let program = Program::load(parts.to_artifact().unwrap()).unwrap();
        let (copy, original) = (program.code().as_ptr(), program.artifact().code(0).as_ptr());
        assert_eq!(permissions(copy.addr()).as_deref(), Some("r-xp"));
        assert_eq!(permissions(original.addr()).as_deref(), Some("r--p"));
        drop(program);
        assert_ne!(permissions(copy.addr()).as_deref(), Some("r-xp"));
    }
}
