//! Random small graphs: compiled against interpreted, before and after the passes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod running;

use std::ops::Range;

use cardinal_compiler::ir::{Graph, text, verify};
use cardinal_compiler::{interp, passes};
use proptest::prelude::*;
use running::{RelativeTo, cases, check_graph, compile_for, host, random, rows, to_reference};

/// A value under construction: its name and shape.
type Value = (String, Vec<usize>);

/// A graph's text, and the values made so far.
struct Source {
    text: String,
    values: Vec<Value>,
    fresh: usize,
}

impl Source {
    fn new(n: usize, c: usize, h: usize, w: usize) -> Source {
        let shape = vec![n, c, h, w];
        let text = format!("graph @random {{\n  input %x f32{shape:?}\n");
        Source { text, values: vec![("x".into(), shape)], fresh: 0 }
    }

    fn weight(&mut self, shape: &[usize]) -> String {
        self.fresh += 1;
        let name = format!("w{}", self.fresh);
        let seed = self.fresh * 7919;
        self.text += &format!("  weight %{name} f32{shape:?} rand({seed})\n");
        name
    }

    fn push(&mut self, shape: Vec<usize>, op: &str) {
        let name = format!("v{}", self.values.len());
        let from = format!("\"/node{}\"", self.values.len());
        self.text += &format!("  %{name} f32{shape:?} = {op}\n    from {from}\n");
        self.values.push((name, shape));
    }

    fn pick(&self, i: usize) -> Value {
        self.values[i % self.values.len()].clone()
    }

    fn with_rank(&self, i: usize, rank: usize) -> Option<Value> {
        let fits: Vec<&Value> = self.values.iter().filter(|v| v.1.len() == rank).collect();
        (!fits.is_empty()).then(|| fits[i % fits.len()].clone())
    }

    /// Adds the node that a recipe describes, if it fits.
    fn add(&mut self, (kind, a, b, c): (u8, usize, usize, usize)) {
        match kind {
            0..=2 => self.conv(a, b, c),
            3 => self.batch_norm(a),
            4 => {
                let (x, shape) = self.pick(a);
                let f = ["relu", "sigmoid", "tanh", "abs", "hard_swish", "neg"][b % 6];
                self.push(shape, &format!("{f}(%{x})"));
            }
            5 | 6 => self.binary(a, b, c),
            7 => self.reduce(a, b, c),
            8 => self.pool(a, b, c),
            9 => self.softmax(a, b),
            10 => self.slice(a, b, c),
            11 => self.matmul(a, c),
            12 => self.transpose(a, b),
            13 => self.scatter(a, b, c),
            _ => self.concat(a),
        }
    }

    fn conv(&mut self, a: usize, b: usize, c: usize) {
        let Some((x, s)) = self.with_rank(a, 4) else { return };
        let groups = if s[1].is_multiple_of(2) && b.is_multiple_of(2) { 2 } else { 1 };
        let k = [1, 3, 2][b % 3];
        let stride = 1 + c % 2;
        let m = groups * (1 + c % 5);
        let pad = if k == 3 { 1 } else { 0 };
        let out = |n: usize| (n + 2 * pad).checked_sub(k).map(|r| r / stride + 1);
        let (Some(h), Some(w)) = (out(s[2]), out(s[3])) else { return };
        let weight = self.weight(&[m, s[1] / groups, k, k]);
        let bias =
            if a.is_multiple_of(2) { format!(", %{}", self.weight(&[m])) } else { String::new() };
        let name = if groups > 1 { "group_conv" } else { "conv" };
        let mut op = format!("{name}(%{x}, %{weight}{bias})");
        if groups > 1 {
            op += &format!("\n    groups {groups}");
        }
        op += &format!("\n    window {k}x{k}");
        if stride > 1 {
            op += &format!(" stride {stride}");
        }
        if pad > 0 {
            op += &format!(" pad {pad}");
        }
        self.push(vec![s[0], m, h, w], &op);
    }

    fn batch_norm(&mut self, a: usize) {
        let Some((x, s)) = self.with_rank(a, 4) else { return };
        let [scale, bias, mean, raw] = [(); 4].map(|()| self.weight(&[s[1]]));
        self.fresh += 1;
        let var = format!("var{}", self.fresh);
        // A variance is not negative.
        self.text += &format!("  %{var} f32[{}] = abs(%{raw})\n", s[1]);
        self.push(
            s,
            &format!("batch_norm(%{x}, %{scale}, %{bias}, %{mean}, %{var})\n    epsilon 0.1"),
        );
    }

    fn binary(&mut self, a: usize, b: usize, c: usize) {
        let (x, shape) = self.pick(a);
        let f = ["add", "mul", "sub", "max", "min"][c % 5];
        let same: Vec<Value> = self.values.iter().filter(|v| v.1 == shape).cloned().collect();
        let other = if b.is_multiple_of(3) && shape.len() == 4 {
            self.weight(&[shape[1], 1, 1])
        } else {
            same[b % same.len()].0.clone()
        };
        let (l, r) = if b.is_multiple_of(2) { (x, other) } else { (other, x) };
        self.push(shape, &format!("{f}(%{l}, %{r})"));
    }

    fn reduce(&mut self, a: usize, b: usize, c: usize) {
        let (x, mut shape) = self.pick(a);
        if shape.is_empty() {
            return;
        }
        let f = ["sum", "mean", "max", "min"][c % 4];
        let axis = b % shape.len();
        shape[axis] = 1;
        self.push(shape, &format!("reduce_{f}(%{x})\n    axes [{axis}]\n    keep true"));
    }

    fn pool(&mut self, a: usize, b: usize, c: usize) {
        let Some((x, s)) = self.with_rank(a, 4) else { return };
        if s[2] < 2 || s[3] < 2 {
            return;
        }
        let op = ["max_pool", "average_pool"][b % 2];
        let window = ["2x2 stride 2", "3x3 pad 1", "2x1"][c % 3];
        let (h, w) = match c % 3 {
            0 => (s[2] / 2, s[3] / 2),
            1 => (s[2], s[3]),
            _ => (s[2] - 1, s[3]),
        };
        self.push(vec![s[0], s[1], h, w], &format!("{op}(%{x})\n    window {window}"));
    }

    fn softmax(&mut self, a: usize, b: usize) {
        let (x, shape) = self.pick(a);
        let axis = b % shape.len();
        self.push(shape, &format!("softmax(%{x})\n    axis {axis}"));
    }

    fn slice(&mut self, a: usize, b: usize, c: usize) {
        let (x, mut shape) = self.pick(a);
        let axis = b % shape.len();
        let mut starts = vec![0; shape.len()];
        let steps = vec![1; shape.len()];
        starts[axis] = c % shape[axis];
        shape[axis] -= starts[axis];
        let op = format!("slice(%{x})\n    starts {starts:?}\n    steps {steps:?}");
        self.push(shape, &op);
    }

    fn matmul(&mut self, a: usize, c: usize) {
        let (x, mut shape) = self.pick(a);
        let Some(depth) = shape.pop() else { return };
        let n = 1 + c % 11;
        let weight = self.weight(&[depth, n]);
        shape.push(n);
        self.push(shape, &format!("matmul(%{x}, %{weight})"));
    }

    fn transpose(&mut self, a: usize, b: usize) {
        let (x, shape) = self.pick(a);
        let mut perm: Vec<usize> = (0..shape.len()).collect();
        perm.rotate_left(b % shape.len());
        let turned = perm.iter().map(|p| shape[*p]).collect();
        self.push(turned, &format!("transpose(%{x})\n    perm {perm:?}"));
    }

    /// At places from one before the axis to one behind it, into zeros or something else.
    fn scatter(&mut self, a: usize, b: usize, c: usize) {
        let (x, mut shape) = self.pick(a);
        let (count, extent) = (shape[0], 1 + c % 7);
        let places = (0..count).map(|i| ((i * (1 + b) + c) % (extent + 2)) as i64 - 1);
        let places: Vec<i64> = places.collect();
        self.fresh += 1;
        let name = format!("places{}", self.fresh);
        self.text += &format!("  weight %{name} i64[{count}] = {places:?}\n");
        shape[0] = extent;
        let data = match b % 2 {
            0 => String::new(),
            _ => format!(", %{}", self.weight(&shape)),
        };
        self.push(shape, &format!("scatter(%{x}, %{name}{data})\n    extent {extent}"));
    }

    fn concat(&mut self, a: usize) {
        let (x, mut shape) = self.pick(a);
        let axis = a % shape.len();
        shape[axis] *= 2;
        self.push(shape, &format!("concat(%{x}, %{x})\n    axis {axis}"));
    }

    fn finish(mut self) -> Graph {
        let mut used: Vec<String> = self.values.iter().skip(1).map(|v| v.0.clone()).collect();
        used.reverse();
        for name in used.iter().take(2) {
            self.text += &format!("  output %{name}\n");
        }
        if used.is_empty() {
            self.text += "  output %x\n";
        }
        self.text += "}\n";
        let graph = text::parse(&self.text).unwrap_or_else(|e| panic!("{e}\n{}", self.text));
        verify(&graph).unwrap_or_else(|e| panic!("{e}\n{}", self.text));
        graph
    }
}

/// Of so many images.
fn graphs(images: Range<usize>) -> impl Strategy<Value = Graph> {
    let recipe = (0u8..15, 0usize..64, 0usize..64, 0usize..64);
    let recipes = proptest::collection::vec(recipe, 1..12);
    ((images, 1usize..10, 1usize..9, 1usize..9), recipes).prop_map(|((n, c, h, w), recipes)| {
        let mut source = Source::new(n, c, h, w);
        for recipe in recipes {
            let elements: usize = source.values.iter().map(|v| v.1.iter().product::<usize>()).sum();
            if elements < 50_000 {
                source.add(recipe);
            }
        }
        source.finish()
    })
}

proptest! {
    #![proptest_config(cases(300))]

    /// A failure prints the graph's text, which is all that is needed to try it again.
    #[test]
    fn compiled_graphs_agree_with_interpreted_ones(graph in graphs(1..3)) {
        check_graph(&graph, RelativeTo::AnyValue);
    }

    /// Every number of images gives the rows that its images give alone, or it is said why only all do.
    #[test]
    fn fewer_images_give_the_same_rows(graph in graphs(2..7)) {
        let program = compile_for(&graph, &host());
        match program.takes_fewer() {
            true => rows::check(&program, &text::print(&graph)),
            false => assert!(program.fixed_by().is_some(), "{}", text::print(&graph)),
        }
    }

    #[test]
    fn passes_keep_the_meaning(graph in graphs(1..3)) {
        let inputs: Vec<_> = graph
            .inputs()
            .iter()
            .zip(1..)
            .map(|(id, seed)| to_reference(&random(graph.ty(*id), seed)))
            .collect();
        let expected = interp::run(&graph, &inputs).unwrap();
        let mut rewritten = graph.clone();
        passes::run(&mut rewritten, None, &mut |pass, graph| {
            let found = interp::run(graph, &inputs).unwrap();
            for (found, expected) in found.iter().zip(&expected) {
                let (interp::Data::Float(found), interp::Data::Float(expected)) =
                    (&found.data, &expected.data)
                else {
                    panic!("floats became integers");
                };
                let scale = expected.iter().fold(1e-30f64, |m, x| m.max(x.abs()));
                for (f, e) in found.iter().zip(expected) {
                    // Folded weights are rounded to f32.
                    assert!((f - e).abs() <= 1e-5 * scale, "{}: {f} for {e}", pass.name);
                }
            }
        })
        .unwrap();
    }
}
