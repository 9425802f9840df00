//! Arrays of NumPy as the memory that inferences read and write.

use std::ops::Range;
use std::slice;

use cardinal_runtime::{DType, TensorSpec};
use numpy::npyffi::{self, PY_ARRAY_API};
use numpy::{PyArrayDescr, PyArrayDescrMethods as _, PyUntypedArray, PyUntypedArrayMethods as _};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::errors::{Class, Raised};

/// An array that is dense, row-major and aligned, of the type of an input or an output. Its memory stays where
/// it is as long as this holds it.
pub(crate) struct Dense<'py> {
    pub(crate) array: Bound<'py, PyUntypedArray>,
    bytes: usize,
}

impl<'py> Dense<'py> {
    /// An input: the caller's own memory, or a copy of what does not lie densely. Whatever has the buffer protocol
    /// or DLPack is an array too.
    /// With `open`, its first extent is any, for a session to check.
    pub(crate) fn input(
        spec: &TensorSpec,
        open: bool,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Dense<'py>> {
        let array = match value.cast::<PyUntypedArray>() {
            Ok(array) => array.clone(),
            Err(_) => helper(value.py(), "as_array")?.call1((value,))?.cast_into()?,
        };
        let images = array.shape().first().copied().filter(|_| open);
        let spec = &images.map_or_else(|| spec.clone(), |images| spec.for_images(images));
        check("input", spec, &array)?;
        let array = match array.is_c_contiguous() && array.is_aligned() {
            true => array,
            false => helper(value.py(), "as_dense")?.call1((array,))?.cast_into()?,
        };
        Ok(Dense { array, bytes: spec.bytes() })
    }

    /// An output of the caller's, which is written in place.
    pub(crate) fn output(spec: &TensorSpec, value: &Bound<'py, PyAny>) -> PyResult<Dense<'py>> {
        let refused = |what: &str| {
            let message = format!("output {:?} cannot be written: {what}", spec.name);
            Raised::new(Class::Input, message, Some("give what numpy.empty returns".into()))
        };
        let array = value.cast::<PyUntypedArray>().map_err(|_| refused("it is no NumPy array"))?;
        check("output", spec, array)?;
        if !array.is_c_contiguous() || !array.is_aligned() || !is_writeable(array) {
            return Err(refused("it is not dense, aligned and writeable").into());
        }
        Ok(Dense { array: array.clone(), bytes: spec.bytes() })
    }

    /// Memory for an output.
    pub(crate) fn new(py: Python<'py>, spec: &TensorSpec) -> PyResult<Dense<'py>> {
        let mut extents: Vec<_> = spec.shape.iter().map(|n| *n as npyffi::npy_intp).collect();
        let (rank, extents) = (extents.len() as i32, extents.as_mut_ptr());
        let descr = dtype(py, spec.dtype).into_dtype_ptr();
        // SAFETY: as many extents as are said; the description is given away, as this function takes it.
        let array = unsafe {
            let array = PY_ARRAY_API.PyArray_Empty(py, rank, extents, descr, 0);
            Bound::from_owned_ptr_or_err(py, array)?
        };
        Ok(Dense { array: array.cast_into()?, bytes: spec.bytes() })
    }

    /// Its first extent, if it has extents.
    pub(crate) fn images(&self) -> Option<usize> {
        self.array.shape().first().copied()
    }

    /// The elements, for reading.
    ///
    /// What other threads of Python write to them meanwhile is seen or not, as by any function of NumPy that
    /// releases the GIL.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        // SAFETY: the array is dense, of as many bytes, and is not freed while it is held.
        unsafe { slice::from_raw_parts(self.data(), self.bytes) }
    }

    /// The elements, for writing.
    pub(crate) fn as_bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the same; it is writeable, and overlaps no other tensor of the inference.
        unsafe { slice::from_raw_parts_mut(self.data(), self.bytes) }
    }

    fn data(&self) -> *mut u8 {
        // SAFETY: an array is there.
        let data = unsafe { (*self.array.as_array_ptr()).fields.data };
        // Of what has no elements, any address will do but null.
        if data.is_null() { std::ptr::dangling_mut::<u64>().cast() } else { data.cast() }
    }

    fn extent(&self) -> Range<usize> {
        let begin = self.data().addr();
        begin..begin + self.bytes
    }
}

/// Refuses outputs of the caller's that overlap inputs or each other.
pub(crate) fn check_apart(inputs: &[Dense<'_>], outputs: &[Dense<'_>]) -> Result<(), Raised> {
    for (index, output) in outputs.iter().enumerate() {
        let own = output.extent();
        let overlaps = |other: &Dense<'_>| {
            let other = other.extent();
            own.start.max(other.start) < own.end.min(other.end)
        };
        if inputs.iter().chain(&outputs[..index]).any(overlaps) {
            let message = format!("the memory of output {index} overlaps that of another tensor");
            let remedy = Some("give each output memory of its own".into());
            return Err(Raised::new(Class::Input, message, remedy));
        }
    }
    Ok(())
}

/// The description of an element type.
pub(crate) fn dtype(py: Python<'_>, dtype: DType) -> Bound<'_, PyArrayDescr> {
    match dtype {
        DType::F32 => numpy::dtype::<f32>(py),
        DType::F64 => numpy::dtype::<f64>(py),
        DType::I64 => numpy::dtype::<i64>(py),
        DType::I32 => numpy::dtype::<i32>(py),
        DType::U8 => numpy::dtype::<u8>(py),
        DType::I8 => numpy::dtype::<i8>(py),
        DType::Bool => numpy::dtype::<bool>(py),
    }
}

fn check(role: &str, spec: &TensorSpec, array: &Bound<'_, PyUntypedArray>) -> PyResult<()> {
    let py = array.py();
    let (wanted, given) = (dtype(py, spec.dtype), array.dtype());
    let is_of_type = given.is_equiv_to(&wanted);
    if is_of_type && array.shape() == spec.shape {
        return Ok(());
    }
    let (name, shape) = (&spec.name, &spec.shape);
    let message =
        format!("{role} {name:?} is {wanted}{shape:?}, and {given}{:?} is given", array.shape());
    let remedy = match is_of_type {
        true => "give an array of this shape, or compile for another with batch= or shapes=".into(),
        false => format!("convert it first: x.astype(numpy.{wanted})"),
    };
    Err(Raised::new(Class::Input, message, Some(remedy)).into())
}

fn is_writeable(array: &Bound<'_, PyUntypedArray>) -> bool {
    // SAFETY: an array is there.
    let flags = unsafe { (*array.as_array_ptr()).fields.flags };
    flags & npyffi::NPY_ARRAY_WRITEABLE != 0
}

/// A function of `cardinal_ml/_arrays.py`.
fn helper<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let import = || Ok::<_, PyErr>(py.import("cardinal_ml._arrays")?.unbind());
    MODULE.get_or_try_init(py, import)?.bind(py).getattr(name)
}
