//! Which kinds of layers to round, and how: the cheapest choice that stays within an allowance.

use std::collections::BTreeMap;

use crate::engine::{Choice, Choices, Chosen, Estimate, Layer};

/// A way to compute all layers of a kind.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Way {
    pub(super) choice: Choice,
    /// What all of these layers cost, by an estimate.
    pub(super) cycles: f64,
    /// The squared error of the outputs where these layers alone are computed so; 0 until it is measured.
    pub(super) error: f64,
}

/// Layers of one key, which are computed in the same way.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Kind {
    pub(super) key: String,
    /// The names of the layers.
    pub(super) layers: Vec<String>,
    /// The way in f32 first, then those that round, the cheapest first.
    pub(super) ways: Vec<Way>,
    /// Which of them is taken.
    pub(super) taken: usize,
}

/// The kinds of layers that round, each in its cheapest way.
pub(super) fn kinds(layers: &[Layer]) -> Vec<Kind> {
    let mut kinds: BTreeMap<&str, Vec<&Layer>> = BTreeMap::new();
    for layer in layers.iter().filter(|layer| layer.taken.rounds()) {
        kinds.entry(&layer.key).or_default().push(layer);
    }
    kinds.into_iter().filter_map(|(key, layers)| Kind::of(key, &layers)).collect()
}

impl Kind {
    /// `None` where there is no way in f32, which there always is.
    fn of(key: &str, layers: &[&Layer]) -> Option<Kind> {
        let first = layers.first()?;
        let cheaper = |a: &&Estimate, b: &&Estimate| a.cycles.total_cmp(&b.cycles);
        let exact = first.estimates.iter().filter(|e| !e.choice.rounds()).min_by(cheaper)?;
        let mut rounding: Vec<&Estimate> = first.estimates.iter().collect();
        rounding.retain(|e| e.choice.rounds() && e.cycles < exact.cycles);
        rounding.sort_by(cheaper);
        let way = |estimate: &Estimate| {
            // Of what is taken the tiles may have been measured.
            let is_taken = estimate.choice.algorithm() == first.taken.algorithm();
            let choice = if is_taken { &first.taken } else { &estimate.choice };
            let cycles = estimate.cycles * layers.len() as f64;
            Way { choice: choice.clone(), cycles, error: 0. }
        };
        let mut ways: Vec<Way> = rounding.into_iter().map(way).collect();
        let cycles = exact.cycles * layers.len() as f64;
        ways.insert(0, Way { choice: exact.choice.clone(), cycles, error: 0. });
        let layers = layers.iter().map(|layer| layer.name.clone()).collect();
        let taken = 1.min(ways.len() - 1);
        Some(Kind { key: key.to_owned(), layers, ways, taken })
    }

    /// The way that is taken.
    pub(super) fn way(&self) -> &Way {
        &self.ways[self.taken]
    }

    /// The way with less error whose cycles pay the most, with what it costs for each unit of error less.
    fn better(&self) -> Option<(usize, f64)> {
        let now = self.way();
        let price = |way: &Way| (way.cycles - now.cycles).max(0.) / (now.error - way.error);
        let all = self.ways.iter().enumerate().filter(|(_, way)| way.error < now.error);
        let all = all.map(|(at, way)| (at, price(way)));
        all.min_by(|(_, a), (_, b)| a.total_cmp(b))
    }
}

/// Takes for each kind the cheapest way, and then, one after the other, the ways with less error that cost the least
/// for it, until the sum of the squared errors is within what is allowed.
pub(super) fn fit(kinds: &mut [Kind], allowed: f64) {
    for kind in kinds.iter_mut() {
        kind.taken = 1.min(kind.ways.len() - 1);
    }
    while kinds.iter().map(|kind| kind.way().error).sum::<f64>() > allowed {
        let better = kinds.iter().enumerate().filter_map(|(i, kind)| Some((i, kind.better()?)));
        let cheapest = better.min_by(|(_, (_, a)), (_, (_, b))| a.total_cmp(b));
        let Some((i, (way, _))) = cheapest else { return };
        kinds[i].taken = way;
    }
}

/// What is taken, for the compiler; `because` says what to tell the reader of a kind.
pub(super) fn choices(kinds: &[Kind], because: impl Fn(&Kind) -> String) -> Choices {
    let chosen = |kind: &Kind| {
        let choice = kind.way().choice.clone();
        (kind.key.clone(), Chosen { choice, because: because(kind) })
    };
    kinds.iter().map(chosen).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::read_choice;

    const EXACT: &str = "direct 14x2 by weights";

    fn kind(key: &str, ways: &[(f64, f64)]) -> Kind {
        let way = |(at, &(cycles, error)): (usize, &(f64, f64))| {
            let text = if at == 0 { EXACT.to_owned() } else { format!("{EXACT} in bf16") };
            Way { choice: read_choice(&text).unwrap(), cycles, error }
        };
        let ways = ways.iter().enumerate().map(way).collect();
        Kind { key: key.into(), layers: vec![key.into()], ways, taken: 0 }
    }

    fn taken(kinds: &[Kind]) -> Vec<usize> {
        kinds.iter().map(|kind| kind.taken).collect()
    }

    #[test]
    fn the_error_that_costs_the_least_to_lose_goes_first() {
        let mut kinds = [
            kind("cheap", &[(100., 0.), (90., 4.)]),
            kind("dear", &[(100., 0.), (50., 4.)]),
            kind("two ways", &[(100., 0.), (50., 4.), (60., 1.)]),
        ];
        for (allowed, expected) in
            [(12., [1, 1, 1]), (11., [0, 1, 1]), (6., [0, 1, 2]), (4.9, [0, 0, 2]), (0., [0, 0, 0])]
        {
            fit(&mut kinds, allowed);
            assert_eq!(taken(&kinds), expected, "{allowed}");
        }
    }

    #[test]
    fn an_error_that_is_no_number_is_never_within() {
        let mut kinds =
            [kind("a", &[(2., 0.), (1., f64::INFINITY)]), kind("b", &[(2., 0.), (1., 1.)])];
        fit(&mut kinds, 1.);
        assert_eq!(taken(&kinds), [0, 1]);
    }

    #[test]
    fn layers_that_round_are_kinds_with_their_ways_by_cost() {
        let estimate = |text: &str, cycles| Estimate {
            way: String::new(),
            choice: read_choice(text).unwrap(),
            cycles,
        };
        let (winograd, direct) =
            ("F(4x4) 7x2 rows 7 images 1 in bf16", "direct 14x2 by weights in bf16");
        let layer = |name: &str, taken: &str| Layer {
            name: name.into(),
            key: "key".into(),
            candidates: vec![read_choice(taken).unwrap()],
            estimates: vec![
                estimate(direct, 6.),
                estimate(winograd, 5.),
                estimate(EXACT, 10.),
                estimate("F(4x4) 7x2 rows 7 images 1", 8.),
                estimate("F(2x2) 7x2 rows 7 images 1 in bf16", 9.),
            ],
            taken: read_choice(taken).unwrap(),
        };
        let tuned = "F(4x4) 7x2 rows 14 images 1 in bf16";
        let kinds = kinds(&[layer("a", tuned), layer("b", tuned)]);
        let ways: Vec<(&str, f64)> =
            kinds[0].ways.iter().map(|way| (way.choice.as_str(), way.cycles)).collect();
        assert_eq!(ways, [("F(4x4) 7x2 rows 7 images 1", 16.), (tuned, 10.), (direct, 12.)]);
        assert_eq!((kinds.len(), kinds[0].layers.len()), (1, 2));
        assert!(super::kinds(&[layer("a", EXACT)]).is_empty());
    }
}
