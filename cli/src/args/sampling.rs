//! What `cardinal compile` measures rounding on.

use std::path::PathBuf;

use clap::Args;

use crate::exit::{Failure, Outcome};
use crate::samples::Samples;
use crate::stdio::is_dash;

/// How many random inputs stand for samples.
const RANDOM: usize = 8;

/// How much rounding may change, and on what that is measured.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SamplingOptions {
    /// The most that rounding may change outputs: the root of the mean square, in their standard deviations
    ///
    /// Measured on --sample, or on 8 random inputs. Where --precision changes them by more, the convolutions that
    /// cost the least in f32 for what that mends stay in it. Half a hundredth is about what engines that store
    /// activations as bfloat16 change, or less.
    ///
    /// Example: --precision bf16 --max-error 0.005
    #[arg(long, value_name = "E", value_parser = parse_error)]
    pub(crate) max_error: Option<f64>,
    /// Samples to measure on what rounding changes: images, .npy, .npz, or folders of these
    ///
    /// What is found goes into the artifact too. Inputs are as for `cardinal quantize`.
    ///
    /// Example: --precision bf16 --sample photos/
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub(crate) sample: Vec<PathBuf>,
}

impl SamplingOptions {
    /// Whether anything is to be measured.
    pub(crate) fn asks(&self) -> bool {
        self.max_error.is_some() || !self.sample.is_empty()
    }

    /// Refuses to measure what is not there, and what can be read only once.
    ///
    /// # Errors
    /// [`Failure::Usage`].
    pub(crate) fn check(&self, may_round: bool) -> Outcome {
        if self.asks() && !may_round {
            return Err(Failure::usage("nothing is rounded, so there is no change to measure")
                .with_help("add --precision auto, or --weights f16 or bf16"));
        }
        if self.sample.iter().any(|path| is_dash(path)) {
            return Err(Failure::usage("samples are read more than once, which stdin cannot be")
                .with_help("save them to a file first"));
        }
        Ok(())
    }

    /// The samples that were given, or random ones.
    ///
    /// # Errors
    /// Those of [`Samples::of`].
    pub(crate) fn samples(&self) -> Outcome<Samples> {
        match self.sample.as_slice() {
            [] => Ok(Samples::Random(RANDOM)),
            paths => Samples::of(paths),
        }
    }
}

fn parse_error(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0. && value.is_finite() => Ok(value),
        _ => Err("expected a part of the outputs' standard deviation, such as 0.005".into()),
    }
}
