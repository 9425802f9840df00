//! Products of bfloat16: compiled convolutions against the f64 interpreter on factors that are rounded already,
//! so that what rounds them changes nothing, and on others.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod running;

use std::num::NonZeroUsize;

use cardinal_compiler::codegen::Target;
use cardinal_compiler::interp;
use cardinal_compiler::ir::{Graph, text, verify};
use cardinal_compiler::kernels;
use cardinal_compiler::onnx::Model;
use cardinal_compiler::options::CompileOptions;
use cardinal_compiler::passes;
use cardinal_compiler::schedule::{Bfloat16, Choice, Choices, Chosen, Layer, Preferences};
use cardinal_runtime::{Session, Tensor, cpu};
use running::files::{import, models, stem};
use running::{compile_with, host, random, to_reference};

/// This machine, if it multiplies bfloat16.
fn runnable() -> Option<Target> {
    let target = host();
    if !target.machine().bfloats {
        eprintln!("NOT TESTED: products of bfloat16, for which this CPU has no instruction");
        return None;
    }
    Some(target)
}

fn znver4() -> Target {
    Target::named("x86_64-unknown-linux-gnu", "znver4").unwrap()
}

/// One convolution.
#[derive(Debug, Clone, Copy)]
struct Case {
    images: usize,
    /// Read and made, of each group.
    channels: [usize; 2],
    groups: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    size: [usize; 2],
    residual: bool,
}

impl Case {
    const fn of(channels: [usize; 2], kernel: usize, size: [usize; 2]) -> Case {
        let (images, groups, stride, dilation, residual) = (1, 1, 1, 1, false);
        Case { images, channels, groups, kernel, stride, dilation, size, residual }
    }

    /// With such weights.
    fn graph(&self, weights: &str) -> Graph {
        let Case { images, channels: [read, made], groups, kernel, stride, dilation, size, .. } =
            *self;
        let (read, made) = (read * groups, made * groups);
        let pad = if kernel % 2 == 0 { 0 } else { dilation * (kernel / 2) };
        let [h, w] = size;
        let [high, wide] = size.map(|n| (n - 1) / stride + 1);
        let (op, groups) = match groups {
            1 => ("conv", String::new()),
            n => ("group_conv", format!("\n    groups {n}")),
        };
        let window = format!("{kernel}x{kernel} stride {stride} dilation {dilation} pad {pad}");
        let out = format!("f32[{images}, {made}, {high}, {wide}]");
        let mut s = format!("graph @g {{\n  input %x f32[{images}, {read}, {h}, {w}]\n");
        let filter = self.channels[0];
        s += &format!("  input %r {out}\n");
        s += &format!("  weight %w f32[{made}, {filter}, {kernel}, {kernel}] {weights}\n");
        s += &format!("  weight %b f32[{made}] rand(2)\n");
        s += &format!("  %c {out} = {op}(%x, %w, %b){groups}\n    window {window}\n");
        let last = if self.residual {
            s += &format!("  %a {out} = add(%c, %r)\n");
            "a"
        } else {
            "c"
        };
        s += &format!("  %y {out} = relu(%{last})\n  output %y\n  output %r\n}}");
        let mut graph = text::parse(&s).unwrap_or_else(|e| panic!("{e}\n{s}"));
        verify(&graph).unwrap_or_else(|e| panic!("{e}\n{s}"));
        passes::run(&mut graph, None, &mut |_, _| {}).unwrap();
        graph
    }
}

/// Weights that bfloat16 has.
fn short(case: &Case) -> String {
    let Case { channels: [read, made], groups, kernel, .. } = *case;
    let number = |i: usize| ((i * 2_654_435_761) >> 7) % 255;
    let all =
        (0..read * made * groups * kernel * kernel).map(|i| (number(i) as f32 - 127.0) / 64.0);
    format!("= [{}]", all.map(|x| x.to_string()).collect::<Vec<_>>().join(", "))
}

/// Of all kinds: channels that fill no blocks, strides, dilations, groups, residuals, sums of many parts.
fn cases() -> Vec<Case> {
    let mut all = vec![
        Case::of([64, 32], 1, [7, 9]),
        Case::of([16, 16], 1, [1, 1]),
        Case::of([17, 33], 1, [5, 3]),
        Case { residual: true, ..Case::of([48, 64], 1, [14, 14]) },
        Case { stride: 2, ..Case::of([32, 32], 1, [9, 8]) },
        Case { images: 3, ..Case::of([2048, 16], 1, [3, 3]) },
        Case { stride: 2, ..Case::of([20, 24], 5, [11, 12]) },
        Case { groups: 2, ..Case::of([16, 32], 1, [6, 6]) },
        Case { groups: 3, images: 2, ..Case::of([24, 20], 3, [8, 7]) },
    ];
    for size in [[7, 9], [8, 8], [4, 14], [2, 2]] {
        all.push(Case::of([32, 48], 3, size));
        all.push(Case { residual: true, groups: 2, ..Case::of([16, 16], 3, size) });
    }
    all.push(Case { dilation: 2, ..Case::of([32, 16], 3, [8, 12]) });
    // Few channels, in rows, whose windows begin at whole words and may end within one.
    for (kernel, stride, channels) in [(7, 2, 3), (7, 4, 12), (4, 4, 3), (2, 2, 15)] {
        let stem = Case { stride, ..Case::of([channels, 24], kernel, [16, 32]) };
        let odd = Case { images: 3, residual: true, size: [15, 33], ..stem };
        all.extend([stem, if kernel % 2 == 0 { stem } else { odd }]);
    }
    // Groups that are parts of blocks.
    for (groups, channels) in [(8, 4), (6, 8), (12, 4)] {
        let narrow = Case { groups, ..Case::of([channels, channels], 3, [9, 30]) };
        all.extend([narrow, Case { stride: 2, images: 2, ..narrow }]);
    }
    all.push(Case { groups: 8, residual: true, dilation: 2, ..Case::of([8, 8], 5, [12, 11]) });
    all
}

fn allowing(rounds: bool) -> Preferences {
    let bfloat16 = if rounds { Bfloat16::Required } else { Bfloat16::Never };
    Preferences { bfloat16, ..Preferences::default() }
}

fn layers(graph: &Graph, target: &Target, preferences: &Preferences) -> Vec<Layer> {
    kernels::schedule(graph, &target.machine(), preferences).layers(graph)
}

fn rounds(choice: &Choice) -> bool {
    choice.as_str().ends_with(" in bf16")
}

/// Every way to multiply bfloat16 that is among the candidates, by its algorithm.
fn ways(graph: &Graph, target: &Target) -> Vec<(String, Choices)> {
    let layers = layers(graph, target, &allowing(true));
    let [layer] = &layers[..] else { panic!("{layers:?}") };
    let chosen = |choice: &Choice| {
        let only = Chosen { choice: choice.clone(), because: String::new() };
        (choice.to_string(), Choices::from([(layer.key.clone(), only)]))
    };
    layer.candidates.iter().filter(|choice| rounds(choice)).map(chosen).collect()
}

/// The nearest numbers whose f32 has a lower half of zeros.
fn rounded(tensor: &Tensor) -> Tensor {
    let words = tensor.as_bytes().as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
    let nearest = words.map(|bits| (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF_0000);
    let bytes: Vec<u8> = nearest.flat_map(u32::to_le_bytes).collect();
    Tensor::from_bytes(tensor.dtype(), tensor.shape(), &bytes).unwrap()
}

fn floats(tensor: &interp::Tensor) -> &[f64] {
    match &tensor.data {
        interp::Data::Float(all) => all,
        interp::Data::Int(_) => panic!("integers"),
    }
}

/// Runs on one thread and on two, which must give the same bits.
fn run(graph: &Graph, target: &Target, choices: Choices, inputs: &[Tensor]) -> interp::Tensor {
    let schedule = Preferences { choices, ..allowing(true) };
    let options = CompileOptions { schedule, ..CompileOptions::default() };
    let program = compile_with(graph, target, &options);
    let [one, two] = [1, 2].map(|threads| {
        let threads = NonZeroUsize::new(threads).unwrap();
        let mut session = Session::new(program.clone(), threads).unwrap();
        session.run(inputs).unwrap().swap_remove(0)
    });
    assert_eq!(one.as_bytes(), two.as_bytes(), "threads");
    to_reference(&one)
}

#[test]
fn only_factors_are_rounded() {
    let Some(target) = runnable() else { return };
    let mut seen = [0; 2];
    for case in cases() {
        let graph = case.graph(&short(&case));
        let inputs: Vec<Tensor> =
            graph.inputs().iter().zip(7..).map(|(id, seed)| random(graph.ty(*id), seed)).collect();
        // The residual is no factor, and stays as it is.
        let inputs = [rounded(&inputs[0]), inputs[1].clone()];
        let reference: Vec<_> = inputs.iter().map(to_reference).collect();
        let expected = interp::run(&graph, &reference).unwrap();
        let expected = floats(&expected[0]);
        let largest = expected.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        for (choice, choices) in ways(&graph, &target) {
            let found = run(&graph, &target, choices, &inputs);
            // Winograd's factors are sums of these, which are rounded.
            let is_direct = choice.starts_with("direct");
            let most = if is_direct { 4e-6 } else { 4e-2 };
            seen[usize::from(is_direct)] += 1;
            for (i, (f, e)) in floats(&found).iter().zip(expected).enumerate() {
                let near = (f - e).abs() <= most * largest;
                assert!(near, "{case:?} by {choice}, output {i}: {f} for {e}, of {largest}");
            }
        }
    }
    assert!(seen.iter().all(|count| *count > 20), "{seen:?}");
}

#[test]
fn errors_are_those_of_three_digits() {
    let Some(target) = runnable() else { return };
    for case in cases() {
        let graph = case.graph("rand(1)");
        let inputs: Vec<Tensor> =
            graph.inputs().iter().zip(7..).map(|(id, seed)| random(graph.ty(*id), seed)).collect();
        let reference: Vec<_> = inputs.iter().map(to_reference).collect();
        let expected = interp::run(&graph, &reference).unwrap();
        let expected = floats(&expected[0]);
        let deviation = expected.iter().map(|x| x * x).sum::<f64>().sqrt();
        for (choice, choices) in ways(&graph, &target) {
            let found = run(&graph, &target, choices, &inputs);
            let pairs = floats(&found).iter().zip(expected);
            let error = pairs.map(|(f, e)| (f - e).powi(2)).sum::<f64>().sqrt() / deviation;
            let most = if choice.starts_with("direct") { 4e-3 } else { 1.6e-2 };
            assert!(error > 1e-5 && error < most, "{case:?} by {choice}: {error}");
        }
    }
}

/// Channels of groups that fill no blocks lie with gaps between them, and what reads all of them finds them there.
#[test]
fn copies_lie_as_what_they_are_copies_of() {
    let source = "graph @g {\n  input %x f32[1, 160, 14, 14]\n  weight %w f32[160, 40, 3, 3] rand(1)\n  \
                  weight %v f32[64, 160, 1, 1] rand(2)\n  %c f32[1, 160, 14, 14] = group_conv(%x, %w)\n    \
                  groups 4\n    window 3x3 pad 1\n  %y f32[1, 64, 14, 14] = conv(%c, %v)\n    window 1x1\n  \
                  output %y\n}";
    let mut graph = text::parse(source).unwrap();
    passes::run(&mut graph, None, &mut |_, _| {}).unwrap();
    let schedule = kernels::schedule(&graph, &znver4().machine(), &allowing(true));
    assert!(schedule.layers(&graph).iter().all(|layer| rounds(&layer.taken)));
    kernels::lower(&graph, &schedule).unwrap();
    let Some(target) = runnable() else { return };
    let inputs = [random(graph.ty(graph.inputs()[0]), 3)];
    let expected = interp::run(&graph, &inputs.each_ref().map(to_reference)).unwrap();
    let found = run(&graph, &target, Choices::new(), &inputs);
    let deviation = floats(&expected[0]).iter().map(|x| x * x).sum::<f64>().sqrt();
    let pairs = floats(&found).iter().zip(floats(&expected[0]));
    let error = pairs.map(|(f, e)| (f - e).powi(2)).sum::<f64>().sqrt() / deviation;
    assert!(error > 1e-5 && error < 2e-2, "{error}");
}

/// Plans and code are made and checked for a machine that need not be this one.
#[test]
fn it_is_taken_where_it_is_allowed_and_faster() {
    let target = znver4();
    for case in cases() {
        let graph = case.graph("rand(1)");
        for allowed in [false, true] {
            let schedule = kernels::schedule(&graph, &target.machine(), &allowing(allowed));
            kernels::lower(&graph, &schedule).unwrap_or_else(|e| panic!("{case:?}: {e}"));
            let layers = schedule.layers(&graph);
            let any = layers.iter().flat_map(|layer| &layer.candidates).any(rounds);
            assert_eq!(any, allowed, "{case:?}");
        }
    }
    let graph = Case { residual: true, ..Case::of([256, 64], 1, [28, 28]) }.graph("rand(1)");
    let takes = |allowed: &Preferences| rounds(&layers(&graph, &target, allowed)[0].taken);
    assert!(takes(&allowing(true)));
    assert!(!takes(&allowing(false)));
    assert!(takes(&Preferences { winograd: false, ..allowing(true) }));
    assert!(!takes(&Preferences { portable_bits: true, ..allowing(true) }));
}

#[test]
fn artifacts_say_what_they_multiply_and_ask_for_no_more() {
    let target = znver4();
    let graph = Case::of([256, 64], 1, [28, 28]).graph("rand(1)");
    let of = |target: &Target, allowed: bool| {
        let model = Model {
            graph: graph.clone(),
            metadata: Vec::new(),
            digest: [0; 32],
            operators: Default::default(),
        };
        let options = CompileOptions { schedule: allowing(allowed), ..CompileOptions::default() };
        cardinal_compiler::compile(&model, std::slice::from_ref(target), &options)
    };
    for (allowed, says) in [(false, "f32"), (true, "bf16")] {
        let artifact = of(&target, allowed).unwrap().parts.to_artifact().unwrap();
        let variant = &artifact.variants()[0];
        assert_eq!(variant.precision(), says);
        let asks = variant.cpu_features.iter().any(|feature| feature == "avx512bf16");
        assert_eq!(asks, allowed, "{:?}", variant.cpu_features);
        let model = Model {
            graph: graph.clone(),
            metadata: Vec::new(),
            digest: [0; 32],
            operators: Default::default(),
        };
        let again =
            cardinal_compiler::relink::relink(&model, &artifact, NonZeroUsize::MIN).unwrap();
        assert_eq!(again.parts.to_artifact().unwrap().code(0), artifact.code(0));
    }
    for without in ["x86-64-v4", "x86-64-v3", "icelake-server"] {
        let refused = Target::named("x86_64-unknown-linux-gnu", without).unwrap();
        let error = of(&refused, true).unwrap_err();
        assert!(error.to_string().contains("multiplies no bfloat16"), "{error}");
        assert!(error.remedy.unwrap().contains("--precision"));
        assert!(of(&refused, false).is_ok());
        let schedule = Preferences { bfloat16: Bfloat16::WhereFaster, ..Preferences::default() };
        let options = CompileOptions { schedule, ..CompileOptions::default() };
        let model = Model {
            graph: graph.clone(),
            metadata: Vec::new(),
            digest: [0; 32],
            operators: Default::default(),
        };
        let both = [refused, target.clone()];
        let artifact = cardinal_compiler::compile(&model, &both, &options).unwrap();
        let artifact = artifact.parts.to_artifact().unwrap();
        let precisions = artifact.variants().iter().map(|variant| variant.precision());
        assert_eq!(precisions.collect::<Vec<_>>(), ["f32", "bf16"]);
    }
    // A machine with AVX2 alone has no use for it, whatever else it says.
    let features = ["avx2", "fma", "avx512bf16"].map(str::to_owned);
    let odd = Target::new(&cpu::host_triple(), &features);
    assert!(odd.is_ok_and(|odd| !odd.features().contains(&"avx512bf16".to_owned())));
}

/// What one stage makes image by image, a later one reads for all images.
#[test]
fn networks_take_any_batch() {
    let target = znver4();
    let mut rounding = 0;
    let open = models("tiny").into_iter().filter(|path| stem(path).contains("dynbatch"));
    for path in open {
        for images in [2, 3, 8] {
            let mut graph = import(&path, Some(images)).graph;
            passes::run(&mut graph, None, &mut |_, _| {}).unwrap();
            let schedule = kernels::schedule(&graph, &target.machine(), &allowing(true));
            rounding += schedule.layers(&graph).iter().filter(|layer| rounds(&layer.taken)).count();
            kernels::lower(&graph, &schedule)
                .unwrap_or_else(|e| panic!("{}, {images} images: {e}", path.display()));
        }
    }
    assert!(rounding > 50, "{rounding}");
}

/// Where nothing is faster in bfloat16 code is made as for a machine without, whatever was chosen for layers.
#[test]
fn what_was_chosen_can_be_linked_again() {
    let target = znver4();
    let graph = Case::of([64, 32], 1, [7, 9]).graph("rand(1)");
    let [layer] = &layers(&graph, &target, &allowing(true))[..] else { panic!("one layer") };
    let model = || Model {
        graph: graph.clone(),
        metadata: Vec::new(),
        digest: [0; 32],
        operators: Default::default(),
    };
    let mut precisions = Vec::new();
    for choice in &layer.candidates {
        let only = Chosen { choice: choice.clone(), because: String::new() };
        let choices = Choices::from([(layer.key.clone(), only)]);
        let schedule = Preferences { choices, ..allowing(true) };
        let options = CompileOptions { schedule, ..CompileOptions::default() };
        let compiled =
            cardinal_compiler::compile(&model(), std::slice::from_ref(&target), &options);
        let artifact = compiled.unwrap().parts.to_artifact().unwrap();
        let again = cardinal_compiler::relink::relink(&model(), &artifact, NonZeroUsize::MIN);
        let again = again.unwrap_or_else(|e| panic!("{choice}: {e}"));
        assert_eq!(again.parts.to_artifact().unwrap().as_bytes(), artifact.as_bytes(), "{choice}");
        assert_eq!(artifact.variants()[0].precision() == "bf16", rounds(choice), "{choice}");
        precisions.push(rounds(choice));
    }
    assert!(precisions.contains(&true) && precisions.contains(&false));
}
