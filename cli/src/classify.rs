//! Reading an output as the scores of classes.

use std::num::NonZeroUsize;
use std::path::Path;

use cardinal_runtime::DType;
use serde_json::{Value, json};

use crate::exit::{Failure, Outcome};
use crate::request::ClassOptions;
use crate::tensors::{Array, Spec, read_bytes};

/// One class of one sample.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Class {
    /// Its index.
    pub(crate) index: usize,
    /// What the model gave.
    pub(crate) score: f32,
    /// Softmax of the scores, or the score itself when the rows are probabilities already.
    pub(crate) probability: f64,
}

/// How the output of a model is read: scores of classes, a row a sample.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Classifier {
    classes: usize,
    top: usize,
    labels: Option<Vec<String>>,
}

/// The best classes of a sample.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ranking {
    /// Best first; the lower index wins a tie.
    pub(crate) top: Vec<Class>,
    /// Whether the scores are probabilities already, so that no softmax is taken.
    pub(crate) are_probabilities: bool,
}

/// Classes that are ranked unless `--top` says otherwise.
const DEFAULT_TOP: usize = 5;

impl Classifier {
    /// For a model whose only output is f32 `[N, C]` with at least two classes; `None` for others.
    ///
    /// # Errors
    /// [`Failure::Usage`] where classes are asked for of a model that has none; those of [`labels_in`].
    pub(crate) fn of(
        outputs: &[Spec],
        metadata: &[(String, String)],
        options: &ClassOptions,
    ) -> Outcome<Option<Classifier>> {
        let Some(classes) = classes_of(outputs) else {
            return match options.top.is_some() || options.labels.is_some() {
                true => Err(no_classes(
                    "leave --top and --labels out, or write the output with --output",
                )),
                false => Ok(None),
            };
        };
        let labels = match &options.labels {
            Some(file) => Some(labels_in(file, options.labels_offset.unwrap_or(0), classes)?),
            None => labels_of_metadata(metadata, classes),
        };
        let top = options.top.map_or(DEFAULT_TOP, NonZeroUsize::get);
        Ok(Some(Classifier { classes, top, labels }))
    }

    /// The best classes of each row of the output.
    pub(crate) fn rank(&self, output: &Array) -> Vec<Ranking> {
        self.rank_to(output, None)
    }

    /// The same, but so many classes where that is said.
    pub(crate) fn rank_to(&self, output: &Array, top: Option<usize>) -> Vec<Ranking> {
        let values = output.to_f32().unwrap_or_default();
        values.chunks(self.classes).map(|row| rank(row, top.unwrap_or(self.top))).collect()
    }

    /// A list of the best classes, for programs.
    pub(crate) fn to_json(&self, ranking: &Ranking) -> Value {
        let class = |class: &Class| {
            json!({
                "index": class.index,
                "label": self.label(class.index),
                "probability": class.probability,
                "score": class.score,
            })
        };
        ranking.top.iter().map(class).collect()
    }

    /// The name of a class.
    pub(crate) fn label(&self, class: usize) -> Option<&str> {
        self.labels.as_ref()?.get(class).map(String::as_str)
    }
}

/// How many classes the only output has scores of, if it has.
fn classes_of(outputs: &[Spec]) -> Option<usize> {
    match outputs {
        [Spec { dtype: DType::F32, shape, .. }] => match **shape {
            [_, classes @ (2..)] => Some(classes),
            _ => None,
        },
        _ => None,
    }
}

/// The refusal to rank what is no scores of classes.
pub(crate) fn no_classes(help: &str) -> Failure {
    Failure::usage("this model's output is not f32[N, C] scores of classes").with_help(help)
}

/// Whether a row is probabilities is seen in the row alone, so that no other sample changes it.
fn rank(row: &[f32], count: usize) -> Ranking {
    let are_probabilities = is_distribution(row);
    let probabilities = match are_probabilities {
        true => row.iter().map(|x| f64::from(*x)).collect(),
        false => softmax(row),
    };
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_unstable_by(|i, j| row[*j].total_cmp(&row[*i]).then(i.cmp(j)));
    let class = |index| Class { index, score: row[index], probability: probabilities[index] };
    Ranking { top: order.into_iter().take(count).map(class).collect(), are_probabilities }
}

fn is_distribution(row: &[f32]) -> bool {
    let sum: f64 = row.iter().map(|x| f64::from(*x)).sum();
    row.iter().all(|x| (0. ..=1.).contains(x)) && (sum - 1.).abs() < 1e-3
}

fn softmax(row: &[f32]) -> Vec<f64> {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = row.iter().map(|x| f64::from(x - max).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|p| p / sum).collect()
}

/// The names of classes in a file, one a line after the first `skipped`. Empty lines at the end do not
/// count.
///
/// # Errors
/// [`Failure::Io`] and [`Failure::Damaged`]; [`Failure::Usage`] when there are more or fewer lines than
/// classes.
pub(crate) fn labels_in(file: &Path, skipped: usize, classes: usize) -> Outcome<Vec<String>> {
    let bytes = read_bytes(file)?;
    let text =
        std::str::from_utf8(&bytes).map_err(|_| Failure::damaged(file, "it is not UTF-8"))?;
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let labels = lines.get(skipped..).unwrap_or_default();
    if labels.len() != classes {
        return Err(misfit(file, lines.len(), skipped, classes));
    }
    Ok(labels.iter().map(|line| line.trim().to_owned()).collect())
}

fn misfit(file: &Path, lines: usize, skipped: usize, classes: usize) -> Failure {
    let without =
        if skipped == 0 { String::new() } else { format!(" without the first {skipped}") };
    let (file, left) = (file.display(), lines.saturating_sub(skipped));
    let what = format!("`{file}` has {left} lines{without}, and the model has {classes} classes");
    Failure::usage(what).with_help(match lines.checked_sub(classes) {
        Some(more @ 1..) => {
            format!("if it begins with {more} that are no classes: --labels-offset {more}")
        }
        Some(0) | None => "give a file with a line for each class of this model".into(),
    })
}

/// The names of classes that the model's metadata has under `classes` or `labels`, separated by commas,
/// when they fit.
pub(crate) fn labels_of_metadata(
    metadata: &[(String, String)],
    classes: usize,
) -> Option<Vec<String>> {
    let (_, value) = metadata.iter().find(|(key, _)| key == "classes" || key == "labels")?;
    let labels: Vec<String> = value.split(',').map(|label| label.trim().to_owned()).collect();
    (labels.len() == classes).then_some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classifier(
        shape: &[usize],
        dtype: DType,
        options: &ClassOptions,
    ) -> Outcome<Option<Classifier>> {
        let spec = Spec { name: "y".into(), dtype, shape: shape.to_vec() };
        Classifier::of(&[spec], &[], options)
    }

    #[test]
    fn logits_are_ranked_and_made_probabilities() {
        let options = ClassOptions { top: NonZeroUsize::new(2), ..Default::default() };
        let classifier = classifier(&[1, 3], DType::F32, &options).unwrap().unwrap();
        let row = Array::from_f32(vec![1, 3], &[0., 2f32.ln(), 5f32.ln()]);
        let Ranking { top, are_probabilities } = classifier.rank(&row).remove(0);
        assert!(!are_probabilities && top.len() == 2);
        assert_eq!((top[0].index, top[1].index), (2, 1));
        assert!((top[0].probability - 0.625).abs() < 1e-6, "{top:?}");
        assert!((top[1].probability - 0.25).abs() < 1e-6, "{top:?}");
    }

    #[test]
    fn probabilities_stay_as_they_are_whatever_is_beside_them() {
        let classifier =
            classifier(&[2, 2], DType::F32, &ClassOptions::default()).unwrap().unwrap();
        let rankings = classifier.rank(&Array::from_f32(vec![2, 2], &[0.25, 0.75, 3., 1.]));
        assert!(rankings[0].are_probabilities && !rankings[1].are_probabilities);
        assert_eq!(rankings[0].top[0], Class { index: 1, score: 0.75, probability: 0.75 });
    }

    #[test]
    fn only_rows_of_classes_are_scores() {
        let none = ClassOptions::default();
        for (shape, dtype) in
            [(&[1, 3, 2][..], DType::F32), (&[3, 1], DType::F32), (&[1, 9], DType::I64)]
        {
            assert_eq!(classifier(shape, dtype, &none).unwrap(), None);
            let top = ClassOptions { top: NonZeroUsize::new(1), ..Default::default() };
            assert!(classifier(shape, dtype, &top).is_err());
        }
    }

    #[test]
    fn a_file_has_a_line_for_each_class() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "background\ncat\ndog\n\n").unwrap();
        let labels = |skipped, classes| labels_in(file.path(), skipped, classes);
        assert_eq!(labels(0, 3).unwrap(), ["background", "cat", "dog"]);
        assert_eq!(labels(1, 2).unwrap(), ["cat", "dog"]);
        for (skipped, classes, what) in [
            (0, 2, "has 3 lines, and the model has 2 classes"),
            (0, 4, "has 3 lines, and the model has 4 classes"),
            (1, 3, "has 2 lines without the first 1, and the model has 3 classes"),
            (9, 1, "has 0 lines without the first 9"),
        ] {
            let error = labels(skipped, classes).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
        }
        assert!(labels(0, 2).unwrap_err().help().unwrap().contains("--labels-offset 1"));
    }

    #[test]
    fn labels_in_the_metadata_must_fit() {
        let metadata = [("classes".to_owned(), "a, b,c".to_owned())];
        let labels = |classes| labels_of_metadata(&metadata, classes);
        assert_eq!(labels(3).unwrap(), ["a", "b", "c"]);
        assert_eq!(labels(4), None);
    }
}
