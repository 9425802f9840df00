//! How often a value's elements lie where, in bins that grow wider with what comes.

/// Bins on each side of 0. Their width doubles when an element is beyond the last, so of those that
/// are in use there are at least half as many.
const BINS: usize = 4096;

/// A histogram of finite numbers. Zeros, of which ReLU makes many, are counted apart: they are exact on
/// every grid.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// A power of 2, so that two bins are one bin of twice the width.
    width: f64,
    /// By distance from 0.
    below: Vec<u64>,
    above: Vec<u64>,
    zeros: u64,
    /// The least and the largest element; both 0 before any.
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram::new()
    }
}

impl Histogram {
    /// A histogram of nothing.
    pub fn new() -> Histogram {
        let (below, above) = (vec![0; BINS], vec![0; BINS]);
        Histogram { width: f64::MIN_POSITIVE, below, above, zeros: 0, low: 0., high: 0. }
    }

    /// Counts elements, all of which are finite.
    pub fn add(&mut self, elements: &[f32]) {
        let ends = elements.iter().fold((0f32, 0f32), |(low, high), x| (low.min(*x), high.max(*x)));
        (self.low, self.high) = (self.low.min(ends.0.into()), self.high.max(ends.1.into()));
        self.widen(self.low.abs().max(self.high));
        let scale = 1. / self.width;
        for x in elements {
            let x = f64::from(*x);
            // At most the last bin: it is as wide as the largest element needs.
            let bin = ((x.abs() * scale) as usize).min(BINS - 1);
            if x > 0. {
                self.above[bin] += 1;
            } else if x < 0. {
                self.below[bin] += 1;
            } else {
                self.zeros += 1;
            }
        }
    }

    /// Counts what another has counted.
    pub fn merge(&mut self, other: &Histogram) {
        let mut other = other.clone();
        (self.low, self.high) = (self.low.min(other.low), self.high.max(other.high));
        self.widen(self.low.abs().max(self.high));
        other.widen(self.low.abs().max(self.high));
        let width = self.width.max(other.width);
        self.widen_to(width);
        other.widen_to(width);
        self.zeros += other.zeros;
        for (side, other) in [(&mut self.below, other.below), (&mut self.above, other.above)] {
            side.iter_mut().zip(other).for_each(|(bin, other)| *bin += other);
        }
    }

    /// How many elements there are.
    pub(super) fn count(&self) -> u64 {
        self.zeros + self.bins().map(|(_, count)| count).sum::<u64>()
    }

    /// The middles of the bins that hold any but zeros, in ascending order, with how many they hold.
    pub(super) fn bins(&self) -> impl DoubleEndedIterator<Item = (f64, u64)> + '_ {
        let middle = |bin: usize| (bin as f64 + 0.5) * self.width;
        let below = self.below.iter().enumerate().rev().map(move |(i, n)| (-middle(i), *n));
        let above = self.above.iter().enumerate().map(move |(i, n)| (middle(i), *n));
        below.chain(above).filter(|(_, count)| *count > 0)
    }

    /// The power of all elements together.
    pub(super) fn power(&self) -> f64 {
        self.bins().map(|(x, count)| x * x * count as f64).sum()
    }

    /// The number that this share of the elements is at most, to a bin.
    pub(super) fn quantile(&self, share: f64) -> f64 {
        let wanted = share * self.count() as f64;
        let mut passed = 0.;
        let zeros = (0., self.zeros);
        let (below, above) = (self.bins().filter(|b| b.0 < 0.), self.bins().filter(|b| b.0 > 0.));
        for (x, count) in below.chain([zeros]).chain(above) {
            passed += count as f64;
            if passed >= wanted {
                return (x + self.width / 2. * f64::from(x != 0.)).clamp(self.low, self.high);
            }
        }
        self.high
    }

    /// Makes bins wide enough for this magnitude.
    fn widen(&mut self, largest: f64) {
        let mut width = self.width;
        while largest >= width * BINS as f64 {
            width *= 2.;
        }
        self.widen_to(width);
    }

    fn widen_to(&mut self, width: f64) {
        let factor = width / self.width;
        if factor <= 1. {
            return;
        }
        for side in [&mut self.below, &mut self.above] {
            let mut wider = vec![0; BINS];
            for (bin, count) in side.iter().enumerate().filter(|(_, count)| **count > 0) {
                wider[(bin as f64 / factor) as usize] += count;
            }
            *side = wider;
        }
        self.width = width;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[&[f32]]) -> Histogram {
        let mut histogram = Histogram::new();
        parts.iter().for_each(|part| histogram.add(part));
        histogram
    }

    #[test]
    fn the_order_in_which_elements_come_makes_no_difference() {
        let parts: [&[f32]; 3] = [&[0., 0.001, -3.], &[700., 0.5], &[-0.25, 12., 0.]];
        let whole = of(&[&parts.concat()]);
        let [a, b, c] = parts;
        assert_eq!(of(&[a, b, c]), whole);
        assert_eq!(of(&[c, b, a]), whole);
        let mut merged = of(&[b]);
        merged.merge(&of(&[a, c]));
        assert_eq!(merged, whole);
        assert_eq!((whole.count(), whole.low, whole.high), (8, -3., f64::from(700f32)));
    }

    #[test]
    fn a_bin_is_at_most_one_part_in_2048_of_the_range() {
        for largest in [1e-30f32, 0.7, 1., 4096., 3e38] {
            let histogram = of(&[&[largest, largest / 3.]]);
            for (x, middle) in [largest / 3., largest].iter().zip(histogram.bins()) {
                let off = (f64::from(*x) - middle.0).abs();
                assert!(off <= f64::from(largest) / 4096., "{largest}: {off}");
            }
        }
    }

    #[test]
    fn quantiles_count_zeros_and_both_signs() {
        let elements: Vec<f32> = (-100..=100).map(|i| i as f32).chain([0.; 799]).collect();
        let histogram = of(&[&elements]);
        for (share, expected) in [(0.001, -100.), (0.05, -51.), (0.5, 0.), (0.95, 50.), (1., 100.)]
        {
            let found = histogram.quantile(share);
            assert!((found - expected).abs() <= 1.1, "{share}: {found}");
        }
    }

    #[test]
    fn of_zeros_alone_everything_is_zero() {
        let histogram = of(&[&[0., -0., 0.]]);
        assert_eq!((histogram.count(), histogram.power(), histogram.quantile(0.999)), (3, 0., 0.));
    }
}
