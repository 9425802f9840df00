//! How long the convolutions of a model would take here, by the estimates that their algorithms are chosen by.

use std::num::NonZeroUsize;

use cardinal_compiler::codegen::Target;
use cardinal_compiler::machine::{Element, Vectors};
use cardinal_compiler::schedule::Bfloat16;

use crate::engine::{Model, ModelResult, Pipeline, Settings};
use crate::model_file::ModelFile;
use crate::profile::peak;

/// An estimate for one precision.
pub(super) struct Estimate {
    /// The narrowest type that is multiplied.
    pub(super) precision: &'static str,
    /// Of all convolutions in blocks, on one thread.
    pub(super) ms: f64,
}

/// The estimate of f32, or of bytes where the model is quantized, and that of bfloat16 where the machine multiplies
/// it and that is faster. None where the clock cannot be measured: on other machines, and for vectors whose
/// costs are not known.
pub(super) fn all(
    file: &ModelFile,
    model: &Model,
    settings: &Settings,
    target: &Target,
) -> ModelResult<Vec<Estimate>> {
    let Some(hertz) = clock(file, target) else { return Ok(Vec::new()) };
    let mut estimates: Vec<Estimate> = Vec::new();
    for bfloat16 in [Bfloat16::Never, Bfloat16::WhereFaster] {
        let mut options = settings.compile.clone();
        options.schedule.bfloat16 = bfloat16;
        let trace = Pipeline::new(model, &options).schedules(std::slice::from_ref(target))?;
        let Some(variant) = trace.variants.first() else { continue };
        let schedule = &variant.schedule;
        let precision = match (schedule.multiplies_bytes(), schedule.multiplies_bfloats()) {
            (true, _) => "int8",
            (false, true) => "bf16",
            (false, false) => "f32",
        };
        let ms = schedule.estimated_cycles() / hertz * 1e3;
        if ms > 0.0 && estimates.iter().all(|known| known.precision != precision) {
            estimates.push(Estimate { precision, ms });
        }
    }
    Ok(estimates)
}

/// Cycles a second of one core, by how many multiply-adds it makes in them.
fn clock(file: &ModelFile, target: &Target) -> Option<f64> {
    let machine = target.machine();
    match machine.vectors {
        Vectors::Avx2 | Vectors::Avx512 => {}
        Vectors::Sse | Vectors::Neon => return None,
    }
    let gflops = peak(file, target, Element::F32, NonZeroUsize::MIN).ok()??;
    let in_a_cycle = 2.0 * machine.vectors.lanes() as f64 * machine.costs().multiply_adds;
    Some(gflops * 1e9 / in_a_cycle)
}
