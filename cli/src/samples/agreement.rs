//! How near a model that rounds is to the one that does not.

use crate::tensors::Array;

/// The outputs of two models for the same samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Agreement {
    /// For how many samples the class with the highest score is the same, of how many; where the output
    /// is scores of classes.
    pub(crate) top: Option<(usize, usize)>,
    /// Root of the mean squared difference, in standard deviations of the other model's outputs.
    pub(crate) error: f64,
}

impl Agreement {
    /// Whether the top class is the same for so many percent of the samples. What has no classes agrees
    /// with anything.
    pub(crate) fn is_at_least(&self, percent: f64) -> bool {
        self.top.is_none_or(|(same, all)| same as f64 * 100. >= percent * all as f64)
    }
}

/// Compares the outputs of a model that rounds with those of the one that does not.
pub(crate) fn compare(rounded: &[Array], exact: &[Array]) -> Agreement {
    let (mut noise, mut signal) = (0., 0.);
    for (rounded, exact) in rounded.iter().zip(exact) {
        let (r, e) = (rounded.to_f64(), exact.to_f64());
        let mean = e.iter().sum::<f64>() / e.len().max(1) as f64;
        noise += r.iter().zip(&e).map(|(r, e)| (r - e).powi(2)).sum::<f64>();
        signal += e.iter().map(|e| (e - mean).powi(2)).sum::<f64>();
    }
    let top = match (rounded, exact) {
        ([r], [e]) => same_top(r, e),
        _ => None,
    };
    // Outputs that are always the same have no deviation to measure with.
    let error = if noise == 0. { 0. } else { (noise / signal).sqrt() };
    Agreement { top, error }
}

fn same_top(rounded: &Array, exact: &Array) -> Option<(usize, usize)> {
    let [samples, classes @ (2..)] = *exact.shape else { return None };
    let tops = |array: &Array| array.to_f64().chunks(classes).map(top).collect::<Vec<_>>();
    let same = tops(rounded).iter().zip(tops(exact)).filter(|(r, e)| **r == *e).count();
    Some((same, samples))
}

/// The largest, the first of equals.
fn top(row: &[f64]) -> Option<usize> {
    (0..row.len()).max_by(|i, j| row[*i].total_cmp(&row[*j]).then(j.cmp(i)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(rows: usize, values: &[f32]) -> Array {
        Array::from_f32(vec![rows, values.len() / rows], values)
    }

    #[test]
    fn errors_are_in_standard_deviations_and_classes_by_sample() {
        let float = array(2, &[1., -1., -1., 1.]);
        let quantized = array(2, &[1.5, -1.5, 0.5, -0.5]);
        let agreement = compare(&[quantized], std::slice::from_ref(&float));
        assert_eq!(agreement.top, Some((1, 2)));
        assert!((agreement.error - 1.25f64.sqrt()).abs() < 1e-12, "{agreement:?}");
        assert!(agreement.is_at_least(50.) && !agreement.is_at_least(50.1));
        let same = compare(std::slice::from_ref(&float), std::slice::from_ref(&float));
        assert_eq!((same.top, same.error), (Some((2, 2)), 0.));
    }

    #[test]
    fn what_is_no_scores_has_no_top_class() {
        let image = Array::from_f32(vec![1, 1, 1, 2], &[0., 1.]);
        let agreement = compare(std::slice::from_ref(&image), std::slice::from_ref(&image));
        assert_eq!(agreement.top, None);
        assert!(agreement.is_at_least(100.));
    }
}
