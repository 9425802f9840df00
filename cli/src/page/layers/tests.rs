//! Graphs that need no crossings are drawn without, and boxes lie apart.

use super::*;

/// Numbers that only look random.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

/// A graph that can be drawn without crossings: an edge that is again and again made two, one behind the
/// other or side by side. Boxes are numbered so that edges go to later ones.
fn series_parallel(random: &mut Random) -> (usize, Vec<(usize, usize)>) {
    let (mut count, mut edges) = (2, vec![(0, 1)]);
    for _ in 0..random.below(14) {
        let at = random.below(edges.len());
        let (from, to) = edges[at];
        if random.below(2) == 0 {
            edges.swap_remove(at);
        }
        edges.extend([(from, count), (count, to)]);
        count += 1;
    }
    edges.sort_unstable();
    edges.dedup();
    let order = in_order(count, &edges);
    let mut edges: Vec<_> = edges.iter().map(|(a, b)| (order[*a], order[*b])).collect();
    edges.sort_unstable();
    (count, edges)
}

/// The place of each box in an order in which edges go forward.
fn in_order(count: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut place = vec![usize::MAX; count];
    for next in 0..count {
        let ready = |v: &usize| {
            let before = edges.iter().filter(|(_, to)| to == v);
            place[*v] == usize::MAX && before.clone().all(|(from, _)| place[*from] != usize::MAX)
        };
        let v = (0..count).find(ready).unwrap();
        place[v] = next;
    }
    place
}

fn apart(a: (Point, Size), b: (Point, Size)) -> bool {
    let [(a, sa), (b, sb)] = [a, b];
    (a.0 - b.0).abs() >= (sa.width + sb.width) / 2
        || a.1 + sa.height <= b.1
        || b.1 + sb.height <= a.1
}

/// Whether two lines cross, other than by meeting at a point of both.
fn cross(one: &[Point], other: &[Point]) -> bool {
    let side = |a: Point, b: Point, c: Point| {
        (i64::from(b.0 - a.0) * i64::from(c.1 - a.1) - i64::from(b.1 - a.1) * i64::from(c.0 - a.0))
            .signum()
    };
    one.windows(2).any(|a| {
        other.windows(2).any(|b| {
            side(a[0], a[1], b[0]) * side(a[0], a[1], b[1]) < 0
                && side(b[0], b[1], a[0]) * side(b[0], b[1], a[1]) < 0
        })
    })
}

#[test]
fn what_need_not_cross_does_not() {
    for seed in 0..400 {
        let (count, edges) = series_parallel(&mut Random(seed));
        let size = |v: usize| Size { width: 200, height: 30 + 10 * (v as i32 % 4) };
        let sizes: Vec<Size> = (0..count).map(size).collect();
        let layout = layout(&sizes, &edges).unwrap();
        for a in 0..count {
            for b in 0..a {
                let places = [a, b].map(|v| (layout.boxes[v], sizes[v]));
                assert!(apart(places[0], places[1]), "seed {seed}: {edges:?} {:?}", layout.boxes);
            }
        }
        for (i, one) in layout.routes.iter().enumerate() {
            for other in &layout.routes[i + 1..] {
                assert!(!cross(one, other), "seed {seed}: {edges:?} {one:?} {other:?}");
            }
        }
    }
}

#[test]
fn a_block_with_its_shortcut_is_two_columns() {
    let sizes = [Size { width: 100, height: 40 }; 5];
    let layout = layout(&sizes, &[(0, 1), (1, 2), (2, 3), (3, 4), (0, 4)]).unwrap();
    assert!(layout.boxes.iter().all(|(x, _)| *x == 50), "{layout:?}");
    assert!(layout.routes[4].iter().any(|(x, _)| *x > 100), "{layout:?}");
}

#[test]
fn what_nobody_could_read_is_not_drawn() {
    let count = 4000;
    let sizes = vec![Size { width: 10, height: 10 }; count];
    let edges: Vec<_> = (1..count).map(|v| (v - 1, v)).chain((1..count).map(|v| (0, v))).collect();
    assert!(layout(&sizes, &edges).is_none());
}
