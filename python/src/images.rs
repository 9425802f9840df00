//! Images as inputs.

use std::num::NonZeroU32;

use cardinal_cli::library::{self, ImageOptions};
use numpy::{PyArray1, PyArray4, PyArrayMethods as _};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::errors::Raised;
use crate::model::Model;

/// The dict of options that Python makes of arguments for images.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct AskedImages {
    preprocess: Option<String>,
    resize: Option<NonZeroU32>,
    mean: Option<Vec<f32>>,
    std: Option<Vec<f32>>,
    interpolation: Option<String>,
}

impl From<AskedImages> for ImageOptions {
    fn from(asked: AskedImages) -> ImageOptions {
        ImageOptions {
            preprocess: asked.preprocess,
            resize: asked.resize,
            mean: asked.mean,
            std: asked.std,
            interpolation: asked.interpolation,
        }
    }
}

/// How images become inputs of a model, for ``cardinal_ml.Images``.
#[pyclass(frozen, module = "cardinal_ml")]
pub(crate) struct Images(library::Images);

#[pymethods]
impl Images {
    #[new]
    fn new(model: &Model, options: AskedImages) -> Result<Images, Raised> {
        let images = library::Images::of(model.artifact(), model.file(), &options.into());
        Ok(Images(images?))
    }

    /// What is done, in a line, and who said so.
    fn describe(&self) -> String {
        self.0.describe()
    }

    /// What is only assumed, a line each.
    fn warnings(&self) -> Vec<String> {
        self.0.warnings()
    }

    /// The bytes of a PNG or JPEG as one sample, float32[1, C, H, W].
    fn decode<'py>(
        &self,
        py: Python<'py>,
        bytes: PyBackedBytes,
        name: &str,
    ) -> PyResult<Bound<'py, PyArray4<f32>>> {
        let pixels = py.detach(|| self.0.decode(&bytes, name)).map_err(Raised::from)?;
        PyArray1::from_vec(py, pixels).reshape(self.0.shape())
    }
}
