//! Toom-Cook's points, and the matrices that follow from them.
//!
//! Elements of a transformed tile stand for points: 0, infinity, then the others. A tile of fewer
//! outputs has the first of its family's elements, so that one set of transformed filters serves tiles
//! of all sizes up to m×m. What differs between the sizes, a factor for each element, is in the
//! transform of the input.

use crate::schedule::byte_scale::ByteScale;

/// Taps of a filter along an axis.
const TAPS: usize = 3;

/// The points of F(m×m, 3×3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Points {
    /// m.
    pub outputs: usize,
    /// Whether they are integers, so that integers are transformed to integers.
    pub whole: bool,
}

impl Points {
    /// Those whose rounding errors in f32 are small.
    pub fn of_floats(outputs: usize) -> Points {
        Points { outputs, whole: false }
    }

    /// Those that are integers.
    pub fn of_integers(outputs: usize) -> Points {
        Points { outputs, whole: true }
    }

    /// The finite points, 0 first. Beside 0 they are pairs ±p as far as they go.
    ///
    /// With 0.625 and 1.5 errors are about four times smaller than with the textbook's 1 and 2, at the same
    /// cost.
    pub fn finite(self) -> &'static [f64] {
        match (self.outputs, self.whole) {
            (2, _) => &[0.0, 1.0, -1.0],
            (3, false) => &[0.0, 0.75, -0.75, -2.0],
            (3, true) => &[0.0, 1.0, -1.0, -2.0],
            (_, false) => &[0.0, 1.5, -1.5, 0.625, -0.625],
            (_, true) => &[0.0, 1.0, -1.0, 2.0, -2.0],
        }
    }

    /// `Π (p − q)` over the finite points q that are not p, for the point p of this number.
    fn scale(self, point: usize) -> f64 {
        let points = self.finite();
        let others = points.iter().enumerate().filter(|(other, _)| *other != point);
        others.map(|(_, q)| points[point] - q).product()
    }

    /// What the element of a point in a tile of fewer outputs is multiplied by, so that it goes with
    /// filters transformed for whole tiles.
    pub fn factor(self, fewer: usize, point: usize) -> f64 {
        let points = self.finite();
        points[fewer + 1..].iter().map(|q| points[point] - q).product()
    }

    /// Rows of `G`, `[outputs + 2][3]`, in the order of elements.
    pub fn filter_matrix(self) -> Vec<[f64; TAPS]> {
        let row = |(at, p): (usize, &f64)| {
            let scale = self.scale(at);
            [1.0 / scale, p / scale, p * p / scale]
        };
        let mut rows: Vec<[f64; TAPS]> = self.finite().iter().enumerate().map(row).collect();
        rows.insert(1, [0.0, 0.0, 1.0]);
        rows
    }

    /// `G ⊗ G`, `[(outputs + 2)²][9]`: what each element of a transformed 3×3 filter is of the filter's,
    /// both row by row.
    pub fn filter_products(self) -> Vec<[f64; TAPS * TAPS]> {
        let g = self.filter_matrix();
        let pairs = g.iter().flat_map(|rows| g.iter().map(move |columns| (rows, columns)));
        let product = |(rows, columns): (&[f64; TAPS], &[f64; TAPS])| {
            std::array::from_fn(|at| rows[at / TAPS] * columns[at % TAPS])
        };
        pairs.map(product).collect()
    }

    /// A 3×3 filter in the transformed domain, row by row.
    pub fn transformed(self, filter: &[f32]) -> Vec<f64> {
        let element = |factors: &[f64; TAPS * TAPS]| {
            factors.iter().zip(filter).fold(0.0, |sum, (a, x)| sum + a * f64::from(*x))
        };
        self.filter_products().iter().map(element).collect()
    }

    /// Rows of `Bᵀ` of a tile of so many outputs, at most m, in the order of elements: the coefficients of
    /// the product of (x - q) over all finite points q but its own, and for infinity over all.
    pub fn input_matrix(self, tile: usize) -> Vec<Vec<f64>> {
        let points = &self.finite()[..=tile];
        let all_but = |point: Option<usize>| {
            let others = points.iter().enumerate().filter(|(other, _)| Some(*other) != point);
            others.fold(vec![1.0], |product, (_, q)| times(&product, *q))
        };
        let row = |point: usize| {
            let factor = self.factor(tile, point);
            all_but(Some(point)).iter().map(|coefficient| factor * coefficient).collect()
        };
        let mut rows: Vec<Vec<f64>> = (0..points.len()).map(row).collect();
        rows.insert(1, all_but(None));
        rows
    }

    /// The largest size of each element, row by row, that windows of such bytes are transformed to, whichever
    /// of the family's tiles they are of.
    pub fn largest(self, bytes: ByteScale) -> Vec<f64> {
        let [lowest, highest] = [bytes.lowest, bytes.highest].map(f64::from);
        let of_tile =
            |tile: usize| self.input_matrix(tile).into_iter().map(|row| signed_sums(&row));
        // What the elements of an axis add up to, above and below zero, by tiles.
        let axis: Vec<Vec<[f64; 2]>> =
            (1..=self.outputs).map(|tile| of_tile(tile).collect()).collect();
        let most = |row: usize, column: usize| {
            let each = |element: usize| axis.iter().filter_map(move |tile| tile.get(element));
            let pairs = each(row).flat_map(|a| each(column).map(move |b| (a, b)));
            let largest = |([p, n], [q, m]): (&[f64; 2], &[f64; 2])| {
                let (above, below) = (p * q + n * m, p * m + n * q);
                (above * highest - below * lowest).max(below * highest - above * lowest)
            };
            pairs.map(largest).fold(0.0, f64::max)
        };
        let side = self.outputs + TAPS - 1;
        (0..side * side).map(|at| most(at / side, at % side)).collect()
    }
}

/// A polynomial, its coefficients from the constant on, times (x - q).
fn times(polynomial: &[f64], q: f64) -> Vec<f64> {
    let at = |i: Option<usize>| i.and_then(|i| polynomial.get(i)).copied().unwrap_or(0.0);
    (0..=polynomial.len()).map(|i| at(i.checked_sub(1)) - q * at(Some(i))).collect()
}

/// The sum of the positive ones, and the size of that of the negative ones.
fn signed_sums(row: &[f64]) -> [f64; 2] {
    [1.0, -1.0].map(|sign| row.iter().map(|x| (sign * x).max(0.0)).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_transformed_to_halves() {
        for (lowest, highest) in [(0, 255), (-128, 127), (-255, 0), (-37, 210)] {
            let bytes = ByteScale { scale: 1.0, lowest, highest };
            for outputs in [2, 3, 4] {
                let all = Points::of_integers(outputs).largest(bytes);
                assert_eq!(all.len(), (outputs + 2) * (outputs + 2));
                for size in all {
                    assert!(size > 0.0 && size <= f64::from(i16::MAX), "{outputs}: {size}");
                }
            }
        }
    }

    #[test]
    fn whole_points_have_whole_inputs() {
        for outputs in [2, 3, 4] {
            for tile in 1..=outputs {
                let rows = Points::of_integers(outputs).input_matrix(tile);
                assert!(rows.iter().flatten().all(|x| x.fract() == 0.0), "{rows:?}");
            }
        }
        let textbook = [
            [4.0, 0.0, -5.0, 0.0, 1.0, 0.0],
            [0.0, 4.0, 0.0, -5.0, 0.0, 1.0],
            [0.0, -4.0, -4.0, 1.0, 1.0, 0.0],
        ];
        for (row, wanted) in Points::of_integers(4).input_matrix(4).iter().zip(textbook) {
            let row: Vec<f64> = (0..6).map(|i| row.get(i).copied().unwrap_or(0.0)).collect();
            assert_eq!(row, wanted);
        }
    }
}
