//! What each pass does, on graphs given as text.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

use cardinal_compiler::ir::{Graph, Op, text, verify};
use cardinal_compiler::passes;

/// The fused graph's text, and the near misses.
fn fused(body: &str) -> (String, Vec<passes::NearMiss>) {
    let (graph, misses) = fused_graph(body);
    (text::print(&graph), misses)
}

fn fused_graph(body: &str) -> (Graph, Vec<passes::NearMiss>) {
    let mut graph: Graph = text::parse(&format!("graph @g {{\n{body}\n}}\n")).unwrap();
    verify(&graph).unwrap();
    let misses = passes::run(&mut graph, None, &mut |_, _| {}).unwrap();
    (graph, misses)
}

#[test]
fn what_changes_nothing_is_dropped() {
    let (text, _) = fused(
        "input %x f32[2, 3]\nweight %zero f32[] = 0\nweight %one f32[3] = [1, 1, 1]\n\
         %a f32[2, 3] = add(%zero, %x)\n%b f32[2, 3] = mul(%a, %one)\n\
         %c f32[2, 3] = identity(%b)\n%d f32[2, 3] = cast(%c)\n%e f32[6] = reshape(%d)\n\
         %f f32[3, 2] = reshape(%e)\n%y f32[3, 2] = exp(%f)\noutput %y",
    );
    assert_eq!(text.matches(" = ").count(), 2, "{text}");
    assert!(text.contains("%f   f32[3, 2] = reshape(%x)"), "{text}");
}

#[test]
fn an_operand_that_broadcasts_is_not_dropped() {
    let (text, _) = fused(
        "input %x f32[1, 3]\nweight %zero f32[2, 3] = [0, 0, 0, 0, 0, 0]\n\
         %y f32[2, 3] = add(%zero, %x)\noutput %y",
    );
    assert!(text.contains("add(%zero, %x)"), "{text}");
}

/// What is expanded is both operands.
#[test]
fn an_expanded_value_with_itself_stays_expanded() {
    let (text, _) = fused(
        "input %x f32[1, 3]\n%e f32[2, 3] = expand(%x)\n%y f32[2, 3] = add(%e, %e)\noutput %y",
    );
    assert!(text.contains("add(%e, %e)"), "{text}");
}

const CONV_NORM: &str = "input %x f32[1, 1, 2, 2]\nweight %w f32[2, 1, 1, 1] = [2, 3]\n\
     weight %s f32[2] = [1, 2]\nweight %b f32[2] = [10, 20]\nweight %m f32[2] = [4, 6]\n\
     weight %v f32[2] = [3, 0.25]\n%c f32[1, 2, 2, 2] = conv(%x, %w)\nwindow 1x1\n\
     %n f32[1, 2, 2, 2] = batch_norm(%c, %s, %b, %m, %v)\nepsilon 1\n\
     %y f32[1, 2, 2, 2] = relu(%n)\noutput %y";

/// s = scale / sqrt(var + 1) = [1/2, 2/sqrt(1.25)]: the epsilon counts.
#[test]
fn batch_norm_folds_with_its_epsilon_and_without_a_bias() {
    let (text, misses) = fused(CONV_NORM);
    let factor = 2.0 / 1.25f64.sqrt();
    let (weight, bias) = ((3.0 * factor) as f32, (-6.0 * factor + 20.0) as f32);
    assert!(text.contains(&format!("= [1, {weight:?}]")), "{text}");
    assert!(text.contains(&format!("= [8, {bias:?}]")), "{text}");
    assert!(text.contains("then     relu") && !text.contains("batch_norm"), "{text}");
    assert!(misses.is_empty());
}

#[test]
fn batch_norm_of_a_value_used_twice_says_why_it_stays() {
    let (text, misses) = fused(&CONV_NORM.replace("output %y", "output %y\noutput %c"));
    assert!(text.contains("batch_norm"), "{text}");
    assert_eq!(misses.len(), 1);
    assert_eq!(misses[0].pass, "fold_batch_norm");
    assert!(misses[0].because.contains("used elsewhere"), "{}", misses[0].because);
}

#[test]
fn residual_additions_and_activations_join_the_convolution() {
    let (text, _) = fused(
        "input %x f32[1, 2, 3, 3]\nweight %w f32[2, 2, 1, 1] = [1, 2, 3, 4]\n\
         %c f32[1, 2, 3, 3] = conv(%x, %w)\nwindow 1x1\n\
         %s f32[1, 2, 3, 3] = add(%c, %x)\n%y f32[1, 2, 3, 3] = relu(%s)\noutput %y",
    );
    assert!(text.contains("then     add %x, relu"), "{text}");
    assert_eq!(text.matches("f32[1, 2, 3, 3] = ").count(), 1, "{text}");
}

#[test]
fn a_value_used_twice_keeps_its_epilogue_to_itself() {
    let (text, _) = fused(
        "input %x f32[1, 2, 3, 3]\nweight %w f32[2, 2, 1, 1] = [1, 2, 3, 4]\n\
         %c f32[1, 2, 3, 3] = conv(%x, %w)\nwindow 1x1\n\
         %y f32[1, 2, 3, 3] = relu(%c)\noutput %y\noutput %c",
    );
    assert!(text.contains("relu(%c)"), "{text}");
}

#[test]
fn nodes_that_no_output_needs_go() {
    let (text, _) = fused(
        "input %x f32[2]\n%dead f32[2] = exp(%x)\n%deader f32[2] = neg(%dead)\n\
         %y f32[2] = abs(%x)\noutput %y",
    );
    assert!(!text.contains("dead"), "{text}");
}

/// An image on the grid of `u8` integers with this scale and zero point, as `%name`.
fn on_grid(name: &str, x: &str, shape: &str, [scale, zero]: [&str; 2]) -> String {
    format!(
        "weight %{name}:s f32[] = {scale}\nweight %{name}:z u8[] = {zero}\n\
         %{name}:q u8{shape} = quantize(%{x}, %{name}:s, %{name}:z)\n\
         %{name} f32{shape} = dequantize(%{name}:q, %{name}:s, %{name}:z)\n"
    )
}

#[test]
fn quantizing_and_dequantizing_is_one_function() {
    let (text, misses) = fused(&format!(
        "input %x f32[2, 3]\n{}%z f32[2, 3] = exp(%y)\noutput %z",
        on_grid("y", "x", "[2, 3]", ["0.5", "10"])
    ));
    assert!(text.contains("quantized(%x)"), "{text}");
    assert!(text.contains("scale    0.5"), "{text}");
    assert!(text.contains("lowest   -10") && text.contains("highest  245"), "{text}");
    assert!(!text.contains("quantize(") && misses.is_empty(), "{text}");
}

/// A value that is dequantized once for each user is computed once.
#[test]
fn what_is_dequantized_twice_is_one_value() {
    let (text, _) = fused(&format!(
        "input %x f32[2, 3]\n{}%w f32[2, 3] = dequantize(%y:q, %y:s, %y:z)\n\
         %v f32[2, 3] = exp(%y)\n%u f32[2, 3] = log(%w)\noutput %v\noutput %u",
        on_grid("y", "x", "[2, 3]", ["0.5", "10"])
    ));
    assert_eq!(text.matches("quantized(%x)").count(), 1, "{text}");
}

#[test]
fn another_grid_or_one_that_is_not_constant_stays() {
    let body = "input %x f32[3]\nweight %s f32[] = 0.5\nweight %t f32[] = 0.25\nweight %z u8[] = 10\n\
         %q u8[3] = quantize(%x, %s, %z)\n%y f32[3] = dequantize(%q, %t, %z)\noutput %y";
    let (text, misses) = fused(body);
    assert!(text.contains("= quantize(%x") && text.contains("dequantize(%q"), "{text}");
    assert_eq!(misses[0].pass, "join_quantization");
    assert!(misses[0].because.contains("scale 0.5"), "{}", misses[0].because);
    let (text, misses) = fused(&body.replace("weight %t f32[] = 0.25", "input %t f32[]"));
    assert!(text.contains("= quantize(%x") && text.contains("dequantize(%q"), "{text}");
    assert!(misses[0].because.contains("not one constant"), "{}", misses[0].because);
    // The integers are a result too.
    let (text, _) = fused(&(body.replace("%t, %z", "%s, %z") + "\noutput %q"));
    assert!(text.contains("= quantize(%x") && text.contains("quantized(%x)"), "{text}");
}

/// Integers are moved and picked between the two.
#[test]
fn quantizing_and_dequantizing_meet_through_what_moves_elements() {
    let (text, _) = fused(
        "input %x f32[1, 2, 2, 2]\ninput %w f32[1, 2, 2, 2]\nweight %s f32[] = 0.5\n\
         weight %z u8[] = 10\nweight %i i64[2] = [1, 0]\n\
         %q u8[1, 2, 2, 2] = quantize(%x, %s, %z)\n%r u8[1, 2, 2, 2] = quantize(%w, %s, %z)\n\
         %a f32[1, 2, 2, 2] = cast(%q)\n%b f32[1, 2, 1, 1] = max_pool(%a)\nwindow 2x2\n\
         %c u8[1, 2, 1, 1] = cast(%b)\n%d u8[1, 2, 1, 1] = slice(%r) starts [0, 0, 1, 1]\n\
         %e u8[1, 4, 1, 1] = concat(%c, %d) axis 1\n%f u8[4, 1] = reshape(%e)\n\
         %g u8[1, 4] = transpose(%f) perm [1, 0]\n%h u8[1, 2] = gather(%g, %i) axis 1\n\
         %p u8[1, 3] = pad(%h)\nbefore [0, 0]\nafter [0, 1]\nvalue 12\n\
         %y f32[1, 3] = dequantize(%p, %s, %z)\noutput %y",
    );
    assert!(!text.contains("u8"), "{text}");
    assert_eq!(text.matches("quantized(").count(), 2, "{text}");
    assert!(text.contains("value    1\n"), "{text}");
}

#[test]
fn integers_that_come_from_outside_are_dequantized_where_they_are() {
    let (text, _) = fused(
        "input %x u8[2, 3]\nweight %s f32[] = 0.5\nweight %z u8[] = 10\n\
         %a u8[6] = reshape(%x)\n%y f32[6] = dequantize(%a, %s, %z)\noutput %y",
    );
    assert!(text.contains("u8[6] = reshape(%x)"), "{text}");
}

#[test]
fn weights_become_floats() {
    let (text, _) = fused(
        "input %x f32[2]\nweight %q i8[2] = [-3, 4]\nweight %s f32[2] = [0.5, 2]\n\
         weight %z i8[] = 1\n%w f32[2] = dequantize(%q, %s, %z)\n%y f32[2] = mul(%x, %w)\noutput %y",
    );
    assert!(text.contains("= [-2, 6]") && !text.contains("dequantize"), "{text}");
}

/// The second is on the grid of the first, whatever is picked and joined in between.
#[test]
fn what_is_on_the_grid_is_not_quantized_again() {
    let grid = ["0.5", "10"];
    let between = "%a f32[2, 2, 2] = relu(%u)\n%b f32[2, 4] = reshape(%a)\n%c f32[4, 4] = concat(%b, %w) axis 0\n";
    let body = |scale| {
        format!(
            "input %x f32[2, 2, 2]\ninput %v f32[2, 4]\n{}{}{between}{}output %y",
            on_grid("u", "x", "[2, 2, 2]", grid),
            on_grid("w", "v", "[2, 4]", grid),
            on_grid("y", "c", "[4, 4]", [scale, "10"])
        )
    };
    let (text, _) = fused(&body("0.5"));
    assert_eq!(text.matches("quantized").count(), 2, "{text}");
    let (text, _) = fused(&body("0.25"));
    assert_eq!(text.matches("quantized").count(), 3, "{text}");
}

#[test]
fn clipping_to_the_ends_of_a_grid_goes() {
    for (clip, zero, stays) in [
        ("relu(%x)", "0", false),
        ("relu(%x)", "1", true),
        // 255 steps of 0.0235294 are 6.
        ("clip(%x)\nlow 0\nhigh 6", "0", false),
        ("clip(%x)\nlow 0\nhigh 5.9", "0", true),
        ("clip(%x)\nlow 0.02\nhigh 6", "0", true),
    ] {
        let (text, _) = fused(&format!(
            "input %x f32[4]\n%r f32[4] = {clip}\n{}output %y",
            on_grid("y", "r", "[4]", ["0.023529412", zero])
        ));
        assert_eq!(!text.contains("quantized(%x)"), stays, "{clip}, {zero}: {text}");
    }
}

/// Tools leave out a relu whose result they round to a grid from 0 on: the grid stands for it.
#[test]
fn attention_rounds_its_inner_layer_as_the_model_does() {
    let block = |lowest, highest| {
        format!(
            "input %x f32[1, 4, 2, 2]\nweight %a f32[4, 4, 1, 1] rand(1)\n\
             weight %b f32[4, 4, 1, 1] rand(2)\n%m f32[1, 4, 1, 1] = reduce_mean(%x)\n\
             axes [2, 3]\nkeep true\n%i f32[1, 4, 1, 1] = conv(%m, %a)\nwindow 1x1\n\
             %q f32[1, 4, 1, 1] = quantized(%i)\nscale 0.5\nlowest {lowest}\nhighest {highest}\n\
             %o f32[1, 4, 1, 1] = conv(%q, %b)\nwindow 1x1\n%g f32[1, 4, 1, 1] = sigmoid(%o)\n\
             %y f32[1, 4, 2, 2] = mul(%x, %g)\noutput %y"
        )
    };
    let (text, _) = fused(&block(0, 255));
    assert!(text.contains("split_attention(%x"), "{text}");
    assert!(text.contains("i4 then quantized 0.5 0 255"), "{text}");
    let (text, _) = fused(&block(-128, 127));
    assert!(text.contains("split_attention(%x"), "{text}");
    assert!(text.contains("i4 then quantized 0.5 -128 127"), "{text}");
}

/// As PyTorch's exporters spell them, with the factors in another order too.
#[test]
fn activations_of_several_operators_are_one_function() {
    let swish =
        "input %x f32[2, 3]\n%s f32[2, 3] = sigmoid(%x)\n%y f32[2, 3] = mul(%s, %x)\noutput %y";
    let (text, _) = fused(swish);
    assert!(text.contains("%y   f32[2, 3] = swish(%x)"), "{text}");
    let gelu = |scaled: &str, [first, second]: [&str; 2]| {
        format!(
            "input %x f32[2, 3]\nweight %r f32[] = 1.4142135\nweight %q f32[] = 0.70710677\n\
             weight %one f32[] = 1\nweight %half f32[] = 0.5\n%d f32[2, 3] = {scaled}\n\
             %e f32[2, 3] = erf(%d)\n%s f32[2, 3] = add(%e, %one)\n%p f32[2, 3] = mul({first})\n\
             %y f32[2, 3] = mul({second})\noutput %y"
        )
    };
    let orders = [["%x, %s", "%p, %half"], ["%x, %half", "%p, %s"], ["%s, %half", "%x, %p"]];
    for (scaled, order) in
        ["div(%x, %r)", "mul(%q, %x)"].iter().flat_map(|s| orders.map(|o| (s, o)))
    {
        let (text, _) = fused(&gelu(scaled, order));
        assert!(text.contains("%y   f32[2, 3] = gelu(%x)"), "{scaled} {order:?}: {text}");
    }
    let [order, ..] = orders;
    let others = [
        gelu("mul(%x, %r)", order),
        gelu("div(%x, %half)", order),
        gelu("div(%x, %r)", order).replace("output %y", "output %y\noutput %s"),
        gelu("div(%x, %r)", order).replace("%half f32[] = 0.5", "%half f32[] = 2"),
        swish.replace("output %y", "output %y\noutput %s"),
        swish.replace("mul(%s, %x)", "mul(%s, %s)"),
    ];
    for other in others {
        let (text, _) = fused(&other);
        assert!(!text.contains("gelu") && !text.contains("swish"), "{text}");
    }
}

/// 2 · 3 + 1 scaled by 10, and the second channel by 100.
#[test]
fn factors_of_channels_go_into_the_layer_before() {
    let dense = |end: &str| {
        format!(
            "input %x f32[1, 2, 2, 1]\nweight %w f32[1, 2] = [2, 3]\nweight %b f32[2] = [1, 4]\n\
             weight %s f32[2, 1, 1] = [10, 100]\n%m f32[1, 2, 2, 2] = matmul(%x, %w)\n\
             %a f32[1, 2, 2, 2] = add(%m, %b)\n%t f32[1, 2, 2, 2] = transpose(%a)\n{end}\n\
             %y f32[1, 2, 2, 2] = mul(%t, %s)\noutput %y"
        )
    };
    let (text, _) = fused(&dense("perm [0, 3, 1, 2]"));
    assert!(text.contains("= [20, 300]") && text.contains("= [10, 400]"), "{text}");
    assert!(!text.contains(" = mul("), "{text}");
    for factor in ["1e-39", "1e39"] {
        let scaled = dense("perm [0, 3, 1, 2]").replace("[10, 100]", &format!("[10, {factor}]"));
        assert!(fused(&scaled.replace("1e39", "3e38")).0.contains(" = mul("), "{factor}");
    }
    // Height is no channel.
    let (text, _) = fused(&dense("perm [0, 1, 3, 2]"));
    assert!(text.contains(" = mul("), "{text}");
    let (text, _) = fused(&dense("perm [0, 3, 1, 2]").replace("output %y", "output %y\noutput %a"));
    assert!(text.contains(" = mul("), "{text}");
}

/// A normalization of so many channels with these statistics, before a layer.
fn norm(channels: usize, [scale, bias, mean, var]: [f32; 4]) -> String {
    let all = |number: f32| vec![format!("{number:?}"); channels].join(", ");
    let c = channels;
    format!(
        "input %x f32[1, {c}, 2, 2]\nweight %s f32[{c}] = [{}]\nweight %b f32[{c}] = [{}]\n\
         weight %m f32[{c}] = [{}]\nweight %v f32[{c}] = [{}]\n\
         %n f32[1, {c}, 2, 2] = batch_norm(%x, %s, %b, %m, %v)\nepsilon 1\n\
         %r f32[1, {c}, 2, 2] = relu(%n)\nweight %w f32[16, {c}, 1, 1] rand(1)\n\
         %y f32[1, 16, 2, 2] = conv(%r, %w)\nwindow 1x1\noutput %y",
        all(scale),
        all(bias),
        all(mean),
        all(var)
    )
}

/// s = 6 / sqrt(3 + 1) = 3, and 5 - 4 · s = -7.
#[test]
fn batch_norm_that_is_left_becomes_a_convolution() {
    let norm16 = norm(16, [6.0, 5.0, 4.0, 3.0]);
    let (text, _) = fused(&norm16);
    assert!(text.contains("group_conv(%x") && text.contains("then     relu"), "{text}");
    let (graph, _) = fused_graph(&norm16);
    let values = |name: &str| {
        let id = graph.topological().into_iter().find(|id| graph.node(*id).name == name).unwrap();
        let Op::Weight(weight) = &graph.node(id).op else { panic!("{name} is no weight") };
        weight.to_f32(graph.ty(id)).unwrap()
    };
    assert_eq!([values("s"), values("b")], [[3.0; 16], [-7.0; 16]]);
    assert!(fused(&norm(15, [6.0, 5.0, 4.0, 3.0])).0.contains("batch_norm"));
    // Nothing around it lies in blocks.
    let alone = norm16.replace("output %y", "output %r").replace("%y f32", "%unused f32");
    let alone = alone.replace("conv(%r, %w)", "conv(%x, %w)");
    assert!(fused(&alone).0.contains("batch_norm"), "{alone}");
    let vast = norm16.replace("2, 2]", "2048, 1024]");
    assert!(fused(&vast).0.contains("batch_norm"));
}

/// `x · s` and `mean · s` would cancel, or are nothing that f32 hold.
#[test]
fn batch_norm_that_would_be_less_exact_is_left() {
    for statistics in [
        [1.0, 0.5, 1000.0, 2.0],
        [3e38, 0.0, 1.0, -0.9999],
        [1.0, 0.0, 1.0, -1.0],
        [1e-38, 1.0, 1.0, 1e6],
    ] {
        let (text, misses) = fused(&norm(16, statistics));
        assert!(text.contains("batch_norm"), "{statistics:?}: {text}");
        assert!(misses.iter().any(|miss| miss.because.contains("cancel")), "{misses:?}");
    }
    // A large mean beside a large bias is none that cancels more than results have.
    assert!(fused(&norm(16, [1.0, 100.0, 1000.0, 2.0])).0.contains("group_conv"));
}
