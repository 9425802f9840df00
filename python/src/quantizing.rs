//! Models that are quantized.

use std::path::PathBuf;

use cardinal_cli::library::{self, Quantization};
use pyo3::prelude::*;

use crate::compile::{Asked, Given, Onnx};
use crate::errors::Raised;
use crate::images::AskedImages;

/// The dict of options that `cardinal_ml.quantize` makes of its arguments.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct AskedQuantization {
    calibrate: Vec<PathBuf>,
    test: Vec<PathBuf>,
    agree: Option<f64>,
    threads: Option<std::num::NonZeroUsize>,
}

/// Quantizes a model into a file, for ``cardinal_ml.quantize``; what came of it is JSON.
#[pyfunction]
pub(crate) fn quantize(
    py: Python<'_>,
    model: Given,
    output: PathBuf,
    asked: AskedQuantization,
    images: AskedImages,
    options: Asked,
) -> Result<String, Raised> {
    let asked = Quantization {
        calibrate: asked.calibrate,
        test: asked.test,
        agree: asked.agree,
        threads: asked.threads,
        images: images.into(),
        options: options.into(),
    };
    let onnx = Onnx::from(model);
    py.detach(|| Ok(library::quantize(onnx.source(), &output, &asked)?))
}
