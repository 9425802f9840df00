//! One round for each candidate, and one for what has won.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use super::race::{Contender, race};
use crate::engine::{Choice, Choices, Chosen, Layer, Model, Settings, Timing, Winner};
use crate::exit::Outcome;
use crate::model_file::ModelFile;

/// Candidates against what the estimates choose.
pub(super) struct Rounds<'r> {
    pub(super) file: &'r ModelFile,
    pub(super) model: &'r Model,
    pub(super) settings: &'r Settings,
    pub(super) layers: &'r [Layer],
    pub(super) threads: NonZeroUsize,
}

impl Rounds<'_> {
    /// What wins for the layers that are not in the cache, beside what is; `say` hears how far it is.
    ///
    /// # Errors
    /// Those of compiling and running.
    pub(super) fn winners(
        &self,
        cached: &Choices,
        missing: &[&Layer],
        say: &dyn Fn(String),
    ) -> Outcome<BTreeMap<String, Winner>> {
        let rounds = missing.iter().map(|layer| layer.candidates.len()).max().unwrap_or(1);
        let base = self.contender(cached, BTreeMap::new())?;
        let mut timings: BTreeMap<&str, Vec<Timing>> = BTreeMap::new();
        for round in 1..rounds {
            say(format!("round {round} of {rounds}"));
            let candidate =
                |layer: &&Layer| Some((layer.key.clone(), layer.candidates.get(round)?.clone()));
            let candidates: BTreeMap<_, _> = missing.iter().filter_map(candidate).collect();
            let times = self.times(&base, cached, &candidates)?;
            for layer in missing {
                let Some(choice) = candidates.get(&layer.key) else { continue };
                let [estimate_us, us] = times(&layer.key);
                let timing = Timing { choice: choice.clone(), us, estimate_us };
                timings.entry(&layer.key).or_default().push(timing);
            }
        }
        let winner = |layer: &&Layer| {
            let timings = timings.get(layer.key.as_str()).map_or(&[][..], Vec::as_slice);
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
