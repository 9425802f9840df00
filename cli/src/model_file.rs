//! Model files: where their bytes come from, and the external data beside them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use cardinal_compiler::onnx::{ExternalData, NoExternalData};

use crate::exit::{Failure, Outcome};
use crate::mapped::{self, Mapped, Pages};
use crate::stdio::{self, is_dash};

/// The first bytes of every artifact.
const ARTIFACT_MAGIC: &[u8] = b"CARDINAL";

/// The name of a model that is in no file, and has no external data.
pub(crate) const UNNAMED: &str = "<bytes>";

/// What files of other kinds are, and how to come to an ONNX model from them.
const PYTORCH: (&str, &str) = (
    "it is a file of PyTorch, which holds weights or a scripted model",
    "load it in Python, and export it: torch.onnx.export(model, example_input, \"model.onnx\")",
);
const KERAS: (&str, &str) = (
    "it is a model of Keras or another HDF5 file",
    "convert it in Python: tf2onnx.convert.from_keras(model, output_path=\"model.onnx\")",
);
const LITE: (&str, &str) = (
    "it is a model of TensorFlow Lite",
    "convert it: python -m tf2onnx.convert --tflite MODEL.tflite --output model.onnx",
);
const SAFETENSORS: (&str, &str) = (
    "it is a file of safetensors, which holds weights without a network",
    "load it into the network in Python, and export that: torch.onnx.export(model, example_input, \"model.onnx\")",
);
const ARRAY: (&str, &str) =
    ("it is an array of NumPy", "the model comes first: cardinal run MODEL --input ARRAY.npy");

/// A model as given on the command line.
pub(crate) struct ModelFile {
    /// The path as typed; `-` is stdin.
    pub(crate) path: PathBuf,
    /// Its bytes.
    pub(crate) bytes: Bytes,
    /// Where these are mapped.
    pub(crate) pages: Pages,
    /// The model that has the weights of a graph's text.
    pub(crate) weights: Option<PathBuf>,
}

impl ModelFile {
    /// Opens the model at `path`, or reads it from stdin when that is `-`.
    ///
    /// # Errors
    /// [`Failure::Io`].
    pub(crate) fn open(path: &Path) -> Outcome<ModelFile> {
        let file = stdio::read(path).map_err(|error| Failure::reading(path, error))?;
        let Mapped { bytes, pages } = file;
        Ok(ModelFile { path: path.to_owned(), bytes, pages, weights: None })
    }

    /// The same with the model that has its weights, should it be a graph's text.
    pub(crate) fn with_weights(self, weights: Option<&PathBuf>) -> ModelFile {
        ModelFile { weights: weights.cloned(), ..self }
    }

    /// A model that is in memory, by a name for messages; one that is [`UNNAMED`] has no external data.
    #[cfg(feature = "library")]
    pub(crate) fn of_bytes(name: &str, Mapped { bytes, pages }: Mapped) -> ModelFile {
        ModelFile { path: name.into(), bytes, pages, weights: None }
    }

    /// Whether this is compiled already. An empty or cut artifact counts by its extension, so that
    /// the complaint is about an artifact.
    pub(crate) fn is_artifact(&self) -> bool {
        self.bytes.starts_with(ARTIFACT_MAGIC)
            || self.path.extension().is_some_and(|e| e == "cardinal")
    }

    /// What it is instead, and what to do, if that is easily taken for a model.
    pub(crate) fn mistaken(&self) -> Option<(&'static str, &'static str)> {
        const PROGRAM: (&str, &str) = (
            "it is an executable or an object file",
            "an executable that `compile` made is run by itself, as in `./NAME --help`",
        );
        const IMAGE: (&str, &str) =
            ("it is an image", "the model comes first: cardinal run MODEL IMAGE…");
        // (where, what is there, what that means)
        let kinds: [(usize, &[u8], _); 9] = [
            (0, b"\x7fELF", PROGRAM),
            (0, b"\x89PNG\r\n", IMAGE),
            (0, b"\xff\xd8\xff", IMAGE),
            (0, b"\x89HDF\r\n\x1a\n", KERAS),
            (4, b"TFL3", LITE),
            (0, b"\x93NUMPY", ARRAY),
            // Of ZIP, which PyTorch, Keras and NumPy's archives are.
            (0, b"PK\x03\x04", self.zipped()),
            // Of a pickle, which PyTorch wrote before.
            (0, b"\x80\x02\x8a\x0a", PYTORCH),
            // Of the length of its header, at most 100 MB, and the header.
            (4, b"\0\0\0\0{\"", SAFETENSORS),
        ];
        let is_there = |(at, magic): (usize, &[u8])| {
            self.bytes.get(at..).is_some_and(|rest| rest.starts_with(magic))
        };
        let found = kinds.into_iter().find(|(at, magic, _)| is_there((*at, magic)));
        found.map(|(_, _, kind)| kind)
    }

    /// What a ZIP archive is, by the name of the file.
    fn zipped(&self) -> (&'static str, &'static str) {
        match self.path.extension().and_then(|extension| extension.to_str()) {
            Some("keras") => KERAS,
            Some("npz") => ARRAY,
            Some(_) | None => PYTORCH,
        }
    }

    /// The name for messages.
    pub(crate) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// The external data of the model: the files in its folder, or none for what is in no file.
    ///
    /// # Errors
    /// [`Failure::Io`] when the folder cannot be resolved.
    pub(crate) fn external_data(&self) -> Outcome<Box<dyn ExternalData>> {
        if is_dash(&self.path) || self.path == Path::new(UNNAMED) {
            return Ok(Box::new(NoExternalData));
        }
        let folder = match self.path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let folder = folder.canonicalize().map_err(|error| Failure::reading(folder, error))?;
        Ok(Box::new(Folder { root: folder, open: RefCell::default() }))
    }
}

/// External data in one folder. A file outside of it is refused, however it is reached. Errors do
/// not repeat the location: the importer names it.
struct Folder {
    /// Canonical.
    root: PathBuf,
    /// The files in use, by canonical path: each is mapped once.
    open: RefCell<HashMap<PathBuf, Bytes>>,
}

impl ExternalData for Folder {
    fn read(&self, location: &str, offset: u64, length: Option<u64>) -> Result<Bytes, String> {
        let bytes = self.file(location)?;
        let size = bytes.len() as u64;
        let end = match length {
            Some(length) => offset.checked_add(length),
            None => Some(size),
        };
        match end {
            // Both fit `usize`: neither is past the end of what is in memory.
            Some(end) if offset <= end && end <= size => {
                Ok(bytes.slice(offset as usize..end as usize))
            }
            _ => Err(format!(
                "it has {size} bytes, and {} from byte {offset} are asked for",
                length.map_or("those".into(), |n| n.to_string()),
            )),
        }
    }
}

impl Folder {
    fn file(&self, location: &str) -> Result<Bytes, String> {
        let path = self.root.join(location);
        let path = path.canonicalize().map_err(|error| error.to_string())?;
        if !path.starts_with(&self.root) {
            return Err("it is outside of the model's folder".into());
        }
        if let Some(bytes) = self.open.borrow().get(&path) {
            return Ok(bytes.clone());
        }
        if !path.is_file() {
            return Err("it is not a regular file".into());
        }
        let bytes = mapped::open(&path).map_err(|error| error.to_string())?.bytes;
        self.open.borrow_mut().insert(path, bytes.clone());
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn model_in(folder: &Path) -> Box<dyn ExternalData> {
        let path = folder.join("model.onnx");
        fs::write(&path, b"").unwrap();
        ModelFile::open(&path).unwrap().external_data().unwrap()
    }

    #[test]
    fn external_data_is_read_within_bounds() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("w"), b"0123456789").unwrap();
        let data = model_in(folder.path());
        assert_eq!(data.read("w", 2, Some(3)).unwrap(), "234");
        assert_eq!(data.read("w", 8, None).unwrap(), "89");
        assert_eq!(data.read("w", 10, Some(0)).unwrap(), "");
        for (offset, length) in [(8, Some(3)), (11, None), (1, Some(u64::MAX)), (u64::MAX, Some(1))]
        {
            let error = data.read("w", offset, length).unwrap_err();
            assert!(error.contains("has 10 bytes"), "{error}");
        }
    }

    #[test]
    fn external_data_stays_in_the_folder() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), b"x").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let secret = outside.path().join("secret");
        std::os::unix::fs::symlink(&secret, folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("sub")).unwrap();
        let data = model_in(folder.path());
        let dotted = format!("../{}/secret", outside.path().file_name().unwrap().display());
        for location in ["link", "sub/secret", &dotted, secret.to_str().unwrap()] {
            let error = data.read(location, 0, None).unwrap_err();
            assert!(error.contains("outside of the model's folder"), "{error}");
        }
    }

    #[test]
    fn external_data_is_a_regular_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("d")).unwrap();
        let data = model_in(folder.path());
        assert!(data.read("d", 0, None).unwrap_err().contains("not a regular file"));
        assert!(data.read("absent", 0, None).unwrap_err().contains("No such file"));
    }
}
