//! How close two tensors are.

use crate::tensors::Array;

/// The largest differences between a result and what it should be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Comparison {
    /// Largest absolute difference. Infinite where only one of two elements is finite, or where
    /// they are different infinities, or only one is NaN.
    pub(crate) max_abs: f64,
    /// The same, relative to the largest finite magnitude expected.
    pub(crate) max_rel: f64,
    /// The largest finite magnitude expected.
    pub(crate) scale: f64,
    /// Index of the worst element, row-major.
    pub(crate) worst: usize,
    /// Expected elements that are infinite or NaN.
    pub(crate) not_finite: usize,
    /// Rows whose largest element is in the same place, of how many; for `[N, C]` only.
    pub(crate) argmax: Option<(usize, usize)>,
}

/// Compares tensors of the same shape.
pub(crate) fn compare(actual: &Array, expected: &Array) -> Comparison {
    let (a, e) = (actual.to_f64(), expected.to_f64());
    let scale = e.iter().filter(|x| x.is_finite()).fold(0f64, |m, x| m.max(x.abs()));
    let differences: Vec<f64> = match (actual.to_integers(), expected.to_integers()) {
        (Some(a), Some(e)) => a.iter().zip(e).map(|(a, e)| a.abs_diff(e) as f64).collect(),
        _ => a.iter().zip(&e).map(|(a, e)| difference(*a, *e)).collect(),
    };
    let (mut worst, mut max_abs) = (0, 0f64);
    for (i, difference) in differences.into_iter().enumerate() {
        if difference > max_abs {
            (worst, max_abs) = (i, difference);
        }
    }
    let max_rel = if max_abs == 0. { 0. } else { max_abs / scale };
    let not_finite = e.iter().filter(|x| !x.is_finite()).count();
    let argmax = agreement(&a, &e, &expected.shape);
    Comparison { max_abs, max_rel, scale, worst, not_finite, argmax }
}

impl Comparison {
    /// Whether every difference is at most `atol + rtol * scale`.
    pub(crate) fn within(&self, rtol: f64, atol: f64) -> bool {
        self.max_abs <= atol + rtol * self.scale
    }
}

fn difference(a: f64, e: f64) -> f64 {
    match (a - e).abs() {
        // Equal infinities, or NaN on both sides.
        d if d.is_nan() && (a == e || (a.is_nan() && e.is_nan())) => 0.,
        d if d.is_nan() => f64::INFINITY,
        d => d,
    }
}

fn agreement(a: &[f64], e: &[f64], shape: &[usize]) -> Option<(usize, usize)> {
    let [rows, columns @ (2..)] = *shape else {
        return None;
    };
    let same = a.chunks(columns).zip(e.chunks(columns)).filter(|(a, e)| largest(a) == largest(e));
    Some((same.count(), rows))
}

fn largest(row: &[f64]) -> Option<usize> {
    (0..row.len()).max_by(|i, j| row[*i].total_cmp(&row[*j]).then(j.cmp(i)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cardinal_runtime::DType;

    fn compared(a: &[f32], e: &[f32]) -> Comparison {
        let array = |v: &[f32]| Array::from_f32(vec![1, v.len()], v);
        compare(&array(a), &array(e))
    }

    #[test]
    fn errors_are_relative_to_the_largest_magnitude() {
        let c = compared(&[0.5, -4., 1.], &[0., -4., 1.]);
        assert_eq!((c.max_abs, c.max_rel, c.worst, c.argmax), (0.5, 0.125, 0, Some((1, 1))));
        assert!(c.within(0.125, 0.) && c.within(0., 0.5) && !c.within(0.1, 0.));
    }

    #[test]
    fn what_is_not_finite_must_be_so_on_both_sides() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        let same = compared(&[inf, nan, 1.], &[inf, nan, 1.]);
        assert!(same.within(0., 0.) && same.not_finite == 2);
        for (a, e) in [(inf, 1.), (1., inf), (nan, 1.), (1., nan), (inf, -inf), (nan, inf)] {
            assert!(!compared(&[a, 1.], &[e, 1.]).within(1e30, 1e30), "{a} {e}");
        }
    }

    #[test]
    fn integers_differ_by_one_whatever_their_size() {
        let array = |v: i64| {
            let bytes = [v, i64::MIN].iter().flat_map(|v| v.to_le_bytes()).collect();
            Array { dtype: DType::I64, shape: vec![2], bytes }
        };
        let c = compare(&array(i64::MAX), &array(i64::MAX - 1));
        assert_eq!((c.max_abs, c.worst), (1., 0));
        assert!(!c.within(0., 0.5) && c.within(0., 1.));
        assert!(compare(&array(7), &array(7)).within(0., 0.));
    }

    #[test]
    fn everything_zero_is_equal() {
        assert!(compared(&[0., 0.], &[0., -0.]).within(0., 0.));
        assert_eq!(compared(&[0., 1.], &[1., 0.]).argmax, Some((0, 1)));
    }
}
