//! Where the grid of a value ends: what is beyond is cut off, and the rest is rounded the more finely the
//! less is kept. Several ways propose ranges, and the one with the least squared error is taken.

use super::{Grid, Histogram};

/// Shares of the elements that ranges by percentile keep.
const SHARES: [(&str, f64); 3] = [("99.9 %", 0.999), ("99.99 %", 0.9999), ("99.999 %", 0.99999)];
/// Ends that are tried for each side: this many fractions of the outermost element.
const FRACTIONS: u32 = 100;
/// Each end is sought with the other held, so many times over.
const SWEEPS: usize = 2;
/// Numbers that a grid has.
const NUMBERS: usize = 256;
/// Bins between which entropies are compared.
const ENTROPY_BINS: usize = 2048;

/// A range that was chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// What it becomes.
    pub grid: Grid,
    /// What proposed it.
    pub way: &'static str,
    /// Power of the elements over that of their errors.
    pub signal_to_noise: f64,
}

impl Range {
    /// The best range for elements like those counted.
    pub fn choose(histogram: &Histogram) -> Range {
        let (low, high) = (histogram.low, histogram.high);
        let mut proposals = vec![("extremes", (low, high))];
        for (way, share) in SHARES {
            let ends = (histogram.quantile(1. - share).min(0.), histogram.quantile(share).max(0.));
            proposals.push((way, (ends.0.max(low), ends.1)));
        }
        proposals.push(("entropy", least_entropy(histogram)));
        proposals.push(("least squares", least_squares(histogram)));
        let power = histogram.power();
        let ranges = proposals.into_iter().map(|(way, ends)| {
            let (grid, error) = (Grid::spanning(ends.0, ends.1), error(histogram, ends));
            (error, Range { grid, way, signal_to_noise: power / error })
        });
        // The first of equals: the simplest.
        let best = ranges.reduce(|best, next| if next.0 < best.0 { next } else { best });
        best.map_or_else(
            || Range { grid: Grid::spanning(low, high), way: "extremes", signal_to_noise: 0. },
            |(_, range)| range,
        )
    }
}

/// The squared errors of all elements on the grid of a range.
fn error(histogram: &Histogram, (low, high): (f64, f64)) -> f64 {
    let grid = Grid::spanning(low, high);
    histogram.bins().map(|(x, count)| (x - grid.nearest(x)).powi(2) * count as f64).sum()
}

/// The range with the least squared error, of those that end at fractions of the outermost elements.
fn least_squares(histogram: &Histogram) -> (f64, f64) {
    let (mut low, mut high) = (histogram.low, histogram.high);
    for _ in 0..SWEEPS {
        high = best(histogram.high, |end| error(histogram, (low, end)));
        low = best(histogram.low, |end| error(histogram, (end, high)));
    }
    (low, high)
}

/// The fraction of `whole` where `cost` is least, the largest of equals.
fn best(whole: f64, cost: impl Fn(f64) -> f64) -> f64 {
    let ends = (1..=FRACTIONS).rev().map(|part| whole * f64::from(part) / f64::from(FRACTIONS));
    let costs = ends.map(|end| (cost(end), end));
    costs
        .reduce(|best, next| if next.0 < best.0 { next } else { best })
        .map_or(whole, |(_, end)| end)
}

/// The range, cut at the same fraction on both sides, whose distribution loses the least information on
/// its grid: the least Kullback-Leibler divergence, as TensorRT calibrates.
fn least_entropy(histogram: &Histogram) -> (f64, f64) {
    let Histogram { low, high, .. } = histogram;
    let fraction = best(1., |part| divergence(histogram, (low * part, high * part)));
    (low * fraction, high * fraction)
}

/// The divergence of what a grid makes of a distribution, from the distribution with all that is beyond
/// the range at its ends. Zeros count for nothing, as they are exact.
fn divergence(histogram: &Histogram, (low, high): (f64, f64)) -> f64 {
    let mut kept = vec![0f64; ENTROPY_BINS];
    let mut cut = vec![0f64; ENTROPY_BINS];
    let scale = ENTROPY_BINS as f64 / (high - low).max(f64::MIN_POSITIVE);
    for (x, count) in histogram.bins() {
        let bin = (((x - low) * scale).max(0.) as usize).min(ENTROPY_BINS - 1);
        cut[bin] += count as f64;
        if (low..=high).contains(&x) {
            kept[bin] += count as f64;
        }
    }
    let coarse = coarse(&kept);
    let (all, left): (f64, f64) = (cut.iter().sum(), coarse.iter().sum());
    let term = |(p, q): (&f64, &f64)| match (*p / all, *q / left) {
        (p, _) if p <= 0. => 0.,
        // What the grid has no number for is as unlikely as can be told.
        (p, q) => p * (p / q.max(1e-9)).ln(),
    };
    cut.iter().zip(&coarse).map(term).sum()
}

/// What remains of a distribution on as many numbers as a grid has: bins of one number share its mass.
fn coarse(kept: &[f64]) -> Vec<f64> {
    let mut coarse = kept.to_vec();
    for bins in coarse.chunks_mut(ENTROPY_BINS / NUMBERS) {
        let filled = bins.iter().filter(|mass| **mass > 0.).count().max(1);
        let each = bins.iter().sum::<f64>() / filled as f64;
        bins.iter_mut().filter(|mass| **mass > 0.).for_each(|mass| *mass = each);
    }
    coarse
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(elements: impl IntoIterator<Item = f32>) -> Histogram {
        let mut histogram = Histogram::new();
        histogram.add(&elements.into_iter().collect::<Vec<f32>>());
        histogram
    }

    fn top(range: Range) -> f64 {
        f64::from(range.grid.scale) * f64::from(255 - range.grid.zero)
    }

    #[test]
    fn evenly_spread_elements_keep_their_whole_range() {
        let range = Range::choose(&of((0..100_000).map(|i| i as f32 / 1e5 * 6.)));
        assert_eq!(range.grid.zero, 0);
        assert!((top(range) - 6.).abs() < 0.07, "{range:?}");
        // An even distribution of errors over a step has a twelfth of its square.
        let expected = (6f64 * 6. / 3.) / ((6. / 255f64).powi(2) / 12.);
        assert!((range.signal_to_noise / expected - 1.).abs() < 0.1, "{range:?}");
    }

    #[test]
    fn a_single_outlier_is_cut_off() {
        let range = Range::choose(&of((0..1_000_000).map(|i| i as f32 / 1e6).chain([50.])));
        assert!(top(range) < 30. && top(range) > 1., "{range:?}");
        let all = error(&of((0..1_000_000).map(|i| i as f32 / 1e6).chain([50.])), (0., 50.));
        assert!(range.signal_to_noise > 1e6 / 3. / all, "{range:?}");
    }

    #[test]
    fn a_normal_distribution_is_cut_where_the_literature_says() {
        // Twelve numbers of a linear congruence, less their mean, are nearly normal.
        let mut state = 1u64;
        let mut next = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1 << 24) as f32
        };
        let normal: Vec<f32> =
            (0..300_000).map(|_| (0..12).map(|_| next()).sum::<f32>() - 6.).collect();
        let range = Range::choose(&of(normal));
        // 8 bits of a Laplacian or a normal distribution: 40 dB and more; clipping near 4 deviations.
        assert!((3.3..4.6).contains(&top(range)), "{range:?}");
        assert!((38. ..44.).contains(&(10. * range.signal_to_noise.log10())), "{range:?}");
    }

    #[test]
    fn what_is_never_negative_starts_at_zero() {
        let range = Range::choose(&of([0., 0., 0.5, 3., 2.]));
        assert_eq!(range.grid.zero, 0);
        assert_eq!(Range::choose(&of([0., 0.])).grid, Grid { scale: 1., zero: 0 });
    }

    #[test]
    fn no_proposal_is_better_than_the_choice() {
        let elements: Vec<f32> =
            (0..20_000).map(|i| ((i * 7919) % 2003) as f32 / 100. - 5.).collect();
        let histogram = of(elements.into_iter().chain([-40., 90.]));
        let range = Range::choose(&histogram);
        let error_of = |noise: f64| histogram.power() / noise;
        let chosen = error_of(range.signal_to_noise);
        let ends =
            [(histogram.low, histogram.high), least_entropy(&histogram), least_squares(&histogram)];
        for ends in ends {
            assert!(chosen <= error(&histogram, ends) * 1.000_001, "{range:?} {ends:?}");
        }
    }
}
