//! Places for the boxes of a block and for the lines between them, layer below layer (Sugiyama's way):
//!
//! 1. each box is one layer below the lowest that it reads; a line that passes layers has a vertex in each,
//! 2. vertices of a layer are ordered so that few lines cross, by barycentres, from the longest path first,
//! 3. vertices of neighbouring layers that one line connects are put into one column where none is in
//!    the way, and columns are moved to the left as far as they go.
//!
//! Between layers lines run in the order in which they arrive, so only step 2 can make them cross.

mod columns;
mod order;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::scene::Point;

/// Blocks with more vertices than this, or more edges, are not drawn: nobody could read them.
const MOST: usize = 3000;
/// Between neighbouring boxes and lines.
const SPACE: i32 = 22;
/// Between layers.
const GAP: i32 = 30;
/// Between lines that end at the same box, at most.
const PORTS: i32 = 44;

/// Where everything is.
#[derive(Debug)]
pub(super) struct Layout {
    /// The middle of each box's upper edge.
    pub(super) boxes: Vec<Point>,
    /// The points of each edge.
    pub(super) routes: Vec<Vec<Point>>,
    pub(super) width: i32,
    pub(super) height: i32,
}

/// The size of a box.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) width: i32,
    pub(super) height: i32,
}

/// Lays out boxes with edges between them, each to a later one; `None` where they are too many.
pub(super) fn layout(sizes: &[Size], edges: &[(usize, usize)]) -> Option<Layout> {
    let mut layers = Layers::new(sizes, edges)?;
    layers.order();
    let columns = layers.columns();
    Some(layers.place(&columns, edges))
}

/// Boxes and the vertices of lines, in layers.
struct Layers<'a> {
    sizes: &'a [Size],
    /// Of each vertex; boxes come first.
    layer: Vec<usize>,
    /// Vertices in the layers above and below that lines connect it with.
    above: Vec<Vec<usize>>,
    below: Vec<Vec<usize>>,
    /// The vertices of each layer from left to right.
    rows: Vec<Vec<usize>>,
    /// The vertices of each edge between its ends.
    passes: Vec<Vec<usize>>,
    /// How long the longest way down from each vertex is.
    depth: Vec<usize>,
}

impl<'a> Layers<'a> {
    fn new(sizes: &'a [Size], edges: &[(usize, usize)]) -> Option<Layers<'a>> {
        let count = sizes.len();
        if edges.len() > MOST {
            return None;
        }
        let (above, below) = (vec![Vec::new(); count], vec![Vec::new(); count]);
        let (layer, rows, passes) = (levels(count, edges), Vec::new(), Vec::new());
        let mut layers = Layers { sizes, layer, above, below, rows, passes, depth: Vec::new() };
        for &(from, to) in edges {
            layers.connect(from, to);
            if layers.layer.len() > MOST {
                return None;
            }
        }
        layers.rows = vec![Vec::new(); layers.layer.iter().max().map_or(0, |last| last + 1)];
        layers.depth = layers.depths();
        Some(layers)
    }

    /// Adds a line between two boxes, with a vertex in each layer that it passes.
    fn connect(&mut self, from: usize, to: usize) {
        let (mut before, mut between) = (from, Vec::new());
        for at in self.layer[from] + 1..=self.layer[to] {
            let mut next = to;
            if at < self.layer[to] {
                next = self.layer.len();
                self.layer.push(at);
                self.above.push(Vec::new());
                self.below.push(Vec::new());
                between.push(next);
            }
            self.below[before].push(next);
            self.above[next].push(before);
            before = next;
        }
        self.passes.push(between);
    }

    /// How long the longest way down from each vertex is. A box on it counts more than a line that passes.
    fn depths(&self) -> Vec<usize> {
        let mut lowest_first: Vec<usize> = (0..self.layer.len()).collect();
        lowest_first.sort_by_key(|v| std::cmp::Reverse(self.layer[*v]));
        let mut depth = vec![0; self.layer.len()];
        for v in lowest_first {
            let ways = self.below[v].iter().map(|next| depth[*next] + self.length(*next));
            depth[v] = ways.max().unwrap_or(0);
        }
        depth
    }

    /// What a vertex adds to the length of a way.
    fn length(&self, v: usize) -> usize {
        if self.is_line(v) { 1 } else { 2 }
    }

    fn is_line(&self, v: usize) -> bool {
        v >= self.sizes.len()
    }

    fn half(&self, v: usize) -> i32 {
        self.sizes.get(v).map_or(0, |size| size.width / 2)
    }

    fn place(&self, x: &[i32], edges: &[(usize, usize)]) -> Layout {
        let tall = |row: &Vec<usize>| {
            row.iter().filter_map(|v| self.sizes.get(*v)).map(|size| size.height).max().unwrap_or(0)
        };
        let mut spans: Vec<(i32, i32)> = Vec::new();
        for row in &self.rows {
            let top = spans.last().map_or(0, |(_, bottom)| bottom + GAP);
            spans.push((top, top + tall(row)));
        }
        let boxes: Vec<Point> =
            (0..self.sizes.len()).map(|v| (x[v], spans[self.layer[v]].0)).collect();
        let ends = self.ports(x, edges);
        let route = |((from, to), (between, end)): (&(usize, usize), (&Vec<usize>, i32))| {
            let (left, top) = boxes[*from];
            let mut points =
                vec![(left, top + self.sizes[*from].height), (left, spans[self.layer[*from]].1)];
            for v in between {
                points.extend([(x[*v], spans[self.layer[*v]].0), (x[*v], spans[self.layer[*v]].1)]);
            }
            points.push((end, boxes[*to].1));
            points
        };
        let routes = edges.iter().zip(self.passes.iter().zip(ends)).map(route).collect();
        let width = (0..x.len()).map(|v| x[v] + self.half(v)).max().unwrap_or(0);
        let height = spans.last().map_or(0, |(_, bottom)| *bottom);
        Layout { boxes, routes, width, height }
    }

    /// Where each edge ends on the upper edge of its box: side by side, that which comes from right above
    /// in the middle.
    fn ports(&self, x: &[i32], edges: &[(usize, usize)]) -> Vec<i32> {
        let mut arriving: BTreeMap<usize, Vec<(i32, usize)>> = BTreeMap::new();
        for (edge, (from, to)) in edges.iter().enumerate() {
            let last = self.passes[edge].last().unwrap_or(from);
            arriving.entry(*to).or_default().push((x[*last], edge));
        }
        let mut ends = vec![0; edges.len()];
        for (to, mut lines) in arriving {
            lines.sort_unstable();
            let nearest =
                lines.iter().enumerate().min_by_key(|(_, (from, _))| (from - x[to]).abs());
            let straight = nearest.map_or(0, |(i, _)| i) as i32;
            let apart = PORTS.min((self.half(to) - 12) / lines.len() as i32);
            for (i, (_, edge)) in lines.into_iter().enumerate() {
                ends[edge] = x[to] + (i as i32 - straight) * apart;
            }
        }
        ends
    }
}

/// The layer of each box: below all that it reads; what reads nothing is right above its first user.
fn levels(count: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut sorted = edges.to_vec();
    sorted.sort_unstable_by_key(|(from, to)| (*to, *from));
    let mut layer = vec![0; count];
    for &(from, to) in &sorted {
        layer[to] = layer[to].max(layer[from] + 1);
    }
    let mut reads = vec![false; count];
    let mut first = vec![usize::MAX; count];
    for &(from, to) in edges {
        reads[to] = true;
        first[from] = first[from].min(layer[to]);
    }
    for v in (0..count).filter(|v| !reads[*v] && first[*v] != usize::MAX) {
        layer[v] = first[v] - 1;
    }
    layer
}
