//! Compiles a model in memory and runs it, with no file in between.
//!
//!     cargo run --release -p cardinal-examples --example embed

use std::error::Error;
use std::num::NonZeroUsize;

use cardinal_compiler::codegen::Target;
use cardinal_compiler::onnx::{NoExternalData, import};
use cardinal_compiler::options::{CompileOptions, ImportOptions};
use cardinal_runtime::{Program, Session, Tensor, cpu};

/// The trained digits model, as any other source of bytes would give it.
const MODEL: &[u8] = include_bytes!("digits/mnist_resnest.onnx");

fn main() -> Result<(), Box<dyn Error>> {
    // A batch of two; the model leaves it open.
    let options = ImportOptions { batch: Some(2), ..ImportOptions::default() };
    let model = import(MODEL.into(), &NoExternalData, &options)?;
    let target =
        Target::new(&cpu::host_triple(), &cpu::host_features())?.for_core(cpu::host_core());
    let compiled = cardinal_compiler::compile(&model, &[target], &CompileOptions::default())?;

    let program = Program::load(compiled.parts.to_artifact()?)?;
    let mut session = Session::new(program, NonZeroUsize::MIN)?;
    let outputs = session.run(&[two_strokes()?])?;

    let logits = outputs[0].as_f32().ok_or("the model's output is not f32")?;
    for (image, logits) in logits.chunks(10).enumerate() {
        let best = (0..10).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
        println!("image {image}: {}", best.unwrap_or_default());
    }
    Ok(())
}

/// Two 28x28 images, normalized as the model's metadata says: a vertical stroke, which is a one,
/// and a horizontal stroke with a diagonal below its right end, which is a seven.
fn two_strokes() -> Result<Tensor, Box<dyn Error>> {
    let mut pixels = vec![0f32; 2 * 28 * 28];
    let (one, seven) = pixels.split_at_mut(28 * 28);
    for step in 0..18 {
        one[(5 + step) * 28 + 13] = 1.0;
        one[(5 + step) * 28 + 14] = 1.0;
        let column = 18 - step / 2;
        seven[(5 + step) * 28 + column] = 1.0;
        seven[(5 + step) * 28 + column + 1] = 1.0;
    }
    for column in 8..19 {
        seven[5 * 28 + column] = 1.0;
        seven[6 * 28 + column] = 1.0;
    }
    let normalized: Vec<f32> = pixels.iter().map(|x| (x - 0.1307) / 0.3081).collect();
    Ok(Tensor::from_f32(&[2, 1, 28, 28], &normalized)?)
}
