//! Running the float model on samples, and what its values are then.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use indicatif::ProgressBar;

use crate::engine::quantize::{Histogram, Point, Range, Seen};
use crate::exit::{Failure, Outcome};
use crate::program::{Program, Session};
use crate::samples::{Feed, Read, Samples, rows};
use crate::tensors::{Array, Spec};

/// What was seen of a model's values.
pub(crate) struct Observed {
    /// By the names of points.
    values: BTreeMap<String, Value>,
    /// The samples.
    pub(crate) read: Read,
}

/// What was seen of one value.
struct Value {
    histogram: Histogram,
    /// Of each channel.
    sums: Vec<f64>,
    /// Elements of a channel.
    count: usize,
}

impl Observed {
    /// The best range for each point. Points that share a grid get one for all their elements.
    pub(crate) fn ranges(&self, points: &[Point]) -> BTreeMap<String, Range> {
        let mut merged: BTreeMap<&str, Histogram> = BTreeMap::new();
        for point in points {
            if let Some(value) = self.values.get(&point.name) {
                let whole = merged.entry(&point.grid).or_default();
                whole.merge(&value.histogram);
            }
        }
        let chosen: BTreeMap<&str, Range> =
            merged.iter().map(|(name, whole)| (*name, Range::choose(whole))).collect();
        let range = |point: &Point| Some((point.name.clone(), *chosen.get(point.grid.as_str())?));
        points.iter().filter_map(range).collect()
    }

    /// What the compiler is told of each point.
    pub(crate) fn seen(&self, ranges: &BTreeMap<String, Range>) -> BTreeMap<String, Seen> {
        let means = |name: &String| {
            let value = self.values.get(name);
            let mean = |v: &Value| v.sums.iter().map(|sum| sum / v.count.max(1) as f64).collect();
            value.map(mean).unwrap_or_default()
        };
        let seen = |(name, range): (&String, &Range)| {
            (name.clone(), Seen { grid: range.grid, channel_means: means(name) })
        };
        ranges.iter().map(seen).collect()
    }
}

/// Runs a model that has `points` for outputs, and counts their elements.
///
/// # Errors
/// What is wrong with the samples for this model, and values that are infinite or not a number.
pub(crate) fn observe(
    (program, threads): (&Program, NonZeroUsize),
    points: &[Point],
    (samples, feed): (&Samples, &mut Feed<'_>),
    progress: &ProgressBar,
) -> Outcome<Observed> {
    let mut session = Session::new(program, threads)?;
    let mut values: BTreeMap<String, Value> = BTreeMap::new();
    let mut done = 0;
    let read = samples.each(feed, &mut |inputs, count| {
        let outputs = session.run(inputs.to_vec())?;
        for (spec, output) in program.outputs().iter().zip(outputs) {
            if points.iter().any(|point| point.name == spec.name) {
                let value = values.entry(spec.name.clone()).or_insert_with(Value::new);
                value.add(spec, &rows(output, count, inputs))?;
            }
        }
        done += count;
        progress.set_message(format!("calibrating, {done} samples"));
        Ok(())
    })?;
    Ok(Observed { values, read })
}

impl Value {
    fn new() -> Value {
        Value { histogram: Histogram::new(), sums: Vec::new(), count: 0 }
    }

    /// Counts the elements of an array `[N, C, …]`.
    fn add(&mut self, spec: &Spec, array: &Array) -> Outcome {
        let elements = array.to_f32().unwrap_or_default();
        if elements.iter().any(|x| !x.is_finite()) {
            let what = format!("`{}` is infinite or not a number for a sample", spec.name);
            return Err(Failure::Failed(what));
        }
        self.histogram.add(&elements);
        let [samples, channels, plane @ ..] = array.shape.as_slice() else { return Ok(()) };
        let plane: usize = plane.iter().product::<usize>().max(1);
        self.sums.resize(*channels, 0.);
        for (index, plane) in elements.chunks(plane).enumerate() {
            self.sums[index % channels] += plane.iter().copied().map(f64::from).sum::<f64>();
        }
        self.count += samples * plane;
        Ok(())
    }
}
