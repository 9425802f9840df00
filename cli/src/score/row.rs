//! What becomes of an image: the model's input before, a row of the table after.

use std::path::Path;

use cardinal_runtime::DType;
use prost::Message;

use super::inputs::{Content, Item};
use crate::classify::{Classifier, Ranking, no_classes};
use crate::exit::{Failure, Outcome};
use crate::image_input::{self, Recipe};
use crate::limits::Largest;
use crate::program::Program;
use crate::tensors::{Array, Spec};

/// Which columns there are besides the key and the error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// The best classes: class, score, label, top
    Classes,
    /// The model's output as it is: logits
    Logits,
}

/// A row of the table.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Row {
    /// Which image.
    #[prost(string, tag = "1")]
    pub(super) key: String,
    /// The best classes, best first.
    #[prost(message, repeated, tag = "2")]
    pub(super) top: Vec<Scored>,
    /// The model's output.
    #[prost(float, repeated, tag = "3")]
    pub(super) logits: Vec<f32>,
    /// Why there is nothing else.
    #[prost(string, optional, tag = "4")]
    pub(super) error: Option<String>,
}

/// One class of an image.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Scored {
    /// Its index.
    #[prost(uint32, tag = "1")]
    pub(super) class: u32,
    /// Its probability.
    #[prost(double, tag = "2")]
    pub(super) score: f64,
}

/// How images are read, and outputs.
pub(crate) struct Reading {
    recipe: Recipe,
    classifier: Option<Classifier>,
    kind: Kind,
}

impl Reading {
    /// Of the images and outputs of a model.
    ///
    /// # Errors
    /// [`Failure::Usage`] where an image's part of the output cannot be a row.
    pub(crate) fn new(
        recipe: Recipe,
        classifier: Option<Classifier>,
        kind: Kind,
        program: &Program,
    ) -> Outcome<Reading> {
        if !program.has_a_row_a_sample() {
            return Err(Failure::usage("this model's outputs are not a row an image"));
        }
        match (kind, program.outputs()) {
            (Kind::Classes, _) if classifier.is_none() => {
                Err(no_classes("take the output as it is: --outputs logits"))
            }
            (Kind::Classes, _) | (Kind::Logits, [Spec { dtype: DType::F32, .. }]) => {
                Ok(Reading { recipe, classifier, kind })
            }
            (Kind::Logits, _) => Err(Failure::usage(
                "a column of numbers takes one output of f32, and this model has others",
            )
            .with_help("write them with `cardinal run --output y.npz`")),
        }
    }

    /// Of the outputs as they are, whatever these are.
    pub(crate) fn whole(recipe: Recipe) -> Reading {
        Reading { recipe, classifier: None, kind: Kind::Logits }
    }

    /// Which columns there are.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// All that the rows depend on.
    pub(super) fn about(&self) -> (String, Kind, &Option<Classifier>) {
        (self.recipe.to_string(), self.kind, &self.classifier)
    }

    /// The name of a class.
    pub(super) fn label(&self, class: u32) -> Option<&str> {
        self.classifier.as_ref()?.label(class as usize)
    }

    /// An image as the model takes it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn decode(&self, item: &Item) -> Outcome<Array> {
        let decode = |bytes: &[u8], place: &Path| {
            image_input::decode(bytes, place, &self.recipe, Largest::USUAL)
        };
        match &item.content {
            Content::File(path) => decode(&image_input::bytes_of(path)?, path),
            Content::Bytes(bytes, place) => decode(bytes, Path::new(place)),
            Content::Bad(what) => Err(Failure::usage(what.clone())),
        }
    }

    /// The rows of the images that have outputs, in order.
    pub(super) fn rows(&self, output: &Array) -> Vec<Row> {
        match (self.kind, &self.classifier) {
            (Kind::Classes, Some(classifier)) => {
                classifier.rank(output).into_iter().map(Row::ranked).collect()
            }
            (Kind::Classes | Kind::Logits, _) => {
                let rows = output.shape.first().copied().unwrap_or(1).max(1);
                let values = output.to_f32().unwrap_or_default();
                let row = |logits: &[f32]| Row { logits: logits.to_vec(), ..Row::default() };
                values.chunks((values.len() / rows).max(1)).map(row).collect()
            }
        }
    }
}

impl Row {
    fn ranked(ranking: Ranking) -> Row {
        let top = ranking.top.iter();
        let top = top.map(|c| Scored { class: c.index as u32, score: c.probability }).collect();
        Row { top, ..Row::default() }
    }

    /// The row of an image that has no result.
    pub(super) fn failed(failure: &Failure) -> Row {
        Row { error: Some(failure.to_string()), ..Row::default() }
    }
}
