//! Graphs that are almost a Split-Attention block, or almost parallel branches: they must stay as
//! they are, say why, and compute what they did.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod running;

use cardinal_compiler::ir::{Graph, text, verify};
use cardinal_compiler::passes::{self, NearMiss};
use running::{RelativeTo, check_graph, random, to_reference};

/// K = R = 2, radix-major, as timm's module is exported.
const RESNEST: &str = r#"
input %x f32[2, 4, 3, 3]
weight %wu f32[16, 4, 1, 1] rand(1)
%conv f32[2, 16, 3, 3] = conv(%x, %wu)
  window 1x1
  from "/conv"
%u f32[2, 16, 3, 3] = relu(%conv)
  from "/relu"
%splits f32[2, 2, 8, 3, 3] = reshape(%u)
  from "/splits"
%sum f32[2, 8, 3, 3] = reduce_sum(%splits)
  axes [1]
  from "/sum"
%mean f32[2, 8, 1, 1] = reduce_mean(%sum)
  axes [2, 3]
  keep true
  from "/mean"
weight %w1 f32[6, 4, 1, 1] rand(2)
weight %b1 f32[6] rand(3)
%fc1 f32[2, 6, 1, 1] = group_conv(%mean, %w1, %b1)
  groups 2
  window 1x1
  from "/fc1"
%act f32[2, 6, 1, 1] = relu(%fc1)
  from "/act"
weight %w2 f32[16, 3, 1, 1] rand(4)
weight %b2 f32[16] rand(5)
%fc2 f32[2, 16, 1, 1] = group_conv(%act, %w2, %b2)
  groups 2
  window 1x1
  from "/fc2"
%lines f32[2, 2, 2, 4] = reshape(%fc2)
  from "/lines"
%turned f32[2, 2, 2, 4] = transpose(%lines)
  perm [0, 2, 1, 3]
  from "/turned"
%a f32[2, 2, 2, 4] = softmax(%turned)
  axis 1
  from "/softmax"
%wide f32[2, 2, 8, 1, 1] = reshape(%a)
  from "/wide"
%mul f32[2, 2, 8, 3, 3] = mul(%splits, %wide)
  from "/mul"
%y f32[2, 8, 3, 3] = reduce_sum(%mul)
  axes [1]
  from "/out"
output %y
"#;

/// Squeeze-and-excitation.
const SE: &str = r#"
input %x f32[2, 8, 3, 3]
weight %wu f32[8, 8, 1, 1] rand(1)
%u f32[2, 8, 3, 3] = conv(%x, %wu)
  window 1x1
  from "/conv"
%mean f32[2, 8, 1, 1] = reduce_mean(%u)
  axes [2, 3]
  keep true
  from "/mean"
weight %w1 f32[3, 8, 1, 1] rand(2)
weight %b1 f32[3] rand(3)
%fc1 f32[2, 3, 1, 1] = conv(%mean, %w1, %b1)
  window 1x1
  from "/fc1"
%act f32[2, 3, 1, 1] = relu(%fc1)
  from "/act"
weight %w2 f32[8, 3, 1, 1] rand(4)
%fc2 f32[2, 8, 1, 1] = conv(%act, %w2)
  window 1x1
  from "/fc2"
%a f32[2, 8, 1, 1] = sigmoid(%fc2)
  from "/gate"
%y f32[2, 8, 3, 3] = mul(%u, %a)
  from "/mul"
output %y
"#;

/// K = 1, R = 2 as two branches, with dense layers and a stacked softmax.
const BRANCHES: &str = r#"
input %x f32[2, 6, 4, 4]
weight %p0 f32[4, 6, 1, 1] rand(1)
weight %p1 f32[4, 6, 1, 1] rand(2)
%s0 f32[2, 4, 4, 4] = conv(%x, %p0)
  window 1x1
  from "/b0/c1"
%s1 f32[2, 4, 4, 4] = conv(%x, %p1)
  window 1x1
  from "/b1/c1"
%t0 f32[2, 4, 4, 4] = relu(%s0)
  from "/b0/r1"
%t1 f32[2, 4, 4, 4] = relu(%s1)
  from "/b1/r1"
weight %q0 f32[8, 4, 3, 3] rand(3)
weight %q1 f32[8, 4, 3, 3] rand(4)
%c0 f32[2, 8, 4, 4] = conv(%t0, %q0)
  window 3x3 pad 1
  from "/b0/c2"
%c1 f32[2, 8, 4, 4] = conv(%t1, %q1)
  window 3x3 pad 1
  from "/b1/c2"
%u0 f32[2, 8, 4, 4] = relu(%c0)
  from "/b0/r2"
%u1 f32[2, 8, 4, 4] = relu(%c1)
  from "/b1/r2"
%sum f32[2, 8, 4, 4] = add(%u0, %u1)
  from "/sum"
%mean f32[2, 8, 1, 1] = reduce_mean(%sum)
  axes [2, 3]
  keep true
  from "/mean"
%z f32[2, 8] = reshape(%mean)
  from "/flatten"
weight %w1 f32[8, 5] rand(5)
%fc1 f32[2, 5] = matmul(%z, %w1)
  from "/fc1"
%act f32[2, 5] = relu(%fc1)
  from "/act"
weight %w20 f32[5, 8] rand(6)
weight %w21 f32[5, 8] rand(7)
%h0 f32[2, 8] = matmul(%act, %w20)
  from "/head0"
%h1 f32[2, 8] = matmul(%act, %w21)
  from "/head1"
%k0 f32[2, 1, 8] = reshape(%h0)
  from "/k0"
%k1 f32[2, 1, 8] = reshape(%h1)
  from "/k1"
%stack f32[2, 2, 8] = concat(%k0, %k1)
  axis 1
  from "/stack"
%a f32[2, 2, 8] = softmax(%stack)
  axis 1
  from "/softmax"
%a0 f32[2, 1, 8] = slice(%a)
  starts [0, 0, 0]
  from "/a0"
%a1 f32[2, 1, 8] = slice(%a)
  starts [0, 1, 0]
  from "/a1"
%g0 f32[2, 8, 1, 1] = reshape(%a0)
  from "/g0"
%g1 f32[2, 8, 1, 1] = reshape(%a1)
  from "/g1"
%m0 f32[2, 8, 4, 4] = mul(%u0, %g0)
  from "/mul0"
%m1 f32[2, 8, 4, 4] = mul(%u1, %g1)
  from "/mul1"
%y f32[2, 8, 4, 4] = add(%m0, %m1)
  from "/out"
output %y
"#;

fn parsed(body: &str) -> Graph {
    let source = format!("graph @g {{\n{body}\n}}\n");
    let graph = text::parse(&source).unwrap_or_else(|e| panic!("{e}\n{source}"));
    verify(&graph).unwrap_or_else(|e| panic!("{e}\n{source}"));
    graph
}

fn edited(base: &str, edits: &[(&str, &str)]) -> Graph {
    let mut body = base.to_owned();
    for (from, to) in edits {
        assert!(body.contains(from), "nothing to edit: {from}");
        body = body.replace(from, to);
    }
    parsed(&body)
}

/// The graph after all passes, which must give what it gave before, interpreted and compiled.
fn fused(graph: &Graph) -> (Graph, Vec<NearMiss>) {
    let mut after = graph.clone();
    let run = passes::Run { until: None, check_rewrites: true };
    let misses = passes::run_with(&mut after, run, &mut |_, _| {}).unwrap();
    let inputs: Vec<_> = graph
        .inputs()
        .iter()
        .zip(1..)
        .map(|(id, seed)| to_reference(&random(graph.ty(*id), seed)))
        .collect();
    let [before, found] = [graph, &after].map(|g| {
        let outputs = cardinal_compiler::interp::run(g, &inputs).unwrap();
        outputs.into_iter().map(|t| (t.shape.clone(), t.to_bytes())).collect::<Vec<_>>()
    });
    for ((shape, before), (found_shape, found)) in before.iter().zip(&found) {
        assert_eq!(shape, found_shape);
        let values = |bytes: &[u8]| -> Vec<f32> {
            bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
        };
        let (before, found) = (values(before), values(found));
        let scale = before.iter().fold(1e-30f32, |m, x| m.max(x.abs()));
        for (a, b) in before.iter().zip(&found) {
            assert!((a - b).abs() <= 1e-5 * scale, "{a} became {b}\n{}", text::print(&after));
        }
    }
    // Weights that are inputs can be interpreted only.
    let compiles = cardinal_compiler::plan::lower(&after, &running::avx2());
    match compiles.map_err(|e| e.to_string()) {
        Ok(_) => check_graph(&after, RelativeTo::AnyValue),
        Err(e) => assert!(e.contains("weights that are computed at run time"), "{e}"),
    }
    (after, misses)
}

fn count(graph: &Graph, mnemonic: &str) -> usize {
    graph.nodes().filter(|id| graph.node(*id).op.mnemonic() == mnemonic).count()
}

#[test]
fn the_graphs_without_an_edit_do_fuse() {
    for (base, convolutions) in [(RESNEST, 1), (SE, 1), (BRANCHES, 2)] {
        let (graph, misses) = fused(&parsed(base));
        assert_eq!(count(&graph, "split_attention"), 1, "{}", text::print(&graph));
        let convs = count(&graph, "conv") + count(&graph, "group_conv");
        assert_eq!(convs, convolutions, "{}", text::print(&graph));
        assert!(misses.is_empty(), "{misses:?}");
    }
}

/// What is edited, and a part of the reason that must be given.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

#[rustfmt::skip]
const BLOCKS: &[Case<'_>] = &[
    // The softmax.
    (RESNEST, &[("axis 1\n  from \"/softmax\"", "axis 2\n  from \"/softmax\"")],
        "softmax over axis 2 of [2, 2, 2, 4], expected the radix axis 1"),
    (RESNEST, &[("axis 1\n  from \"/softmax\"", "axis 3\n  from \"/softmax\"")],
        "softmax over axis 3 of [2, 2, 2, 4], expected the radix axis 1"),
    (RESNEST, &[("axis 1\n  from \"/softmax\"", "axis 0\n  from \"/softmax\"")],
        "which is the batch"),
    (BRANCHES, &[("axis 1\n  from \"/softmax\"", "axis 2\n  from \"/softmax\"")],
        "softmax over axis 2 of [2, 2, 8], expected the radix axis 1"),
    // All of radix and channels together.
    (RESNEST, &[("%a f32[2, 2, 2, 4] = softmax(%turned)", "%all f32[2, 16] = reshape(%turned)\n%a f32[2, 16] = softmax(%all)")],
        "sums 2 of 16 splits"),
    // Cardinality and radix mixed up: the transpose is missing.
    (RESNEST, &[("softmax(%turned)", "softmax(%lines)"), ("axis 1\n  from \"/softmax\"", "axis 2\n  from \"/softmax\"")],
        "softmax over axis 2 of [2, 2, 2, 4], expected the radix axis 1"),
    // A softmax over one split.
    (RESNEST, &[("%a f32[2, 2, 2, 4] = softmax(%turned)", "%one f32[2, 1, 16] = reshape(%turned)\n%a f32[2, 1, 16] = softmax(%one)")],
        "where there is one element"),
    // Values used outside.
    (RESNEST, &[("output %y", "output %y\noutput %a")], "`a`, inside the block, is an output of the model"),
    (RESNEST, &[("output %y", "output %y\n%e f32[2, 8, 1, 1] = exp(%mean)\noutput %e")],
        "`mean`, inside the block, is used outside it, by `e` (exp)"),
    (RESNEST, &[("output %y", "output %y\n%e f32[2, 6, 1, 1] = neg(%act)\noutput %e")],
        "`act`, inside the block, is used outside it"),
    (RESNEST, &[("output %y", "output %y\n%e f32[2, 2, 8, 3, 3] = abs(%mul)\noutput %e")],
        "`mul`, inside the block, is used outside it"),
    (SE, &[("output %y", "output %y\noutput %fc2")], "`fc2`, inside the block, is an output"),
    (SE, &[("output %y", "output %y\n%e f32[2, 8, 1, 1] = exp(%a)\noutput %e")], "`a`, inside the block, is used outside it"),
    // The squeeze.
    (RESNEST, &[("%mean f32[2, 8, 1, 1] = reduce_mean(%sum)\n  axes [2, 3]\n  keep true", "%rows f32[2, 8, 1, 3] = reduce_mean(%sum)\n  axes [2]\n  keep true\n%mean f32[2, 8, 1, 1] = reduce_max(%rows)\n  axes [3]\n  keep true")],
        "the squeeze reads `mean` (reduce_max)"),
    (RESNEST, &[("reduce_mean(%sum)", "reduce_mean(%half)"), ("%mean f32", "%half f32[2, 8, 3, 3] = slice(%u)\n  starts [0, 0, 0, 0]\n%mean f32")],
        "is the mean of other planes than those that are weighed together"),
    (RESNEST, &[("reduce_mean(%sum)", "reduce_mean(%twice)"), ("%mean f32", "%twice f32[2, 8, 3, 3] = add(%sum, %sum)\n%mean f32")],
        "is the mean of other planes"),
    (RESNEST, &[("reduce_mean(%sum)", "reduce_mean(%shifted)"), ("%mean f32", "%shifted f32[2, 8, 3, 3] = exp(%sum)\n%mean f32")],
        "the squeeze reads `shifted` (exp), which is not weighed"),
    (RESNEST, &[("reduce_mean(%sum)", "reduce_mean(%more)"), ("%mean f32", "input %third f32[2, 8, 3, 3]\n%more f32[2, 8, 3, 3] = add(%sum, %third)\n%mean f32")],
        "the squeeze reads `third` (input)"),
    (SE, &[("reduce_mean(%u)", "reduce_mean(%x)")], "the squeeze reads `x` (input), which is not weighed"),
    (SE, &[("mul(%u, %a)", "mul(%x, %a)")], "which is not weighed"),
    // The dense layers.
    (RESNEST, &[("weight %w1 f32[6, 4, 1, 1] rand(2)", "input %w1 f32[6, 4, 1, 1]")],
        "the inner layer is computed by `fc1` (group_conv), which is no dense layer of [n, c, 1, 1] with constant weights"),
    (SE, &[("weight %w2 f32[8, 3, 1, 1] rand(4)", "weight %w2 f32[8, 3, 3, 3] rand(4)"), ("window 1x1\n  from \"/fc2\"", "window 3x3 pad 1\n  from \"/fc2\"")],
        "whose kernel is not 1x1"),
    (RESNEST, &[("%act f32[2, 6, 1, 1] = relu(%fc1)", "%part f32[2, 3, 1, 1] = slice(%fc1)\n  starts [0, 0, 0, 0]\n%rest f32[2, 3, 1, 1] = slice(%fc1)\n  starts [0, 3, 0, 0]\n%pr f32[2, 3, 1, 1] = relu(%part)\n%pt f32[2, 3, 1, 1] = tanh(%rest)\n%act f32[2, 6, 1, 1] = concat(%pr, %pt)\n  axis 1")],
        "parts of the inner layer have different activations"),
    (SE, &[("sigmoid(%fc2)", "sigmoid(%biased)"), ("%a f32[2", "weight %each f32[2, 8, 1, 1] rand(9)\n%biased f32[2, 8, 1, 1] = add(%fc2, %each)\n%a f32[2")],
        "which adds no constant with one value for each row"),
    (SE, &[("sigmoid(%fc2)", "sigmoid(%scaled)"), ("%a f32[2", "weight %two f32[] = 2\n%scaled f32[2, 8, 1, 1] = mul(%fc2, %two)\n%a f32[2")],
        "the attention is computed by `scaled` (mul), which is no dense layer"),
    (RESNEST, &[("weight %w2 f32[16, 3, 1, 1]", "weight %w2 f32[16, 6, 1, 1]"), ("groups 2\n  window 1x1\n  from \"/fc2\"", "window 1x1\n  from \"/fc2\""), ("= group_conv(%act", "= conv(%act")],
        "the rows of the inner layer read different channels"),
    (SE, &[("weight %w1 f32[3, 8, 1, 1]", "weight %w1 f32[3, 4, 1, 1]"), ("conv(%mean, %w1", "conv(%some, %w1"), ("%fc1 f32", "%some f32[2, 4, 1, 1] = slice(%mean)\n  starts [0, 2, 0, 0]\n%fc1 f32")],
        "the dense layer reads 4 of 8 squeezed channels"),
    // The weighted sum.
    (BRANCHES, &[("%y f32[2, 8, 4, 4] = add(%m0, %m1)", "%y f32[2, 8, 4, 4] = sub(%m0, %m1)")], "sums 1 of 2 splits"),
    (BRANCHES, &[("mul(%u1, %g1)", "mul(%u0, %g1)")], "is weighed twice"),
    (BRANCHES, &[("mul(%u1, %g1)", "mul(%u1, %g0)")], "a weight of channel 0 weighs another too"),
    (BRANCHES, &[("%y f32[2, 8, 4, 4] = add(%m0, %m1)", "%y f32[2, 8, 4, 4] = add(%m0, %u1)"), ("%m1 f32[2, 8, 4, 4] = mul(%u1, %g1)\n  from \"/mul1\"\n", "")],
        "sums 1 of 2 splits"),
    (SE, &[("mul(%u, %a)", "mul(%u, %b)"), ("%y f32[2", "%one f32[2, 1, 1, 1] = slice(%a)\n  starts [0, 3, 0, 0]\n%b f32[2, 8, 1, 1] = expand(%one)\n%y f32[2")],
        "weigh"),
];

#[test]
fn blocks_that_almost_match_say_why() {
    let mut wrong = Vec::new();
    for (i, (base, edits, phrase)) in BLOCKS.iter().enumerate() {
        let graph = edited(base, edits);
        let (after, misses) = fused(&graph);
        let print = || text::print(&after);
        assert_eq!(count(&after, "split_attention"), 0, "case {i} {edits:?}\n{}", print());
        let miss = misses.iter().find(|m| m.pass == "split_attention");
        let miss = miss.unwrap_or_else(|| panic!("case {i} {edits:?} says nothing\n{}", print()));
        if !miss.because.contains(phrase) {
            wrong.push(format!("case {i} {edits:?}: {}", miss.because));
        }
        let anchor = if miss.value == "a" && *base == SE { "/gate" } else { "/softmax" };
        assert!(miss.from.iter().any(|origin| &**origin == anchor), "case {i}: {:?}", miss.from);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Branches with one thing unlike: the attention over them is recognised, the branches stay.
#[rustfmt::skip]
const UNLIKE: &[Case<'_>] = &[
    (BRANCHES, &[("window 3x3 pad 1\n  from \"/b1/c2\"", "window 3x3 dilation 2 pad 2\n  from \"/b1/c2\"")],
        "the window of `c0` is 3x3 pad 1, that of `c1` is 3x3 dilation 2 pad 2"),
    (BRANCHES, &[("weight %q1 f32[8, 4, 3, 3]", "weight %q1 f32[8, 4, 5, 5]"), ("window 3x3 pad 1\n  from \"/b1/c2\"", "window 5x5 pad 2\n  from \"/b1/c2\"")],
        "that of `c1` is 5x5 pad 2"),
    (BRANCHES, &[("%t1 f32[2, 4, 4, 4] = relu(%s1)", "%t1 f32[2, 4, 4, 4] = tanh(%s1)")], "`t0` is relu, and `t1` is tanh"),
    (BRANCHES, &[("%s1 f32[2, 4, 4, 4] = conv(%x", "input %other f32[2, 6, 4, 4]\n%s1 f32[2, 4, 4, 4] = conv(%other")], "branches begin at different values"),
    (BRANCHES, &[("output %y", "output %y\n%e f32[2, 4, 4, 4] = exp(%t1)\noutput %e")], "branch value `t1` is used elsewhere too"),
    (BRANCHES, &[("weight %q1 f32[8, 4, 3, 3] rand(4)", "input %q1 f32[8, 4, 3, 3]")], "the weights of `c1` are not constant"),
    (BRANCHES, &[("weight %p1 f32[4, 6, 1, 1]", "weight %p1 f32[2, 6, 1, 1]"), ("%s1 f32[2, 4", "%s1 f32[2, 2"), ("%t1 f32[2, 4", "%t1 f32[2, 2"), ("weight %q1 f32[8, 4", "weight %q1 f32[8, 2")],
        "branches"),
    (BRANCHES, &[("weight %q1 f32[8, 4, 3, 3]", "weight %q1 f32[8, 1, 3, 3]"), ("= conv(%t1, %q1)", "= group_conv(%t1, %q1)\n  groups 4")],
        "branches differ"),
    // Stride 2 in one branch, whose input is twice as large.
    (BRANCHES, &[("%s1 f32[2, 4, 4, 4] = conv(%x", "input %large f32[2, 6, 8, 8]\n%s1 f32[2, 4, 8, 8] = conv(%large"), ("%t1 f32[2, 4, 4, 4]", "%t1 f32[2, 4, 8, 8]"), ("window 3x3 pad 1\n  from \"/b1/c2\"", "window 3x3 stride 2 pad 1\n  from \"/b1/c2\"")],
        "that of `c1` is 3x3 stride 2 pad 1"),
];

#[test]
fn branches_that_differ_stay_apart() {
    let mut wrong = Vec::new();
    for (i, (base, edits, phrase)) in UNLIKE.iter().enumerate() {
        let graph = edited(base, edits);
        let (after, misses) = fused(&graph);
        assert_eq!(count(&after, "split_attention"), 1, "case {i}\n{}", text::print(&after));
        assert_eq!(count(&after, "concat"), 1, "case {i} {edits:?}\n{}", text::print(&after));
        let convs = count(&after, "conv") + count(&after, "group_conv");
        assert_eq!(convs, 4, "case {i}\n{}", text::print(&after));
        let because: Vec<_> =
            misses.iter().filter(|m| m.pass == "merge_branches").map(|m| &m.because).collect();
        if !because.iter().any(|b| b.contains(phrase)) {
            wrong.push(format!("case {i} {edits:?}: {because:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Spellings that look wrong and are not: the pass follows elements, and these are the same block.
#[rustfmt::skip]
const EQUIVALENT: &[Case<'_>] = &[
    // Each split is weighed by the other's head: the heads have changed places.
    (BRANCHES, &[("mul(%u0, %g0)", "mul(%u0, %g1)"), ("mul(%u1, %g1)", "mul(%u1, %g0)")], "two splits swapped"),
    (BRANCHES, &[("concat(%k0, %k1)", "concat(%k1, %k0)")], "two heads swapped"),
    (BRANCHES, &[("add(%u0, %u1)", "add(%u1, %u0)"), ("add(%m0, %m1)", "add(%m1, %m0)")], "sums turned round"),
    (SE, &[("mul(%u, %a)", "mul(%a, %u)")], "the weights first"),
    (SE, &[("sigmoid(%fc2)", "sigmoid(%biased)"), ("%a f32[2", "weight %all f32[1] = 0.5\n%biased f32[2, 8, 1, 1] = add(%fc2, %all)\n%a f32[2")], "one bias for all"),
    (SE, &[("relu(%fc1)", "hard_swish(%fc1)")], "another activation"),
    (SE, &[("sigmoid(%fc2)", "hard_sigmoid(%fc2)\n  alpha 0.2\n  beta 0.5")], "another gate"),
    (SE, &[("conv(%mean, %w1, %b1)", "conv(%back, %w1, %b1)"), ("%fc1 f32", "%back f32[2, 8, 1, 1] = slice(%mean)\n  starts [0, 7, 0, 0]\n  steps [1, -1, 1, 1]\n%fc1 f32")], "channels read backwards"),
];

#[test]
fn equivalent_spellings_fuse() {
    for (base, edits, name) in EQUIVALENT {
        let (after, misses) = fused(&edited(base, edits));
        assert_eq!(count(&after, "split_attention"), 1, "{name}: {misses:?}");
    }
}

/// A permutation of channels that the convolution above cannot take over stays where it is.
#[test]
fn orders_that_cannot_move_say_why() {
    let shared = [("output %y", "output %y\noutput %u")];
    let (after, misses) = fused(&edited(RESNEST, &shared));
    assert_eq!((count(&after, "split_attention"), count(&after, "gather")), (1, 1));
    let miss = misses.iter().find(|m| m.pass == "cardinality_major").unwrap();
    assert!(miss.because.contains("`u`, whose channels would move, is used elsewhere"), "{miss:?}");

    let mixed = [
        ("weight %wu f32[16, 4, 1, 1]", "weight %wu f32[16, 2, 1, 1]"),
        (
            "%conv f32[2, 16, 3, 3] = conv(%x, %wu)",
            "%conv f32[2, 16, 3, 3] = group_conv(%x, %wu)\n  groups 2",
        ),
    ];
    let (after, misses) = fused(&edited(RESNEST, &mixed));
    assert_eq!((count(&after, "split_attention"), count(&after, "gather")), (1, 1));
    let miss = misses.iter().find(|m| m.pass == "cardinality_major").unwrap();
    assert!(miss.because.contains("would mix the groups of `conv`"), "{miss:?}");
}
