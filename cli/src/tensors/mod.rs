//! Tensors as the command line holds them, and the files they come from and go to.

mod npy;
mod npz;

use std::fmt;
use std::path::Path;

use bytes::Bytes;
use cardinal_runtime::DType;

use crate::ending::fallible;
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::stdio::{self, is_dash};

/// A dense row-major tensor with little-endian elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Array {
    /// Element type.
    pub(crate) dtype: DType,
    /// Extents, outermost first.
    pub(crate) shape: Vec<usize>,
    /// The elements.
    pub(crate) bytes: Vec<u8>,
}

impl Array {
    /// A tensor of f32.
    pub(crate) fn from_f32(shape: Vec<usize>, values: &[f32]) -> Array {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Array { dtype: DType::F32, shape, bytes }
    }

    /// A tensor with a copy of these elements.
    ///
    /// # Errors
    /// [`Failure::Failed`] for want of memory.
    pub(crate) fn copy(dtype: DType, shape: &[usize], elements: &[u8]) -> Outcome<Array> {
        let mut bytes = room(elements.len())?;
        bytes.extend(elements);
        Ok(Array { dtype, shape: shape.to_vec(), bytes })
    }

    /// The elements, when they are f32.
    pub(crate) fn to_f32(&self) -> Option<Vec<f32>> {
        let (words, _) = self.bytes.as_chunks::<4>();
        (self.dtype == DType::F32).then(|| words.iter().map(|w| f32::from_le_bytes(*w)).collect())
    }

    /// The elements as f64, exact but for i64 beyond 2^53.
    pub(crate) fn to_f64(&self) -> Vec<f64> {
        let bytes = self.bytes.iter();
        match self.dtype {
            DType::F32 => words(&self.bytes, |w| f64::from(f32::from_le_bytes(w))),
            DType::F64 => words(&self.bytes, f64::from_le_bytes),
            DType::I64 => words(&self.bytes, |w| i64::from_le_bytes(w) as f64),
            DType::I32 => words(&self.bytes, |w| f64::from(i32::from_le_bytes(w))),
            DType::I8 => words(&self.bytes, |w| f64::from(i8::from_le_bytes(w))),
            DType::U8 | DType::Bool => bytes.map(|b| f64::from(*b)).collect(),
        }
    }

    /// The elements, when they are integers or bools.
    pub(crate) fn to_integers(&self) -> Option<Vec<i64>> {
        let bytes = self.bytes.iter();
        match self.dtype {
            DType::F32 | DType::F64 => None,
            DType::I64 => Some(words(&self.bytes, i64::from_le_bytes)),
            DType::I32 => Some(words(&self.bytes, |w| i32::from_le_bytes(w).into())),
            DType::I8 => Some(words(&self.bytes, |w| i8::from_le_bytes(w).into())),
            DType::U8 | DType::Bool => Some(bytes.map(|b| i64::from(*b)).collect()),
        }
    }

    /// Rows `begin..end` along the outermost axis.
    pub(crate) fn rows(&self, begin: usize, end: usize) -> Array {
        let rows = self.shape.first().copied().unwrap_or(1).max(1);
        let row = self.bytes.len() / rows;
        let mut shape = self.shape.clone();
        if let Some(first) = shape.first_mut() {
            *first = end - begin;
        }
        Array { dtype: self.dtype, shape, bytes: self.bytes[begin * row..end * row].to_vec() }
    }

    /// Puts tensors that differ in their outermost extent only one after the other.
    pub(crate) fn concatenate(parts: &[Array]) -> Option<Array> {
        let (first, rest) = parts.split_first()?;
        let mut whole = first.clone();
        for part in rest {
            *whole.shape.first_mut()? += part.shape.first()?;
            whole.bytes.extend(&part.bytes);
        }
        Some(whole)
    }

    /// `f32[1, 3, 224, 224]`
    pub(crate) fn ty(&self) -> String {
        type_text(self.dtype, &self.shape)
    }
}

/// Room for so many bytes.
///
/// # Errors
/// [`Failure::Failed`] for want of memory.
pub(crate) fn room(size: usize) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    fallible(|| bytes.try_reserve_exact(size)).map_err(|_| Failure::memory(size))?;
    Ok(bytes)
}

fn words<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|w| read(*w)).collect()
}

/// Name, element type and shape of a model's input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spec {
    /// The ONNX value's name.
    pub(crate) name: String,
    /// Element type.
    pub(crate) dtype: DType,
    /// Extents, outermost first.
    pub(crate) shape: Vec<usize>,
}

impl Spec {
    /// Number of elements.
    pub(crate) fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// `f32[1, 3, 224, 224]`
    pub(crate) fn ty(&self) -> String {
        type_text(self.dtype, &self.shape)
    }

    /// Refuses a tensor that is not what the model takes.
    ///
    /// # Errors
    /// [`Failure::Usage`] saying what is expected and what is given.
    pub(crate) fn check(&self, given: &Array) -> Outcome {
        if self.dtype == given.dtype && self.shape == given.shape {
            return Ok(());
        }
        let (name, expected) = (&self.name, type_text(self.dtype, &self.shape));
        let failure =
            Failure::usage(format!("input `{name}` takes {expected}, and {} is given", given.ty()));
        Err(match (self.dtype, given.dtype) {
            (wanted, got) if wanted == got => failure,
            (DType::F32, DType::F64) => failure.with_help(
                "convert it first, as with numpy: x.astype(numpy.float32); Cardinal does not round silently",
            ),
            (wanted, _) => failure.with_help(format!("convert its elements to {wanted} first")),
        })
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, type_text(self.dtype, &self.shape))
    }
}

fn type_text(dtype: DType, shape: &[usize]) -> String {
    format!("{dtype}{shape:?}")
}

/// What one `--input` or `--expected` gives: tensors, named where the file or the user names them.
pub(crate) type Named = Vec<(Option<String>, Array)>;

/// Reads `X.npy`, `X.npz`, `NAME=X.npy` or `-` (a `.npy` on stdin).
///
/// # Errors
/// [`Failure::Io`] and [`Failure::Damaged`].
pub(crate) fn read(argument: &str) -> Outcome<Named> {
    let (name, path) = split_name(argument);
    let path = Path::new(path);
    let bytes = read_bytes(path)?;
    if name.is_some() && is_archive(&bytes) {
        return Err(Failure::usage(format!(
            "`{argument}` names an .npz, which has names of its own"
        ))
        .with_help("leave NAME= out"));
    }
    let arrays = decode(&bytes).map_err(|what| Failure::damaged(path, what))?;
    let named = |own: Option<String>| own.or_else(|| name.map(str::to_owned));
    Ok(arrays.into_iter().map(|(own, array)| (named(own), array)).collect())
}

/// The tensors of all arguments of an option such as `--input`.
///
/// # Errors
/// Those of reading them.
pub(crate) fn read_all(arguments: &[String]) -> Outcome<Named> {
    let mut all = Named::new();
    for argument in arguments {
        all.extend(read(argument)?);
    }
    Ok(all)
}

/// The arrays of an `.npz`, with their names, or the one of an `.npy`. The error says what is wrong.
pub(crate) fn decode(bytes: &[u8]) -> Result<Named, String> {
    if is_archive(bytes) {
        let arrays = npz::decode(bytes)?;
        return Ok(arrays.into_iter().map(|(name, array)| (Some(name), array)).collect());
    }
    Ok(vec![(None, npy::decode(bytes)?)])
}

fn is_archive(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK")
}

/// An `.npy` of this array.
pub(crate) fn encode(array: &Array) -> Vec<u8> {
    npy::encode(array)
}

/// Reads a whole input file, or stdin for `-`.
///
/// # Errors
/// [`Failure::Io`].
pub(crate) fn read_bytes(path: &Path) -> Outcome<Bytes> {
    let file = stdio::read(path).map_err(|error| Failure::reading(path, error))?;
    Ok(file.bytes)
}

/// `NAME=PATH` or `PATH`. A file whose own name holds an equals sign is given as `./a=b.npy`.
/// The file that an argument of [`read`] names.
pub(crate) fn path_of(argument: &str) -> &Path {
    Path::new(split_name(argument).1)
}

fn split_name(argument: &str) -> (Option<&str>, &str) {
    match argument.split_once('=') {
        Some((name, path)) if !name.starts_with('.') && !name.starts_with('/') => {
            (Some(name), path)
        }
        _ => (None, argument),
    }
}

/// Gives each spec its tensor: by name, or the only one to the only one. Shapes are not checked.
///
/// # Errors
/// [`Failure::Usage`] naming what is missing, left over or given twice.
pub(crate) fn assign(specs: &[Spec], mut given: Named, what: &str) -> Outcome<Vec<Array>> {
    let names = || specs.iter().map(|s| format!("`{}`", s.name)).collect::<Vec<_>>().join(", ");
    if let ([only], [(name, _)]) = (specs, given.as_mut_slice()) {
        name.get_or_insert_with(|| only.name.clone());
    }
    let mut found: Vec<Option<Array>> = specs.iter().map(|_| None).collect();
    for (name, array) in given {
        let Some(name) = name else {
            return Err(Failure::usage(format!(
                "the model has {} {what}s: {}",
                specs.len(),
                names()
            ))
            .with_help("say which one each file is for: NAME=FILE.npy, or give one .npz"));
        };
        let place = specs.iter().position(|s| s.name == name).ok_or_else(|| {
            Failure::usage(format!("the model has no {what} `{name}`; it has {}", names()))
        })?;
        if found[place].replace(array).is_some() {
            return Err(Failure::usage(format!("{what} `{name}` is given twice")));
        }
    }
    let missing = |spec: &Spec| Failure::usage(format!("{what} `{spec}` is not given"));
    specs.iter().zip(found).map(|(spec, array)| array.ok_or_else(|| missing(spec))).collect()
}

/// Writes outputs to a `.npy` (one output) or `.npz` (any number), or as `.npy` to stdout.
///
/// # Errors
/// [`Failure::Usage`] when the file cannot hold them, [`Failure::Io`].
pub(crate) fn write(path: &Path, specs: &[Spec], arrays: &[Array]) -> Outcome {
    check_output(path, specs)?;
    let bytes = match arrays {
        [only] if !is_npz(path) => Ok(encode(only)),
        _ => npz::encode(specs.iter().map(|s| s.name.as_str()).zip(arrays)),
    };
    output::write(path, &bytes.map_err(|error| Failure::writing(path, error))?)
}

/// An `.npz` of arrays under the names of specs.
///
/// # Errors
/// Those of writing an archive.
#[cfg(feature = "compiler")]
pub(crate) fn archive(specs: &[Spec], arrays: &[Array]) -> std::io::Result<Vec<u8>> {
    npz::encode(specs.iter().map(|s| s.name.as_str()).zip(arrays))
}

/// Refuses an output file whose kind cannot hold that many outputs, before anything is computed.
///
/// # Errors
/// [`Failure::Usage`].
pub(crate) fn check_output(path: &Path, specs: &[Spec]) -> Outcome {
    let outputs = specs.len();
    let text = path.as_os_str().to_string_lossy();
    let named = text.split_once('=').filter(|(name, _)| specs.iter().any(|s| s.name == *name));
    if let Some((name, _)) = named {
        let what =
            format!("--output takes one file for all outputs, and `{name}=` names one of them");
        return Err(Failure::usage(what)
            .with_help("give an .npz, which has each output under its name: --output Y.npz"));
    }
    let known = is_npz(path) || is_dash(path) || path.extension().is_some_and(|e| e == "npy");
    if !known {
        return Err(Failure::usage(format!("`{}` is neither .npy nor .npz", path.display())));
    }
    if outputs != 1 && !is_npz(path) {
        return Err(Failure::usage(format!(
            "a .npy holds one tensor; the model has {outputs} outputs"
        ))
        .with_help("give an .npz: --output Y.npz"));
    }
    Ok(())
}

fn is_npz(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "npz")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str) -> Spec {
        Spec { name: name.into(), dtype: DType::F32, shape: vec![1, 2] }
    }

    fn array(value: f32) -> Array {
        Array::from_f32(vec![1, 2], &[value, value])
    }

    #[test]
    fn tensors_go_to_their_names() {
        let given = vec![(Some("b".into()), array(2.)), (Some("a".into()), array(1.))];
        let assigned = assign(&[spec("a"), spec("b")], given, "input").unwrap();
        assert_eq!(assigned, [array(1.), array(2.)]);
        assert_eq!(assign(&[spec("a")], vec![(None, array(3.))], "input").unwrap(), [array(3.)]);
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let complaint =
            |specs: &[Spec], given| assign(specs, given, "input").unwrap_err().to_string();
        let two = [spec("a"), spec("b")];
        assert_eq!(complaint(&two, vec![(None, array(1.))]), "the model has 2 inputs: `a`, `b`");
        assert_eq!(
            complaint(&two, vec![(Some("a".into()), array(1.))]),
            "input `b f32[1, 2]` is not given"
        );
        assert_eq!(
            complaint(&two, vec![(Some("c".into()), array(1.))]),
            "the model has no input `c`; it has `a`, `b`"
        );
    }

    #[test]
    fn doubles_are_not_rounded_silently() {
        let given = Array { dtype: DType::F64, shape: vec![1, 2], bytes: vec![0; 16] };
        let failure = spec("x").check(&given).unwrap_err();
        assert_eq!(failure.to_string(), "input `x` takes f32[1, 2], and f64[1, 2] is given");
        assert!(failure.help().unwrap().contains("astype"));
    }

    #[test]
    fn parts_join_along_the_first_axis_and_split_again() {
        let parts = [array(1.), array(2.), array(3.)];
        let whole = Array::concatenate(&parts).unwrap();
        assert_eq!(whole.shape, [3, 2]);
        assert_eq!(whole.rows(1, 2), parts[1]);
    }

    #[test]
    fn an_output_file_must_be_able_to_hold_the_outputs() {
        let check = |path: &str, outputs: &[&str]| {
            let specs: Vec<Spec> = outputs.iter().map(|name| spec(name)).collect();
            check_output(Path::new(path), &specs)
        };
        assert!(check("y.npy", &["y"]).is_ok() && check("y.npz", &["x", "y", "z"]).is_ok());
        assert!(check("y.npy", &["x", "y"]).is_err() && check("y.txt", &["y"]).is_err());
        assert!(check("y=a.npy", &["y"]).is_err() && check("./y=a.npy", &["y"]).is_ok());
    }
}
