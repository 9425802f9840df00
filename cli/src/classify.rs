//! Reading an output as the scores of classes.

use std::path::Path;

use crate::exit::{Failure, Outcome};
use crate::tensors::{Array, read_bytes};

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

/// Scores of classes, a row a sample.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scores {
    rows: Vec<Vec<f32>>,
    /// Whether the rows are probabilities already, so that no softmax is taken.
    pub(crate) are_probabilities: bool,
}

impl Scores {
    /// The scores, when the tensor is f32 `[N, C]` with at least two classes.
    pub(crate) fn of(output: &Array) -> Option<Scores> {
        let [_, classes @ (2..)] = *output.shape else {
            return None;
        };
        let values = output.to_f32()?;
        let rows: Vec<Vec<f32>> = values.chunks(classes).map(<[f32]>::to_vec).collect();
        let are_probabilities = !rows.is_empty() && rows.iter().all(|row| is_distribution(row));
        Some(Scores { rows, are_probabilities })
    }

    /// How many classes there are.
    pub(crate) fn classes(&self) -> usize {
        self.rows.first().map_or(0, Vec::len)
    }

    /// The `count` best classes of each sample, best first; the lower index wins a tie.
    pub(crate) fn top(&self, count: usize) -> Vec<Vec<Class>> {
        self.rows.iter().map(|row| self.top_of_row(row, count)).collect()
    }

    fn top_of_row(&self, row: &[f32], count: usize) -> Vec<Class> {
        let probabilities = match self.are_probabilities {
            true => row.iter().map(|x| f64::from(*x)).collect(),
            false => softmax(row),
        };
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_unstable_by(|i, j| row[*j].total_cmp(&row[*i]).then(i.cmp(j)));
        let class = |index| Class { index, score: row[index], probability: probabilities[index] };
        order.into_iter().take(count).map(class).collect()
    }
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

    #[test]
    fn logits_are_ranked_and_made_probabilities() {
        let scores = Scores::of(&Array::from_f32(vec![1, 3], &[0., 2f32.ln(), 5f32.ln()])).unwrap();
        assert!(!scores.are_probabilities);
        let top = &scores.top(2)[0];
        assert_eq!((top[0].index, top[1].index), (2, 1));
        assert!((top[0].probability - 0.625).abs() < 1e-6, "{top:?}");
        assert!((top[1].probability - 0.25).abs() < 1e-6, "{top:?}");
    }

    #[test]
    fn probabilities_stay_as_they_are() {
        let scores = Scores::of(&Array::from_f32(vec![1, 2], &[0.25, 0.75])).unwrap();
        assert!(scores.are_probabilities);
        assert_eq!(scores.top(1)[0], [Class { index: 1, score: 0.75, probability: 0.75 }]);
    }

    #[test]
    fn only_rows_of_classes_are_scores() {
        assert!(Scores::of(&Array::from_f32(vec![1, 3, 2], &[0.; 6])).is_none());
        assert!(Scores::of(&Array::from_f32(vec![3, 1], &[0.; 3])).is_none());
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
