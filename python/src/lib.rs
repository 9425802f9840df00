//! Cardinal as a Python package: what is native of `cardinal_ml`.
//!
//! ```text
//! path, bytes --compile.rs--> Artifact --model.rs--> Model --sessions.rs--> arrays of NumPy
//! ```
//!
//! Signatures with their defaults, docstrings and the classes of errors are in `cardinal_ml/*.py`; here is what
//! needs the compiler, the runtime or the memory of arrays. The GIL is released while something is compiled,
//! loaded, run or decoded.

#[allow(unsafe_code)] // Borrows the memory of arrays.
mod arrays;
mod cache;
mod compile;
mod declared;
mod errors;
mod images;
mod model;
mod quantizing;
mod sessions;
mod threads;

/// The module `cardinal_ml._native`.
#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    use crate::compile::{compile, load, loads};
    #[pymodule_export]
    use crate::declared::declared;
    #[pymodule_export]
    use crate::images::Images;
    #[pymodule_export]
    use crate::model::{Model, TensorInfo};
    #[pymodule_export]
    use crate::quantizing::quantize;
    #[pymodule_export]
    use crate::threads::Pool;

    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
