//! The ONNX nodes of what was found, as a model with its inputs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cardinal_compiler::ir::{Graph, NodeId, Origin};
use cardinal_compiler::onnx::{self, Excerpt};

use super::{Search, Suspect};
use crate::engine::{self, Model};
use crate::exit::{Failure, Outcome};
use crate::loading;
use crate::model_file::ModelFile;
use crate::output;
use crate::tensors::{self, Array, Spec};

/// Models that are tried at most for one that is smaller.
const MOST_TRIED: usize = 4000;

/// Files that show what was found.
#[derive(Debug)]
pub(crate) struct Part {
    /// The model.
    pub(crate) model: PathBuf,
    /// What its inputs are in the whole model.
    pub(crate) inputs: PathBuf,
    /// Its nodes, by name.
    pub(crate) nodes: BTreeSet<Origin>,
    /// How many nodes it had before it was made smaller.
    pub(crate) of: usize,
}

/// A model that is a part of another, and what it reads when that runs.
pub(super) struct Region {
    excerpt: Excerpt,
    graph: Graph,
    /// How many nodes it had at first.
    of: usize,
}

impl Part {
    /// Where the inputs of a part go that is written to `path`.
    pub(crate) fn beside(path: &Path) -> PathBuf {
        path.with_extension("npz")
    }

    /// Writes the nodes of these names to `path`, or fewer that show the same, and beside it an `.npz` with what they read
    /// when the whole model runs on the search's inputs.
    ///
    /// # Errors
    /// Those of the compiler, and of writing.
    pub(crate) fn write(
        (file, model): (&ModelFile, &Model),
        (search, suspect): (&Search<'_>, Suspect<'_>),
        nodes: &BTreeSet<Origin>,
        path: &Path,
    ) -> Outcome<Part> {
        let refused = |error| loading::refused(file, error);
        let external = file.external_data()?;
        let excerpt = onnx::extract(&file.bytes, external.as_ref(), &model.graph, nodes);
        let region = Region::new(excerpt.map_err(|error| loading::refused(file, error))?);
        let region = region.map_err(refused)?;
        let values = engine::values(&model.graph, search.inputs).map_err(refused)?;
        let is_of = |spec: &Spec, id: NodeId| engine::spec(model.graph.node(id)) == *spec;
        let value = |spec: &Spec| {
            let id = model.graph.find(&spec.name).filter(|id| is_of(spec, *id))?;
            values.get(&id).cloned()
        };
        region.smallest(search, suspect, &value).write(&value, path)
    }
}

impl Region {
    fn new(excerpt: Excerpt) -> engine::ModelResult<Region> {
        let bytes = excerpt.to_bytes()?;
        let graph = engine::import_whole(bytes.into(), &Default::default())?.graph;
        Ok(Region { of: excerpt.len(), excerpt, graph })
    }

    /// What its inputs are.
    fn specs(&self) -> Vec<Spec> {
        self.graph.inputs().iter().map(|id| engine::spec(self.graph.node(*id))).collect()
    }

    /// This one, or what is left of it after ever more steps that leave the difference.
    fn smallest(
        self,
        search: &Search<'_>,
        suspect: Suspect<'_>,
        value: &dyn Fn(&Spec) -> Option<Array>,
    ) -> Region {
        let (of, mut smallest) = (self.of, self);
        if !smallest.shows(search, suspect, value) {
            return smallest;
        }
        let mut left = MOST_TRIED;
        loop {
            search.say(&format!("{} nodes of {of} show it", smallest.excerpt.len()));
            let tried = smallest.excerpt.smaller(&smallest.graph).take(left);
            let tried = tried.inspect(|_| left -= 1).filter_map(|e| Region::new(e).ok());
            let found = { tried }.find(|region| region.shows(search, suspect, value));
            match found {
                Some(region) => smallest = Region { of, ..region },
                None => return smallest,
            }
        }
    }

    /// Whether it gives something else than what it means.
    fn shows(
        &self,
        search: &Search<'_>,
        suspect: Suspect<'_>,
        value: &dyn Fn(&Spec) -> Option<Array>,
    ) -> bool {
        let inputs: Option<Vec<Array>> = self.specs().iter().map(value).collect();
        inputs.is_some_and(|inputs| {
            search.shows(&self.graph, &inputs, suspect).is_ok_and(|shows| shows)
        })
    }

    fn write(self, value: &dyn Fn(&Spec) -> Option<Array>, path: &Path) -> Outcome<Part> {
        let specs = self.specs();
        let value = |spec: &Spec| {
            let missing = || Failure::Failed(format!("nothing computes `{}`", spec.name));
            value(spec).ok_or_else(missing)
        };
        let arrays = specs.iter().map(value).collect::<Outcome<Vec<Array>>>()?;
        let beside = Part::beside(path);
        let archive = tensors::archive(&specs, &arrays);
        let archive = archive.map_err(|error| Failure::writing(&beside, error))?;
        let bytes = self.excerpt.to_bytes();
        let bytes = bytes.map_err(|error| Failure::Failed(error.to_string()))?;
        output::write_all(&[(path, &bytes), (&beside, &archive)])?;
        let nodes = self.excerpt.nodes();
        Ok(Part { model: path.to_owned(), inputs: beside, nodes, of: self.of })
    }
}
