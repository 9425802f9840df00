//! Parallel branches and joined attentions that are almost alike.

use cardinal_compiler::ir::text;

use super::bases::{BRANCHES, CARDS, SUMMED};
use super::{Case, convolutions, count, edited, fused, say_why};

/// Branches with one thing unlike: the attention over them is recognised, the branches stay.
#[rustfmt::skip]
const UNLIKE: &[Case<'_>] = &[
    (BRANCHES, &[("window 3x3 pad 1\n%u0", "window 3x3 dilation 2 pad 2\n%u0")],
        "`c0` has window 3x3 pad 1, and `c1` has window 3x3 dilation 2 pad 2"),
    (BRANCHES, &[
        ("%q1 f32[8, 4, 3, 3]", "%q1 f32[8, 4, 5, 5]"),
        ("window 3x3 pad 1\n%u0", "window 5x5 pad 2\n%u0"),
    ], "`c1` has window 5x5 pad 2"),
    // Stride 2 in one branch, whose input is twice as large.
    (BRANCHES, &[
        ("%s1 f32[2, 4, 4, 4] = conv(%x",
         "input %large f32[2, 6, 8, 8]\n%s1 f32[2, 4, 8, 8] = conv(%large"),
        ("%t1 f32[2, 4, 4, 4]", "%t1 f32[2, 4, 8, 8]"),
        ("window 3x3 pad 1\n%u0", "window 3x3 stride 2 pad 1\n%u0"),
    ], "`c1` has window 3x3 stride 2 pad 1"),
    // Other operators.
    (BRANCHES, &[("relu(%s1)", "tanh(%s1)")], "branches differ: `t0` is relu, and `t1` is tanh"),
    (BRANCHES, &[
        ("relu(%s0)", "leaky_relu(%s0) alpha 0.1"),
        ("relu(%s1)", "leaky_relu(%s1) alpha 0.2"),
    ], "branches differ: `t0` has alpha 0.1, and `t1` has alpha 0.2"),
    (BRANCHES, &[
        ("%q1 f32[8, 4,", "%q1 f32[8, 1,"),
        ("conv(%t1, %q1)", "group_conv(%t1, %q1) groups 4"),
    ], "branches differ: `c0` is conv, and `c1` is group_conv"),
    (BRANCHES, &[
        ("%q0 f32[8, 4,", "%q0 f32[8, 2,"),
        ("conv(%t0, %q0)", "group_conv(%t0, %q0) groups 2"),
        ("%q1 f32[8, 4,", "%q1 f32[8, 1,"),
        ("conv(%t1, %q1)", "group_conv(%t1, %q1) groups 4"),
    ], "branches differ: `c0` has groups 2, and `c1` has groups 4"),
    // Other inputs.
    (BRANCHES, &[
        ("%s1 f32[2, 4, 4, 4] = conv(%x",
         "input %other f32[2, 6, 4, 4]\n%s1 f32[2, 4, 4, 4] = conv(%other"),
    ], "branches begin at different values, `x` and `other`"),
    (BRANCHES, &[
        ("%p0 f32[4, 6,", "%p0 f32[4, 3,"),
        ("%p1 f32[4, 6,", "%p1 f32[4, 3,"),
        ("conv(%x, %p0)", "group_conv(%x, %p0) groups 2"),
        ("conv(%x, %p1)", "group_conv(%x, %p1) groups 2"),
    ], "the branches are grouped convolutions of one input"),
    (BRANCHES, &[("weight %q1 f32[8, 4, 3, 3] rand(4)", "input %q1 f32[8, 4, 3, 3]")],
        "the weights of `c1` are not constant"),
    (BRANCHES, &[("output %y", "%e f32[2, 4, 4, 4] = exp(%t1)\noutput %y\noutput %e")],
        "branch value `t1` is used elsewhere too"),
    (BRANCHES, &[("output %y", "output %y\noutput %s0")],
        "branch value `s0` is used elsewhere too"),
    // Unequal widths.
    (BRANCHES, &[
        ("%p1 f32[4, 6,", "%p1 f32[2, 6,"),
        ("%s1 f32[2, 4", "%s1 f32[2, 2"),
        ("%t1 f32[2, 4", "%t1 f32[2, 2"),
        ("%q1 f32[8, 4", "%q1 f32[8, 2"),
    ], "branches read different numbers of channels"),
];

#[test]
fn branches_that_differ_stay_apart() {
    say_why("merge_branches", "/y", UNLIKE, |graph| {
        let joined = (count(graph, "split_attention"), count(graph, "concat"));
        joined == (1, 1) && convolutions(graph) == 4
    });
}

/// Attentions with one thing unlike: there are still two.
#[rustfmt::skip]
const ATTENTIONS: &[Case<'_>] = &[
    (CARDS, &[("relu(%h1)", "tanh(%h1)")],
        "`y0` has excite i2 then relu, and `y1` has excite i2 then tanh"),
    (CARDS, &[("sigmoid(%l1)", "tanh(%l1)")], "`y0` has weigh sigmoid, and `y1` has weigh tanh"),
    (CARDS, &[
        ("%w1 f32[2,", "%w1 f32[1,"),
        ("%h1 f32[2, 2", "%h1 f32[2, 1"),
        ("%r1 f32[2, 2", "%r1 f32[2, 1"),
        ("%v1 f32[3, 2", "%v1 f32[3, 1"),
    ], "`y0` has excite i2 then relu, and `y1` has excite i1 then relu"),
    (CARDS, &[
        ("%p1 f32[3", "%p1 f32[2"),
        ("1 f32[2, 3", "1 f32[2, 2"),
        ("%v1 f32[3", "%v1 f32[2"),
        ("%b f32[2, 3", "%b f32[2, 2"),
        ("%y f32[2, 6", "%y f32[2, 5"),
    ], "branches differ: `y0` is f32[2, 3, 3, 3], and `y1` is f32[2, 2, 3, 3]"),
    (CARDS, &[
        ("conv(%x, %p1)", "conv(%other, %p1)"),
        ("%u1 ", "input %other f32[2, 4, 3, 3]\n%u1 "),
    ], "branches begin at different values, `x` and `other`"),
    (CARDS, &[("output %y", "output %y\noutput %u0")], "branch value `u0` is used elsewhere too"),
];

#[test]
fn attentions_that_differ_stay_apart() {
    say_why("merge_branches", "/y", ATTENTIONS, |graph| count(graph, "split_attention") == 2);
}

/// Summed branches with one thing unlike.
#[rustfmt::skip]
const ADDENDS: &[Case<'_>] = &[
    (SUMMED, &[
        ("relu(%s1)", "relu(%other)"),
        ("%s1 f32[2, 4, 4, 4] = conv(%x, %p1) window 1x1", "input %other f32[2, 4, 4, 4]"),
    ], "branches differ: `other` is input, and `s0` is conv"),
    (SUMMED, &[
        ("conv(%x, %p1)", "conv(%other, %p1)"),
        ("%s1 ", "input %other f32[2, 6, 4, 4]\n%s1 "),
    ], "branches begin at different values, `other` and `x`"),
];

#[test]
fn summed_branches_that_differ_stay_apart() {
    say_why("merge_branches", "/y", ADDENDS, |graph| convolutions(graph) >= 3);
}

/// Branches whose convolutions have activations of their own already, as after all passes.
#[rustfmt::skip]
const EPILOGUES: &[Case<'_>] = &[
    (BRANCHES, &[("window 3x3 pad 1", "window 3x3 pad 1 then tanh")],
        "`c0` applies something to its result already"),
    (BRANCHES, &[
        ("%t0 f32[2, 4, 4, 4] = relu(%s0)",
         "input %more f32[2, 4, 4, 4]\n%t0 f32[2, 4, 4, 4] = relu(%s0) then mul %more"),
        ("relu(%s1)", "relu(%s1) then mul %more"),
    ], "`t0` applies something to its result already"),
];

#[test]
fn branches_fused_before_stay_apart() {
    say_why("merge_branches", "/y", EPILOGUES, |graph| convolutions(graph) == 4);
}

/// A sum that broadcasts one of the branches is no convolution of both.
#[test]
fn sums_that_broadcast_stay() {
    let narrow =
        [("%q1 f32[6, 4, 1, 1]", "%q1 f32[1, 4, 1, 1]"), ("%c1 f32[2, 6,", "%c1 f32[2, 1,")];
    let small = [
        (
            "%s1 f32[2, 4, 4, 4] = conv(%x, %p1)",
            "input %other f32[1, 6, 4, 4]
%s1 f32[1, 4, 4, 4] = conv(%other, %p1)",
        ),
        ("%t1 f32[2,", "%t1 f32[1,"),
        ("%c1 f32[2,", "%c1 f32[1,"),
    ];
    for edits in [&narrow[..], &small] {
        let (after, _) = fused(&edited(SUMMED, edits));
        assert_eq!(convolutions(&after), 4, "{}", text::print(&after));
    }
}
