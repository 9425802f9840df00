//! The column of each vertex: where its middle is.

use std::collections::BTreeMap;

use super::{Layers, SPACE};

impl Layers<'_> {
    /// The column that each vertex is in: its middle.
    pub(super) fn columns(&self) -> Vec<i32> {
        let column = self.aligned();
        let mut x: BTreeMap<usize, i32> = BTreeMap::new();
        // Each round settles a column at least.
        for _ in 0..=self.layer.len() {
            let mut moved = false;
            for row in &self.rows {
                let mut least = None;
                for &v in row {
                    let half = self.half(v);
                    let at = x.entry(column[v]).or_insert(half);
                    let wanted = least.map_or(half, |end: i32| end + SPACE + half);
                    moved |= *at < wanted;
                    *at = wanted.max(*at);
                    least = Some(*at + half);
                }
            }
            if !moved {
                break;
            }
        }
        column.iter().map(|column| x.get(column).copied().unwrap_or(0)).collect()
    }

    /// The topmost vertex of each vertex's column.
    fn aligned(&self) -> Vec<usize> {
        let places = self.places();
        let mut column: Vec<usize> = (0..self.layer.len()).collect();
        for row in &self.rows {
            let edges = row.iter().flat_map(|v| self.below[*v].iter().map(|next| (*v, *next)));
            let mut edges: Vec<(usize, usize)> = edges.collect();
            // Long lines are straight, and so is the longest way.
            let longest = row.iter().map(|v| self.depth[*v]).max().unwrap_or(0);
            let rank = |(a, b): &(usize, usize)| {
                let lines = self.is_line(*a) && self.is_line(*b);
                let way =
                    self.depth[*a] == longest && self.depth[*a] == self.depth[*b] + self.length(*b);
                (!lines, !way, std::cmp::Reverse(self.depth[*b]), places[*b])
            };
            edges.sort_by_key(rank);
            let mut taken: Vec<(usize, usize)> = Vec::new();
            for (a, b) in edges {
                let (pa, pb) = (places[a], places[b]);
                let crosses =
                    |(oa, ob): &(usize, usize)| pa == *oa || pb == *ob || (pa < *oa) != (pb < *ob);
                if !taken.iter().any(crosses) {
                    taken.push((pa, pb));
                    column[b] = column[a];
                }
            }
        }
        column
    }
}
