//! Samples from files: images, arrays, and folders of them; or random ones.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::exit::{Failure, Outcome};
use crate::image_input::{self, EXTENSIONS, ImageOptions, Recipe};
use crate::limits::Largest;
use crate::program::Program;
use crate::random;
use crate::stdio::is_dash;
use crate::tensors::{self, Array, Spec};

/// What files of samples in a folder are called besides images.
const ARRAYS: [&str; 2] = ["npy", "npz"];

/// Where samples are from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Samples {
    /// What is in these files, one after the other.
    Files(Vec<PathBuf>),
    /// So many inferences' worth of random inputs, the same on every machine.
    Random(usize),
}

/// Samples that were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Read {
    /// How many.
    pub(crate) count: usize,
    /// BLAKE3 of their files, one after the other; of nothing, where they are random.
    pub(crate) digest: String,
}

/// How the samples of a file become inputs of a model.
pub(crate) struct Feed<'a> {
    specs: &'a [Spec],
    metadata: &'a [(String, String)],
    options: &'a ImageOptions,
    model: String,
    /// Made for the first image.
    recipe: Option<Recipe>,
}

/// One sample: an array for each input, whose outermost extent is 1.
type Sample = Vec<Array>;

impl Samples {
    /// The files that paths mean: those in a folder in the order of their names.
    ///
    /// # Errors
    /// [`Failure::Io`], and [`Failure::Usage`] for a folder without any.
    pub(crate) fn of(paths: &[PathBuf]) -> Outcome<Samples> {
        let mut files = Vec::new();
        for path in paths {
            match path.is_dir() {
                true => files.extend(in_folder(path)?),
                false => files.push(path.clone()),
            }
        }
        Ok(Samples::Files(files))
    }

    /// Whether one of them is stdin.
    pub(crate) fn read_stdin(&self) -> bool {
        self.files().iter().any(|file| is_dash(file))
    }

    /// Whether they are random.
    pub(crate) fn are_random(&self) -> bool {
        matches!(self, Samples::Random(_))
    }

    fn files(&self) -> &[PathBuf] {
        match self {
            Samples::Files(files) => files,
            Samples::Random(_) => &[],
        }
    }

    /// Gives the samples to `run`, as many at once as the model takes. At the end the last stands for
    /// those that are missing: `run` is told how many there are.
    ///
    /// # Errors
    /// Those of `run`, and what is wrong with the files for this model.
    pub(crate) fn each(
        &self,
        feed: &mut Feed<'_>,
        run: &mut dyn FnMut(&[Array], usize) -> Outcome,
    ) -> Outcome<Read> {
        let batch = feed.batch();
        let mut digest = blake3::Hasher::new();
        let (mut count, mut waiting) = (0, Vec::new());
        if let Samples::Random(inferences) = *self {
            for seed in 0..inferences as u64 {
                run(&random::arrays(feed.specs, seed)?, batch)?;
                count += batch;
            }
        }
        for file in self.files() {
            let bytes = tensors::read_bytes(file)?;
            digest.update(&bytes);
            for sample in feed.samples(file, &bytes)? {
                count += 1;
                waiting.push(sample);
                if waiting.len() == batch {
                    run_batch(&mut waiting, batch, run)?;
                }
            }
        }
        run_batch(&mut waiting, batch, run)?;
        if count == 0 {
            return Err(Failure::usage("there is no sample in these files"));
        }
        Ok(Read { count, digest: digest.finalize().to_string() })
    }
}

fn run_batch(
    waiting: &mut Vec<Sample>,
    batch: usize,
    run: &mut dyn FnMut(&[Array], usize) -> Outcome,
) -> Outcome {
    let count = waiting.len();
    let Some(last) = waiting.last().cloned() else { return Ok(()) };
    waiting.resize(batch, last);
    let inputs = waiting.first().map_or(0, Vec::len);
    let input = |index: usize| {
        let parts: Vec<Array> = waiting.iter().map(|sample| sample[index].clone()).collect();
        Array::concatenate(&parts).ok_or_else(|| Failure::usage("a sample has no rows"))
    };
    let whole = (0..inputs).map(input).collect::<Outcome<Vec<Array>>>()?;
    waiting.clear();
    run(&whole, count)
}

fn in_folder(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let failed = |error| Failure::reading(folder, error);
    let entries = fs::read_dir(folder).map_err(failed)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<io::Result<Vec<PathBuf>>>().map_err(failed)?;
    let known = |path: &PathBuf| {
        let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
        extension.is_some_and(|extension| {
            let extension = extension.as_str();
            EXTENSIONS.contains(&extension) || ARRAYS.contains(&extension)
        })
    };
    paths.retain(known);
    paths.sort();
    if paths.is_empty() {
        let message = format!("`{}` holds no samples", folder.display());
        return Err(Failure::usage(message)
            .with_help("put images (.jpg, .png) or arrays (.npy, .npz) there"));
    }
    Ok(paths)
}

impl<'a> Feed<'a> {
    /// For a model called `model`.
    pub(crate) fn new(program: &'a Program, options: &'a ImageOptions, model: String) -> Feed<'a> {
        let (specs, metadata) = (program.inputs(), program.metadata());
        Feed { specs, metadata, options, model, recipe: None }
    }

    /// How many samples one inference takes.
    fn batch(&self) -> usize {
        self.specs.first().and_then(|spec| spec.shape.first()).copied().unwrap_or(1).max(1)
    }

    fn samples(&mut self, file: &Path, bytes: &[u8]) -> Outcome<Vec<Sample>> {
        if bytes.starts_with(b"\x93NUMPY") || bytes.starts_with(b"PK") {
            return self.rows(file, bytes);
        }
        if self.recipe.is_none() {
            let recipe = Recipe::of(self.specs, self.metadata, self.options, &self.model)?;
            recipe.announce();
            self.recipe = Some(recipe);
        }
        let image = |recipe: &Recipe| image_input::decode(bytes, file, recipe, Largest::USUAL);
        self.recipe.iter().map(|recipe| Ok(vec![image(recipe)?])).collect()
    }

    /// The samples of an array or of an archive with one for each input.
    fn rows(&self, file: &Path, bytes: &[u8]) -> Outcome<Vec<Sample>> {
        let given = tensors::decode(bytes).map_err(|what| Failure::damaged(file, what))?;
        let arrays = tensors::assign(self.specs, given, "input")?;
        let rows = arrays.first().and_then(|array| array.shape.first()).copied().unwrap_or(0);
        for (spec, array) in self.specs.iter().zip(&arrays) {
            let mut wanted = spec.clone();
            if let Some(first) = wanted.shape.first_mut() {
                *first = rows;
            }
            wanted.check(array)?;
        }
        Ok((0..rows).map(|row| arrays.iter().map(|a| a.rows(row, row + 1)).collect()).collect())
    }
}
