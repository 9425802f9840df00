//! Artifacts after edits: without digests made anew nothing but the artifact itself is accepted; with
//! them, whatever is accepted can be looked at and loaded. None is run.

#![no_main]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use cardinal_compiler::options::Narrow;
use cardinal_compiler::plan;
use cardinal_compiler::record::Record;
use cardinal_fuzz::artifacts::{Edit, Intact};
use cardinal_runtime::{Artifact, Program};
use libfuzzer_sys::fuzz_target;

/// One with weights as code reads them, and one for each other format.
static INTACT: LazyLock<Vec<Intact>> = LazyLock::new(|| {
    let formats = Narrow::ALL.map(Some).into_iter();
    std::iter::once(None).chain(formats).map(Intact::new).collect()
});

#[derive(Debug, Arbitrary)]
struct Input {
    format: u8,
    seal: bool,
    edits: Vec<Edit>,
}

fuzz_target!(|input: Input| {
    let intact = &INTACT[usize::from(input.format) % INTACT.len()];
    let bytes = intact.edited(&input.edits, input.seal);
    let is_intact = bytes == intact.bytes;
    match Artifact::from_bytes(bytes.into()) {
        Ok(artifact) => {
            assert!(is_intact || input.seal, "damage is not seen");
            for position in 0..artifact.variants().len() {
                let Ok(record) = Record::read(&artifact, position) else { continue };
                let _ = record.code(&artifact, position, true);
                let _ = plan::json::to_json(&record.plan);
                record.plan.steps.iter().for_each(|step| {
                    let _ = step.kernel.multiply_adds();
                });
                let _ = record.with_hashes(&artifact);
            }
            // Refused where it is for another machine.
            let _ = Program::load(artifact);
        }
        Err(error) => assert!(!is_intact, "{error}"),
    }
});
