//! Weights to i8 with a scale for each channel of the result, and biases to i32.

use super::network::Floats;
use crate::machine::LARGEST_PAIR;

/// The largest weight; -128 is left out, so that both signs reach as far.
const LARGEST: f64 = 127.;
/// The largest bias, with room for the sum that it is added to.
const LARGEST_BIAS: f64 = (1 << 30) as f64;

/// What a layer computes with.
pub(super) struct Rounded {
    pub(super) weights: Vec<i8>,
    /// One a channel of the result.
    pub(super) scales: Vec<f32>,
    pub(super) bias: Vec<i32>,
    pub(super) bias_scales: Vec<f32>,
    /// Power of the weights over that of their errors.
    pub(super) signal_to_noise: f64,
}

/// Rounds the weights of a convolution of `groups` groups, whose input is rounded with `scale`.
/// `channel_means` of the input, where they are known, say by how much the mean of each result would
/// change: its bias makes up for that.
pub(super) fn round(
    weights: &Floats,
    bias: Option<&Floats>,
    (groups, scale): (usize, f32),
    channel_means: &[f64],
) -> Rounded {
    let rows = weights.dims.first().map_or(0, |rows| *rows as usize).max(1);
    let row = (weights.values.len() / rows).max(1);
    let inputs = weights.dims.get(1).map_or(1, |inputs| *inputs as usize).max(1);
    let per_group = (rows / groups.max(1)).max(1);
    let mut rounded = Rounded::empty(weights.values.len());
    let (mut signal, mut noise) = (0., 0.);
    for (index, row) in weights.values.chunks(row).enumerate() {
        let float = bias.and_then(|bias| bias.values.get(index)).copied().map_or(0., f64::from);
        let taps = (row.len() / inputs).max(1);
        let weight_scale = best_scale(row, taps, scale_of(row, float, scale));
        let errors = rounded.push_row(row, taps, weight_scale);
        signal += row.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>();
        noise += errors.iter().map(|error| error.powi(2)).sum::<f64>();
        let means = channel_means.iter().skip(index / per_group * inputs).take(inputs);
        let errors = errors.chunks(taps);
        let shift: f64 = errors.zip(means).map(|(e, mean)| e.iter().sum::<f64>() * mean).sum();
        let bias_scale = scale * weight_scale;
        rounded.bias_scales.push(bias_scale);
        rounded.bias.push(((float - shift) / f64::from(bias_scale)).round_ties_even() as i32);
    }
    rounded.signal_to_noise = signal / noise;
    rounded
}

/// Rounds the weights of a dense layer, whose input and bias stay as they are. `axis` has the channels of
/// the result.
pub(super) fn round_dense(weights: &Floats, axis: usize) -> Rounded {
    let channels = weights.dims.get(axis).map_or(0, |channels| *channels as usize).max(1);
    let depth = (weights.values.len() / channels).max(1);
    // Rows follow each other where channels are outermost, and lie side by side elsewhere.
    let (row, step) = if axis == 0 { (depth, 1) } else { (1, channels) };
    let mut rounded = Rounded::empty(weights.values.len());
    let mut steps = vec![0; weights.values.len()];
    let (mut signal, mut noise) = (0., 0.);
    for channel in 0..channels {
        let at = || (channel * row..).step_by(step).take(depth);
        let floats: Vec<f32> = at().filter_map(|at| weights.values.get(at)).copied().collect();
        // A channel as a whole, of which no weights are multiplied in pairs.
        let errors = rounded.push_row(&floats, depth, scale_of(&floats, 0., 1.));
        signal += floats.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>();
        noise += errors.iter().map(|error| error.powi(2)).sum::<f64>();
        at().zip(&rounded.weights[channel * depth..]).for_each(|(at, step)| steps[at] = *step);
    }
    Rounded { weights: steps, signal_to_noise: signal / noise, ..rounded }
}

impl Rounded {
    fn empty(size: usize) -> Rounded {
        Rounded {
            weights: Vec::with_capacity(size),
            scales: Vec::new(),
            bias: Vec::new(),
            bias_scales: Vec::new(),
            signal_to_noise: 0.,
        }
    }

    /// Rounds one row; gives what is added to each weight by that.
    fn push_row(&mut self, row: &[f32], taps: usize, scale: f32) -> Vec<f64> {
        self.scales.push(scale);
        let steps = steps(row, taps, scale);
        self.weights.extend(steps.iter().map(|steps| *steps as i8));
        errors(row, &steps, scale).collect()
    }
}

/// How many times the scale each weight of a row `[channels, taps]` is, rounded. Two neighbouring channels have
/// weights that add up to [`LARGEST_PAIR`] at most on either side of 0: then products of bytes without signs
/// can be added up in an i16, as CPUs without instructions for four products do.
fn steps(row: &[f32], taps: usize, scale: f32) -> Vec<f64> {
    let mut steps = steps_apart(row, scale);
    let exact = |weight: f32| (f64::from(weight) / f64::from(scale)).abs();
    let largest = f64::from(LARGEST_PAIR);
    for (pair, weights) in steps.chunks_exact_mut(2 * taps).zip(row.chunks_exact(2 * taps)) {
        let (first, second) = pair.split_at_mut(taps);
        for (tap, (a, b)) in first.iter_mut().zip(second).enumerate() {
            if (*a + *b).abs() > largest {
                // The nearest pair on the line that they have to be on.
                let apart = exact(weights[tap]) - exact(weights[taps + tap]);
                let of_first = f64::midpoint(largest, apart).round_ties_even();
                let of_first = of_first.clamp(1., LARGEST);
                [*a, *b] = [a.signum() * of_first, b.signum() * (largest - of_first)];
            }
        }
    }
    steps
}

/// The same of each weight for itself.
fn steps_apart(row: &[f32], scale: f32) -> Vec<f64> {
    let steps = |weight: &f32| (f64::from(*weight) / f64::from(scale)).round_ties_even();
    row.iter().map(|weight| steps(weight).clamp(-LARGEST, LARGEST)).collect()
}

/// What is added to each weight of a row by rounding.
fn errors(row: &[f32], steps: &[f64], scale: f32) -> impl Iterator<Item = f64> {
    let pairs = row.iter().zip(steps);
    pairs.map(move |(weight, steps)| steps * f64::from(scale) - f64::from(*weight))
}

/// The least scale, where no pair is cut off with it; or else the one from there on with the smallest squared
/// error: the larger it is, the fewer are.
fn best_scale(row: &[f32], taps: usize, least: f32) -> f32 {
    /// The last is twice the least, with which none is.
    const TRIED: u8 = 32;
    if steps(row, taps, least) == steps_apart(row, least) {
        return least;
    }
    let tried = (0..=TRIED).map(|n| least * (1. + f32::from(n) / f32::from(TRIED)));
    let error = |scale: f32| -> f64 {
        errors(row, &steps(row, taps, scale), scale).map(|error| error.powi(2)).sum()
    };
    let all = tried.map(|scale| (scale, error(scale)));
    all.min_by(|(_, a), (_, b)| a.total_cmp(b)).map_or(least, |(scale, _)| scale)
}

/// The scale of a row: the least that its weights and its bias fit.
fn scale_of(row: &[f32], bias: f64, input_scale: f32) -> f32 {
    let largest = row.iter().fold(0f32, |largest, weight| largest.max(weight.abs()));
    let for_bias = bias.abs() / LARGEST_BIAS / f64::from(input_scale);
    let scale = (f64::from(largest) / LARGEST).max(for_bias) as f32;
    // A row of zeros may have any.
    if (scale * input_scale).is_normal() { scale } else { 1. }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(dims: &[i64], values: &[f32]) -> Floats {
        Floats { dims: dims.to_vec(), values: values.to_vec() }
    }

    #[test]
    fn each_row_has_the_scale_of_its_largest_weight() {
        let weights = floats(&[3, 1, 1, 2], &[-1.27, 0.014, 0., 0., 254., 3.]);
        let bias = floats(&[3], &[0.5, 0., 1e9]);
        let rounded = round(&weights, Some(&bias), (1, 0.5), &[]);
        assert_eq!(rounded.weights, [-127, 1, 0, 0, 127, 2]);
        assert_eq!(rounded.scales, [0.01, 1., 2.]);
        assert_eq!(rounded.bias_scales, [0.005, 0.5, 1.]);
        assert_eq!(rounded.bias, [100, 0, 1_000_000_000]);
    }

    #[test]
    fn channels_of_dense_layers_are_rows_or_columns() {
        let rows = round_dense(&floats(&[2, 3], &[1.27, -0.5, 0.01, 0., 254., 3.]), 0);
        assert_eq!((rows.weights, rows.scales), (vec![127, -50, 1, 0, 127, 2], vec![0.01, 2.]));
        let columns = round_dense(&floats(&[3, 2], &[1.27, 0., -0.5, 254., 0.01, 3.]), 1);
        assert_eq!(
            (columns.weights, columns.scales),
            (vec![127, 0, -50, 127, 1, 2], vec![0.01, 2.])
        );
        assert!(rows.bias.is_empty() && rows.signal_to_noise == columns.signal_to_noise);
    }

    #[test]
    fn a_bias_that_is_large_beside_its_weights_fits_its_integers() {
        let rounded = round(&floats(&[1, 1], &[1e-9]), Some(&floats(&[1], &[40.])), (1, 1.), &[]);
        let value = f64::from(rounded.bias[0]) * f64::from(rounded.bias_scales[0]);
        assert!(rounded.bias[0].unsigned_abs() <= 1 << 30 && (value - 40.).abs() < 1e-4, "{value}");
    }

    /// [`LARGEST_PAIR`] of 255 fits an i16, one more does not.
    #[test]
    fn neighbouring_weights_add_up_to_what_fits() {
        assert!(255 * LARGEST_PAIR as i32 <= i16::MAX.into());
        assert!(255 * (LARGEST_PAIR as i32 + 1) > i16::MAX.into());
        let row = |values: &[f32]| {
            let weights = floats(&[1, 6, 1, 1], values);
            round(&weights, None, (1, 1.), &[]).weights
        };
        // Signs that differ, pairs that fit, and the other two of four.
        let fitting = [127., -127., 100., 28., 1., 127.];
        assert_eq!(row(&fitting), fitting.map(|x| x as i8));
        // What is too much is taken from both, which is less than others would lose by a larger scale.
        let mut weights: [f32; 4096] = std::array::from_fn(|n| (n % 61) as f32);
        weights[..6].copy_from_slice(&[127., -127., -100., -40., 0., 50.]);
        let weights = floats(&[1, 4096, 1, 1], &weights);
        let cut = round(&weights, None, (1, 1.), &[]).weights;
        assert_eq!(cut[..8], [127, -127, -94, -34, 0, 50, 6, 7]);
        // Where there are no others, the scale is about twice as large.
        let few = round(&floats(&[1, 2, 1, 1], &[4., 4.]), None, (1, 1.), &[]);
        let stands_for = few.weights.iter().map(|weight| f32::from(*weight) * few.scales[0]);
        assert!(few.weights.iter().all(|weight| (63..=64).contains(weight)), "{:?}", few.weights);
        assert!(stands_for.into_iter().all(|weight| (3.95..4.05).contains(&weight)));
    }

    #[test]
    fn biases_make_up_for_the_mean_error_of_each_group() {
        // Two groups of one channel each; errors of the small weights are -0.4 and 0.3 steps.
        let weights = floats(&[2, 1, 1, 2], &[127., 0.4, 127., 0.7]);
        let rounded = round(&weights, None, (2, 0.01), &[10., 100.]);
        assert_eq!(rounded.weights, [127, 0, 127, 1]);
        assert_eq!(rounded.bias, [400, -3000]);
    }
}
