//! Artifacts after edits: without digests made anew nothing but the artifact itself is accepted; with
//! them, whatever is accepted can be looked at and loaded. None is run.

#![no_main]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use cardinal_compiler::options::Precision;
use cardinal_compiler::record::Record;
use cardinal_fuzz::artifacts::{Edit, Intact};
use cardinal_runtime::{Artifact, Program};
use libfuzzer_sys::fuzz_target;

static PLAIN: LazyLock<Intact> = LazyLock::new(|| Intact::new(Precision::F32));
static HALVES: LazyLock<Intact> = LazyLock::new(|| Intact::new(Precision::F16));

#[derive(Debug, Arbitrary)]
struct Input {
    halves: bool,
    seal: bool,
    edits: Vec<Edit>,
}

fuzz_target!(|input: Input| {
    let intact = if input.halves { &*HALVES } else { &*PLAIN };
    let bytes = intact.edited(&input.edits, input.seal);
    let is_intact = bytes == intact.bytes;
    match Artifact::from_bytes(bytes.into()) {
        Ok(artifact) => {
            assert!(is_intact || input.seal, "damage is not seen");
            for position in 0..artifact.variants().len() {
                let Ok(record) = Record::read(&artifact, position) else { continue };
                let _ = record.code(&artifact, position, true);
                let _ = record.with_hashes(&artifact);
            }
            // Refused where it is for another machine.
            let _ = Program::load(artifact);
        }
        Err(error) => assert!(!is_intact, "{error}"),
    }
});
