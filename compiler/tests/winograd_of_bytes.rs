//! Winograd's filtering of convolutions of bytes: what it may be taken for, and that no sum is more than the
//! integers hold, whatever the bytes and the weights are.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod running;

use std::num::NonZeroUsize;

use cardinal_compiler::codegen::Target;
use cardinal_compiler::ir::{Graph, text, verify};
use cardinal_compiler::kernels;
use cardinal_compiler::onnx::Model;
use cardinal_compiler::options::CompileOptions;
use cardinal_compiler::passes;
use cardinal_compiler::schedule::{Choice, Choices, Chosen, Layer, Preferences};
use cardinal_runtime::{Artifact, DType, Session, Tensor, cpu};
use running::{compile_with, host, to_reference};

const SIDE: usize = 11;

/// A 3×3 convolution of so many channels of planes of bytes, of which byte `q` stands for `q + lowest`.
fn convolution(
    [made, channels]: [usize; 2],
    side: usize,
    lowest: i32,
    weights: impl Fn([usize; 4]) -> i8,
) -> Graph {
    let all = (0..made * channels * 9).map(|i| {
        let [filter, rest] = [i / (channels * 9), i % (channels * 9)];
        weights([filter, rest / 9, rest % 9 / 3, rest % 3]).to_string()
    });
    let source = format!(
        "graph @g {{\n  input %x f32[1, {channels}, {side}, {side}]\n  \
         weight %w f32[{made}, {channels}, 3, 3] = [{}]\n  \
         %q f32[1, {channels}, {side}, {side}] = quantized(%x)\n    scale 1\n    lowest {lowest}\n    \
         highest {}\n  \
         %c f32[1, {made}, {side}, {side}] = conv(%q, %w)\n    window 3x3 pad 1\n  output %c\n}}",
        all.collect::<Vec<_>>().join(", "),
        lowest + 255,
    );
    let mut graph = text::parse(&source).unwrap();
    verify(&graph).unwrap();
    passes::run(&mut graph, None, &mut |_, _| {}).unwrap();
    graph
}

fn allowing(winograd_of_bytes: bool) -> Preferences {
    Preferences { winograd_of_bytes, ..Preferences::default() }
}

fn layers(graph: &Graph, target: &Target, preferences: &Preferences) -> Vec<Layer> {
    kernels::schedule(graph, &target.machine(), preferences).layers(graph)
}

/// The first candidate of this algorithm, for the one layer of a graph; none where bytes are not multiplied.
fn by(graph: &Graph, target: &Target, algorithm: &str) -> Option<Choices> {
    let layers = layers(graph, target, &allowing(true));
    let [layer] = &layers[..] else { panic!("{layers:?}") };
    let is_of_it = |choice: &&Choice| choice.algorithm() == algorithm;
    let choice = layer.candidates.iter().find(is_of_it)?.clone();
    let because = String::new();
    Some([(layer.key.clone(), Chosen { choice, because })].into_iter().collect())
}

/// What this machine runs that multiplies bytes.
fn runnable() -> Vec<Target> {
    let named = ["x86-64-v3", "x86-64-v3+avxvnni"].into_iter();
    let named = named.filter(|_| cfg!(target_arch = "x86_64"));
    let named = named.map(|name| Target::named(&cpu::host_triple(), name).unwrap());
    let mut all: Vec<Target> = named.chain([host()]).collect();
    all.retain(|target| {
        let missing = cpu::missing_features(target.features(), &cpu::host_features());
        let runs = missing.is_empty() && target.machine().dots.is_some();
        if !runs {
            eprintln!("NOT TESTED: {}, this CPU lacks {missing:?}", target.cpu());
        }
        runs
    });
    all
}

/// Kinds of weights, among them those with which elements become largest.
fn kinds() -> [fn([usize; 4]) -> i8; 6] {
    [
        |_| 64,
        |_| -64,
        |[made, _, y, x]| if (made + y + x).is_multiple_of(2) { 64 } else { -64 },
        |[_, channel, y, _]| if (channel + y).is_multiple_of(2) { 64 } else { -63 },
        |[made, channel, y, x]| {
            let mixed = (made * 31 + channel * 17 + y * 5 + x * 3) * 2_654_435_761;
            ((mixed >> 9 & 127) as i8) - 64
        },
        // An output channel without weights, and one with a single one.
        |[made, channel, y, x]| match made {
            0 => 0,
            1 => i8::from(channel + y + x == 0),
            _ => 7,
        },
    ]
}

/// Inputs with which sums become largest: all bytes at one end, and what changes sign with the transforms.
fn inputs(channels: usize, lowest: i32) -> Vec<Tensor> {
    let [low, high] = [lowest as f32, (lowest + 255) as f32];
    let kinds: [fn([usize; 3]) -> bool; 6] = [
        |_| true,
        |_| false,
        |[_, y, x]| (y + x).is_multiple_of(2),
        |[_, y, _]| y.is_multiple_of(2),
        |[_, _, x]| x % 3 == 0,
        |[channel, y, x]| (channel + y / 2 + x / 2).is_multiple_of(2),
    ];
    let tensor = |kind: fn([usize; 3]) -> bool| {
        let all = (0..channels * SIDE * SIDE).map(|i| {
            let at = [i / (SIDE * SIDE), i / SIDE % SIDE, i % SIDE];
            if kind(at) { high } else { low }
        });
        let bytes: Vec<u8> = all.flat_map(f32::to_le_bytes).collect();
        Tensor::from_bytes(DType::F32, &[1, channels, SIDE, SIDE], &bytes).unwrap()
    };
    kinds.map(tensor).into()
}

/// By the definition, in integers.
fn expected(graph: &Graph, input: &Tensor) -> Vec<f64> {
    let outputs = cardinal_compiler::interp::run(graph, &[to_reference(input)]).unwrap();
    match outputs.into_iter().next().unwrap().data {
        cardinal_compiler::interp::Data::Float(all) => all,
        cardinal_compiler::interp::Data::Int(_) => panic!("integers"),
    }
}

#[test]
fn no_sum_is_too_large() {
    /// Of the largest output that there can be; a sum that wraps is off by more than all of it.
    const TOLERANCE: f64 = 1e-2;
    let targets = runnable();
    let mut tried = 0;
    for (channels, lowest) in [(16, 0), (40, -128), (512, 0), (512, -255)] {
        for (kind, weights) in kinds().into_iter().enumerate() {
            let graph = convolution([16, channels], SIDE, lowest, weights);
            let inputs = inputs(channels, lowest);
            let expected: Vec<Vec<f64>> = inputs.iter().map(|x| expected(&graph, x)).collect();
            for (target, algorithm) in
                targets.iter().flat_map(|t| ["F(2x2)", "F(3x3)", "F(4x4)"].map(|a| (t, a)))
            {
                let what = format!(
                    "{algorithm} of {channels} channels from {lowest}, weights {kind}, {}",
                    target.cpu()
                );
                let choices = by(&graph, target, algorithm).unwrap_or_else(|| panic!("{what}"));
                let schedule = Preferences { choices, ..allowing(true) };
                let options = CompileOptions { schedule, ..CompileOptions::default() };
                let program = compile_with(&graph, target, &options);
                let mut session = Session::new(program, NonZeroUsize::MIN).unwrap();
                let most = (channels * 9 * 255 * 64) as f64;
                for (input, expected) in inputs.iter().zip(&expected) {
                    let found = session.run(std::slice::from_ref(input)).unwrap();
                    let cardinal_compiler::interp::Data::Float(found) =
                        to_reference(&found[0]).data
                    else {
                        panic!("integers")
                    };
                    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
                        let apart = (found - expected).abs();
                        let near = apart <= TOLERANCE * most;
                        assert!(near, "{what}, output {i}: {found} for {expected}");
                    }
                }
                tried += 1;
            }
        }
    }
    assert_eq!(tried, 4 * 6 * 3 * targets.len());
}

#[test]
fn errors_are_small_beside_what_is_rounded_anyway() {
    for (channels, most) in [(64, 0.001), (256, 0.004), (512, 0.008)] {
        let graph = convolution([16, channels], SIDE, 0, |[made, channel, y, x]| {
            let mixed =
                ((made * 31 + channel) * 9 + y * 3 + x + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            // A sum of four, nearer to what weights are like.
            let parts = [8, 20, 32, 44].map(|at| (mixed >> at & 31) as i8);
            parts.into_iter().sum::<i8>() - 62
        });
        let ty = graph.ty(graph.inputs()[0]).clone();
        let input = to_reference(&running::random(&ty, 5));
        let cardinal_compiler::interp::Data::Float(input) = input.data else { panic!("integers") };
        let scaled = input.iter().map(|x| (x.max(0.0) * 255.0) as f32);
        let bytes: Vec<u8> = scaled.flat_map(f32::to_le_bytes).collect();
        let input = Tensor::from_bytes(DType::F32, &ty.shape(), &bytes).unwrap();
        let expected = expected(&graph, &input);
        for target in runnable() {
            let choices = by(&graph, &target, "F(4x4)").unwrap();
            let options = CompileOptions {
                schedule: Preferences { choices, ..allowing(true) },
                ..CompileOptions::default()
            };
            let program = compile_with(&graph, &target, &options);
            let mut session = Session::new(program, NonZeroUsize::MIN).unwrap();
            let found = to_reference(&session.run(std::slice::from_ref(&input)).unwrap()[0]);
            let cardinal_compiler::interp::Data::Float(found) = found.data else {
                panic!("integers")
            };
            let mean = expected.iter().sum::<f64>() / expected.len() as f64;
            let variance: f64 = expected.iter().map(|x| (x - mean).powi(2)).sum();
            let error: f64 = found.iter().zip(&expected).map(|(f, e)| (f - e).powi(2)).sum();
            let error = (error / variance).sqrt();
            println!("{channels} channels, {}: {error:.5}", target.cpu());
            assert!(error > 0.0 && error < most, "{channels} channels: {error}");
        }
    }
}

#[test]
fn it_is_taken_where_the_file_or_the_caller_allows_it() {
    let target = Target::named("x86_64-unknown-linux-gnu", "znver4").unwrap();
    let graph = convolution([64, 64], 56, 0, kinds()[4]);
    let takes =
        |allowed: &Preferences| layers(&graph, &target, allowed)[0].taken.algorithm() != "direct";
    assert!(!takes(&allowing(false)));
    assert!(takes(&allowing(true)));
    assert!(!takes(&Preferences { winograd: false, ..allowing(true) }));
    assert!(!takes(&Preferences { portable_bits: true, ..allowing(true) }));
    let of_file = |metadata: Vec<(String, String)>, allowed: bool| {
        let model = Model {
            graph: graph.clone(),
            metadata,
            digest: [0; 32],
            operators: Default::default(),
        };
        let options = CompileOptions { schedule: allowing(allowed), ..CompileOptions::default() };
        let compiled = cardinal_compiler::compile(&model, std::slice::from_ref(&target), &options);
        compiled.unwrap().parts.to_artifact().unwrap()
    };
    let said = || vec![("cardinal.quantize.winograd".to_owned(), "allowed".to_owned())];
    let [direct, by_file, asked] =
        [of_file(Vec::new(), false), of_file(said(), false), of_file(Vec::new(), true)];
    let code = |artifact: &Artifact| artifact.code(0).to_vec();
    assert_eq!(code(&by_file), code(&asked));
    assert_ne!(code(&by_file), code(&direct));
    assert!(asked.manifest().winograd_of_bytes && !by_file.manifest().winograd_of_bytes);
    // Any of them can be linked with weights again.
    for (artifact, metadata) in [(&direct, Vec::new()), (&by_file, said()), (&asked, Vec::new())] {
        let model = Model {
            graph: graph.clone(),
            metadata,
            digest: [0; 32],
            operators: Default::default(),
        };
        let again = cardinal_compiler::relink::relink(&model, artifact, NonZeroUsize::MIN).unwrap();
        assert_eq!(code(&again.parts.to_artifact().unwrap()), code(artifact));
    }
}
