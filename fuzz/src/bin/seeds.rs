//! Writes what some targets begin with, a folder each: models, graphs as texts, and plans of them. They
//! follow the formats, so none is kept in the repository.
//!
//! ```text
//! seeds FOLDER
//! ```

use std::fs;
use std::io;
use std::path::Path;

use arbitrary::{Arbitrary, Unstructured};
use cardinal_compiler::ir::text::print;
use cardinal_compiler::onnx::Model;
use cardinal_compiler::plan::text;
use cardinal_compiler::{Pipeline, Target};
use cardinal_fuzz::graphs::Case;
use cardinal_fuzz::models::Random;
use cardinal_fuzz::{must, options};

// Never called, but what counts branches comes with it.
libfuzzer_sys::fuzz_target!(|_bytes: &[u8]| {});

/// How many of each.
const COUNT: u64 = 60;

fn main() -> io::Result<()> {
    let folder = std::env::args_os().nth(1).ok_or_else(|| io::Error::other("seeds FOLDER"))?;
    let write = |target: &str, number: u64, bytes: &[u8]| {
        let folder = Path::new(&folder).join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("seed{number}")), bytes)
    };
    for number in 0..COUNT {
        let bytes = random(number);
        let model = must(Random::arbitrary(&mut Unstructured::new(&bytes)));
        write("model_bytes", number, &model.to_bytes())?;
        let case = must(Case::arbitrary(&mut Unstructured::new(&bytes)));
        write("ir_text", number, print(&case.graph).as_bytes())?;
        let model = Model {
            graph: case.graph,
            metadata: Vec::new(),
            digest: [0; 32],
            operators: Default::default(),
        };
        let target = must(Target::named("x86_64-unknown-linux-gnu", "x86-64-v3"));
        let Ok(trace) = Pipeline::new(&model, &options()).plans(&[target]) else { continue };
        for variant in &trace.variants {
            write("plan_text", number, text::print(must(variant.plan())).as_bytes())?;
        }
    }
    Ok(())
}

/// As many bytes as a model or a graph takes, the same for the same number.
fn random(number: u64) -> Vec<u8> {
    let mut bytes = [0; 512];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes.to_vec()
}
