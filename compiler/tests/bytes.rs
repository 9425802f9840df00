//! Values that are rounded to multiples of a scale, which are stored and multiplied as bytes where the
//! machine can: compiled code against the interpreter, which knows nothing of bytes.
//!
//! What is rounded may be rounded to a neighbour where it lies in the middle, within what f32 can tell: at
//! most one step off, and rarely.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod running;

use std::fmt::Write as _;

use cardinal_compiler::codegen::Target;
use cardinal_compiler::interp;
use cardinal_compiler::ir::{Graph, text, verify};
use cardinal_compiler::machine::Dots;
use cardinal_compiler::passes;
use cardinal_runtime::{Tensor, cpu};
use running::{host, planned, random, run, to_reference};

/// This machine, and what it can be besides that multiplies bytes in another way.
fn targets() -> Vec<Target> {
    let named = ["x86-64-v3", "x86-64-v3+avxvnni"].into_iter();
    let named = named.filter(|_| cfg!(target_arch = "x86_64"));
    let others = named.filter_map(|name| {
        let target = Target::named(&cpu::host_triple(), name).unwrap();
        let missing = cpu::missing_features(target.features(), &cpu::host_features());
        if !missing.is_empty() {
            eprintln!("NOT TESTED: kernels of bytes for {name}: this CPU lacks {missing:?}");
        }
        missing.is_empty().then_some(target)
    });
    let mut all = vec![host()];
    all.extend(others);
    if all.iter().all(|target| target.machine().dots.is_none()) {
        eprintln!("NOT TESTED: kernels of bytes, for which this CPU has no instruction");
    }
    all
}

/// The graph of a text, after the passes.
fn graph(source: &str) -> Graph {
    let mut graph = text::parse(source).unwrap_or_else(|e| panic!("{e}\n{source}"));
    verify(&graph).unwrap_or_else(|e| panic!("{e}\n{source}"));
    passes::run(&mut graph, None, &mut |_, _| {}).unwrap();
    graph
}

/// How many layers of a graph have weights of bytes.
fn of_bytes(graph: &Graph, target: &Target) -> usize {
    cardinal_compiler::plan::text::print(&planned(graph, target)).matches(" i8[").count()
}

/// `x` rounded to what is said, as a line.
fn quantized(to: &str, ty: &str, x: &str, [scale, lowest, highest]: [f32; 3]) -> String {
    format!(
        "  %{to} {ty} = quantized(%{x})\n    scale {scale:e}\n    lowest {lowest}\n    highest {highest}\n"
    )
}

/// Runs a graph on one thread and on two, which must give the same bits, for each [target](targets), and with
/// the least instructions.
fn outputs(graph: &Graph) -> (Vec<Vec<Tensor>>, Vec<interp::Tensor>) {
    let inputs: Vec<Tensor> =
        graph.inputs().iter().zip(1..).map(|(id, seed)| random(graph.ty(*id), seed)).collect();
    let mut all = Vec::new();
    for target in targets() {
        let [one, two] = [1, 2].map(|threads| run(graph, &target, threads, &inputs));
        for (one, two) in one.iter().zip(&two) {
            assert_eq!(one.as_bytes(), two.as_bytes(), "threads\n{}", text::print(graph));
        }
        all.push(one);
    }
    if cfg!(target_arch = "x86_64") {
        let least = Target::named(&cpu::host_triple(), "x86-64").unwrap();
        all.push(run(graph, &least, 1, &inputs));
    }
    let inputs: Vec<_> = inputs.iter().map(to_reference).collect();
    (all, interp::run(graph, &inputs).unwrap())
}

fn floats(tensor: &interp::Tensor) -> &[f64] {
    match &tensor.data {
        interp::Data::Float(all) => all,
        interp::Data::Int(_) => panic!("integers"),
    }
}

/// Checks that of the elements of each output, which are multiples of a step, few are off, and none by more
/// than one; where there is no step, that all are near.
fn check(source: &str, steps: &[Option<f32>]) {
    let graph = graph(source);
    let (runs, expected) = outputs(&graph);
    for found in runs {
        for ((found, expected), step) in found.iter().zip(&expected).zip(steps) {
            let found = to_reference(found);
            let (found, expected) = (floats(&found), floats(expected));
            let largest = expected.iter().fold(1e-30, |m: f64, x| m.max(x.abs()));
            let tolerance = step.map_or(4e-6 * largest, |step| f64::from(step) * 1.001);
            let mut off = 0;
            for (i, (f, e)) in found.iter().zip(expected).enumerate() {
                let apart = (f - e).abs();
                assert!(apart <= tolerance, "element {i}: {f} for {e}\n{source}");
                off += usize::from(step.is_some_and(|step| apart > f64::from(step) / 2.0));
            }
            assert!(off <= 1 + found.len() / 1000, "{off} of {} are off\n{source}", found.len());
        }
    }
}

/// Numbers that a seed stands for.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % end as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

const ACTIVATIONS: [f32; 3] = [1.0 / 128.0, -128.0, 127.0];
const WEIGHTS: [f32; 3] = [1.0 / 127.0, -127.0, 127.0];

/// Weights of which any two can be multiplied as a pair.
const SMALL_WEIGHTS: [f32; 3] = [1.0 / 64.0, -64.0, 64.0];

/// A convolution of bytes with everything that may be around it.
fn convolution(seed: u64) -> (String, Option<f32>) {
    let mut n = Numbers(seed);
    let groups = n.one_of(&[1, 1, 1, 2]);
    let [read, made] = [0; 2].map(|_| n.one_of(&[3, 16, 20, 21, 32, 48, 64]));
    // Groups that are parts of a block, now and then.
    let (groups, [read, made]) = match n.below(4) {
        0 => {
            let channels = n.one_of(&[1, 4, 8]);
            (n.one_of(&[16, 32, 48]) / channels, [channels; 2])
        }
        _ => (groups, [read, made]),
    };
    let (c, m) = (read * groups, made * groups);
    let (kernel, stride) = (n.one_of(&[1, 1, 3, 5]), n.one_of(&[1, 1, 2]));
    let pad = kernel / 2;
    let [h, w] = [0; 2].map(|_| n.below(14) + kernel);
    let [oh, ow] = [h, w].map(|x| (x + 2 * pad - kernel) / stride + 1);
    let images = n.one_of(&[1, 1, 3]);
    let (x, y) =
        (format!("f32[{images}, {c}, {h}, {w}]"), format!("f32[{images}, {m}, {oh}, {ow}]"));
    let filters = format!("f32[{m}, {read}, {kernel}, {kernel}]");
    let [bias, residual, relu, rounds] = [(); 4].map(|()| n.below(2) == 1);
    let residual_is_bytes = n.below(2) == 1;
    let lowest = n.one_of(&[0.0, -3.0, -128.0]);
    let scale = n.one_of(&[0.011, 0.0371, 0.25]);
    let mut s = format!("graph @g {{\n  input %x {x}\n");
    if residual {
        let _ = writeln!(s, "  input %r {y}");
    }
    let _ = writeln!(s, "  weight %raw {filters} rand(3)\n  weight %b f32[{m}] rand(4)");
    s += &quantized("xq", &x, "x", ACTIVATIONS);
    s += &quantized(
        "wq",
        &filters,
        "raw",
        if seed.is_multiple_of(4) { WEIGHTS } else { SMALL_WEIGHTS },
    );
    let name = if groups > 1 { "group_conv" } else { "conv" };
    let _ = writeln!(s, "  %c {y} = {name}(%xq, %wq{})", if bias { ", %b" } else { "" });
    if groups > 1 {
        let _ = writeln!(s, "    groups {groups}");
    }
    let _ = writeln!(s, "    window {kernel}x{kernel} stride {stride} pad {pad}");
    let mut last = "c";
    if residual {
        let mut other = "r";
        if residual_is_bytes {
            s += &quantized("rq", &y, "r", [0.01, lowest, lowest + 255.0]);
            other = "rq";
        }
        let _ = writeln!(s, "  %sum {y} = add(%c, %{other})");
        last = "sum";
    }
    if relu {
        let _ = writeln!(s, "  %relu {y} = relu(%{last})");
        last = "relu";
    }
    if rounds {
        s += &quantized("yq", &y, last, [scale, lowest, lowest + 255.0]);
        last = "yq";
    }
    let _ = writeln!(s, "  output %{last}\n}}");
    (s, rounds.then_some(scale))
}

#[test]
fn convolutions_of_bytes_agree() {
    let targets = targets();
    let mut counts = vec![0; targets.len()];
    for seed in 0..200 {
        let (source, step) = convolution(seed);
        eprintln!("seed {seed}");
        for (count, target) in counts.iter_mut().zip(&targets) {
            *count += of_bytes(&graph(&source), target);
        }
        check(&source, &[step]);
    }
    for (count, target) in counts.into_iter().zip(&targets) {
        // Groups of few channels are not computed in blocks; some pairs are too large, and some
        // convolutions are faster in f32.
        let least = match target.machine().dots {
            None => 0,
            Some(Dots::Words) => 150,
            Some(Dots::Pairs) => 70,
        };
        assert!(count >= least, "{count} are of bytes for {}", target.cpu());
    }
}

/// A network in which every value between the first and the last convolution is rounded.
fn network(images: usize) -> String {
    let mut s = format!("graph @g {{\n  input %x f32[{images}, 3, 37, 37]\n");
    let weights = [
        ("w1", "32, 3, 3, 3"),
        ("w2", "32, 32, 1, 1"),
        ("w3", "64, 16, 3, 3"),
        ("w4", "64, 32, 1, 1"),
        ("w5", "64, 32, 1, 1"),
        ("w6", "10, 64, 1, 1"),
    ];
    for (seed, (name, shape)) in weights.iter().enumerate() {
        let _ = writeln!(s, "  weight %raw{name} f32[{shape}] rand({seed})");
        s += &quantized(name, &format!("f32[{shape}]"), &format!("raw{name}"), SMALL_WEIGHTS);
    }
    let _ = writeln!(s, "  weight %a1 f32[8, 32] rand(11)\n  weight %a2 f32[64, 8] rand(12)");
    let relu = |scale: f32| [scale, 0.0, 255.0];
    let ty = |c: usize, p: usize| format!("f32[{images}, {c}, {p}, {p}]");
    s += &quantized("xq", &ty(3, 37), "x", ACTIVATIONS);
    let _ = writeln!(s, "  %c1 {} = conv(%xq, %w1)\n    window 3x3 stride 2 pad 1", ty(32, 19));
    let _ = writeln!(s, "  %r1 {} = relu(%c1)", ty(32, 19));
    s += &quantized("q1", &ty(32, 19), "r1", relu(0.02));
    let _ = writeln!(s, "  %p1 {} = max_pool(%q1)\n    window 3x3 stride 2 pad 1", ty(32, 10));
    let _ = writeln!(s, "  %c2 {} = conv(%p1, %w2)\n    window 1x1", ty(32, 10));
    s += &quantized("q2", &ty(32, 10), "c2", [0.06, -100.0, 155.0]);
    let _ = writeln!(
        s,
        "  %c3 {} = group_conv(%q2, %w3)\n    groups 2\n    window 3x3 pad 1",
        ty(64, 10)
    );
    let _ = writeln!(s, "  %r3 {} = relu(%c3)", ty(64, 10));
    s += &quantized("q3", &ty(64, 10), "r3", relu(0.2));
    let _ = writeln!(
        s,
        "  %att {} = split_attention(%q3, %a1, _, %a2)\n    radix 2\n    squeeze mean h w, sum r\n    excite i8 then relu\n    weigh softmax r",
        ty(32, 10)
    );
    s += &quantized("q4", &ty(32, 10), "att", relu(0.1));
    let _ = writeln!(s, "  %p2 {} = average_pool(%q4)\n    window 3x3 stride 2 pad 1", ty(32, 5));
    s += &quantized("q5", &ty(32, 5), "p2", relu(0.1));
    let _ = writeln!(s, "  %c5 {} = conv(%q5, %w4)\n    window 1x1", ty(64, 5));
    let _ = writeln!(s, "  %p3 {} = average_pool(%p1)\n    window 2x2 stride 2", ty(32, 5));
    s += &quantized("q6", &ty(32, 5), "p3", relu(0.02));
    let _ = writeln!(s, "  %c6 {} = conv(%q6, %w5)\n    window 1x1", ty(64, 5));
    s += &quantized("q7", &ty(64, 5), "c6", [0.05, -128.0, 127.0]);
    let _ = writeln!(s, "  %sum {} = add(%c5, %q7)\n  %r7 {} = relu(%sum)", ty(64, 5), ty(64, 5));
    s += &quantized("q8", &ty(64, 5), "r7", relu(0.1));
    let _ = writeln!(s, "  %c8 {} = conv(%q8, %w6)\n    window 1x1", ty(10, 5));
    let _ = writeln!(s, "  %m f32[{images}, 10] = reduce_mean(%c8)\n    axes [2, 3]");
    let _ = writeln!(s, "  output %q1\n  output %q3\n  output %m\n}}");
    s
}

#[test]
fn a_network_of_bytes_is_what_its_nodes_compute() {
    for images in [1, 3] {
        let source = network(images);
        let graph = graph(&source);
        for target in targets() {
            match target.machine().dots {
                None => assert_eq!(of_bytes(&graph, &target), 0),
                Some(Dots::Words) => assert_eq!(of_bytes(&graph, &target), 6),
                // Or fewer, where Winograd's algorithm is faster.
                Some(Dots::Pairs) => assert!((5..=6).contains(&of_bytes(&graph, &target))),
            }
        }
        let (runs, expected) = outputs(&graph);
        for found in runs {
            let found = to_reference(&found[2]);
            let (found, expected) = (floats(&found), floats(&expected[2]));
            let largest = expected.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
            for (f, e) in found.iter().zip(expected) {
                // A step in a thousand of some values, which hundreds of products follow.
                assert!((f - e).abs() < 0.02 * largest, "{f} for {e}, of {largest}\n{source}");
            }
        }
    }
}

/// A dense layer whose weights are multiples, in each way that there is to say one.
fn dense(seed: u64) -> String {
    let mut n = Numbers(seed);
    let (depth, made) = (n.one_of(&[16, 40, 255, 256, 301, 1024]), n.one_of(&[64, 65, 72, 130]));
    let (images, has_bias) = (n.one_of(&[1, 1, 3, 8]), n.below(2) == 1);
    let bias = if has_bias { ", %b" } else { "" };
    let (x, filters, y, says) = match n.below(4) {
        0 => (vec![images, depth], vec![depth, made], vec![images, made], "matmul"),
        1 => (vec![images, depth], vec![made, depth], vec![images, made], "matmul transposed"),
        2 => {
            let pixels = |channels| vec![images, channels, 1, 1];
            (pixels(depth), vec![made, depth, 1, 1], pixels(made), "conv")
        }
        // Groups that would fill a third of their blocks are computed row-major.
        _ => {
            let made = made.min(72) / 8 * 8;
            let of = |channels, size| vec![images, channels, size, size];
            (of(40, 3), vec![made, 5, 3, 3], of(made, 1), "group_conv")
        }
    };
    let bias_of = y[1];
    let after = match says {
        "matmul" => "",
        "conv" => "\n    window 1x1",
        "group_conv" => "\n    groups 8\n    window 3x3",
        _ => "\n    trans_b true",
    };
    let [x, filters, y] = [x, filters, y].map(|shape| format!("f32{shape:?}"));
    let mut s = format!("graph @g {{\n  input %x {x}\n  weight %raw {filters} rand(3)\n");
    let _ = writeln!(s, "  weight %b f32[{bias_of}] rand(4)");
    s += &quantized("w", &filters, "raw", WEIGHTS);
    let mnemonic = says.split(' ').next().unwrap_or_default();
    let _ = writeln!(s, "  %y {y} = {mnemonic}(%x, %w{bias}){after}\n  output %y\n}}");
    s
}

#[test]
fn dense_layers_with_weights_of_bytes_agree_on_every_machine() {
    let mut row_major = [0; 3];
    for seed in 0..60 {
        let source = dense(seed);
        eprintln!("seed {seed}");
        // A convolution of whole blocks lies in blocks.
        let ways = ["trans_b", "matmul", "group_conv"];
        let way = ways.iter().position(|way| source.contains(way));
        assert_eq!(of_bytes(&graph(&source), &host()), usize::from(way.is_some()), "{source}");
        way.into_iter().for_each(|way| row_major[way] += 1);
        check(&source, &[None]);
    }
    assert!(row_major.iter().all(|count| *count > 5), "{row_major:?}");
}

/// Few weights may be multiples of something by chance, and gain nothing.
#[test]
fn weights_that_are_no_multiples_or_few_stay_as_they_are() {
    let of = |depth: usize, made: usize, weight: &str| {
        format!(
            "graph @g {{\n  input %x f32[1, {depth}]\n  weight %w f32[{depth}, {made}] {weight}\n  \
             %y f32[1, {made}] = matmul(%x, %w)\n  output %y\n}}"
        )
    };
    for (depth, made) in [(1, 4096), (8, 512), (64, 64), (16, 8)] {
        let source = of(depth, made, "rand(3)");
        assert_eq!(of_bytes(&graph(&source), &host()), 0, "{source}");
        check(&source, &[None]);
    }
}

/// Where bytes are multiplied in pairs, the sum of two products must fit.
#[test]
fn pairs_that_are_too_large_are_multiplied_in_f32() {
    let pairs = Target::named("x86_64-unknown-linux-gnu", "x86-64-v3").unwrap();
    let words = Target::named("x86_64-unknown-linux-gnu", "x86-64-v3+avxvnni").unwrap();
    // Two channels that are neighbours, and two that are not.
    for (row, fits) in [
        ("127, 1, 0, 0", true),
        ("127, 2, 0, 0", false),
        ("1, 127, 2, 126", true),
        ("0, 127, 2, 0", true),
        ("-127, 127, -64, -64", true),
        ("-127, -1, 0, 100", true),
        ("0, 0, -65, -64", false),
    ] {
        let weights: Vec<&str> = vec![row; 16 * 4];
        let source = format!(
            "graph @g {{\n  input %x f32[1, 16, 8, 8]\n  weight %w f32[16, 16, 1, 1] = [{}]\n{}  \
             %c f32[1, 16, 8, 8] = conv(%q, %w)\n    window 1x1\n  output %c\n}}",
            weights.join(", "),
            quantized("q", "f32[1, 16, 8, 8]", "x", ACTIVATIONS),
        );
        let graph = graph(&source);
        assert_eq!(of_bytes(&graph, &pairs), usize::from(fits), "{row}");
        assert_eq!(of_bytes(&graph, &words), 1, "{row}");
    }
}

/// Conversions to u8 truncate and stop at the ends: they are not what makes bytes of rounded values.
#[test]
fn conversions_truncate() {
    let source = "graph @g {\n  input %x f32[3, 64]\n  weight %s f32[1] = [700]\n  \
                  %y f32[3, 64] = mul(%x, %s)\n  %z u8[3, 64] = cast(%y)\n  output %z\n}";
    let graph = text::parse(source).unwrap_or_else(|e| panic!("{e}\n{source}"));
    verify(&graph).unwrap();
    let (runs, expected) = outputs(&graph);
    for found in runs {
        assert_eq!(to_reference(&found[0]).data, expected[0].data);
    }
}

/// Parts of groups that are no whole blocks have no layout of their own, whatever follows.
#[test]
fn slices_of_filled_groups_keep_what_follows() {
    for rounded in [false, true] {
        let mut s = String::from(
            "graph @g {\n  input %x f32[1, 32, 6, 6]\n  input %y f32[1, 32, 6, 6]\n  \
             weight %raw f32[48, 16, 1, 1] rand(3)\n",
        );
        s += &quantized("w", "f32[48, 16, 1, 1]", "raw", WEIGHTS);
        s += &quantized("xq", "f32[1, 32, 6, 6]", "x", ACTIVATIONS);
        s += "  %c f32[1, 48, 6, 6] = group_conv(%xq, %w)\n    groups 2\n    window 1x1\n";
        s += &quantized("q", "f32[1, 48, 6, 6]", "c", [0.03, -128.0, 127.0]);
        let from = if rounded { "q" } else { "c" };
        let _ = writeln!(
            s,
            "  %part f32[1, 32, 6, 6] = slice(%{from})\n    starts [0, 0, 0, 0]\n    steps [1, 1, 1, 1]"
        );
        s += "  %g f32[1, 32, 6, 6] = sigmoid(%part)\n  %m f32[1, 32, 6, 6] = mul(%g, %y)\n";
        s += "  %p f32[1, 32, 3, 3] = max_pool(%part)\n    window 2x2 stride 2\n";
        s += "  output %m\n  output %p\n}";
        check(&s, &[Some(0.03), Some(0.03)]);
    }
}

/// One Split-Attention that rounds all on its way, of splits that are rounded, and of others.
fn rounding_attention([k, r, c]: [usize; 3], bytes: bool) -> String {
    let (u, y, i) = (k * r * c, k * c, 5);
    let ty = format!("f32[2, {u}, 6, 7]");
    let grid = |scale: f32, lowest: i32| format!("[quantized {scale} {lowest} {}]", lowest + 255);
    let weigh = if r == 1 { "sigmoid" } else { "softmax r" };
    let sum = if r == 1 { "" } else { ", sum r" };
    let mut s = format!("graph @g {{\n  input %x {ty}\n");
    let _ = writeln!(s, "  weight %w1 f32[{}, {c}] rand(1)", k * i);
    let _ = writeln!(s, "  weight %w2 f32[{u}, {i}] rand(3)\n  weight %b2 f32[{u}] rand(4)");
    if bytes {
        s += &quantized("u", &ty, "x", [0.01, -100.0, 155.0]);
    } else {
        let _ = writeln!(s, "  %u {ty} = leaky_relu(%x)\n    alpha 0.5");
    }
    let _ = writeln!(s, "  %y f32[2, {y}, 6, 7] = split_attention(%u, %w1, _, %w2, %b2)");
    let _ = writeln!(s, "    cardinality {k}\n    radix {r}\n    squeeze mean h w{sum}");
    let _ = writeln!(s, "    excite i5 then quantized 0.003 0 255\n    weigh {weigh}");
    // No grid on which means of multiples of 0.01 lie in the middle between two.
    let _ = writeln!(s, "    round_squeezed {}", grid(0.0097, -128));
    let _ = writeln!(s, "    round_excited {}", grid(0.05, -128));
    let _ = writeln!(s, "    round_weights {}", grid(0.004, 0));
    let _ = writeln!(s, "    round_products {}\n  output %y\n}}", grid(PRODUCTS, -128));
    s
}

/// What products are rounded to.
const PRODUCTS: f32 = 1.0 / 64.0;

#[test]
fn attention_rounds_as_it_is_told() {
    for sizes in [[1, 2, 16], [2, 2, 16], [2, 1, 32], [3, 1, 5], [1, 3, 5], [2, 20, 3]] {
        for bytes in [false, true] {
            let source = rounding_attention(sizes, bytes);
            check(&source, &[Some(PRODUCTS)]);
            // Without any one of its roundings the result is another.
            let told = interp_output(&source);
            for key in ["squeezed", "excited", "weights", "products"] {
                let line = source.lines().find(|l| l.contains(&format!("round_{key}"))).unwrap();
                let less = interp_output(&source.replace(&format!("{line}\n"), ""));
                assert!(told != less, "{key} of {sizes:?} changes nothing");
            }
        }
    }
}

fn interp_output(source: &str) -> Vec<f64> {
    let graph = graph(source);
    let inputs = graph.inputs();
    let inputs: Vec<_> = inputs.iter().map(|id| to_reference(&random(graph.ty(*id), 1))).collect();
    floats(&interp::run(&graph, &inputs).unwrap()[0]).to_vec()
}
