//! The order of the vertices of each layer, from left to right.

use super::Layers;

/// How often the layers are ordered anew.
const SWEEPS: usize = 12;

impl Layers<'_> {
    /// Orders each row.
    pub(super) fn order(&mut self) {
        self.first_order();
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
        self.rows = best.1;
    }

    /// As met from above, the longest way first.
    fn first_order(&mut self) {
        let mut seen = vec![false; self.layer.len()];
        let roots = (0..self.layer.len()).filter(|v| self.above[*v].is_empty());
        let mut roots: Vec<usize> = roots.collect();
        roots.sort_by_key(|v| (self.layer[*v], std::cmp::Reverse(self.depth[*v])));
        roots.reverse();
        let mut waiting = roots;
        while let Some(v) = waiting.pop() {
            if std::mem::replace(&mut seen[v], true) {
                continue;
            }
            self.rows[self.layer[v]].push(v);
            let mut next = self.below[v].clone();
            next.sort_by_key(|v| self.depth[*v]);
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
