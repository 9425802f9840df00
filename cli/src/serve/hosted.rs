//! A model that is served: its name, what it takes and gives a row, and how it reads images.

use crate::classify::{self, Classifier};
use crate::exit::{Failure, Outcome};
use crate::image_input::Recipe;
use crate::program::Program;
use crate::render;
use crate::serving::ServingOptions;
use crate::tensors::Spec;

/// The only version that a model has.
pub(super) const VERSION: &str = "1";

/// A model that is served.
pub(crate) struct Hosted {
    /// What requests call it.
    pub(super) name: String,
    /// What runs.
    pub(super) program: Program,
    /// How its requests become inferences.
    pub(super) rows: RowShape,
    /// How it classifies images, or why it does not.
    pub(super) images: Result<Images, String>,
}

/// How a model classifies images.
pub(super) struct Images {
    /// What is done to them before.
    pub(super) recipe: Recipe,
    /// What its output means.
    pub(super) classifier: Classifier,
}

/// How requests become inferences. Where the outermost extent of all inputs and outputs is the batch, a *row* is one
/// sample, and any number of rows can be asked for; of other models a row is all of an inference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RowShape {
    /// Whether requests say how many rows they have.
    pub(super) is_open: bool,
    /// Rows of an inference.
    pub(super) batch: usize,
    /// Bytes of a row of each input.
    pub(super) inputs: Vec<usize>,
    /// Bytes of a row of each output.
    pub(super) outputs: Vec<usize>,
}

impl RowShape {
    fn of(inputs: &[Spec], outputs: &[Spec]) -> RowShape {
        let extent = |spec: &Spec| spec.shape.first().copied();
        let first = inputs.first().and_then(extent).filter(|batch| *batch > 0);
        let is_open =
            first.is_some() && inputs.iter().chain(outputs).all(|spec| extent(spec) == first);
        let batch = first.filter(|_| is_open).unwrap_or(1);
        let bytes = |specs: &[Spec]| {
            specs.iter().map(|spec| spec.elements() * spec.dtype.size() / batch).collect()
        };
        RowShape { is_open, batch, inputs: bytes(inputs), outputs: bytes(outputs) }
    }

    /// Bytes of a row of all inputs and outputs.
    pub(super) fn bytes(&self) -> usize {
        self.inputs.iter().chain(&self.outputs).sum()
    }

    /// A tensor's extents, for so many rows of the model's own.
    pub(super) fn shape(&self, spec: &Spec, rows: usize) -> Vec<usize> {
        let mut shape = spec.shape.clone();
        if let (true, Some(first)) = (self.is_open, shape.first_mut()) {
            *first = rows;
        }
        shape
    }
}

impl Hosted {
    /// Gives a model to serve under a name, and says on stderr what is done to images; `file` is what its file is
    /// called, for images and for messages.
    ///
    /// # Errors
    /// Options that the model cannot follow, and rows that no request has room for.
    pub(crate) fn new(
        name: String,
        program: Program,
        options: &ServingOptions,
        file: &str,
    ) -> Outcome<Hosted> {
        let images = match Images::of(&program, options, file) {
            Ok(images) => {
                if !options.quiet {
                    render::note(format_args!("{name}: images: {}", images.recipe));
                    images.recipe.warnings().for_each(render::note);
                }
                Ok(images)
            }
            // Whoever says how images are read or what classes are called counts on it.
            Err(failure) if options.speaks_of_images() => return Err(failure),
            Err(failure) => Err(failure.to_string()),
        };
        let rows = RowShape::of(program.inputs(), program.outputs());
        if rows.bytes() > options.max_body {
            let (bytes, most) = (rows.bytes(), options.max_body);
            return Err(Failure::usage(format!(
                "inputs and outputs of `{name}` take {bytes} bytes a row, and a request has {most} at most"
            ))
            // A number has up to eight times as many characters in JSON.
            .with_help(format!("let it have more: --max-body {}", bytes.saturating_mul(8))));
        }
        Ok(Hosted { name, program, rows, images })
    }
}

impl Images {
    fn of(program: &Program, args: &ServingOptions, file: &str) -> Outcome<Images> {
        let (outputs, metadata) = (program.outputs(), program.metadata());
        let classifier = Classifier::of(outputs, metadata, &args.classes)?;
        let classifier = classifier
            .filter(|_| program.has_a_row_a_sample())
            .ok_or_else(|| classify::no_classes("ask for its outputs with infer"))?;
        let recipe = Recipe::of(program.inputs(), metadata, &args.image, file)?;
        Ok(Images { recipe, classifier })
    }
}

#[cfg(test)]
mod tests {
    use cardinal_runtime::DType;

    use super::*;

    fn spec(shape: &[usize]) -> Spec {
        Spec { name: "x".into(), dtype: DType::F32, shape: shape.to_vec() }
    }

    #[test]
    fn rows_are_samples_where_all_tensors_have_them() {
        let of = |inputs: &[&[usize]], outputs: &[&[usize]]| {
            let specs = |shapes: &[&[usize]]| shapes.iter().map(|s| spec(s)).collect::<Vec<_>>();
            RowShape::of(&specs(inputs), &specs(outputs))
        };
        let open = of(&[&[4, 3, 2], &[4]], &[&[4, 10]]);
        assert_eq!((open.is_open, open.batch), (true, 4));
        assert_eq!((open.inputs, open.outputs), (vec![24, 4], vec![40]));
        for (inputs, outputs) in [(&[4, 3][..], &[3, 4][..]), (&[], &[1]), (&[0, 3], &[0, 4])] {
            let whole = of(&[inputs], &[outputs]);
            assert_eq!((whole.is_open, whole.batch), (false, 1), "{inputs:?}");
        }
        assert_eq!(of(&[&[4, 3]], &[&[3, 4]]).inputs, [48]);
        assert!(!of(&[], &[&[2]]).is_open);
    }
}
