//! What convolutions can be computed as: every candidate is right, every choice is taken where it can
//! be, and artifacts say what was chosen.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod running;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use cardinal_compiler::codegen::Target;
use cardinal_compiler::compile;
use cardinal_compiler::ir::{Graph, text, verify};
use cardinal_compiler::kernels::{self, conv::algorithm_of, conv::read_choice};
use cardinal_compiler::onnx::Model;
use cardinal_compiler::options::CompileOptions;
use cardinal_compiler::plan::{Plan, structure::Structure};
use cardinal_compiler::relink::Difference;
use cardinal_compiler::schedule::{Choice, Choices, Chosen, Layer, Preferences};
use cardinal_runtime::{Artifact, MAX_CHOICE_BYTES, Session, Tensor, cpu};
use proptest::prelude::*;
use running::{RelativeTo, cases, random, reference};

const LINUX: &str = "x86_64-unknown-linux-gnu";

fn target(cpu: &str) -> Target {
    Target::named(LINUX, cpu).unwrap()
}

fn chosen_by(choices: Choices) -> Preferences {
    Preferences { choices, ..Preferences::default() }
}

fn layers(graph: &Graph, cpu: &str, preferences: &Preferences) -> Vec<Layer> {
    kernels::schedule(graph, &target(cpu).machine(), preferences).layers(graph)
}

fn lower(graph: &Graph, cpu: &str, preferences: &Preferences) -> Plan {
    running::try_planned(graph, &target(cpu), preferences).unwrap()
}

/// Layers as the estimates have them.
fn estimated(graph: &Graph, cpu: &str) -> Vec<Layer> {
    layers(graph, cpu, &Preferences::default())
}

fn graph(body: &str) -> Graph {
    let source = format!("graph @test {{\n{body}\n}}\n");
    let graph = text::parse(&source).unwrap_or_else(|e| panic!("{e}\n{source}"));
    verify(&graph).unwrap_or_else(|e| panic!("{e}\n{source}"));
    graph
}

/// A padded 3×3 convolution, then one of single pixels.
fn two_layers() -> Graph {
    graph(
        "input %x f32[1, 32, 14, 14]\nweight %w f32[64, 32, 3, 3] rand(1)\n\
         weight %v f32[64, 64, 1, 1] rand(2)\nweight %b f32[64] rand(3)\n\
         %u f32[1, 64, 14, 14] = conv(%x, %w)\nwindow 3x3 pad 1\nthen relu\n\
         %y f32[1, 64, 14, 14] = conv(%u, %v, %b)\nwindow 1x1\noutput %y",
    )
}

fn chosen(key: &str, choice: Choice) -> Choices {
    [(key.to_owned(), Chosen { choice, because: "told to".into() })].into()
}

/// Every layer's own choice, where `pick` makes one.
fn choices(layers: &[Layer], pick: impl Fn(&Layer) -> Option<Choice>) -> Choices {
    let each = layers.iter().filter_map(|layer| Some((layer, pick(layer)?)));
    each.flat_map(|(layer, choice)| chosen(&layer.key, choice.clone())).collect()
}

fn steps<'p>(plan: &'p Plan, name: &str) -> Vec<(&'static str, &'p str)> {
    let steps = plan.steps.iter().filter(|step| step.name == name);
    steps.map(|step| (step.kernel.name(), step.why.as_str())).collect()
}

// ---- every candidate is right --------------------------------------------------------------------

/// A random convolution: batch, group extents, window, epilogue.
#[derive(Debug, Clone)]
struct Case {
    images: usize,
    groups: usize,
    /// Channels of a group, read and made.
    channels: [usize; 2],
    size: [usize; 2],
    window: &'static str,
    bias: bool,
    then: &'static str,
}

fn convolutions() -> impl Strategy<Value = Case> {
    let channels = prop::sample::select(vec![3, 4, 8, 16, 20, 32, 48, 64, 80]);
    let window = prop::sample::select(vec![
        "3x3 pad 1",
        "1x1",
        "3x3 pad 1",
        "3x3 stride 2 pad 1",
        "5x5 pad 2",
    ]);
    let then = prop::sample::select(vec!["", "relu", "add %r, relu", "relu, neg"]);
    let size = [1usize..17, 1usize..17];
    (1usize..4, 1usize..5, [channels.clone(), channels], size, window, any::<bool>(), then)
        .prop_map(|(images, groups, channels, size, window, bias, then)| Case {
            images,
            groups,
            channels,
            size,
            window,
            bias,
            then,
        })
}

impl Case {
    fn graph(&self) -> Graph {
        let Case { images: n, groups: g, channels: [c, m], size: [h, w], window, .. } = *self;
        let (kernel, stride) = (&window[..3], if window.contains("stride") { 2 } else { 1 });
        let pad = usize::from(!window.starts_with('1')) + usize::from(window.starts_with('5'));
        let k: usize = kernel[..1].parse().unwrap();
        let out = |n: usize| (n + 2 * pad - k) / stride + 1;
        let (c, m) = (c * g, m * g);
        let y = format!("f32[{n}, {m}, {}, {}]", out(h), out(w));
        let mut body = format!("input %x f32[{n}, {c}, {h}, {w}]\n");
        if self.then.contains("%r") {
            body += &format!("input %r {y}\n");
        }
        body += &format!(
            "weight %w f32[{m}, {}, {k}, {k}] rand(1)\nweight %b f32[{m}] rand(2)\n",
            c / g
        );
        let name = if g > 1 { "group_conv" } else { "conv" };
        body += &format!("%y {y} = {name}(%x, %w{})\n", if self.bias { ", %b" } else { "" });
        if g > 1 {
            body += &format!("groups {g}\n");
        }
        body += &format!("window {window}\n");
        if !self.then.is_empty() {
            body += &format!("then {}\n", self.then);
        }
        graph(&(body + "output %y"))
    }
}

proptest! {
    #![proptest_config(cases(40))]

    /// A failure prints the case and the seed of all.
    #[test]
    fn every_candidate_gives_the_interpreters_results(case in convolutions()) {
        let graph = case.graph();
        for cpu in runnable() {
            check_candidates(&graph, &cpu);
        }
    }
}

/// A copy that was made for a padded convolution serves one of single pixels, whose rows then are not
/// joined: its tiles can be longer than rows are.
#[test]
fn tiles_may_be_longer_than_rows() {
    for (channels, [h, w]) in [(16, [8, 5]), (32, [8, 5]), (32, [7, 5])] {
        let graph = graph(&format!(
            "input %x f32[1, {channels}, {h}, {w}]\n\
             weight %k f32[16, {channels}, 3, 3] rand(1)\n\
             weight %w f32[32, {channels}, 1, 1] rand(2)\n\
             %a f32[1, 16, {h}, {w}] = conv(%x, %k)\nwindow 3x3 pad 1\noutput %a\n\
             %b f32[1, 32, {h}, {w}] = conv(%x, %w)\nwindow 1x1\noutput %b",
        ));
        let layers = estimated(&graph, "x86-64-v3");
        assert!(layers.iter().any(|layer| layer.key.ends_with(" flat")), "{layers:?}");
        runnable().iter().for_each(|cpu| check_candidates(&graph, cpu));
    }
}

/// Halves of pixels that are rows, that need not end with a row, that share a pixel; of strided and
/// padded windows, and of a result with a border.
#[test]
fn halves_are_right() {
    for (shape, made, window, out, then) in [
        ("2, 64, 6, 5", 96, "1x1", "6, 5", "add %r, relu"),
        ("2, 64, 7, 7", 64, "1x1", "7, 7", "add %r, relu"),
        ("1, 96, 1, 9", 160, "1x1", "1, 9", "relu"),
        ("2, 64, 8, 9", 64, "1x1 stride 2", "4, 5", "relu, add %r"),
        ("2, 64, 9, 9", 32, "1x1 stride 2", "5, 5", "add %r, relu"),
        ("1, 64, 11, 7", 32, "3x3 stride 2 pad 1", "6, 4", "add %r, relu, neg"),
        ("1, 50, 10, 9", 60, "3x3 dilation 2", "6, 5", ""),
        ("1, 64, 9, 9", 64, "3x3 dilation 2", "5, 5", "relu"),
        ("1, 50, 9, 10", 60, "3x2 stride 2 pad 0 1 1 0", "4, 5", ""),
        ("1, 2112, 2, 3", 32, "1x1", "2, 3", "relu"),
    ] {
        let channels: usize = shape.split(", ").nth(1).unwrap().parse().unwrap();
        let images = &shape[..1];
        let (kh, kw) = (&window[..1], &window[2..3]);
        let result = format!("f32[{images}, {made}, {out}]");
        let then = if then.is_empty() { String::new() } else { format!("then {then}\n") };
        let graph = graph(&format!(
            "input %x f32[{shape}]\ninput %r {result}\n\
             weight %w f32[{made}, {channels}, {kh}, {kw}] rand(1)\nweight %b f32[{made}] rand(2)\n\
             weight %v f32[32, {made}, 3, 3] rand(3)\n\
             %y {result} = conv(%x, %w, %b)\nwindow {window}\n{then}\
             %z f32[{images}, 32, {out}] = conv(%y, %v)\nwindow 3x3 pad 1\noutput %z\n\
             %s {result} = conv(%x, %w)\nwindow {window}\noutput %s"
        ));
        let layers = estimated(&graph, "x86-64-v3");
        let halved = |layer: &&Layer| layer.candidates.iter().any(|c| c.algorithm() == "strassen");
        let names: Vec<&str> =
            layers.iter().filter(halved).map(|layer| layer.name.as_str()).collect();
        // Of larger windows halves are of whole rows.
        let odd_rows = window.starts_with('3') && out.starts_with('5');
        assert_eq!(names.contains(&"y"), !odd_rows, "{window} {shape}: {names:?}");
        runnable().iter().for_each(|cpu| check_candidates(&graph, cpu));
    }
}

/// Where a convolution in halves reads the result of another one, that makes its sums; where it reads
/// another value it makes them itself. Planes of odd and even sizes, results that others read too.
#[test]
fn sums_of_halves_are_made_with_the_value() {
    for (images, size) in [(1, "6, 5"), (2, "7, 7"), (2, "8, 8")] {
        let value = format!("f32[{images}, 64, {size}]");
        let graph = graph(&format!(
            "input %x {value}\ninput %r {value}\n\
             weight %u f32[64, 64, 1, 1] rand(1)\nweight %v f32[96, 64, 1, 1] rand(2)\n\
             weight %w f32[64, 96, 1, 1] rand(3)\n\
             %a {value} = conv(%x, %u)\nwindow 1x1\nthen add %r, relu\n\
             %b f32[{images}, 96, {size}] = conv(%a, %v)\nwindow 1x1\nthen relu\n\
             %c {value} = conv(%b, %w)\nwindow 1x1\nthen add %a\noutput %c",
        ));
        let layers = estimated(&graph, "x86-64-v3");
        let halved =
            |layer: &Layer| layer.candidates.iter().find(|c| c.algorithm() == "strassen").cloned();
        let all = choices(&layers, halved);
        assert_eq!(all.len(), 3);
        for target in runnable() {
            let plan = running::try_planned(&graph, &target, &chosen_by(all.clone())).unwrap();
            let made = |name| steps(&plan, name).iter().map(|(k, _)| *k).collect::<Vec<_>>();
            if target.cpu() == "x86-64-v3" {
                assert_eq!(made("a").last(), Some(&"strassen_output"));
                assert!(made("a").contains(&"strassen_input"), "{:?}", made("a"));
                assert_eq!([made("b"), made("c")[..1].to_vec()], [["strassen_output"]; 2]);
            }
            let layers = estimated(&graph, &target.cpu());
            let options = CompileOptions {
                schedule: chosen_by(choices(&layers, halved)),
                ..Default::default()
            };
            let inputs: Vec<Tensor> =
                graph.inputs().iter().map(|id| random(graph.ty(*id), 7)).collect();
            let program = running::compile_with(&graph, &target, &options);
            let mut session = Session::new(program, NonZeroUsize::MIN).unwrap();
            let found = session.run(&inputs).unwrap();
            reference(&graph, &inputs, RelativeTo::Output).compare(&found, &target.cpu());
        }
    }
}

/// The CPUs that this machine can be.
fn runnable() -> Vec<Target> {
    if !cpu::matches_host(LINUX) {
        return Vec::new();
    }
    let runs = |target: &Target| {
        cpu::missing_features(target.features(), &cpu::host_features()).is_empty()
    };
    ["x86-64", "x86-64-v3", "x86-64-v4"].map(target).into_iter().filter(runs).collect()
}

fn layers_of(graph: &Graph, target: &Target, options: &CompileOptions) -> Vec<Layer> {
    kernels::schedule(graph, &target.machine(), &options.schedule).layers(graph)
}

/// Runs a graph of convolutions in every way that each can be computed. Those of one algorithm give the
/// same bits, on any number of threads.
fn check_candidates(graph: &Graph, target: &Target) {
    let inputs: Vec<Tensor> =
        graph.inputs().iter().zip(1..).map(|(id, seed)| random(graph.ty(*id), seed)).collect();
    let expected = reference(graph, &inputs, RelativeTo::Output);
    // Images that are computed one by one are layers of one kind.
    let mut layers = estimated(graph, &target.cpu());
    layers.dedup_by(|a, b| a.key == b.key);
    for layer in layers {
        assert!(layer.key.len() <= MAX_CHOICE_BYTES && !layer.key.contains('\n'), "{}", layer.key);
        let mut seen: BTreeMap<String, Vec<Tensor>> = BTreeMap::new();
        for choice in layer.candidates {
            assert_eq!(read_choice(choice.as_str()), Ok(choice.clone()));
            let options = CompileOptions {
                schedule: chosen_by(chosen(&layer.key, choice.clone())),
                ..Default::default()
            };
            let taken = layers_of(graph, target, &options)
                .into_iter()
                .find(|l| l.key == layer.key)
                .map(|layer| layer.taken);
            assert_eq!(taken.as_ref(), Some(&choice));
            let program = running::compile_with(graph, target, &options);
            for threads in [1, 2].map(|n| NonZeroUsize::new(n).unwrap()) {
                let mut session = Session::new(program.clone(), threads).unwrap();
                let found = session.run(&inputs).unwrap();
                let what = format!("{choice} on {} with {threads} threads", target.cpu());
                expected.compare(&found, &what);
                let first =
                    seen.entry(choice.algorithm().to_owned()).or_insert_with(|| found.clone());
                assert!(*first == found, "other bits: {what}\n{}", text::print(graph));
            }
        }
    }
}

// ---- choices are taken ---------------------------------------------------------------------------

#[test]
fn layers_have_what_the_estimates_take_first() {
    let layers = estimated(&two_layers(), "x86-64-v3");
    let named: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(named, ["u", "y"]);
    assert_eq!(
        layers[0].key,
        "avx2 1x32x14x14 to 1x64x14x14 window 3x3 pad 1 groups 1 as 1 of 288 to 4 relu"
    );
    assert_eq!(
        layers[1].key,
        "avx2 1x64x14x14 to 1x64x14x14 window 1x1 groups 1 as 1 of 64 to 4 bias flat"
    );
    for layer in &layers {
        assert_eq!(layer.candidates[0], layer.taken);
        assert!(!layer.is_changed() && (2..=12).contains(&layer.candidates.len()), "{layer:?}");
        let mut others = layer.candidates.clone();
        others.dedup();
        assert_eq!(others, layer.candidates);
    }
    let algorithms: Vec<&str> = layers[0].candidates.iter().map(Choice::algorithm).collect();
    for algorithm in ["direct", "F(2x2)", "F(4x4)"] {
        assert!(algorithms.contains(&algorithm), "{algorithms:?}");
    }
    assert!(layers[1].candidates.iter().any(|c| c.algorithm() == "strassen"), "{layers:?}");
}

#[test]
fn the_plan_takes_each_candidate_and_says_so() {
    let graph = two_layers();
    let layers = estimated(&graph, "x86-64-v3");
    let plain = lower(&graph, "x86-64-v3", &Preferences::default());
    let mut plans: Vec<Plan> = Vec::new();
    for layer in &layers {
        for choice in &layer.candidates {
            let told = chosen_by(chosen(&layer.key, choice.clone()));
            let plan = lower(&graph, "x86-64-v3", &told);
            let kernels: Vec<&str> = steps(&plan, &layer.name).iter().map(|(k, _)| *k).collect();
            // An algorithm that has kernels of its own computes with one of them.
            let own = algorithm_of(choice).unwrap().kernels;
            let is_used = own.iter().any(|row| kernels.contains(&row.name));
            assert!(is_used || own.is_empty(), "{choice}: {kernels:?}");
            // What the estimates choose anyway is there because of them.
            let is_other = *choice != layer.candidates[0];
            for (_, why) in steps(&plan, &layer.name) {
                assert_eq!(why.starts_with("tuned: told to"), is_other, "{choice}: {why}");
            }
            let same = Structure::of(&plan) == Structure::of(&plain);
            assert_eq!(same, !is_other, "{choice}");
            if !same {
                assert!(!plans.contains(&plan), "{choice} twice");
                plans.push(plan);
            }
        }
    }
    let silent = Chosen { choice: layers[1].candidates[1].clone(), because: String::new() };
    let silent = [(layers[1].key.clone(), silent)].into();
    let plan = lower(&graph, "x86-64-v3", &chosen_by(silent));
    let (reason, estimate) = steps(&plan, "y")[0].1.split_once("; ").unwrap();
    assert_eq!(reason, format!("tuned: {}", layers[1].candidates[1]));
    assert!(estimate.starts_with("estimated kilocycles: Strassen "), "{estimate}");
}

#[test]
fn what_a_layer_cannot_be_is_as_good_as_absent() {
    let graph = two_layers();
    let layers = estimated(&graph, "x86-64-v3");
    let plain = lower(&graph, "x86-64-v3", &Preferences::default());
    let most = usize::MAX.to_string();
    let [u, y] = [&layers[0].key, &layers[1].key];
    for (key, choice) in [
        (u, "direct 0x1 by weights".to_owned()),
        (u, "direct 1x0 by weights".into()),
        (u, "direct 7x2 by weights".into()),
        (u, "direct 6x4 by pixels".into()),
        (u, format!("direct {most}x1 by weights")),
        (u, "F(4x4) 1x1 rows 3 images 1".into()),
        (u, "F(4x4) 1x1 rows 0 images 1".into()),
        (u, "F(4x4) 1x1 rows 4 images 0".into()),
        (u, "F(4x4) 1x1 rows 4 images 2".into()),
        (u, format!("F(4x4) 1x1 rows {most} images {most}")),
        (u, "F(2x2) 5x3 rows 7 images 1".into()),
        (y, "F(4x4) 1x1 rows 1 images 1".into()),
        (y, "direct 1x5 by weights".into()),
        (y, "strassen 1x3 by weights row 98".into()),
        (y, "strassen 7x1 by weights row 98".into()),
        (y, "strassen 2x1 by weights row 1".into()),
        (y, "strassen 1x1 by weights row 0".into()),
        (y, "strassen 1x1 by weights row 4".into()),
        (y, "strassen 1x1 by pixels row 196".into()),
        (y, format!("strassen 1x1 by weights row {most}")),
    ] {
        let told = chosen_by(chosen(key, read_choice(&choice).unwrap()));
        assert_eq!(lower(&graph, "x86-64-v3", &told), plain, "{choice}");
        let layers = self::layers(&graph, "x86-64-v3", &told);
        assert!(layers.iter().all(|layer| !layer.is_changed()));
    }
    // Nor are those of other vectors, and of other layers.
    let other = chosen(&u.replace("avx2", "avx512"), layers[0].candidates[1].clone());
    assert_eq!(lower(&graph, "x86-64-v3", &chosen_by(other)), plain);
}

/// Items of several images have all of their rows.
#[test]
fn images_go_together_whole() {
    let graph = graph(
        "input %x f32[2, 64, 8, 8]\nweight %w f32[64, 64, 3, 3] rand(1)\n\
         %y f32[2, 64, 8, 8] = conv(%x, %w)\nwindow 3x3 pad 1\noutput %y",
    );
    let layers = estimated(&graph, "x86-64-v3");
    let [layer] = &layers[..] else { panic!("{layers:?}") };
    let takes = |choice: &str| {
        let choice = read_choice(choice).unwrap();
        let told = chosen_by(chosen(&layer.key, choice.clone()));
        self::layers(&graph, "x86-64-v3", &told)[0].taken == choice
    };
    for (choice, legal) in [
        ("F(4x4) 1x1 rows 1 images 1", true),
        ("F(4x4) 1x1 rows 2 images 2", true),
        ("F(4x4) 1x1 rows 1 images 2", false),
        ("F(2x2) 1x1 rows 4 images 2", true),
        ("F(2x2) 1x1 rows 2 images 2", false),
    ] {
        assert_eq!(takes(choice), legal, "{choice}");
    }
    runnable().iter().for_each(|cpu| check_candidates(&graph, cpu));
}

#[test]
fn without_winograd_there_is_none_among_the_candidates() {
    let graph = two_layers();
    let layers = estimated(&graph, "x86-64-v3");
    let direct = Preferences { winograd: false, ..Preferences::default() };
    let plain = lower(&graph, "x86-64-v3", &direct);
    let without = self::layers(&graph, "x86-64-v3", &direct);
    let is_portable = |choice: &Choice| algorithm_of(choice).unwrap().has_portable_bits;
    assert!(!layers.iter().flat_map(|l| &l.candidates).all(is_portable));
    assert!(without.iter().flat_map(|l| &l.candidates).all(is_portable));
    // What was fastest without it need not be with it.
    assert_eq!(without[0].key, format!("{} without winograd", layers[0].key));
    assert_eq!(without[1].key, format!("{} without winograd", layers[1].key));
    let winograd = read_choice("F(4x4) 1x1 rows 4 images 1").unwrap();
    for key in [&layers[0].key, &without[0].key] {
        let told = Preferences { choices: chosen(key, winograd.clone()), ..direct.clone() };
        assert_eq!(lower(&graph, "x86-64-v3", &told), plain);
    }
}

/// What a plan lays out alike has one key, and one list of candidates; what it does not, another.
#[test]
fn layers_of_one_kind_share_a_key() {
    let conv = |to: &str, from: &str, window: &str| {
        format!("%{to} f32[1, 32, 8, 8] = conv(%{from}, %w)\nwindow {window}\n")
    };
    let layers = |convs: [(&str, &str); 3]| {
        let mut body = String::from("input %x f32[1, 32, 8, 8]\n");
        body += "weight %w f32[32, 32, 1, 1] rand(1)\nweight %k f32[32, 32, 3, 3] rand(1)\n";
        body += &convs.map(|(to, from)| conv(to, from, "1x1")).concat();
        body += "%y f32[1, 32, 4, 4] = conv(%c, %k)\nwindow 3x3 stride 2 pad 1\noutput %y\noutput %a\noutput %b";
        estimated(&graph(&body), "x86-64-v3")
    };
    let [a, b, c, y] = &layers([("a", "x"), ("b", "a"), ("c", "b")])[..] else { panic!("four") };
    assert_eq!((&a.key, &a.candidates), (&b.key, &b.candidates));
    // The result of the third has a border, so that rows are not joined.
    assert_eq!(format!("{} flat", c.key), a.key);
    assert_ne!(c.candidates, a.candidates);
    assert!(y.key.contains("window 3x3 stride 2 pad 1"), "{}", y.key);
}

// ---- artifacts -----------------------------------------------------------------------------------

fn model(seed: u64) -> Model {
    let source = text::print(&two_layers());
    let mut lines = String::new();
    for (at, line) in source.lines().enumerate() {
        match line.split_once('#') {
            Some((weight, _)) if line.contains("weight ") => {
                lines += &format!("{weight}rand({})\n", seed + at as u64);
            }
            _ => lines += &format!("{line}\n"),
        }
    }
    let graph = text::parse(&lines).unwrap_or_else(|e| panic!("{e}\n{lines}"));
    Model { graph, metadata: Vec::new(), digest: [seed as u8; 32], operators: Default::default() }
}

const CPUS: [&str; 2] = ["x86-64-v3", "x86-64-v4"];

fn compiled(model: &Model, choices: Choices) -> cardinal_compiler::Compiled {
    let options = CompileOptions { schedule: chosen_by(choices), ..CompileOptions::default() };
    compile(model, &CPUS.map(target), &options).unwrap()
}

fn artifact(model: &Model, choices: Choices) -> Artifact {
    compiled(model, choices).parts.to_artifact().unwrap()
}

fn relinked(new: &Model, old: &Artifact) -> Result<Artifact, Difference> {
    let relinked = cardinal_compiler::relink::relink(new, old, NonZeroUsize::MIN);
    match relinked {
        Ok(compiled) => Ok(compiled.parts.to_artifact().unwrap()),
        Err(error) => match error.problem {
            cardinal_compiler::error::Problem::OtherGraph(difference) => Err(difference),
            other => panic!("{other}"),
        },
    }
}

/// The last candidate of every layer, for AVX2 and for AVX-512.
fn last_candidates() -> Choices {
    let of = |cpu: &str| {
        let layers = estimated(&two_layers(), cpu);
        choices(&layers, |layer| layer.candidates.last().cloned())
    };
    CPUS.into_iter().flat_map(of).collect()
}

#[test]
fn an_artifact_states_what_is_not_by_estimates() {
    let plain = artifact(&model(1), Choices::new());
    assert!(plain.manifest().choices.is_empty());
    // Not what is the estimates' choice anyway, nor what no layer can be.
    let layers = estimated(&two_layers(), "x86-64-v3");
    let mut idle = choices(&layers, |layer| layer.candidates.first().cloned());
    idle.extend(chosen("no such layer", layers[0].candidates[1].clone()));
    assert!(artifact(&model(1), idle).as_bytes() == plain.as_bytes());

    let tuned = artifact(&model(1), last_candidates());
    let stated = &tuned.manifest().choices;
    assert_eq!(stated.len(), 4, "{stated:?}");
    let chosen = last_candidates();
    for made in stated {
        assert_eq!(made.choice, chosen[&made.layer].choice.to_string());
    }
    // Each variant has its own.
    let changed = |i: usize| tuned.variants()[i].outline != plain.variants()[i].outline;
    assert!(changed(0) && changed(1));
    let only = last_candidates().into_iter().filter(|(key, _)| key.starts_with("avx512"));
    let only = artifact(&model(1), only.collect());
    assert_eq!(only.variants()[0].outline, plain.variants()[0].outline);
    assert_eq!(only.variants()[1].outline, tuned.variants()[1].outline);
}

#[test]
fn relinking_plans_as_was_chosen() {
    let old = artifact(&model(1), last_candidates());
    let relinked = relinked(&model(100), &old).unwrap();
    assert!(relinked.as_bytes() == artifact(&model(100), last_candidates()).as_bytes());
    assert!(relinked.as_bytes() != artifact(&model(100), Choices::new()).as_bytes());
}

/// Whether an error says which part of a plan is another.
fn is_named(error: &Difference) -> bool {
    matches!(error, Difference::Step { .. } | Difference::Steps { .. } | Difference::Memory(_))
}

/// Whoever writes a manifest can write any choice: never a panic, and never code that is not the plan's.
#[test]
fn forged_choices_are_refused_by_what_differs() {
    let forged = |change: &dyn Fn(&mut Vec<cardinal_runtime::manifest::Choice>)| {
        let mut parts = compiled(&model(1), last_candidates()).parts;
        change(&mut parts.manifest.choices);
        relinked(&model(2), &parts.to_artifact().unwrap())
    };
    assert!(forged(&|_| {}).is_ok());
    for text in ["", "direct", "F(4x4) 1x1", "\u{1b}[2J", &"9".repeat(MAX_CHOICE_BYTES)] {
        let error = forged(&|all| all[0].choice = text.into()).unwrap_err();
        assert!(matches!(error, Difference::Choice(_)), "{error}");
    }
    let most = usize::MAX;
    for text in [
        "direct 0x0 by weights".to_owned(),
        format!("direct {most}x{most} by pixels"),
        format!("F(4x4) {most}x4 rows {most} images {most}"),
        "F(2x2) 1x1 rows 0 images 0".into(),
    ] {
        for at in 0..4 {
            let error = forged(&|all| all[at].choice.clone_from(&text)).unwrap_err();
            assert!(is_named(&error), "{error}");
        }
    }
    for change in [
        &(|all: &mut Vec<_>| all.clear()) as &dyn Fn(&mut Vec<_>),
        &|all| drop(all.remove(0)),
        &|all: &mut Vec<cardinal_runtime::manifest::Choice>| all[0].layer = "another".into(),
    ] {
        let error = forged(change).unwrap_err();
        assert!(is_named(&error), "{error}");
    }
    // What names no layer of the model has no meaning, and is not handed on.
    let added = cardinal_runtime::manifest::Choice {
        layer: "zzz".into(),
        choice: "direct 1x1 by pixels".into(),
    };
    let relinked = forged(&|all| all.push(added.clone())).unwrap();
    assert!(relinked.as_bytes() == artifact(&model(2), last_candidates()).as_bytes());
}
