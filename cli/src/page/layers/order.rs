//! The order of the vertices of each layer, from left to right.

use super::Layers;

/// How often the layers are ordered anew, beginning with one order of boxes.
const SWEEPS: usize = 12;
/// How many orders are begun with, as long as lines cross, and up to how many vertices.
const BEGINNINGS: usize = 40;
const FEW: usize = 400;

impl Layers<'_> {
    /// Orders each row.
    pub(super) fn order(&mut self) {
        let beginnings = if self.layer.len() <= FEW { BEGINNINGS } else { 1 };
        let mut best: Option<(usize, Vec<Vec<usize>>)> = None;
        for beginning in 0..beginnings {
            self.first_order(beginning);
            let (crossings, rows) = self.improved();
            if best.as_ref().is_none_or(|(least, _)| crossings < *least) {
                best = Some((crossings, rows));
            }
            if crossings == 0 {
                break;
            }
        }
        self.rows = best.map(|(_, rows)| rows).unwrap_or_default();
    }

    /// The best rows that are met when each is sorted by its neighbours, with how many lines cross then.
    fn improved(&mut self) -> (usize, Vec<Vec<usize>>) {
        let mut best = (self.crossings(), self.rows.clone());
        for sweep in 0..SWEEPS {
            if best.0 == 0 {
                break;
            }
            let down = sweep % 2 == 0;
            let places = 0..self.rows.len();
            let places: Vec<usize> = if down { places.collect() } else { places.rev().collect() };
            for row in places {
                self.sort_row(row, down);
            }
            self.swap_neighbours();
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.rows.clone());
            }
        }
        best
    }

    /// As met from above: at the first beginning the longest way first, at others in any order.
    fn first_order(&mut self, beginning: usize) {
        self.rows.iter_mut().for_each(Vec::clear);
        let rank = |layers: &Self, v: usize| match beginning {
            0 => (layers.depth[v], std::cmp::Reverse(v)),
            _ => (shuffled(v, beginning), std::cmp::Reverse(v)),
        };
        let mut seen = vec![false; self.layer.len()];
        let roots = (0..self.layer.len()).filter(|v| self.above[*v].is_empty());
        let mut waiting: Vec<usize> = roots.collect();
        waiting.sort_by_key(|v| (std::cmp::Reverse(self.layer[*v]), rank(self, *v)));
        while let Some(v) = waiting.pop() {
            if std::mem::replace(&mut seen[v], true) {
                continue;
            }
            self.rows[self.layer[v]].push(v);
            let mut next = self.below[v].clone();
            next.sort_by_key(|v| rank(self, *v));
            waiting.extend(next);
        }
    }

    pub(super) fn places(&self) -> Vec<usize> {
        let mut places = vec![0; self.layer.len()];
        for row in &self.rows {
            for (place, v) in row.iter().enumerate() {
                places[*v] = place;
            }
        }
        places
    }

    /// Sorts a row by the mean place of what its vertices are connected with above, or below.
    fn sort_row(&mut self, row: usize, down: bool) {
        let places = self.places();
        let beside = if down { &self.above } else { &self.below };
        let mean = |v: usize| {
            let sum: usize = beside[v].iter().map(|other| places[*other]).sum();
            match beside[v].len() {
                0 => places[v] as f64,
                count => sum as f64 / count as f64,
            }
        };
        self.rows[row].sort_by(|a, b| mean(*a).total_cmp(&mean(*b)));
    }

    /// Swaps neighbours wherever fewer lines cross then.
    fn swap_neighbours(&mut self) {
        for row in 0..self.rows.len() {
            for left in 1..self.rows[row].len() {
                let places = self.places();
                let (a, b) = (self.rows[row][left - 1], self.rows[row][left]);
                let both = |a: usize, b: usize| {
                    let pairs =
                        [(&self.above[a], &self.above[b]), (&self.below[a], &self.below[b])];
                    pairs.map(|(a, b)| inversions(a, b, &places)).iter().sum::<usize>()
                };
                if both(b, a) < both(a, b) {
                    self.rows[row].swap(left - 1, left);
                }
            }
        }
    }

    fn crossings(&self) -> usize {
        let places = self.places();
        let of_row = |row: &Vec<usize>| -> usize {
            let pairs =
                row.iter().enumerate().flat_map(|(i, a)| row[i + 1..].iter().map(move |b| (a, b)));
            pairs.map(|(a, b)| inversions(&self.below[*a], &self.below[*b], &places)).sum()
        };
        self.rows.iter().map(of_row).sum()
    }
}

/// How many lines cross of those from two vertices, the first of which is to the left.
fn inversions(left: &[usize], right: &[usize], places: &[usize]) -> usize {
    left.iter().map(|l| right.iter().filter(|r| places[**r] < places[*l]).count()).sum()
}

/// A number that differs from those of other vertices and beginnings, in no order.
fn shuffled(v: usize, beginning: usize) -> usize {
    let mixed = (v as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        ^ (beginning as u64).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed.wrapping_mul(0x94D0_49BB_1331_11EB) >> 40) as usize
}
