//! From times measured to choices: arithmetic on numbers that others have measured.

use std::collections::BTreeMap;

use super::Layer;
use super::choice::Choice;

/// A candidate must take so much less time than the estimate's choice to be taken instead: anything
/// less may be noise.
pub const MARGIN: f64 = 0.02;

/// How long a candidate took and, in the same turns, the estimate's choice. In microseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// The candidate.
    pub choice: Choice,
    /// Its time.
    pub us: f64,
    /// The estimate's time.
    pub estimate_us: f64,
}

impl Timing {
    /// The candidate's time as a part of the estimate's; `None` where no clock could say so.
    fn ratio(&self) -> Option<f64> {
        let is_time = |us: f64| us.is_finite() && us > 0.0;
        (is_time(self.us) && is_time(self.estimate_us)).then(|| self.us / self.estimate_us)
    }
}

/// What to take for a layer, and what it was measured against. In microseconds an inference.
#[derive(Debug, Clone, PartialEq)]
pub struct Winner {
    /// What to take.
    pub choice: Choice,
    /// Its time.
    pub us: f64,
    /// The estimate's choice.
    pub estimate: Choice,
    /// Its time.
    pub estimate_us: f64,
}

impl Winner {
    /// The fastest candidate, if it is faster than the estimate's choice by the margin, or else that.
    ///
    /// Each candidate is judged by its ratio to the estimate's choice in the same turns, so that a
    /// machine that slows down or speeds up between them favours none.
    pub fn of(estimate: Choice, timings: &[Timing]) -> Winner {
        let judged = timings.iter().filter_map(|timing| Some((timing, timing.ratio()?)));
        let judged: Vec<(&Timing, f64)> = judged.collect();
        let estimate_us = median(judged.iter().map(|(timing, _)| timing.estimate_us).collect());
        let choice = estimate.clone();
        let stays = Winner { choice, us: estimate_us, estimate, estimate_us };
        match judged.iter().min_by(|(_, a), (_, b)| a.total_cmp(b)) {
            Some((timing, ratio)) if *ratio < 1.0 - MARGIN => {
                Winner { choice: timing.choice.clone(), us: estimate_us * ratio, ..stays }
            }
            Some(_) | None => stays,
        }
    }

    /// Whether something else is taken than the estimate has it.
    pub fn is_changed(&self) -> bool {
        self.choice != self.estimate
    }

    /// The winner with the times of another measurement, if it wins that too, or else the estimate's
    /// choice: the best of many was lucky as well.
    pub fn confirmed(self, us: f64, estimate_us: f64) -> Winner {
        let Winner { choice, estimate, .. } = self;
        Winner::of(estimate, &[Timing { choice, us, estimate_us }])
    }
}

/// The time of a layer of each key: the median over runs of what its steps take together, which are
/// those of its name. Layers of equal key are one, with their mean.
///
/// `steps` are the names of a plan's steps, and `runs` their times in each inference, both in the order
/// of the plan. A layer without steps takes no time.
pub fn layer_times(layers: &[Layer], steps: &[&str], runs: &[Vec<f64>]) -> BTreeMap<String, f64> {
    let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, step) in steps.iter().enumerate() {
        places.entry(step).or_default().push(at);
    }
    let mut kinds: BTreeMap<&str, (usize, Vec<usize>)> = BTreeMap::new();
    for layer in layers {
        let (count, all) = kinds.entry(&layer.key).or_default();
        *count += 1;
        all.extend(places.get(layer.name.as_str()).into_iter().flatten());
    }
    let time = |(key, (count, places)): (&str, (usize, Vec<usize>))| {
        let of_run = |run: &Vec<f64>| {
            places.iter().filter_map(|at| run.get(*at)).sum::<f64>() / count as f64
        };
        (key.to_owned(), median(runs.iter().map(of_run).collect()))
    };
    kinds.into_iter().map(time).collect()
}

/// The middle value, the lower of two; 0 of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn direct(pixels: usize) -> Choice {
        Choice::new(format!("direct {pixels}x1 by weights"))
    }

    /// A table of (candidate, its time, the estimate's).
    fn winner(rows: &[(usize, f64, f64)]) -> (Choice, f64, f64) {
        let timing = |(pixels, us, estimate_us): &(usize, f64, f64)| Timing {
            choice: direct(*pixels),
            us: *us,
            estimate_us: *estimate_us,
        };
        let timings: Vec<Timing> = rows.iter().map(timing).collect();
        let winner = Winner::of(direct(1), &timings);
        (winner.choice, winner.us, winner.estimate_us)
    }

    #[test]
    fn the_fastest_by_its_ratio_wins() {
        let rows = [(2, 90.0, 100.0), (3, 80.0, 100.0), (4, 110.0, 100.0)];
        assert_eq!(winner(&rows), (direct(3), 80.0, 100.0));
        // The machine ran at half its speed while 3 was measured: 2 is the faster one.
        let rows = [(2, 70.0, 100.0), (3, 160.0, 200.0), (4, 60.0, 50.0)];
        assert_eq!(winner(&rows), (direct(2), 70.0, 100.0));
    }

    #[test]
    fn a_gain_within_the_margin_is_none() {
        assert_eq!(winner(&[(2, 99.0, 100.0), (3, 98.0, 100.0)]), (direct(1), 100.0, 100.0));
        assert_eq!(winner(&[(2, 97.9, 100.0)]).0, direct(2));
    }

    #[test]
    fn what_no_clock_says_is_ignored() {
        let rows = [(2, 0.0, 100.0), (3, f64::NAN, 100.0), (4, -1.0, 100.0), (5, 1.0, 0.0)];
        assert_eq!(winner(&rows), (direct(1), 0.0, 0.0));
        assert_eq!(winner(&[]), (direct(1), 0.0, 0.0));
        let infinite = (6, 10.0, f64::INFINITY);
        assert_eq!(winner(&[infinite, (7, 50.0, 100.0)]), (direct(7), 50.0, 100.0));
    }

    #[test]
    fn a_winner_that_does_not_win_again_is_none() {
        let (estimate, choice) = (direct(1), direct(2));
        let winner = Winner {
            choice: choice.clone(),
            us: 80.0,
            estimate: estimate.clone(),
            estimate_us: 100.0,
        };
        let again = winner.clone().confirmed(85.0, 100.0);
        assert_eq!((again.us, again.is_changed()), (85.0, true));
        assert_eq!(again.choice, choice);
        let lost = winner.confirmed(99.0, 100.0);
        assert_eq!((lost.us, lost.is_changed()), (100.0, false));
        assert_eq!(lost.choice, estimate);
    }

    #[test]
    fn times_are_medians_of_what_the_steps_of_a_layer_take() {
        let layer = |name: &str, key: &str| Layer {
            name: name.into(),
            key: key.into(),
            candidates: vec![direct(1)],
            estimates: Vec::new(),
            taken: direct(1),
        };
        let layers = [layer("a", "one"), layer("b", "two"), layer("c", "two"), layer("d", "none")];
        let steps = ["in", "a", "a", "b", "c", "out"];
        let runs = [
            vec![9.0, 1.0, 2.0, 10.0, 30.0, 9.0],
            vec![9.0, 5.0, 5.0, 11.0, 31.0, 9.0],
            vec![9.0, 1.0, 3.0, 90.0, 90.0, 9.0],
        ];
        let times = layer_times(&layers, &steps, &runs);
        let expected = [("none", 0.0), ("one", 4.0), ("two", 21.0)];
        assert_eq!(times, expected.map(|(key, us)| (key.to_owned(), us)).into());
    }
}
