//! One round for each candidate, and one for what has won. What each round measures is kept, so that tuning that is
//! stopped goes on where it was.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use super::race::{Contender, race};
use crate::engine::{Choice, Choices, Chosen, Layer, Model, Settings, Timing, Winner};
use crate::exit::Outcome;
use crate::model_file::ModelFile;

/// What was measured, by the key of the layer.
pub(super) type Timings = BTreeMap<String, Vec<Timing>>;

/// Candidates against what the estimates choose.
pub(super) struct Rounds<'r> {
    pub(super) file: &'r ModelFile,
    pub(super) model: &'r Model,
    pub(super) settings: &'r Settings,
    pub(super) layers: &'r [Layer],
    pub(super) threads: NonZeroUsize,
}

impl Rounds<'_> {
    /// What wins for the layers that have no winner yet, beside what is; `timings` has what was measured of them before,
    /// by key. `say` hears how far it is, and `keep` after each round all that was measured.
    ///
    /// # Errors
    /// Those of compiling and running.
    pub(super) fn winners(
        &self,
        cached: &Choices,
        missing: &[&Layer],
        mut timings: Timings,
        say: &dyn Fn(String),
        keep: &mut dyn FnMut(&Timings),
    ) -> Outcome<BTreeMap<String, Winner>> {
        let left = missing.iter().map(|layer| unmeasured(layer, &timings).count()).max();
        let rounds = left.unwrap_or(0) + 1;
        let base = self.contender(cached, BTreeMap::new())?;
        for round in 1..rounds {
            say(format!("round {round} of {rounds}"));
            let candidate = |layer: &&Layer| {
                Some((layer.key.clone(), unmeasured(layer, &timings).next()?.clone()))
            };
            let candidates: BTreeMap<_, _> = missing.iter().filter_map(candidate).collect();
            let times = self.times(&base, cached, &candidates)?;
            for (key, choice) in &candidates {
                let [estimate_us, us] = times(key);
                let timing = Timing { choice: choice.clone(), us, estimate_us };
                timings.entry(key.clone()).or_default().push(timing);
            }
            keep(&timings);
        }
        let winner = |layer: &&Layer| {
            let timings = timings.get(&layer.key).map_or(&[][..], Vec::as_slice);
            Some((layer.key.clone(), Winner::of(layer.candidates.first()?.clone(), timings)))
        };
        let mut winners: BTreeMap<String, Winner> = missing.iter().filter_map(winner).collect();
        say(format!("round {rounds} of {rounds}"));
        let changed = winners.iter().filter(|(_, winner)| winner.is_changed());
        let changed: BTreeMap<_, _> =
            changed.map(|(key, w)| (key.clone(), w.choice.clone())).collect();
        if !changed.is_empty() {
            let times = self.times(&base, cached, &changed)?;
            for (key, winner) in winners.iter_mut().filter(|(_, winner)| winner.is_changed()) {
                let [estimate_us, us] = times(key);
                *winner = winner.clone().confirmed(us, estimate_us);
            }
        }
        Ok(winners)
    }

    fn contender(&self, cached: &Choices, others: BTreeMap<String, Choice>) -> Outcome<Contender> {
        let mut choices = cached.clone();
        let others = others.into_iter();
        let chosen = |choice| Chosen { choice, because: String::new() };
        choices.extend(others.map(|(key, choice)| (key, chosen(choice))));
        Contender::new(self.file, self.model, self.settings, choices)
    }

    /// The times of layers by key, in the base and with these choices.
    fn times(
        &self,
        base: &Contender,
        cached: &Choices,
        others: &BTreeMap<String, Choice>,
    ) -> Outcome<impl Fn(&str) -> [f64; 2]> {
        let other = self.contender(cached, others.clone())?;
        let times = race([base, &other], self.layers, self.threads)?;
        Ok(move |key: &str| times.each_ref().map(|all| all.get(key).copied().unwrap_or(0.0)))
    }
}

/// The candidates of a layer that are still to be measured beside the first.
fn unmeasured<'l>(layer: &'l Layer, timings: &Timings) -> impl Iterator<Item = &'l Choice> {
    let known = timings.get(&layer.key).map_or(&[][..], Vec::as_slice);
    let known: Vec<Choice> = known.iter().map(|timing| timing.choice.clone()).collect();
    layer.candidates.iter().skip(1).filter(move |candidate| !known.contains(candidate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::read_choice;

    #[test]
    fn what_was_measured_is_not_measured_again() {
        let names =
            ["direct 6x2 by weights", "F(4x4) 14x2 rows 7 images 1", "direct 4x2 by weights"];
        let candidates = names.map(|name| read_choice(name).unwrap()).to_vec();
        let layer = Layer {
            name: "y".into(),
            key: "one".into(),
            taken: candidates[0].clone(),
            candidates: candidates.clone(),
            estimates: Vec::new(),
        };
        let left =
            |timings: &Timings| -> Vec<Choice> { unmeasured(&layer, timings).cloned().collect() };
        assert_eq!(left(&Timings::new()), candidates[1..]);
        let timing = Timing { choice: candidates[1].clone(), us: 1.0, estimate_us: 2.0 };
        let mut timings = Timings::from([("one".into(), vec![timing.clone()])]);
        assert_eq!(left(&timings), candidates[2..]);
        timings.get_mut("one").unwrap().push(Timing { choice: candidates[2].clone(), ..timing });
        assert_eq!(left(&timings), []);
    }
}
