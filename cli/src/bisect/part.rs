//! The ONNX nodes of what was found, as a model with its inputs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cardinal_compiler::ir::Origin;
use cardinal_compiler::onnx;

use crate::engine::{self, Model};
use crate::exit::{Failure, Outcome};
use crate::loading;
use crate::model_file::ModelFile;
use crate::output;
use crate::tensors::{self, Array};

/// Files that show what was found.
pub(crate) struct Part {
    /// The model.
    pub(crate) model: PathBuf,
    /// What its inputs are in the whole model.
    pub(crate) inputs: PathBuf,
    /// Its nodes, by name.
    pub(crate) nodes: BTreeSet<Origin>,
}

impl Part {
    /// Where the inputs of a part go that is written to `path`.
    pub(crate) fn beside(path: &Path) -> PathBuf {
        path.with_extension("npz")
    }

    /// Writes the nodes of these names to `path`, and beside it an `.npz` with what they read when the whole model runs on
    /// `inputs`.
    ///
    /// # Errors
    /// Those of the compiler, and of writing.
    pub(crate) fn write(
        (file, model): (&ModelFile, &Model),
        inputs: &[Array],
        nodes: BTreeSet<Origin>,
        path: &Path,
    ) -> Outcome<Part> {
        let refused = |error| loading::refused(file, error);
        let external = file.external_data()?;
        let bytes = onnx::extract(&file.bytes, external.as_ref(), &model.graph, &nodes);
        let bytes = bytes.map_err(|error| loading::refused(file, error))?;
        let part =
            engine::import_whole(bytes.clone().into(), &Default::default()).map_err(refused)?;
        let values = engine::values(&model.graph, inputs).map_err(refused)?;
        let specs: Vec<_> =
            part.graph.inputs().iter().map(|id| engine::spec(part.graph.node(*id))).collect();
        let value = |spec: &tensors::Spec| {
            let found = model.graph.find(&spec.name).and_then(|id| values.get(&id).cloned());
            found.ok_or_else(|| Failure::Failed(format!("nothing computes `{}`", spec.name)))
        };
        let arrays = specs.iter().map(value).collect::<Outcome<Vec<Array>>>()?;
        let beside = Part::beside(path);
        let archive = tensors::archive(&specs, &arrays);
        let archive = archive.map_err(|error| Failure::writing(&beside, error))?;
        output::write_all(&[(path, &bytes), (&beside, &archive)])?;
        Ok(Part { model: path.to_owned(), inputs: beside, nodes })
    }
}
