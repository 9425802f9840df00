//! Graphs that are almost a Split-Attention block, or almost parallel branches: they must stay as
//! they are, say why, and compute what they did. Each is a well-formed graph with a few words
//! replaced.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod bases;
mod branches;
#[path = "../running/mod.rs"]
mod running;

use bases::{BRANCHES, CARDS, GATE, RADIX, SUMMED, VIEWS};
use cardinal_compiler::interp::{self, Data};
use cardinal_compiler::ir::{Graph, text, verify};
use cardinal_compiler::passes::{self, NearMiss};
use cardinal_compiler::schedule::Preferences;
use running::{RelativeTo, check_graph, random, to_reference};

/// What is edited, and a part of the reason that must be given.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

/// The body of a graph after the edits, a node a line.
fn edited(base: &str, edits: &[(&str, &str)]) -> Graph {
    let mut body = base.to_owned();
    for (from, to) in edits {
        assert!(body.contains(from), "nothing to edit: {from}\n{body}");
        body = body.replace(from, to);
    }
    let from = |line: &str| match line.strip_prefix('%').and_then(|rest| rest.split_once(' ')) {
        Some((name, _)) => format!("  {line} from \"/{name}\"\n"),
        None => format!("  {line}\n"),
    };
    let body: String = body.lines().map(from).collect();
    let source = format!("graph @g {{\n{body}}}\n");
    let graph = text::parse(&source).unwrap_or_else(|e| panic!("{e}\n{source}"));
    verify(&graph).unwrap_or_else(|e| panic!("{e}\n{source}"));
    graph
}

/// The graph after all passes, which must give what it gave before, interpreted and compiled.
fn fused(graph: &Graph) -> (Graph, Vec<NearMiss>) {
    let mut after = graph.clone();
    let run = passes::Run { check_rewrites: true, ..passes::Run::default() };
    let mut misses = Vec::new();
    passes::run_with(&mut after, run, &mut |done| misses.extend(done.near_misses)).unwrap();
    let types = graph.inputs().iter().map(|id| graph.ty(*id)).zip(1..);
    let inputs: Vec<_> = types.map(|(ty, seed)| to_reference(&random(ty, seed))).collect();
    let [before, found] = [graph, &after].map(|g| interp::run(g, &inputs).unwrap());
    assert_eq!(before.len(), found.len());
    for (before, found) in before.iter().zip(&found) {
        assert_eq!(before.shape, found.shape);
        let (Data::Float(before), Data::Float(found)) = (&before.data, &found.data) else {
            panic!("integers")
        };
        let scale = before.iter().fold(1e-30f64, |m, x| m.max(x.abs()));
        for (a, b) in before.iter().zip(found) {
            assert!((a - b).abs() <= 1e-5 * scale, "{a} became {b}\n{}", text::print(&after));
        }
    }
    // Weights that are inputs can be interpreted only.
    let compiles = running::try_planned(&after, &running::avx2(), &Preferences::default());
    match compiles.map_err(|e| e.to_string()) {
        Ok(_) => check_graph(graph, RelativeTo::AnyValue),
        Err(e) => assert!(e.contains("weights that are computed at run time"), "{e}"),
    }
    (after, misses)
}

fn count(graph: &Graph, mnemonic: &str) -> usize {
    graph.nodes().filter(|id| graph.node(*id).op.mnemonic() == mnemonic).count()
}

fn convolutions(graph: &Graph) -> usize {
    count(graph, "conv") + count(graph, "group_conv")
}

/// Runs each case: the pass must say why, naming the ONNX node it starts from, and `stays` must
/// hold for the graph afterwards.
#[track_caller]
fn say_why(pass: &str, anchor: &str, cases: &[Case<'_>], stays: fn(&Graph) -> bool) {
    let mut wrong = String::new();
    for (base, edits, phrase) in cases {
        let (after, misses) = fused(&edited(base, edits));
        let said = misses.iter().any(|miss| {
            let named = miss.from.iter().any(|origin| **origin == *anchor);
            miss.pass == pass && named && miss.because.contains(phrase)
        });
        if !said || !stays(&after) {
            let said: Vec<_> = misses.iter().map(|m| (m.pass, &m.because, &m.from)).collect();
            wrong += &format!("{edits:?}\nexpected {phrase}\n{said:#?}\n{}", text::print(&after));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_graphs_without_an_edit_do_fuse() {
    let bases = [
        (RADIX, 1, 1),
        (VIEWS, 1, 1),
        (GATE, 1, 1),
        (BRANCHES, 1, 2),
        (CARDS, 1, 1),
        (SUMMED, 0, 2),
    ];
    for (base, attentions, convs) in bases {
        let (graph, misses) = fused(&edited(base, &[]));
        let found = (count(&graph, "split_attention"), convolutions(&graph));
        assert_eq!(found, (attentions, convs), "{misses:?}\n{}", text::print(&graph));
        assert_eq!(count(&graph, "gather") + count(&graph, "concat"), 0, "{}", text::print(&graph));
        assert!(misses.is_empty(), "{misses:?}");
    }
}

/// As in most tests here: no block was recognised.
fn loose(graph: &Graph) -> bool {
    count(graph, "split_attention") == 0
}

/// What the weights are normalized over.
#[rustfmt::skip]
const SOFTMAXES: &[Case<'_>] = &[
    // Over the channels, the cardinality, the batch.
    (RADIX, &[("axis 1", "axis 3")],
        "softmax over axis 3 of [2, 2, 2, 2], expected the radix axis 1"),
    (RADIX, &[("axis 1", "axis 2")],
        "softmax over axis 2 of [2, 2, 2, 2], expected the radix axis 1"),
    (RADIX, &[("axis 1", "axis 0")], "softmax over axis 0 of [2, 2, 2, 2], which is the batch"),
    (VIEWS, &[("softmax(%view) axis 1", "softmax(%view) axis 2")], "expected the radix axis 1"),
    (BRANCHES, &[("softmax(%stack) axis 1", "softmax(%stack) axis 2")],
        "softmax over axis 2 of [2, 2, 8], expected the radix axis 1"),
    // Over one element, and over splits and channels together.
    (VIEWS, &[("softmax(%view) axis 1", "softmax(%view) axis 4")], "where there is one element"),
    (VIEWS, &[
        ("%view f32[2, 3, 4, 1, 1] = reshape(%logits)\n", ""),
        ("%a f32[2, 3, 4, 1, 1] = softmax(%view) axis 1",
         "%a f32[2, 12] = softmax(%logits) axis 1\n%view f32[2, 3, 4, 1, 1] = reshape(%a)"),
        ("mul(%u, %a)", "mul(%u, %view)"),
    ], "channel 0 sums 3 of the 12 splits that softmax over axis 1 of [2, 12] weighs"),
    // Cardinality-major weights of radix-major splits: the transpose is missing.
    (RADIX, &[("perm [0, 2, 1, 3]", "perm [0, 1, 2, 3]"), ("axis 1", "axis 2")],
        "expected the radix axis 1"),
    (RADIX, &[("perm [0, 2, 1, 3]", "perm [0, 1, 2, 3]")],
        "the splits of channel 0 are weighed by dense layers with different inputs"),
    // Other functions.
    (RADIX, &[("softmax(", "log_softmax(")], "log_softmax, expected softmax"),
    (RADIX, &[("softmax(%swapped) axis 1", "sigmoid(%swapped)")],
        "channel 0 sums 2 gated values, expected softmax over them"),
    (VIEWS, &[("softmax(%view) axis 1", "sigmoid(%view)")], "is the mean of other planes"),
];

#[test]
fn softmaxes_of_other_lines() {
    say_why("split_attention", "/a", SOFTMAXES, loose);
}

/// Values of the block that are needed besides it.
#[rustfmt::skip]
const OUTSIDE: &[Case<'_>] = &[
    (RADIX, &[("output %y", "%e f32[2, 4, 1, 1] = exp(%a0)\noutput %y\noutput %e")],
        "`a0`, inside the block, is used outside it, by `e` (exp)"),
    (RADIX, &[("output %y", "%e f32[2, 2, 2, 2] = exp(%a)\noutput %y\noutput %e")],
        "`a`, inside the block, is used outside it, by `e` (exp)"),
    (RADIX, &[("output %y", "output %y\noutput %a")],
        "`a`, inside the block, is an output of the model"),
    (RADIX, &[("output %y", "output %y\noutput %flat")],
        "`flat`, inside the block, is an output of the model"),
    (RADIX, &[("output %y", "%e f32[2, 4, 1, 1] = exp(%z)\noutput %y\noutput %e")],
        "`z`, inside the block, is used outside it, by `e` (exp)"),
    (RADIX, &[("output %y", "output %y\noutput %z")],
        "`z`, inside the block, is an output of the model"),
    (RADIX, &[("output %y", "%e f32[2, 6, 1, 1] = exp(%act)\noutput %y\noutput %e")],
        "`act`, inside the block, is used outside it"),
    (RADIX, &[("output %y", "output %y\noutput %h")],
        "`h`, inside the block, is an output of the model"),
    (RADIX, &[("output %y", "%e f32[2, 8, 1, 1] = exp(%logits)\noutput %y\noutput %e")],
        "`logits`, inside the block, is used outside it"),
    (RADIX, &[("output %y", "%e f32[2, 4, 2, 3] = exp(%m0)\noutput %y\noutput %e")],
        "`m0`, inside the block, is used outside it"),
    (RADIX, &[("output %y", "output %y\noutput %m1")],
        "`m1`, inside the block, is an output of the model"),
    (RADIX, &[("output %y", "%e f32[2, 4, 2, 3] = add(%y, %sum)\noutput %e")],
        "`sum`, inside the block, is used outside it, by `e` (add)"),
    (RADIX, &[("output %y", "%e f32[2, 4, 2, 3] = add(%y, %s1)\noutput %e")],
        "`s1`, inside the block, is used outside it, by `e` (add)"),
    (VIEWS, &[("output %y", "output %y\noutput %m")],
        "`m`, inside the block, is an output of the model"),
    (VIEWS, &[("output %y", "%e f32[2, 3, 4, 3, 2] = abs(%m)\noutput %y\noutput %e")],
        "`m`, inside the block, is used outside it"),
    (VIEWS, &[("output %y", "output %y\noutput %h")],
        "`h`, inside the block, is an output of the model"),
    (GATE, &[("output %y", "output %y\noutput %logits")],
        "`logits`, inside the block, is an output of the model"),
    (GATE, &[("output %y", "%e f32[2, 6, 1, 1] = exp(%a)\noutput %y\noutput %e")],
        "`a`, inside the block, is used outside it"),
];

#[test]
fn values_used_outside() {
    say_why("split_attention", "/a", OUTSIDE, loose);
}

/// Squeezes of something else, or something else than squeezes.
#[rustfmt::skip]
const SQUEEZES: &[Case<'_>] = &[
    // Of some splits, of one twice, of others.
    (RADIX, &[("mean(%sum)", "mean(%s0)")],
        "element 0 of `z` (reduce_mean) is the mean of other planes than those that are \
         weighed together"),
    (RADIX, &[("add(%s0, %s1)", "add(%s0, %s0)")], "is the mean of other planes"),
    (RADIX, &[
        ("mean(%sum)", "mean(%twice)"),
        ("%z ", "%twice f32[2, 4, 2, 3] = add(%sum, %sum)\n%z "),
    ], "is the mean of other planes"),
    (RADIX, &[("mean(%sum)", "mean(%x)")], "the squeeze reads `x` (input), which is not weighed"),
    (RADIX, &[
        ("%sum f32[2, 4, 2, 3] = add(%s0, %s1)",
         "%two f32[2, 4, 2, 3] = add(%s0, %s1)\n%sum f32[2, 4, 2, 3] = add(%two, %x)"),
    ], "the squeeze reads `x` (input), which is not weighed"),
    (RADIX, &[
        ("slice(%u)", "slice(%conv)"),
        ("mul(%a0, %s0)", "mul(%a0, %v0)"),
        ("mul(%a1, %s1)", "mul(%a1, %v1)"),
        ("%m0 ",
         "%v0 f32[2, 4, 2, 3] = slice(%u) starts [0, 0, 0, 0]\n\
          %v1 f32[2, 4, 2, 3] = slice(%u) starts [0, 4, 0, 0]\n\
          %m0 "),
    ], "the squeeze reads `conv` (conv), which is not weighed"),
    (RADIX, &[
        ("mean(%sum)", "mean(%turned)"),
        ("%z ",
         "weight %order i64[4] = [1, 2, 3, 0]\n\
          %turned f32[2, 4, 2, 3] = gather(%sum, %order) axis 1\n\
          %z "),
    ], "computed from channel 2, which is of another group"),
    // Joined otherwise.
    (RADIX, &[("add(%s0, %s1)", "sub(%s0, %s1)")],
        "the squeeze reads `sum` (sub), which is not weighed"),
    (RADIX, &[("mean(%sum)", "mean(%e)"), ("%z ", "%e f32[2, 4, 2, 3] = exp(%sum)\n%z ")],
        "the squeeze reads `e` (exp), which is not weighed"),
    (VIEWS, &[("reduce_sum(%u)", "reduce_mean(%u)")],
        "the squeeze joins the splits by `sum` (reduce_mean), expected a sum"),
    (VIEWS, &[("reduce_sum(%u)", "reduce_max(%u)")],
        "the squeeze joins the splits by `sum` (reduce_max), expected a sum"),
    // No mean over the plane.
    (VIEWS, &[("reduce_mean", "reduce_max")],
        "the squeeze has `z` (reduce_max) where a mean over each plane is expected"),
    (VIEWS, &[("reduce_mean", "reduce_sum")],
        "the squeeze of `conv` (conv) is no mean over its planes"),
    (VIEWS, &[("matmul(%z, %w1)", "matmul(%root, %w1)"), ("%h ", "%root f32[2, 4] = exp(%z)\n%h ")],
        "the squeeze has `root` (exp) where a mean"),
    (VIEWS, &[
        ("%z f32[2, 4] = reduce_mean(%sum) axes [2, 3]",
         "%rows f32[2, 4, 2] = reduce_mean(%sum) axes [2]\n\
          %z f32[2, 4] = reduce_max(%rows) axes [2]"),
    ], "the squeeze has `z` (reduce_max) where a mean"),
    (GATE, &[("reduce_mean", "reduce_max")], "the squeeze has `z` (reduce_max) where a mean"),
    (GATE, &[("reduce_mean(%u) axes [2, 3] keep true", "max_pool(%u) window 2x3")],
        "the squeeze has `z` (max_pool) where a mean"),
    (GATE, &[("1, 1] = ", "1, 3] = "), ("axes [2, 3]", "axes [2]")],
        "the weights of `y` (mul), f32[2, 6, 1, 3], are not one for each channel of `u`, \
         f32[2, 6, 2, 3]"),
    (GATE, &[
        ("%z f32[2, 6, 1, 1] = reduce_mean(%u) axes [2, 3]",
         "%z f32[2, 1, 1, 1] = reduce_mean(%u) axes [1, 2, 3]"),
        ("%w1 f32[4, 6,", "%w1 f32[4, 1,"),
    ], "the squeeze of `u` (conv) is no mean over its planes"),
    // The gate of another value.
    (GATE, &[("reduce_mean(%u)", "reduce_mean(%v)"), ("%z ", "%v f32[2, 6, 2, 3] = exp(%u)\n%z ")],
        "the squeeze reads `v` (exp), which is not weighed"),
    (GATE, &[("mul(%u, %a)", "mul(%v, %a)"), ("%y ", "%v f32[2, 6, 2, 3] = exp(%u)\n%y ")],
        "the squeeze reads `u` (conv), which is not weighed"),
    (GATE, &[("mul(%u, %a)", "mul(%v, %a)"), ("%y ", "input %v f32[2, 6, 2, 3]\n%y ")],
        "the squeeze reads `u` (conv), which is not weighed"),
    (GATE, &[
        ("mul(%u, %a)", "mul(%v, %a)"),
        ("%y f32[2, 6, 2, 3]",
         "%v f32[2, 6, 3, 2] = transpose(%u) perm [0, 1, 3, 2]\n%y f32[2, 6, 3, 2]"),
    ], "the squeeze reads `u` (conv), which is not weighed"),
];

#[test]
fn other_squeezes() {
    say_why("split_attention", "/a", SQUEEZES, loose);
}

/// The layers between squeeze and softmax.
#[rustfmt::skip]
const DENSE: &[Case<'_>] = &[
    // Groups that are not cardinal groups.
    (RADIX, &[
        ("%w1 f32[6, 2,", "%w1 f32[6, 4,"),
        ("group_conv(%z, %w1, %b1) groups 2", "conv(%z, %w1, %b1)"),
    ], "the attention of cardinal group 0 is computed from channel 2, which is of another \
         group"),
    (RADIX, &[
        ("%w2 f32[8, 3,", "%w2 f32[8, 6,"),
        ("group_conv(%act, %w2, %b2) groups 2", "conv(%act, %w2, %b2)"),
    ], "the rows of the inner layer read different channels"),
    (RADIX, &[
        ("%w1 f32[6, 2,", "%w1 f32[8, 1,"),
        ("%b1 f32[6]", "%b1 f32[8]"),
        ("%h f32[2, 6", "%h f32[2, 8"),
        ("%act f32[2, 6", "%act f32[2, 8"),
        ("%w2 f32[8, 3,", "%w2 f32[8, 2,"),
        ("groups 2", "groups 4"),
    ], "dense layers with different inputs"),
    (GATE, &[
        ("%h f32[2, 4, 1, 1] = conv(%z, %w1, %b1) window 1x1\n\
          %act f32[2, 4, 1, 1] = relu(%h)\n\
          %logits f32[2, 6, 1, 1] = conv(%act, %w2, %b2) window 1x1",
         "weight %wa f32[2, 2, 1, 1] rand(6)\n\
          weight %wb f32[4, 4, 1, 1] rand(7)\n\
          %za f32[2, 2, 1, 1] = slice(%z) starts [0, 0, 0, 0]\n\
          %zb f32[2, 4, 1, 1] = slice(%z) starts [0, 2, 0, 0]\n\
          %la f32[2, 2, 1, 1] = conv(%za, %wa) window 1x1\n\
          %lb f32[2, 4, 1, 1] = conv(%zb, %wb) window 1x1\n\
          %logits f32[2, 6, 1, 1] = concat(%la, %lb) axis 1"),
    ], "cardinal groups of unequal widths, [2, 4]"),
    (GATE, &[
        ("%h f32[2, 4, 1, 1] = conv(%z, %w1, %b1) window 1x1\n\
          %act f32[2, 4, 1, 1] = relu(%h)\n\
          %logits f32[2, 6, 1, 1] = conv(%act, %w2, %b2) window 1x1",
         "weight %wa f32[3, 3, 1, 1] rand(6)\n\
          weight %wb f32[3, 3, 1, 1] rand(7)\n\
          %za f32[2, 3, 1, 1] = slice(%z) starts [0, 0, 0, 0]\n\
          %zb f32[2, 3, 1, 1] = slice(%z) starts [0, 3, 0, 0]\n\
          %la f32[2, 3, 1, 1] = conv(%za, %wa) window 1x1\n\
          %lb f32[2, 3, 1, 1] = conv(%zb, %wb) window 1x1\n\
          %logits f32[2, 6, 1, 1] = concat(%lb, %la) axis 1"),
    ], "which is of another group"),
    (GATE, &[
        ("%h f32[2, 4, 1, 1] = conv(%z, %w1, %b1) window 1x1\n\
          %act f32[2, 4, 1, 1] = relu(%h)\n\
          %logits f32[2, 6, 1, 1] = conv(%act, %w2, %b2) window 1x1",
         "weight %wa f32[3, 4, 1, 1] rand(6)\n\
          weight %wb f32[3, 4, 1, 1] rand(7)\n\
          %za f32[2, 4, 1, 1] = slice(%z) starts [0, 0, 0, 0]\n\
          %zb f32[2, 4, 1, 1] = slice(%z) starts [0, 2, 0, 0]\n\
          %la f32[2, 3, 1, 1] = conv(%za, %wa) window 1x1\n\
          %lb f32[2, 3, 1, 1] = conv(%zb, %wb) window 1x1\n\
          %logits f32[2, 6, 1, 1] = concat(%la, %lb) axis 1"),
    ], "cardinal groups share inputs of `la` (conv)"),
    (RADIX, &[
        ("mul(%a0, %s0)", "mul(%t0, %s0)"),
        ("mul(%a1, %s1)", "mul(%t1, %s1)"),
        ("%m0 ",
         "weight %order i64[4] = [1, 2, 3, 0]\n\
          %t0 f32[2, 4, 1, 1] = gather(%a0, %order) axis 1\n\
          %t1 f32[2, 4, 1, 1] = gather(%a1, %order) axis 1\n\
          %m0 "),
    ], "channel 3 is apart from its cardinal group"),
    (VIEWS, &[
        ("matmul(%z, %w1)", "matmul(%few, %w1)"),
        ("%w1 f32[4, 5]", "%w1 f32[3, 5]"),
        ("%h ", "%few f32[2, 3] = slice(%z) starts [0, 0]\n%h "),
    ], "the dense layer reads 3 of 4 squeezed channels"),
    // Kernels, and weights that are computed.
    (GATE, &[
        ("%w1 f32[4, 6, 1, 1]", "%w1 f32[4, 6, 3, 3]"),
        ("conv(%z, %w1, %b1) window 1x1", "conv(%z, %w1, %b1) window 3x3 pad 1"),
    ], "the inner layer is computed by `h` (conv), whose kernel is not 1x1"),
    (GATE, &[
        ("%w2 f32[6, 4, 1, 1]", "%w2 f32[6, 4, 3, 3]"),
        ("conv(%act, %w2, %b2) window 1x1", "conv(%act, %w2, %b2) window 3x3 pad 1"),
    ], "the attention is computed by `logits` (conv), whose kernel is not 1x1"),
    (GATE, &[
        ("%w1 f32[4, 6, 1, 1]", "%w1 f32[4, 6, 3, 3]"),
        ("conv(%z, %w1, %b1) window 1x1", "conv(%z, %w1, %b1) window 3x3 pad 1"),
        ("relu(%h)", "identity(%h)"),
    ], "`h` (conv), whose kernel is not 1x1"),
    (GATE, &[
        ("weight %w1 f32[4, 6, 1, 1] rand(2)",
         "input %seed f32[4, 6, 1, 1]\n%w1 f32[4, 6, 1, 1] = exp(%seed)"),
    ], "`h` (conv), whose weights are not constant"),
    (VIEWS, &[
        ("weight %w2 f32[12, 5] rand(4)", "input %seed f32[12, 5]\n%w2 f32[12, 5] = exp(%seed)"),
    ], "`logits` (matmul), whose weights are not constant"),
    (VIEWS, &[("weight %b2 f32[12] rand(5)", "input %b2 f32[12]")],
        "`logits` (matmul), whose bias is not constant"),
    // Biases.
    (RADIX, &[
        ("weight %b1 f32[6]", "weight %b1 f32[2, 6, 1, 1]"),
        ("%h f32[2, 6, 1, 1] = group_conv(%z, %w1, %b1)",
         "%bare f32[2, 6, 1, 1] = group_conv(%z, %w1)"),
        ("%act ", "%h f32[2, 6, 1, 1] = add(%bare, %b1)\n%act "),
    ], "`h` (add), which adds no constant with one value for each row"),
    (VIEWS, &[("%b1 f32[5]", "%b1 f32[2, 5]")],
        "`biased` (add), which adds no constant with one value for each row"),
    (VIEWS, &[("weight %b1 f32[5] rand(3)", "input %b1 f32[5]")],
        "`biased` (add), which adds no constant"),
    // Something between the layers.
    (RADIX, &[
        ("%act f32[2, 6, 1, 1] = relu(%h)",
         "%h0 f32[2, 3, 1, 1] = slice(%h) starts [0, 0, 0, 0]\n\
          %h1 f32[2, 3, 1, 1] = slice(%h) starts [0, 3, 0, 0]\n\
          %act0 f32[2, 3, 1, 1] = relu(%h0)\n\
          %act1 f32[2, 3, 1, 1] = tanh(%h1)\n\
          %act f32[2, 6, 1, 1] = concat(%act0, %act1) axis 1"),
    ], "parts of the inner layer have different activations"),
    (VIEWS, &[
        ("softmax(%view)", "softmax(%cold)"),
        ("%a ", "weight %half f32[] = 0.5\n%cold f32[2, 3, 4, 1, 1] = mul(%view, %half)\n%a "),
    ], "the attention is computed by `cold` (mul), which is no dense layer"),
    (VIEWS, &[
        ("softmax(%view)", "softmax(%cut)"),
        ("%a ", "%cut f32[2, 3, 4, 1, 1] = relu(%view)\n%a "),
    ], "the attention is computed by `cut` (relu), which is no dense layer"),
    (VIEWS, &[
        ("%h f32[2, 5] = matmul(%z, %w1)\n\
          %biased f32[2, 5] = add(%h, %b1)\n\
          %act f32[2, 5] = relu(%biased)",
         "%act f32[2, 4] = relu(%z)"),
        ("%w2 f32[12, 5]", "%w2 f32[12, 4]"),
    ], "the inner layer is computed by `z` (reduce_mean), which is no dense layer"),
    (VIEWS, &[("matmul(%act, %w2, %b2) trans_b true", "concat(%z, %z, %z) axis 1")],
        "the attention is computed by `z` (reduce_mean), which is no dense layer"),
    (GATE, &[
        ("conv(%z, %w1, %b1)", "conv(%part, %w1, %b1)"),
        ("%w1 f32[4, 6,", "%w1 f32[4, 1,"),
        ("%h ", "%part f32[2, 1, 1, 1] = reduce_mean(%z) axes [1] keep true\n%h "),
    ], "the squeeze of `u` (conv) is no mean over its planes"),
];

#[test]
fn other_dense_layers() {
    say_why("split_attention", "/a", DENSE, loose);
}

/// What is weighed, and how it is summed.
#[rustfmt::skip]
const SUMS: &[Case<'_>] = &[
    (RADIX, &[("mul(%a1, %s1)", "mul(%a0, %s1)")], "a weight of channel 0 weighs two planes"),
    (BRANCHES, &[("mul(%u1, %g1)", "mul(%u1, %g0)")], "a weight of channel 0 weighs two planes"),
    (RADIX, &[("mul(%a1, %s1)", "mul(%a1, %s0)")], "a plane of channel 0 is weighed twice"),
    (RADIX, &[("%y f32[2, 4, 2, 3] = add", "%y f32[2, 4, 2, 3] = sub")],
        "channel 0 sums 1 of the 2 splits that softmax over axis 1 of [2, 2, 2, 2] weighs, \
         and `y` (sub) is no sum of splits"),
    (RADIX, &[("%y f32[2, 4, 2, 3] = add", "%y f32[2, 4, 2, 3] = max")],
        "`y` (max) is no sum of splits"),
    (RADIX, &[
        ("%y f32[2, 4, 2, 3] = add(%m0, %m1)",
         "%three f32[2, 4, 2, 3] = add(%m0, %x)\n%y f32[2, 4, 2, 3] = add(%three, %m1)"),
    ], "softmax over axis 1 of [2, 2, 2, 2] weighs, and the sum has an addend that is not \
         weighed, `x` (input)"),
    (RADIX, &[
        ("add(%m0, %m1)", "add(%twice, %m1)"),
        ("%y ", "%twice f32[2, 4, 2, 3] = add(%m0, %m0)\n%y "),
    ], "a plane of channel 0 is weighed twice"),
    (BRANCHES, &[("add(%m0, %m1)", "add(%m0, %u1)"), ("%m1 f32[2, 8, 4, 4] = mul(%u1, %g1)\n", "")],
        "the sum has an addend that is not weighed, `u1` (relu)"),
    // Scaled.
    (RADIX, &[
        ("mul(%a0, %s0)", "mul(%t0, %s0)"),
        ("%m0 ", "weight %two f32[] = 2\n%t0 f32[2, 4, 1, 1] = mul(%a0, %two)\n%m0 "),
    ], "`t0` (mul) multiplies the weights by a constant, `two`"),
    (RADIX, &[
        ("slice(%flat)", "slice(%t)"),
        ("%a0 ", "weight %two f32[1] = [2]\n%t f32[2, 8, 1, 1] = mul(%flat, %two)\n%a0 "),
    ], "`t` (mul) multiplies the weights by a constant, `two`"),
    (RADIX, &[
        ("add(%m0, %m1)", "add(%t, %m1)"),
        ("%y ", "weight %two f32[1] = [2]\n%t f32[2, 4, 2, 3] = mul(%m0, %two)\n%y "),
    ], "`t` (mul) is no sum of splits"),
    (RADIX, &[
        ("mul(%a0, %s0)", "mul(%a0, %t0)"),
        ("%m0 ", "weight %two f32[] = 2\n%t0 f32[2, 4, 2, 3] = mul(%s0, %two)\n%m0 "),
    ], "is the mean of other planes"),
    (RADIX, &[
        ("mul(%a0, %s0)", "mul(%c0, %s0)"),
        ("%m0 ", "weight %c0 f32[1, 4, 1, 1] = [1, 2, 3, 4]\n%m0 "),
    ], "an addend that is not weighed, `m0` (mul)"),
    (RADIX, &[("mul(%a1, %s1)", "mul(%a1, %x)")], "is the mean of other planes"),
    // Weights of other channels.
    (RADIX, &[
        ("%a1 f32[2, 4, 1, 1] = slice(%flat) starts [0, 4, 0, 0]",
         "%a1 f32[2, 4, 1, 1] = slice(%flat) starts [0, 7, 0, 0] steps [1, -1, 1, 1]"),
    ], "the weights of channel 0 are of several lines of softmax over axis 1"),
    (GATE, &[
        ("mul(%u, %a)", "mul(%u, %pairs)"),
        ("%y ",
         "weight %two i64[6] = [0, 0, 1, 1, 2, 2]\n\
          %pairs f32[2, 6, 1, 1] = gather(%a, %two) axis 1\n\
          %y "),
    ], "a weight of channel 1 weighs two planes"),
    (GATE, &[
        ("mul(%u, %a)", "mul(%u, %all)"),
        ("%y ",
         "%one f32[2, 1, 1, 1] = slice(%a) starts [0, 3, 0, 0]\n\
          %all f32[2, 6, 1, 1] = expand(%one)\n\
          %y "),
    ], "the weights of `y` (mul), f32[2, 1, 1, 1], are not one for each channel of `u`"),
    (GATE, &[
        ("mul(%u, %a)", "mul(%u, %turned)"),
        ("%y ", "%turned f32[2, 6, 1, 1] = slice(%a) starts [1, 0, 0, 0] steps [-1, 1, 1, 1]\n%y "),
    ], "`y` (mul) also takes weights from `turned` (slice)"),
    (GATE, &[
        ("mul(%u, %a)", "mul(%u, %first)"),
        ("%y ", "%first f32[1, 6, 1, 1] = slice(%a) starts [0, 0, 0, 0]\n%y "),
    ], "the weights of `y` (mul) are not one for each image and channel"),
    (GATE, &[
        ("sigmoid(%logits)", "sigmoid(%all)"),
        ("%a f32[2, 6, 1, 1]", "%all f32[2, 6, 2, 3] = add(%logits, %u)\n%a f32[2, 6, 2, 3]"),
    ], "the weights of `y` (mul), f32[2, 6, 2, 3], are not one for each channel of `u`"),
    (GATE, &[
        ("%z f32[2, 6, 1, 1] = reduce_mean(%u) axes [2, 3]",
         "%z f32[2, 1, 1, 1] = reduce_mean(%u) axes [1, 2, 3]"),
        ("%w1 f32[4, 6,", "%w1 f32[4, 1,"),
        ("%w2 f32[6,", "%w2 f32[1,"),
        ("%b2 f32[6]", "%b2 f32[1]"),
        ("%logits f32[2, 6", "%logits f32[2, 1"),
        ("%a f32[2, 6", "%a f32[2, 1"),
    ], "are not one for each channel of `u`"),
    // Other sums.
    (VIEWS, &[
        ("%y f32[2, 4, 3, 2] = reduce_sum(%m)",
         "%some f32[2, 2, 4, 3, 2] = slice(%m) starts [0, 0, 0, 0, 0]\n\
          %y f32[2, 4, 3, 2] = reduce_sum(%some)"),
    ], "channel 0 sums 2 of the 3 splits"),
    (VIEWS, &[("%y f32[2, 4, 3, 2] = reduce_sum", "%y f32[2, 4, 3, 2] = reduce_mean")],
        "`y` (reduce_mean) is no sum of splits"),
    (VIEWS, &[
        ("%y f32[2, 4, 3, 2] = reduce_sum(%m) axes [1]",
         "%y f32[2, 3, 3, 2] = reduce_sum(%m) axes [2]"),
    ], "expected the radix axis 2"),
    (VIEWS, &[
        ("%y f32[2, 4, 3, 2] = reduce_sum(%m) axes [1]",
         "%y f32[2, 3, 4, 2] = reduce_sum(%m) axes [3]"),
    ], "an addend that is not weighed, `y` (reduce_sum)"),
    (VIEWS, &[("%y f32[2, 4, 3, 2] = reduce_sum(%m) axes [1]\noutput %y", "output %m")],
        "channel 0 sums 1 of the 3 splits that softmax over axis 1 of [2, 3, 4, 1, 1] \
         weighs, and `m` is an output of the model"),
    // Sequences, which have no planes.
    (GATE, &[
        ("%z f32[2, 6, 1, 1] = reduce_mean(%u) axes [2, 3] keep true",
         "%line f32[2, 6, 6] = reshape(%u)\n\
          %v f32[2, 6, 6] = tanh(%line)\n\
          %mean f32[2, 6] = reduce_mean(%v) axes [2]\n\
          %z f32[2, 6, 1, 1] = reshape(%mean)"),
        ("%y f32[2, 6, 2, 3] = mul(%u, %a)",
         "%b f32[2, 6, 1] = reshape(%a)\n%y f32[2, 6, 6] = mul(%v, %b)"),
    ], "`v` (tanh), which is weighed, is no [n, c, h, w]"),
];

#[test]
fn other_sums() {
    say_why("split_attention", "/a", SUMS, loose);
}

/// A permutation of channels that what is above cannot take over stays where it is.
#[rustfmt::skip]
const ORDERS: &[Case<'_>] = &[
    (RADIX, &[("output %y", "output %y\noutput %u")],
        "`u`, whose channels would move, is used elsewhere too"),
    (RADIX, &[
        ("%wu f32[8, 4,", "%wu f32[8, 2,"),
        ("conv(%x, %wu)", "group_conv(%x, %wu) groups 2"),
    ], "the order of channels would mix the groups of `conv`"),
    (RADIX, &[
        ("weight %wu f32[8, 4, 1, 1] rand(1)\n", ""),
        ("%conv f32[2, 8, 2, 3] = conv(%x, %wu) window 1x1", "input %conv f32[2, 8, 2, 3]"),
    ], "the order of channels cannot move through `conv` (input)"),
    (RADIX, &[
        ("relu(%conv)", "div(%conv, %each)"),
        ("%u ", "weight %each f32[8, 1, 1] rand(6)\n%u "),
    ], "the order of channels cannot move through `u` (div)"),
    (RADIX, &[("weight %wu f32[8, 4, 1, 1] rand(1)", "input %wu f32[8, 4, 1, 1]")],
        "`wu` is not constant"),
];

#[test]
fn orders_that_cannot_move_say_why() {
    say_why("cardinality_major", "/a", ORDERS, |graph| {
        (count(graph, "split_attention"), count(graph, "gather")) == (1, 1)
    });
}

/// Spellings that look wrong and are not: the pass follows elements, and these are still blocks.
#[rustfmt::skip]
const EQUIVALENT: &[Case<'_>] = &[
    // The heads have changed places.
    (BRANCHES, &[("mul(%u0, %g0)", "mul(%u0, %g1)"), ("mul(%u1, %g1)", "mul(%u1, %g0)")],
        "two splits swapped"),
    (BRANCHES, &[("concat(%k0, %k1)", "concat(%k1, %k0)")], "two heads swapped"),
    (BRANCHES, &[("add(%u0, %u1)", "add(%u1, %u0)"), ("add(%m0, %m1)", "add(%m1, %m0)")],
        "sums turned round"),
    (RADIX, &[("mul(%a0, %s0)", "mul(%a1, %s0)"), ("mul(%a1, %s1)", "mul(%a0, %s1)")],
        "two splits swapped, grouped"),
    (RADIX, &[("mul(%a0, %s0)", "mul(%s0, %a0)")], "a weight second"),
    (GATE, &[("mul(%u, %a)", "mul(%a, %u)")], "the weights first"),
    // Channels in another order, on both sides of what cares.
    (GATE, &[
        ("conv(%z, %w1, %b1)", "conv(%back, %w1, %b1)"),
        ("%h ", "%back f32[2, 6, 1, 1] = slice(%z) starts [0, 5, 0, 0] steps [1, -1, 1, 1]\n%h "),
    ], "channels read backwards"),
    (GATE, &[
        ("mul(%u, %a)", "mul(%u, %back)"),
        ("%y ", "%back f32[2, 6, 1, 1] = slice(%a) starts [0, 5, 0, 0] steps [1, -1, 1, 1]\n%y "),
    ], "weights used backwards"),
    (VIEWS, &[
        ("mul(%u, %a)", "mul(%u, %back)"),
        ("%m ",
         "%back f32[2, 3, 4, 1, 1] = slice(%a) starts [0, 2, 3, 0, 0] steps [1, -1, -1, 1, \
          1]\n\
          %m "),
    ], "splits and channels backwards"),
    (VIEWS, &[
        ("mul(%u, %a)", "mul(%u, %next)"),
        ("%m ",
         "weight %order i64[4] = [1, 2, 3, 0]\n\
          %next f32[2, 3, 4, 1, 1] = gather(%a, %order) axis 2\n\
          %m "),
    ], "weights of the next channel, in one group"),
    (GATE, &[
        ("mul(%u, %a)", "mul(%v, %a)"),
        ("%y ", "%v f32[2, 6, 2, 3] = slice(%u) starts [0, 5, 0, 0] steps [1, -1, 1, 1]\n%y "),
    ], "another order of what is weighed"),
    (VIEWS, &[("%w2 f32[12, 5]", "%w2 f32[5, 12]"), (" trans_b true", "")],
        "weights the other way round"),
    // K = 1 after all.
    (RADIX, &[
        ("%w1 f32[6, 2,", "%w1 f32[6, 4,"),
        ("%w2 f32[8, 3,", "%w2 f32[8, 6,"),
        ("group_conv(%z, %w1, %b1) groups 2", "conv(%z, %w1, %b1)"),
        ("group_conv(%act, %w2, %b2) groups 2", "conv(%act, %w2, %b2)"),
    ], "layers of one group"),
    // Other functions, biases and means.
    (GATE, &[
        ("sigmoid(%logits)", "sigmoid(%biased)"),
        ("%a ", "weight %all f32[1] = [0.5]\n%biased f32[2, 6, 1, 1] = add(%logits, %all)\n%a "),
    ], "one bias for all"),
    (GATE, &[
        ("sigmoid(%logits)", "sigmoid(%biased)"),
        ("%a ", "weight %all f32[] = 0.5\n%biased f32[2, 6, 1, 1] = add(%all, %logits)\n%a "),
    ], "a scalar bias, first"),
    (GATE, &[("relu(%h)", "hard_swish(%h)")], "another activation"),
    (GATE, &[("relu(%h)", "identity(%h)")], "no activation"),
    (GATE, &[("sigmoid(%logits)", "hard_sigmoid(%logits) alpha 0.2 beta 0.5")], "another gate"),
    (GATE, &[("reduce_mean(%u) axes [2, 3] keep true", "average_pool(%u) window 2x3")],
        "a pool over the whole plane"),
    (GATE, &[
        ("reduce_mean(%u) axes [2, 3] keep true", "reduce_mean(%rows) axes [2] keep true"),
        ("%z ", "%rows f32[2, 6, 2, 1] = reduce_mean(%u) axes [3] keep true\n%z "),
    ], "rows, then columns"),
    (RADIX, &[
        ("%sum f32[2, 4, 2, 3] = add(%s0, %s1)\n\
          %z f32[2, 4, 1, 1] = reduce_mean(%sum) axes [2, 3] keep true",
         "%z0 f32[2, 4, 1, 1] = reduce_mean(%s0) axes [2, 3] keep true\n\
          %z1 f32[2, 4, 1, 1] = reduce_mean(%s1) axes [2, 3] keep true\n\
          %z f32[2, 4, 1, 1] = add(%z0, %z1)"),
    ], "a sum of means"),
    // One split before its activation, squeezed and weighed alike.
    (RADIX, &[("%s0 f32[2, 4, 2, 3] = slice(%u)", "%s0 f32[2, 4, 2, 3] = slice(%conv)")],
        "splits of two values"),
];

#[test]
fn equivalent_spellings_fuse() {
    for (base, edits, name) in EQUIVALENT {
        let (after, misses) = fused(&edited(base, edits));
        let print = text::print(&after);
        assert_eq!(count(&after, "split_attention"), 1, "{name}: {misses:#?}\n{print}");
        assert_eq!(count(&after, "softmax") + count(&after, "sigmoid"), 0, "{name}\n{print}");
    }
}
