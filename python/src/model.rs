//! A model that runs.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use cardinal_cli::library::{self, Measuring, Options};
use cardinal_runtime::{Artifact, TensorSpec, text};
use numpy::PyArrayDescr;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use crate::arrays::{Dense, check_apart, dtype};
use crate::compile::Onnx;
use crate::errors::{Class, Raised};
use crate::sessions::Sessions;

/// What a model was compiled from.
pub(crate) struct Origin {
    pub(crate) onnx: Onnx,
    pub(crate) options: Options,
}

/// A compiled model that runs: what ``cardinal_ml.compile`` and ``cardinal_ml.load`` return.
///
/// Any number of threads may run it at once. As many inferences as this machine has threads go on at the same
/// time, each in memory of its own; others wait. Results have the same bits for any number of threads.
///
/// A model does not survive ``os.fork()`` while it runs: make models in the process that runs them. It can be
/// pickled, with its code and its weights.
#[pyclass(frozen, module = "cardinal_ml")]
pub(crate) struct Model {
    sessions: Sessions,
    name: String,
    origin: Option<Origin>,
}

impl Model {
    pub(crate) fn new(sessions: Sessions, name: String, origin: Option<Origin>) -> Model {
        Model { sessions, name, origin }
    }

    pub(crate) fn artifact(&self) -> &Artifact {
        self.sessions.program().artifact()
    }

    pub(crate) fn file(&self) -> &str {
        &self.name
    }

    fn infer(
        &self,
        py: Python<'_>,
        inputs: &[Dense<'_>],
        outputs: &mut [Dense<'_>],
    ) -> Result<(), Raised> {
        let inputs: Vec<&[u8]> = inputs.iter().map(Dense::as_bytes).collect();
        let outputs: Vec<&mut [u8]> = outputs.iter_mut().map(Dense::as_bytes_mut).collect();
        py.detach(|| Ok(self.sessions.run(inputs, outputs)?))
    }

    fn inputs_of<'py>(&self, given: &Bound<'py, PyDict>) -> PyResult<Vec<Dense<'py>>> {
        let open = self.takes_fewer();
        each("input", self.artifact().inputs(), given, |spec, value| {
            Dense::input(spec, open, value)
        })
    }

    /// The outputs, for as many images as the first input has.
    fn outputs_for(&self, inputs: &[Dense<'_>]) -> Vec<TensorSpec> {
        let most = self.artifact().inputs().first().and_then(|spec| spec.shape.first().copied());
        let images = inputs.first().and_then(Dense::images).filter(|_| self.takes_fewer());
        // Whoever gives more is told so.
        let images = images.filter(|images| Some(*images) <= most);
        let specs = self.artifact().outputs().iter();
        specs.map(|spec| images.map_or_else(|| spec.clone(), |n| spec.for_images(n))).collect()
    }
}

#[pymethods]
impl Model {
    /// Runs one inference.
    ///
    /// ``inputs`` maps the name of each input to an array of its type and shape: one of NumPy, or whatever has the
    /// buffer protocol or DLPack. Its memory is read where it is, unless it does not lie densely, in row-major
    /// order; then it is copied. Nothing is converted. The GIL is released meanwhile, so nobody may write to
    /// inputs before this returns.
    ///
    /// ``outputs``, where it is given, maps the name of each output to an array that the result is written to; all
    /// are new otherwise. Where the model ``takes_fewer``, the first extent of inputs may be any number from 1 up to
    /// that in ``inputs``, and outputs have it too. Returns a dict of arrays by the names of outputs, in the order of the model.
    ///
    /// Raises InputError for names that are missing or unknown, and for arrays of another type or shape;
    /// ResourceError for want of memory.
    #[pyo3(signature = (inputs, outputs=None))]
    fn run<'py>(
        &self,
        py: Python<'py>,
        inputs: &Bound<'py, PyAny>,
        outputs: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let inputs = self.inputs_of(&as_dict(inputs)?)?;
        let specs = self.outputs_for(&inputs);
        let mut places = match outputs {
            Some(given) => {
                let places = each("output", &specs, &as_dict(given)?, Dense::output)?;
                check_apart(&inputs, &places)?;
                places
            }
            None => specs.iter().map(|spec| Dense::new(py, spec)).collect::<PyResult<_>>()?,
        };
        self.infer(py, &inputs, &mut places)?;
        let results = PyDict::new(py);
        for (spec, place) in specs.iter().zip(places) {
            results.set_item(&spec.name, place.array)?;
        }
        Ok(results)
    }

    /// Writes the compiled model to a file (.cardinal), which is there whole or not at all. ``cardinal_ml.load``
    /// and ``cardinal run`` take it.
    ///
    /// Raises FileError.
    fn save(&self, py: Python<'_>, path: PathBuf) -> Result<(), Raised> {
        Ok(py.detach(|| library::write(&path, self.artifact().as_bytes()))?)
    }

    /// The bytes that ``save`` writes.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.artifact().as_bytes())
    }

    /// What the compiler made of the model, as ``cardinal inspect`` prints it. ``stage`` is "import" (the graph as
    /// read), "fused" (after all passes), "schedule" (what was chosen, and why), "plan" (kernels, buffers), "clif"
    /// or "asm" (code). Without one it describes the compiled model.
    ///
    /// A stage is made anew from the ONNX model, whose file must not have changed, with what ``compile(tune=True)``
    /// chose. Raises OptionError for another stage, and for any of a model that was loaded, which has none; ModelError
    /// where the file has changed into what cannot be compiled.
    #[pyo3(signature = (stage=None))]
    fn inspect(&self, py: Python<'_>, stage: Option<&str>) -> Result<String, Raised> {
        let Some(stage) = stage else { return Ok(description(self.artifact())) };
        let Some(Origin { onnx, options }) = &self.origin else {
            let message = format!("{} is compiled already, and has no stages", self.name);
            let remedy = "inspect what cardinal_ml.compile returns for the .onnx";
            return Err(Raised::new(Class::Option, message, Some(remedy.into())));
        };
        let model = || library::Model::read(onnx.source(), options)?.as_in(self.artifact());
        py.detach(|| Ok(model()?.inspect(stage)?))
    }

    /// Where the time goes: what ``cardinal profile --json`` prints, as a dict, with each step of the plan under "steps"
    /// beside what this machine can do at most. ``threads`` is on how many it is measured, as many as ``run`` uses by
    /// default; ``iterations`` is how many inferences, after ``warmup`` others. It takes a second or more, in which
    /// nothing else should run.
    ///
    /// Raises OptionError for numbers of nothing; ResourceError for want of memory.
    #[pyo3(signature = (*, threads=None, iterations=50, warmup=5))]
    fn profile<'py>(
        &self,
        py: Python<'py>,
        threads: Option<usize>,
        iterations: usize,
        warmup: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let threads = at_least_one("threads", threads.unwrap_or(self.threads()))?;
        let iterations = at_least_one("iterations", iterations)?;
        let how = Measuring { threads, warmup, iterations };
        let what = (self.name.as_str(), self.cpu());
        let said = py.detach(|| library::profile(self.artifact(), what, how));
        parsed(py, &said.map_err(Raised::from)?)
    }

    /// The whole way of one thing: what ``cardinal explain --json`` prints, as a dict. ``name`` is an ONNX node, a value,
    /// a step of the plan as "#3", a function of the code, or an operator such as "split_attention", of which the first
    /// is meant; the end of a name will do where only one ends so. ``assembly`` adds the functions' machine code.
    ///
    /// It is made anew from the ONNX model, whose file must not have changed, with what ``compile(tune=True)`` chose. Of a
    /// model that was loaded, it is not known what passes did, and "rewrites" is None. Raises OptionError for a name of
    /// nothing or of several things; ModelError where the file has changed into what cannot be compiled.
    #[pyo3(signature = (name, *, assembly=false))]
    fn explain<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        assembly: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let said = py.detach(|| match &self.origin {
            Some(Origin { onnx, options }) => {
                let model = library::Model::read(onnx.source(), options)?.as_in(self.artifact())?;
                model.explain(self.cpu(), name, assembly)
            }
            None => library::explain(self.artifact(), (&self.name, self.cpu()), name, assembly),
        });
        parsed(py, &said.map_err(Raised::from)?)
    }

    /// The inputs, in order: a list of TensorInfo.
    #[getter]
    fn inputs(&self, py: Python<'_>) -> PyResult<Vec<TensorInfo>> {
        self.artifact().inputs().iter().map(|spec| TensorInfo::new(py, spec)).collect()
    }

    /// The outputs, in order: a list of TensorInfo.
    #[getter]
    fn outputs(&self, py: Python<'_>) -> PyResult<Vec<TensorInfo>> {
        self.artifact().outputs().iter().map(|spec| TensorInfo::new(py, spec)).collect()
    }

    /// Whether it takes any number of images up to the first extent of its inputs, with less work for fewer: true
    /// for a model that was compiled with ``batch=N`` and goes image by image.
    #[getter]
    fn takes_fewer(&self) -> bool {
        self.sessions.program().takes_fewer()
    }

    /// The name that the model has in ONNX.
    #[getter]
    fn name(&self) -> &str {
        self.sessions.program().model_name()
    }

    /// The model's ``metadata_props``: a dict of strings.
    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let metadata = PyDict::new(py);
        let mut all = self.sessions.program().metadata().iter();
        all.try_for_each(|p| metadata.set_item(&p.key, &p.value))?;
        Ok(metadata)
    }

    /// The CPU whose code runs, as ``cpu=`` and ``variant=`` name it.
    #[getter]
    fn cpu(&self) -> &str {
        &self.sessions.program().variant().name
    }

    /// How many threads an inference runs on.
    #[getter]
    fn threads(&self) -> usize {
        self.sessions.threads()
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let loads = py.import("cardinal_ml._native")?.getattr("loads")?;
        let threads: Option<usize> = None;
        (loads, (self.to_bytes(py), &self.name, threads)).into_pyobject(py)
    }

    fn __repr__(&self) -> String {
        let names = |specs: &[TensorSpec]| {
            let typed = |s: &TensorSpec| format!("{}: {}{:?}", s.name, s.dtype, s.shape);
            specs.iter().map(typed).collect::<Vec<_>>().join(", ")
        };
        let (inputs, outputs) = (self.artifact().inputs(), self.artifact().outputs());
        text::line(&format!("<cardinal_ml.Model ({}) -> ({})>", names(inputs), names(outputs)))
    }
}

/// A name for each tensor, and for nothing else, is in the dict: what is under them, in order.
fn each<'py>(
    role: &str,
    specs: &[TensorSpec],
    given: &Bound<'py, PyDict>,
    take: impl Fn(&TensorSpec, &Bound<'py, PyAny>) -> PyResult<Dense<'py>>,
) -> PyResult<Vec<Dense<'py>>> {
    let names = || specs.iter().map(|s| format!("{:?}", s.name)).collect::<Vec<_>>().join(", ");
    let refused = |message: String| {
        let remedy = Some(format!("give one array for each {role}: {}", names()));
        Raised::new(Class::Input, message, remedy)
    };
    let one = |spec: &TensorSpec| match given.get_item(&spec.name)? {
        Some(value) => take(spec, &value),
        None => Err(refused(format!("{role} {:?} is missing", spec.name)).into()),
    };
    let all = specs.iter().map(one).collect::<PyResult<Vec<_>>>()?;
    if given.len() > specs.len() {
        let unknown = given
            .keys()
            .iter()
            .find(|name| specs.iter().all(|spec| !name.eq(&spec.name).unwrap_or(false)));
        let unknown = unknown.map_or("".into(), |name| name.to_string());
        return Err(refused(format!("the model has no {role} {unknown:?}")).into());
    }
    Ok(all)
}

/// A mapping as a dict: itself, where it is one.
fn as_dict<'py>(mapping: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    if let Ok(dict) = mapping.cast::<PyDict>() {
        return Ok(dict.clone());
    }
    if !mapping.hasattr("keys")? {
        let message = format!("a dict of arrays is expected, not {}", mapping.get_type().name()?);
        let remedy = Some("give {name: array}".into());
        return Err(Raised::new(Class::Input, message, remedy).into());
    }
    Ok(mapping.py().get_type::<PyDict>().call1((mapping,))?.cast_into()?)
}

/// JSON as objects of Python's.
fn parsed<'py>(py: Python<'py>, json: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import("json")?.call_method1("loads", (json,))
}

fn at_least_one(what: &str, number: usize) -> PyResult<NonZeroUsize> {
    let refused = || {
        let message = format!("{what} is 0, expected at least 1");
        Raised::new(Class::Option, message, Some(format!("leave {what} out, or give more"))).into()
    };
    NonZeroUsize::new(number).ok_or_else(refused)
}

/// What there is to say of a compiled model, a line each.
fn description(artifact: &Artifact) -> String {
    let lines = library::describe(artifact);
    lines.iter().map(|(what, value)| format!("{what:<16} {}\n", text::line(value))).collect()
}

/// An input or an output: its ``name``, its ``shape`` as a tuple, and its ``dtype``.
#[pyclass(frozen, get_all, module = "cardinal_ml")]
pub(crate) struct TensorInfo {
    name: String,
    shape: Py<PyTuple>,
    dtype: Py<PyArrayDescr>,
}

impl TensorInfo {
    fn new(py: Python<'_>, spec: &TensorSpec) -> PyResult<TensorInfo> {
        Ok(TensorInfo {
            name: spec.name.clone(),
            shape: PyTuple::new(py, &spec.shape)?.unbind(),
            dtype: dtype(py, spec.dtype).unbind(),
        })
    }
}

#[pymethods]
impl TensorInfo {
    fn __repr__(&self, py: Python<'_>) -> String {
        format!("TensorInfo({:?}, {}, {})", self.name, self.shape.bind(py), self.dtype.bind(py))
    }
}
