//! Compiled code against the reference interpreter, operator by operator.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod running;

use cardinal_compiler::interp::{self, Data};
use cardinal_compiler::ir::{DType, text};
use cardinal_compiler::kernels::conv::blocked::BlockedConv;
use cardinal_compiler::kernels::conv::winograd::{WinogradInput, WinogradOutput};
use cardinal_compiler::schedule::Preferences;
use cardinal_runtime::Tensor;
use running::{
    avx2, check, check_without_winograd, host, planned, planned_directly, random, run, to_reference,
};

/// Checks a graph given as its body.
fn body(text: &str) {
    check(&format!("graph @test {{\n{text}\n}}\n"));
}

#[test]
fn unary_functions_agree() {
    for f in [
        "relu",
        "sigmoid",
        "hard_swish",
        "tanh",
        "gelu",
        "gelu_tanh",
        "erf",
        "exp",
        "neg",
        "abs",
        "reciprocal",
        "round",
    ] {
        for shape in ["[2, 3, 5]", "[64]", "[]", "[1, 1]"] {
            body(&format!("input %x f32{shape}\n%y f32{shape} = {f}(%x)\noutput %y"));
        }
    }
}

/// Means so large beside deviations that `x · s` and `mean · s` would cancel: every output is as exact as a few units of
/// its last place.
#[test]
fn normalization_of_large_means_is_exact() {
    let all = |number: &str| vec![number; 16].join(", ");
    let source = format!(
        "graph @g {{\ninput %x f32[1, 16, 8, 8]\nweight %s f32[16] = [{}]\n\
         weight %b f32[16] = [{}]\nweight %m f32[16] = [{}]\nweight %v f32[16] = [{}]\n\
         %n f32[1, 16, 8, 8] = batch_norm(%x, %s, %b, %m, %v)\nepsilon 0\n\
         %y f32[1, 16, 4, 4] = max_pool(%n)\nwindow 2x2 stride 2\noutput %y\n}}",
        all("1"),
        all("0.5"),
        all("1000"),
        all("2")
    );
    let graph = text::parse(&source).unwrap();
    let near: Vec<f32> = (0..1024_u16).map(|i| 998.0 + f32::from(i * 37 % 1024) / 256.0).collect();
    let bytes: Vec<u8> = near.iter().flat_map(|x| x.to_le_bytes()).collect();
    let x = Tensor::from_bytes(DType::F32, &[1, 16, 8, 8], &bytes).unwrap();
    let exact = interp::run(&graph, &[to_reference(&x)]).unwrap();
    let (Data::Float(exact), found) = (&exact[0].data, run(&graph, &host(), 1, &[x])) else {
        panic!("no floats")
    };
    let Data::Float(found) = to_reference(&found[0]).data else { panic!("no floats") };
    let largest = exact.iter().fold(0.0_f64, |most, y| most.max(y.abs()));
    for (found, exact) in found.iter().zip(exact) {
        assert!((found - exact).abs() <= 2e-6 * largest, "{found} is not {exact}");
    }
}

/// Every remainder of a step, ties among them, and what is beyond both ends.
#[test]
fn quantizing_agrees() {
    for (dtype, zero) in [("u8", 0), ("u8", 255), ("u8", 131), ("i8", -128), ("i8", 127), ("i8", 0)]
    {
        let grid = format!("weight %s f32[] = 0.25\nweight %z {dtype}[] = {zero}\n");
        let steps = (-4500..4500).map(|i| format!("{}", f64::from(i) / 64.0));
        let steps: Vec<String> = steps.collect();
        let count = steps.len();
        body(&format!(
            "{grid}input %a f32[]\nweight %x f32[{count}] = [{}]\n%b f32[{count}] = add(%a, %x)\n\
             %y {dtype}[{count}] = quantize(%b, %s, %z)\n\
             %w f32[{count}] = dequantize(%y, %s, %z)\noutput %y\noutput %w",
            steps.join(", ")
        ));
    }
    for from in ["u8", "i8", "i32"] {
        body(&format!(
            "input %x {from}[2, 3, 70]\ninput %s f32[3, 1]\ninput %z {from}[3, 1]\n\
             %y f32[2, 3, 70] = dequantize(%x, %s, %z)\noutput %y"
        ));
    }
    body(
        "input %x f32[2, 3, 70]\nweight %s f32[3, 1] = [0.01, 0.5, 100]\n\
         weight %z i8[3, 1] = [3, -4, 5]\n%y i8[2, 3, 70] = quantize(%x, %s, %z)\noutput %y",
    );
}

#[test]
fn broadcasts_agree() {
    for f in ["add", "sub", "mul", "div", "min", "max"] {
        body(&format!(
            "input %a f32[2, 3, 4, 5]\ninput %b f32[3, 1, 5]\n\
             %y f32[2, 3, 4, 5] = {f}(%a, %b)\noutput %y"
        ));
        body(&format!(
            "input %a f32[7, 1]\ninput %b f32[1, 9]\n%y f32[7, 9] = {f}(%a, %b)\noutput %y"
        ));
    }
}

/// Large enough for Winograd's way, in phases of one size; directly where they are not.
#[test]
fn dilated_convolutions_agree() {
    for (groups, dilation, size) in
        [(2, 2, [24, 20]), (4, 2, [18, 26]), (2, 3, [27, 21]), (2, 2, [23, 24]), (2, 4, [48, 16])]
    {
        let [h, w] = size;
        let source = format!(
            "graph @test {{\ninput %x f32[2, 64, {h}, {w}]\ninput %r f32[2, 48, {h}, {w}]\n\
             weight %w f32[48, {}, 3, 3] rand(1)\nweight %b f32[48] rand(2)\n\
             %y f32[2, 48, {h}, {w}] = group_conv(%x, %w, %b)\ngroups {groups}\n\
             window 3x3 dilation {dilation} pad {dilation}\nthen add %r, relu\noutput %y\n}}\n",
            64 / groups
        );
        let plan = planned(&text::parse(&source).unwrap(), &avx2());
        let transformed =
            plan.steps.iter().any(|step| step.kernel.get::<WinogradInput>().is_some());
        assert_eq!(transformed, h % dilation == 0 && w % dilation == 0, "{source}");
        check(&source);
    }
}

#[test]
fn convolutions_agree() {
    for (groups, cin, cout, k, rest, hw, out) in [
        (1, 3, 8, 3, "pad 1", "9, 7", "9, 7"),
        (1, 5, 11, 1, "", "6, 6", "6, 6"),
        (2, 8, 6, 3, "stride 2 pad 1", "9, 8", "5, 4"),
        (4, 4, 4, 3, "dilation 2 pad 2", "10, 10", "10, 10"),
        (1, 3, 16, 7, "stride 2 pad 3", "23, 21", "12, 11"),
        (1, 2, 3, 3, "pad 0 1 2 0", "5, 6", "5, 5"),
        (3, 6, 27, 1, "stride 2", "5, 5", "3, 3"),
    ] {
        let op = if groups == 1 { "conv" } else { "group_conv" };
        let groups_line = if groups == 1 { String::new() } else { format!("groups {groups}\n") };
        let per = cin / groups;
        body(&format!(
            "input %x f32[2, {cin}, {hw}]\ninput %r f32[2, {cout}, {out}]\n\
             weight %w f32[{cout}, {per}, {k}, {k}] rand(1)\nweight %b f32[{cout}] rand(2)\n\
             %y f32[2, {cout}, {out}] = {op}(%x, %w, %b)\n{groups_line}window {k}x{k} {rest}\n\
             then add %r, relu\noutput %y"
        ));
        body(&format!(
            "input %x f32[1, {cin}, {hw}]\n\
             weight %w f32[{cout}, {per}, {k}, {k}] rand(1)\n\
             %y f32[1, {cout}, {out}] = {op}(%x, %w)\n{groups_line}window {k}x{k} {rest}\n\
             then sigmoid\noutput %y"
        ));
    }
}

/// A value that lies in blocks for one of its users is read by others whose groups begin elsewhere.
#[test]
fn users_with_other_groups_agree() {
    for channels in [40, 48] {
        let half = channels / 2;
        body(&format!(
            "input %x f32[1, {channels}, 2, 2]\nweight %a f32[32, {half}, 1, 1] rand(1)\n\
             weight %b f32[32, {channels}, 1, 1] rand(2)\n\
             %y f32[1, 32, 2, 2] = group_conv(%x, %a)\ngroups 2\nwindow 1x1\n\
             %z f32[1, 32, 2, 2] = conv(%x, %b)\nwindow 1x1\noutput %y\noutput %z"
        ));
    }
    // Eight channels of each group begin a block of their own, and the groups of the next share one.
    body(
        "input %x f32[1, 32, 3, 3]\nweight %a f32[16, 16, 1, 1] rand(1)\n\
         weight %b f32[16, 8, 1, 1] rand(2)\n\
         %y f32[1, 16, 3, 3] = group_conv(%x, %a)\ngroups 2\nwindow 1x1\n\
         %z f32[1, 16, 3, 3] = group_conv(%y, %b)\ngroups 2\nwindow 1x1\noutput %z",
    );
}

#[test]
fn products_agree() {
    body(
        "input %a f32[3, 10]\nweight %b f32[10, 13] rand(1)\nweight %c f32[13] rand(3)\n%y f32[3, 13] = matmul(%a, %b, %c)\noutput %y",
    );
    body(
        "input %a f32[3, 10]\nweight %b f32[13, 10] rand(1)\n%y f32[3, 13] = matmul(%a, %b)\ntrans_b true\nthen relu\noutput %y",
    );
    body(
        "input %a f32[2, 10, 3]\ninput %b f32[2, 10, 9]\n%y f32[2, 3, 9] = matmul(%a, %b)\ntrans_a true\noutput %y",
    );
    body(
        "input %a f32[2, 4, 10]\ninput %b f32[1, 11, 10]\n%y f32[2, 4, 11] = matmul(%a, %b)\ntrans_b true\noutput %y",
    );
    body(
        "input %a f32[4, 10]\nweight %b f32[3, 10, 8] rand(4)\n%y f32[3, 4, 8] = matmul(%a, %b)\noutput %y",
    );
}

#[test]
fn reductions_agree() {
    for f in ["sum", "mean", "max", "min"] {
        for (axes, out) in
            [("[2, 3]", "2, 3"), ("[0]", "3, 9, 8"), ("[1, 3]", "2, 9"), ("[0, 1, 2, 3]", "")]
        {
            body(&format!(
                "input %x f32[2, 3, 9, 8]\n%y f32[{out}] = reduce_{f}(%x)\naxes {axes}\noutput %y"
            ));
        }
    }
}

#[test]
fn layouts_agree() {
    body("input %x f32[2, 3, 4]\n%y f32[4, 2, 3] = transpose(%x)\nperm [2, 0, 1]\noutput %y");
    body("input %x f32[2, 3]\ninput %z f32[2, 5]\n%y f32[2, 10] = concat(%x, %z, %skip)\naxis 1\noutput %y".replace(", %skip", "").replace("10", "8").as_str());
    body("input %x f32[6, 8]\n%y f32[2, 4] = slice(%x)\nstarts [5, 1]\nsteps [-3, 2]\noutput %y");
    body(
        "input %x f32[1, 8, 3]\n%a f32[1, 4, 3] = slice(%x)\nstarts [0, 4, 0]\nsteps [1, 1, 1]\n%y f32[12] = reshape(%a)\n%z f32[12] = relu(%y)\noutput %z\noutput %a",
    );
    body(
        "input %x f32[2, 3]\n%y f32[5, 6] = pad(%x)\nbefore [1, 2]\nafter [2, 1]\nvalue 0.5\noutput %y",
    );
    body("input %x f32[1, 3]\n%y f32[4, 2, 3] = expand(%x)\noutput %y");
    body(
        "input %x f32[4, 3, 2]\nweight %i i64[2] = [2, 0]\n%y f32[4, 2, 2] = gather(%x, %i)\naxis 1\noutput %y",
    );
    scatters();
    body("input %x f32[4, 3]\n%y f32[12] = reshape(%x)\noutput %x\noutput %y");
    body(
        "input %x f32[4, 3]\n%y i64[4, 3] = cast(%x)\n%z bool[4, 3] = cast(%x)\n%e bool[4, 3] = equal(%y, %y)\n%w f32[4, 3] = where(%z, %x, %x)\noutput %y\noutput %z\noutput %w\noutput %e",
    );
}

/// Rows at places, of which some are outside and some are named twice, and single elements at places that are
/// computed.
fn scatters() {
    body(
        "input %x f32[5, 3]\ninput %d f32[4, 3]\nweight %i i32[5] = [3, -1, 0, 3, 4]\n%y f32[4, 3] = scatter(%x, %i, %d)\nextent 4\n%z f32[7, 3] = scatter(%x, %i)\nextent 7\noutput %y\noutput %z",
    );
    body(
        "input %x f32[40]\nweight %f f32[] = 9\n%p f32[40] = mul(%x, %f)\n%i i64[40] = cast(%p)\n%y f32[6] = scatter(%x, %i)\nextent 6\n%z i64[6] = scatter(%i, %i)\nextent 6\noutput %y\noutput %z",
    );
}

#[test]
fn softmaxes_and_argmaxes_agree() {
    for (f, axis) in [("softmax", 1), ("log_softmax", 2), ("softmax", 0)] {
        body(&format!("input %x f32[2, 5, 3]\n%y f32[2, 5, 3] = {f}(%x)\naxis {axis}\noutput %y"));
    }
    body("input %x f32[2, 5, 3]\n%y i64[2, 3] = argmax(%x)\naxis 1\noutput %y");
    body(
        "input %x f32[2, 5, 3]\n%y i64[2, 5, 1] = argmax(%x)\naxis 2\nkeep true\nlast true\noutput %y",
    );
}

#[test]
fn pools_agree() {
    for (op, window, more, out) in [
        ("max_pool", "3x3 stride 2 pad 1", "", "5, 4"),
        ("average_pool", "3x3 stride 2 pad 1", "", "5, 4"),
        ("average_pool", "3x3 stride 2 pad 1", "padding counted\n", "5, 4"),
        ("average_pool", "2x2 stride 2", "ceil true\n", "5, 4"),
        ("average_pool", "2x2 stride 2", "ceil true\npadding counted\n", "5, 4"),
        ("max_pool", "2x2 dilation 2", "", "7, 5"),
        ("max_pool", "2x3 stride 1x2 pad 1 0 0 2", "", "9, 4"),
    ] {
        body(&format!(
            "input %x f32[2, 3, 9, 7]\n%y f32[2, 3, {out}] = {op}(%x)\nwindow {window}\n{more}output %y"
        ));
        // In blocks, which convolutions make.
        body(&format!(
            "input %x f32[2, 16, 9, 7]\nweight %w f32[32, 16, 1, 1] rand(1)\n\
             %u f32[2, 32, 9, 7] = conv(%x, %w)\nwindow 1x1\n\
             %y f32[2, 32, {out}] = {op}(%u)\nwindow {window}\n{more}output %y"
        ));
    }
}

/// The maximum of a window with a NaN is NaN, wherever in it that is: half of the square roots are.
#[test]
fn maxima_keep_nans() {
    for (window, out) in [("3x2 stride 2 pad 1", "6, 7"), ("2x2", "11, 12")] {
        body(&format!(
            "input %x f32[1, 16, 12, 13]\nweight %w f32[32, 16, 1, 1] rand(1)\n\
             %u f32[1, 32, 12, 13] = conv(%x, %w)\nwindow 1x1\n\
             %s f32[1, 32, 12, 13] = sqrt(%u)\n\
             %y f32[1, 32, {out}] = max_pool(%s)\nwindow {window}\noutput %y"
        ));
    }
}

/// aarch64 code cannot run here, but it can be made: without relocations, for every kernel that the
/// small models use.
#[test]
fn small_models_compile_for_aarch64() {
    use cardinal_compiler::codegen::{Listing, Target};
    use cardinal_compiler::plan::generate;
    let target = Target::named("aarch64-unknown-linux-gnu", "generic").unwrap();
    for path in running::files::models("tiny") {
        let mut graph = running::files::import(&path, None).graph;
        cardinal_compiler::passes::run(&mut graph, None, &mut |_, _| {}).unwrap();
        let plan = planned(&graph, &target);
        let code = generate(&plan, &target, Listing { clif: false, assembly: true }).unwrap();
        assert!(code.listing().contains("fmla"), "{path:?}: no vector multiply-add");
    }
}

#[test]
fn absurd_sizes_are_refused() {
    let source = "graph @huge {\n  input %x f32[1, 1, 4, 4]\n  weight %w f32[1, 1, 1, 1] = [1]\n  \
                  %y f32[1, 1, 3, 3] = conv(%x, %w)\n    \
                  window 1x1 stride 1000000000000 pad 1000000000000\n  output %y\n}\n";
    let graph = cardinal_compiler::ir::text::parse(source).unwrap();
    cardinal_compiler::ir::verify(&graph).unwrap();
    let error = running::try_planned(&graph, &avx2(), &Preferences::default());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("unsupported: a tensor"), "{error}");
}

/// A graph with one Split-Attention over `[n, k·r·c, h, w]`, with or without biases.
fn split_attention(
    [n, k, r, c, i]: [usize; 5],
    [h, w]: [usize; 2],
    [excite, weigh, then]: [&str; 3],
    bias: bool,
) -> String {
    let direct = excite == "direct";
    let (u, y, a) = (k * r * c, k * c, if direct { c } else { i });
    let mut text = format!("graph @g {{\n  input %u f32[{n}, {u}, {h}, {w}]\n");
    text += &format!("  input %res f32[{n}, {y}, {h}, {w}]\n");
    let mut operands = String::from("%u, _, _");
    if !direct {
        text += &format!("  weight %w1 f32[{}, {c}] rand(1)\n", k * i);
        operands = "%u, %w1, _".to_owned();
        if bias {
            text += &format!("  weight %b1 f32[{}] rand(2)\n", k * i);
            operands = "%u, %w1, %b1".to_owned();
        }
    }
    text += &format!("  weight %w2 f32[{u}, {a}] rand(3)\n");
    operands += ", %w2";
    if bias {
        text += &format!("  weight %b2 f32[{u}] rand(4)\n");
        operands += ", %b2";
    }
    text += &format!("  %y f32[{n}, {y}, {h}, {w}] = split_attention({operands})\n");
    for (key, value) in [("cardinality", k), ("radix", r)] {
        if value > 1 {
            text += &format!("    {key} {value}\n");
        }
    }
    let sum = if r > 1 { ", sum r" } else { "" };
    text += &format!("    squeeze mean h w{sum}\n    excite {excite}\n    weigh {weigh}\n");
    if !then.is_empty() {
        text += &format!("    then {then}\n");
    }
    text + "    from \"/node\"\n  output %y\n  output %res\n}\n"
}

#[test]
fn split_attention_of_every_shape() {
    let relu = "i5 then relu";
    for bias in [false, true] {
        for (k, r) in [(1, 2), (2, 2), (2, 4), (3, 3), (1, 9), (2, 17)] {
            let shape = [2, k, r, 3, 5];
            check(&split_attention(shape, [3, 5], [relu, "softmax r", "add %res, relu"], bias));
            check(&split_attention(shape, [1, 1], ["direct", "softmax r", ""], bias));
        }
        for k in [1, 2, 3] {
            for gate in ["sigmoid", "hard_sigmoid 0.2 0.5"] {
                check(&split_attention([2, k, 1, 9, 5], [4, 4], [relu, gate, "relu"], bias));
                check(&split_attention([1, k, 1, 6, 5], [5, 3], ["direct", gate, ""], bias));
            }
        }
    }
    check(&split_attention([1, 1, 2, 8, 5], [2, 2], ["i5", "softmax r", ""], true));
    check(&split_attention([1, 1, 2, 8, 5], [2, 2], ["i5 then tanh, abs", "softmax r", ""], true));
}

/// The operator against the loose nodes that exporters write for it.
#[test]
fn split_attention_is_what_its_nodes_compute() {
    let (k, r, c, i) = (2, 3, 4, 5);
    let op = split_attention([2, k, r, c, i], [3, 3], ["i5 then relu", "softmax r", ""], true);
    let loose = "graph @g {
  input %u f32[2, 24, 3, 3]
  weight %w1 f32[10, 4, 1, 1] rand(1)
  weight %b1 f32[10] rand(2)
  weight %w2 f32[24, 5, 1, 1] rand(3)
  weight %b2 f32[24] rand(4)
  %splits f32[2, 2, 3, 4, 3, 3] = reshape(%u)
  %sum f32[2, 2, 4, 3, 3] = reduce_sum(%splits)
    axes [2]
  %flat f32[2, 8, 3, 3] = reshape(%sum)
  %z f32[2, 8, 1, 1] = reduce_mean(%flat)
    axes [2, 3]
    keep true
  %inner f32[2, 10, 1, 1] = group_conv(%z, %w1, %b1)
    groups 2
    window 1x1
    then relu
  %logits f32[2, 24, 1, 1] = group_conv(%inner, %w2, %b2)
    groups 2
    window 1x1
  %lines f32[2, 2, 3, 4, 1, 1] = reshape(%logits)
  %a f32[2, 2, 3, 4, 1, 1] = softmax(%lines)
    axis 2
  %weighted f32[2, 2, 3, 4, 3, 3] = mul(%a, %splits)
  %y f32[2, 2, 4, 3, 3] = reduce_sum(%weighted)
    axes [2]
  output %y
}
";
    let run = |source: &str| {
        let graph = text::parse(source).unwrap();
        let inputs: Vec<_> = graph
            .inputs()
            .iter()
            .zip(1..)
            .map(|(id, seed)| to_reference(&random(graph.ty(*id), seed)))
            .collect();
        interp::run(&graph, &inputs).unwrap().remove(0)
    };
    let (interp::Data::Float(op), interp::Data::Float(loose)) = (run(&op).data, run(loose).data)
    else {
        panic!("integers")
    };
    assert_eq!(op.len(), loose.len());
    for (a, b) in op.iter().zip(&loose) {
        assert!((a - b).abs() < 1e-12, "{a} {b}");
    }
}

/// A convolution in blocks of 16 channels, with bias, residual addition and relu.
fn conv_in_blocks(
    [n, c, m, groups]: [usize; 4],
    [h, w]: [usize; 2],
    window: &str,
    out: [usize; 2],
) {
    let kernel = window.split(' ').next().unwrap().replace('x', ", ");
    let [oh, ow] = out;
    let (per_group, name) = (c / groups, if groups > 1 { "group_conv" } else { "conv" });
    let attribute = if groups > 1 { format!("groups {groups}\n") } else { String::new() };
    body(&format!(
        "input %x f32[{n}, {c}, {h}, {w}]\ninput %res f32[{n}, {m}, {oh}, {ow}]\n\
         weight %w f32[{m}, {per_group}, {kernel}] rand(3)\nweight %b f32[{m}] rand(4)\n\
         weight %v f32[16, {m}, 1, 1] rand(5)\n\
         %y f32[{n}, {m}, {oh}, {ow}] = {name}(%x, %w, %b)\n{attribute}window {window}\n\
         then add %res, relu\n%z f32[{n}, 16, {oh}, {ow}] = conv(%y, %v)\nwindow 1x1\noutput %z"
    ));
}

/// Rows of every length up to twice the largest tile, and blocks up to twice the widest.
#[test]
fn tiles_of_every_size_agree() {
    for w in 1..=30 {
        conv_in_blocks([1, 16, 16 * (1 + w % 9), 1], [2, w], "1x1", [2, w]);
    }
    for w in [1, 2, 5, 7, 13, 29] {
        conv_in_blocks([2, 32, 48, 1], [3, w], "3x3 pad 1", [3, w]);
        conv_in_blocks([1, 19, 37, 1], [4, w], "3x3 stride 2 pad 1", [2, w.div_ceil(2)]);
        conv_in_blocks([1, 48, 96, 2], [3, w], "3x3 pad 1", [3, w]);
        // So deep that sums are made in parts.
        conv_in_blocks([1, 1056, 32, 1], [2, w], "1x1", [2, w]);
        conv_in_blocks([1, 128, 32, 1], [3, w], "3x3 stride 2 pad 1", [2, w.div_ceil(2)]);
        conv_in_blocks([2, 3, 24, 1], [3, w], "3x3 pad 1", [3, w]);
    }
}

/// Winograd's tiles, whole and cut off on either side, alone and in groups.
#[test]
fn winograd_agrees() {
    for (h, w) in [(4, 4), (8, 12), (14, 14), (7, 7), (5, 9), (13, 6), (28, 3), (2, 2), (1, 5)] {
        conv_in_blocks([1, 64, 64, 1], [h, w], "3x3 pad 1", [h, w]);
        conv_in_blocks([2, 64, 96, 2], [h, w], "3x3 pad 1", [h, w]);
    }
}

/// Groups that are parts of a block: of one channel, of four and of eight.
#[test]
fn narrow_groups_agree() {
    for w in [1, 3, 6, 14, 17, 29] {
        conv_in_blocks([2, 32, 32, 8], [3, w], "3x3 pad 1", [3, w]);
        conv_in_blocks([1, 48, 48, 48], [3, w], "3x3 stride 2 pad 1", [2, w.div_ceil(2)]);
        conv_in_blocks([1, 16, 16, 4], [5, w], "1x1", [5, w]);
        conv_in_blocks([1, 48, 48, 6], [3, w], "3x3 pad 1", [3, w]);
    }
}

/// A bottleneck: a grouped 3×3 convolution of so many groups and channels of each, read and made, then a
/// Split-Attention where it has a radix, between convolutions of single pixels.
fn bottleneck(
    [groups, read, made]: [usize; 3],
    radix: Option<usize>,
    [h, w]: [usize; 2],
    stride: usize,
    ends: usize,
) -> String {
    let [oh, ow] = [h, w].map(|n| n.div_ceil(stride));
    let (c, m) = (groups * read, groups * made);
    let conv = match groups {
        1 => "conv(%u, %w, %b)".to_owned(),
        _ => format!("group_conv(%u, %w, %b)\ngroups {groups}"),
    };
    let (k, left) = (groups / radix.unwrap_or(1), m / radix.unwrap_or(1));
    let mut text = format!(
        "graph @test {{\ninput %x f32[2, {ends}, {h}, {w}]\nweight %v f32[{c}, {ends}, 1, 1] rand(1)\n\
         weight %w f32[{m}, {read}, 3, 3] rand(2)\nweight %b f32[{m}] rand(3)\n\
         weight %z f32[{ends}, {left}, 1, 1] rand(4)\n\
         %u f32[2, {c}, {h}, {w}] = conv(%x, %v)\nwindow 1x1\nthen relu\n\
         %g f32[2, {m}, {oh}, {ow}] = {conv}\n\
         window 3x3 stride {stride} pad 1\nthen relu\n"
    );
    if let Some(radix) = radix {
        text += &format!(
            "weight %w1 f32[{}, {made}] rand(5)\nweight %b1 f32[{}] rand(6)\n\
             weight %w2 f32[{m}, 6] rand(7)\nweight %b2 f32[{m}] rand(8)\n\
             %a f32[2, {left}, {oh}, {ow}] = split_attention(%g, %w1, %b1, %w2, %b2)\n",
            6 * k,
            6 * k
        );
        for (key, value) in [("cardinality", k), ("radix", radix)] {
            if value > 1 {
                text += &format!("{key} {value}\n");
            }
        }
        text += match radix {
            1 => "squeeze mean h w\nexcite i6 then relu\nweigh sigmoid\n",
            _ => "squeeze mean h w, sum r\nexcite i6 then relu\nweigh softmax r\n",
        };
        text += "from \"/attention\"\n";
    }
    let last = if radix.is_some() { "a" } else { "g" };
    text + &format!(
        "%y f32[2, {ends}, {oh}, {ow}] = conv(%{last}, %z)\nwindow 1x1\noutput %y\n}}\n"
    )
}

/// Groups that are no whole blocks, computed together where that is cheaper than filling each up.
#[test]
fn joined_groups_agree() {
    for (groups, radix, ends, joined) in [
        ([4, 24, 24], None, 1024, 2),
        ([4, 24, 24], Some(1), 1024, 2),
        ([2, 40, 40], Some(1), 1024, 2),
        ([4, 40, 40], None, 1024, 2),
        ([4, 20, 20], Some(1), 1024, 4),
        ([8, 12, 12], Some(1), 1024, 4),
        ([4, 24, 48], None, 1024, 2),
        // Splits begin at blocks all the same.
        ([4, 24, 24], Some(2), 1024, 2),
        ([4, 40, 40], Some(2), 2032, 2),
        ([4, 20, 20], Some(2), 2032, 4),
        ([4, 12, 12], Some(2), 2032, 4),
    ] {
        for (size, stride) in [([12, 12], 1), ([9, 8], 1), ([10, 11], 2)] {
            let source = bottleneck(groups, radix, size, stride, ends);
            for winograd in [true, false] {
                let preferences = Preferences { winograd, ..Preferences::default() };
                let graph = text::parse(&source).unwrap();
                let plan = running::try_planned(&graph, &avx2(), &preferences).unwrap();
                let step = plan.steps.iter().rfind(|step| step.name.starts_with('g')).unwrap();
                let direct = step.kernel.get::<BlockedConv>().map(|conv| conv.groups.count);
                let winograd = step.kernel.get::<WinogradOutput>().map(|conv| conv.groups.count);
                let computed = direct.or(winograd).unwrap();
                assert_eq!(computed, groups[0] / joined, "{}\n{source}", step.why);
                assert!(step.why.contains(&format!("joined by {joined}, ")), "{}", step.why);
            }
            check(&source);
            check_without_winograd(&source);
        }
    }
}

/// Between convolutions of few channels there is too little to save.
#[test]
fn groups_stay_apart_where_that_is_cheaper() {
    for (groups, radix) in [([8, 20, 20], None), ([8, 10, 40], Some(4)), ([4, 36, 36], Some(1))] {
        let source = bottleneck(groups, radix, [10, 9], 1, 16);
        let plan = planned_directly(&text::parse(&source).unwrap(), &avx2());
        let step = plan.steps.iter().rfind(|step| step.name.starts_with('g')).unwrap();
        let conv = step.kernel.get::<BlockedConv>().unwrap();
        assert_eq!(conv.groups.count, groups[0], "{}", step.why);
        assert!(step.why.contains(" apart"), "{}", step.why);
        check_without_winograd(&source);
    }
}

/// Split-Attention over groups that are parts of those of the convolution, and the reverse.
#[test]
fn splits_need_not_be_groups() {
    for (cardinality, groups) in [(4, 8), (8, 4), (4, 1), (4, 2), (6, 4)] {
        for ends in [16, 256] {
            for width in [96, 120] {
                let source =
                    bottleneck([groups, width / groups, width / groups], None, [6, 6], 1, ends);
                let attention = format!(
                    "weight %w1 f32[{}, {}] rand(5)\nweight %w2 f32[{width}, 6] rand(7)\n\
                     %a f32[2, {width}, 6, 6] = split_attention(%g, %w1, _, %w2)\n\
                     cardinality {cardinality}\nsqueeze mean h w\nexcite i6 then relu\n\
                     weigh sigmoid\nfrom \"/attention\"\n%y ",
                    6 * cardinality,
                    width / cardinality
                );
                let source =
                    source.replace("%y ", &attention).replace("conv(%g, %z)", "conv(%a, %z)");
                check(&source);
            }
        }
    }
}

/// Halves of a value in blocks, each read by a convolution with a border, and joined again.
#[test]
fn slices_of_blocks_agree() {
    for (first, rest) in [(16, 32), (32, 16), (24, 24), (16, 24)] {
        let all = first + rest;
        body(&format!(
            "input %x f32[2, 16, 5, 4]\nweight %w f32[{all}, 16, 1, 1] rand(1)\n\
             %u f32[2, {all}, 5, 4] = conv(%x, %w)\nwindow 1x1\n\
             %a f32[2, {first}, 5, 4] = slice(%u)\nstarts [0, 0, 0, 0]\n\
             %b f32[2, {rest}, 5, 4] = slice(%u)\nstarts [0, {first}, 0, 0]\n\
             weight %p f32[16, {first}, 3, 3] rand(2)\nweight %q f32[16, {rest}, 3, 3] rand(3)\n\
             %c f32[2, 16, 5, 4] = conv(%a, %p)\nwindow 3x3 pad 1\n\
             %d f32[2, 16, 5, 4] = conv(%b, %q)\nwindow 3x3 dilation 2 pad 2\n\
             %y f32[2, 32, 5, 4] = concat(%c, %d)\naxis 1\noutput %y\noutput %b"
        ));
    }
}

/// The same of groups that are filled up, between which slices do not begin.
#[test]
fn slices_of_filled_groups_agree() {
    for (first, groups) in [(48, 4), (16, 4), (128, 4), (96, 2)] {
        let rest = 144 - first;
        body(&format!(
            "input %x f32[2, 144, 5, 4]\nweight %w f32[144, {}, 3, 3] rand(1)\n\
             %u f32[2, 144, 5, 4] = group_conv(%x, %w)\ngroups {groups}\nwindow 3x3 pad 1\n\
             %a f32[2, {first}, 5, 4] = slice(%u)\nstarts [0, 0, 0, 0]\n\
             %b f32[2, {rest}, 5, 4] = slice(%u)\nstarts [0, {first}, 0, 0]\n\
             %last f32[2, 16, 5, 4] = slice(%b)\nstarts [0, {}, 0, 0]\n\
             weight %p f32[16, {first}, 3, 3] rand(2)\nweight %q f32[16, {rest}, 3, 3] rand(3)\n\
             %c f32[2, 16, 5, 4] = conv(%a, %p)\nwindow 3x3 pad 1\n\
             %d f32[2, 16, 5, 4] = conv(%b, %q)\nwindow 3x3 dilation 2 pad 2\nthen add %last\n\
             %y f32[2, 32, 5, 4] = concat(%c, %d)\naxis 1\noutput %y\noutput %b",
            144 / groups,
            rest - 16
        ));
    }
}
