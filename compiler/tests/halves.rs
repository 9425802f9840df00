//! Weights in formats of 16 bits: how they are rounded, which are, and that nothing else changes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod running;

use std::cell::Cell;
use std::num::NonZeroUsize;

use cardinal_compiler::codegen::Target;
use cardinal_compiler::error::{Difference, Problem};
use cardinal_compiler::ir::{Graph, NodeId, Op, TensorType, Weight, text};
use cardinal_compiler::object::{self, Name};
use cardinal_compiler::onnx::Model;
use cardinal_compiler::options::{CompileOptions, Narrow};
use cardinal_compiler::relink::relink;
use cardinal_compiler::schedule::Preferences;
use cardinal_compiler::{Compiled, compile, passes};
use cardinal_runtime::{Artifact, Encoding, LoadError, Program, Session, Tensor};
use running::files::{import, models};
use running::random;

const LINUX: &str = "x86_64-unknown-linux-gnu";
/// A format by its definition.
#[derive(Clone, Copy)]
struct Format {
    narrow: Narrow,
    /// Bits of the fraction; the rest is a sign and an exponent.
    fraction: i32,
    /// Its largest finite word.
    largest: u16,
    /// What the least normal f32 becomes.
    least: u16,
}

const FORMATS: [Format; 2] = [
    Format { narrow: Narrow::F16, fraction: 10, largest: 0x7BFF, least: 0 },
    Format { narrow: Narrow::Bf16, fraction: 7, largest: 0x7F7F, least: 0x0080 },
];

#[test]
fn every_format_is_tested() {
    assert_eq!(FORMATS.map(|format| format.narrow), Narrow::ALL);
}

const LEVELS: [&str; 3] = ["x86-64", "x86-64-v3", "x86-64-v4"];

fn model(graph: Graph) -> Model {
    let digest = *blake3::hash(text::print(&graph).as_bytes()).as_bytes();
    Model { graph, metadata: Vec::new(), digest, operators: Default::default() }
}

fn parsed(body: &str) -> Graph {
    let source = format!("graph @test {{\n{body}\n}}\n");
    text::parse(&source).unwrap_or_else(|e| panic!("{e}\n{source}"))
}

fn targets() -> Vec<Target> {
    LEVELS.map(|cpu| Target::named(LINUX, cpu).unwrap()).into()
}

fn compiled(model: &Model, weights: Option<Narrow>, winograd: bool) -> Compiled {
    let schedule = Preferences { winograd, ..Preferences::default() };
    let options = CompileOptions { weights, schedule, ..CompileOptions::default() };
    compile(model, &targets(), &options).unwrap()
}

fn artifact(model: &Model, weights: Option<Narrow>, winograd: bool) -> Artifact {
    compiled(model, weights, winograd).parts.to_artifact().unwrap()
}

/// The graph with other weights: `change` gets the name and the values of each of f32.
fn with_weights(graph: &Graph, change: impl Fn(&str, &mut [f32])) -> Graph {
    let mut copy = Graph::new(graph.name.clone());
    let mut ids: Vec<(NodeId, NodeId)> = Vec::new();
    let of = |ids: &[(NodeId, NodeId)], old| ids.iter().find(|(id, _)| *id == old).unwrap().1;
    for id in graph.topological() {
        let mut node = graph.node(id).clone();
        if let Op::Weight(weight) = &node.op
            && let Some(mut values) = weight.to_f32(&node.ty)
        {
            change(&node.name, &mut values);
            node.op = Op::Weight(Weight::from_f32(&values));
        }
        let operands = graph.operands(id).into_iter().map(|(slot, old)| (slot, of(&ids, old)));
        ids.push((id, copy.add(node, &operands.collect::<Vec<_>>())));
    }
    for output in graph.outputs() {
        copy.add_output(output.name.clone(), of(&ids, output.node));
    }
    copy
}

fn fused(mut graph: Graph) -> Graph {
    passes::run(&mut graph, None, &mut |_, _| {}).unwrap();
    graph
}

/// `y = x + w`, whose weight is stored in its own order.
fn addition(values: &[f32]) -> Model {
    let n = values.len();
    let body = format!(
        "input %x f32[{n}]\nweight %w f32[{n}] rand(1)\n%y f32[{n}] = add(%x, %w)\noutput %y"
    );
    model(with_weights(&parsed(&body), |_, w| w.copy_from_slice(values)))
}

// ---- rounding ------------------------------------------------------------------------------------

impl Format {
    /// What a finite word stands for.
    fn value(&self, word: u16) -> f64 {
        let exponent = i32::from(word & 0x7FFF) >> self.fraction;
        let bias = (1 << (14 - self.fraction)) - 1;
        let unit = 1 << self.fraction;
        let digits = f64::from(i32::from(word) & (unit - 1)) / f64::from(unit);
        let magnitude = match exponent {
            0 => digits * 2f64.powi(1 - bias),
            _ => (1.0 + digits) * 2f64.powi(exponent - bias),
        };
        if word >> 15 == 1 { -magnitude } else { magnitude }
    }

    /// Its largest number.
    fn most(&self) -> f32 {
        self.value(self.largest) as f32
    }

    /// The number of this format that is next to a float, by search.
    fn rounded(&self, float: f32) -> f32 {
        let magnitude = f64::from(float.abs());
        let (mut low, mut high) = (0, self.largest);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.value(middle) <= magnitude { low = middle } else { high = middle }
        }
        let (below, above) = (magnitude - self.value(low), self.value(high) - magnitude);
        let nearest = if below < above || below == above && low % 2 == 0 { low } else { high };
        (self.value(nearest) as f32).copysign(float)
    }

    /// Every finite word's value, what is halfway between two, and the floats beside that: each with the word that
    /// is nearest, or that has an even last digit among two that are. All of it is exact.
    fn hard_cases(&self) -> Vec<(f32, u16)> {
        let mut cases = vec![(f32::from_bits(1), 0), (f32::MIN_POSITIVE, self.least)];
        cases.push((self.most(), self.largest));
        for word in 0..self.largest {
            let exact = self.value(word) as f32;
            let sum = self.value(word) + self.value(word + 1);
            let middle = (sum / 2.0) as f32;
            assert_eq!(f64::from(middle) * 2.0, sum);
            cases.push((exact, word));
            cases.push((middle.next_down(), word));
            cases.push((middle, word + word % 2));
            cases.push((middle.next_up(), word + 1));
        }
        let negative: Vec<_> = cases.iter().map(|(float, word)| (-float, word | 0x8000)).collect();
        cases.extend(negative);
        cases
    }
}

#[test]
fn floats_are_rounded_to_nearest_even() {
    for format in FORMATS {
        let (floats, expected): (Vec<f32>, Vec<u16>) = format.hard_cases().into_iter().unzip();
        assert!(floats.len() > 250_000);
        let artifact = artifact(&addition(&floats), Some(format.narrow), true);
        let stored = artifact.weights().as_chunks().0.iter().map(|word| u16::from_le_bytes(*word));
        assert_eq!(artifact.weights().len(), expected.len() * 2);
        for ((word, expected), float) in stored.zip(&expected).zip(&floats) {
            assert_eq!(word, *expected, "{float:e} became {word:#06x}, not {expected:#06x}");
        }
        assert_eq!(artifact.loaded_weight_bytes(), floats.len() * 4);
    }
}

/// What was saved in a format comes back as it was.
#[test]
fn numbers_of_a_format_lose_nothing() {
    for format in FORMATS {
        let both = (0..=format.largest).flat_map(|word| [word, word | 0x8000]);
        let values: Vec<f32> = both.map(|word| format.value(word) as f32).collect();
        let loaded =
            artifact(&addition(&values), Some(format.narrow), true).loaded_weights().unwrap();
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert!(loaded == bytes, "{:?}", format.narrow);
    }
}

#[test]
fn weights_beyond_a_format_stay_as_they_are() {
    for format in FORMATS {
        let with = |last: f32| {
            let mut values = vec![0.5; 2000];
            values[1999] = last;
            (compiled(&addition(&values), Some(format.narrow), true), values)
        };
        let most = format.most();
        for last in [most, -most, 1e-30] {
            let (compiled, _) = with(last);
            assert!(compiled.out_of_range.is_empty());
            let artifact = compiled.parts.to_artifact().unwrap();
            assert_eq!(artifact.narrow(), Some((format.narrow, 4000)));
        }
        let too_large = [most.next_up(), -f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        for last in too_large {
            let (compiled, values) = with(last);
            let [beyond] = &compiled.out_of_range[..] else { panic!("{last}") };
            assert_eq!((&*beyond.name, beyond.narrow), ("w", format.narrow));
            assert!(beyond.magnitude == last.abs() || last.is_nan() && beyond.magnitude.is_nan());
            let artifact = compiled.parts.to_artifact().unwrap();
            assert_eq!(artifact.narrow(), None);
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            assert!(artifact.weights() == bytes);
        }
    }
}

/// Two filters with values of so much; Winograd's transform makes more of them.
fn filters(first: f32, second: f32) -> Model {
    let graph = parsed(
        "input %x f32[1, 64, 28, 28]\n\
         weight %a f32[64, 64, 3, 3] rand(1)\nweight %b f32[64, 64, 3, 3] rand(2)\n\
         %u f32[1, 64, 28, 28] = conv(%x, %a)\nwindow 3x3 pad 1\n\
         %y f32[1, 64, 28, 28] = conv(%u, %b)\nwindow 3x3 pad 1\noutput %y",
    );
    model(with_weights(&graph, |name, values| match name {
        "a" => values.fill(first),
        _ => values.fill(second),
    }))
}

#[test]
fn no_transformed_weight_becomes_infinite() {
    for format in FORMATS {
        for part in [0.001, 0.46, 0.76, 1.0, -1.0, 1.01] {
            for winograd in [true, false] {
                are_finite(&format, part, winograd);
            }
        }
    }
}

/// With a filter of so much of the largest number of a format.
fn are_finite(format: &Format, part: f32, winograd: bool) {
    let compiled = compiled(&filters(format.most() * part, 1.0), Some(format.narrow), winograd);
    let beyond: Vec<String> = compiled.out_of_range.into_iter().map(|b| b.name).collect();
    if !winograd || part == 0.001 {
        assert_eq!(beyond.is_empty(), part.abs() <= 1.0, "{part}");
    }
    assert!(!beyond.contains(&"b".to_owned()));
    let artifact = compiled.parts.to_artifact().unwrap();
    let mut rest = artifact.weights();
    for run in &artifact.manifest().weight_runs {
        let encoding = Encoding::from_code(run.encoding).unwrap();
        let stored;
        (stored, rest) = rest.split_at(encoding.stored(run.bytes as usize));
        if encoding == Encoding::Narrow(format.narrow) {
            let words = stored.as_chunks().0.iter().map(|word| u16::from_le_bytes(*word));
            assert!(words.into_iter().all(|word| word & 0x7FFF <= format.largest), "{part}");
        }
    }
}

// ---- results -------------------------------------------------------------------------------------

fn inputs(artifact: &Artifact) -> Vec<Tensor> {
    let specs = artifact.inputs().iter().zip(1..);
    specs.map(|(spec, seed)| random(&TensorType::new(spec.dtype, &spec.shape), seed)).collect()
}

/// The outputs of a variant, where this machine can run it.
fn outputs(artifact: &Artifact, cpu: &str) -> Option<Vec<Tensor>> {
    let program = match Program::load_variant(artifact.clone(), Some(cpu)) {
        Ok(program) => program,
        Err(LoadError::MissingFeatures { .. } | LoadError::Target { .. }) => return None,
        Err(other) => panic!("{cpu}: {other}"),
    };
    let mut session = Session::new(program, NonZeroUsize::new(2).unwrap()).unwrap();
    Some(session.run(&inputs(artifact)).unwrap())
}

/// Without Winograd's transform packing only moves weights, so rounding them before is the same.
#[test]
fn results_are_those_of_a_model_with_rounded_weights() {
    for format in FORMATS {
        let (mut changed, mut all_rounded) = (0, 0);
        for path in models("tiny").iter().chain(&models("branches")).step_by(3) {
            let graph = fused(import(path, None).graph);
            let (here, of_values) = gives_results_of_rounded(&format, graph);
            changed += here;
            all_rounded += of_values;
        }
        assert!(all_rounded > 20, "{all_rounded}");
        let runs = cardinal_runtime::cpu::matches_host(LINUX);
        assert!(changed > 0 || !runs, "rounding changes nothing");
    }
}

/// For how many CPUs rounding changed results, and how many weights are rounded.
fn gives_results_of_rounded(format: &Format, graph: Graph) -> (usize, usize) {
    let rounded = Cell::new(0);
    let before = with_weights(&graph, |_, values| {
        if size_of_val(values) >= 4096 {
            rounded.set(rounded.get() + 1);
            values.iter_mut().for_each(|value| *value = format.rounded(*value));
        }
    });
    let stored = artifact(&model(graph.clone()), Some(format.narrow), false);
    let expected = artifact(&model(before), None, false);
    let exact = artifact(&model(graph), None, false);
    let mut changed = 0;
    for cpu in LEVELS {
        let Some(found) = outputs(&stored, cpu) else { continue };
        let bytes = |all: Option<Vec<Tensor>>| -> Vec<Vec<u8>> {
            all.unwrap().iter().map(|tensor| tensor.as_bytes().to_vec()).collect()
        };
        assert!(bytes(Some(found)) == bytes(outputs(&expected, cpu)), "{:?} {cpu}", format.narrow);
        changed += usize::from(bytes(outputs(&exact, cpu)) != bytes(outputs(&expected, cpu)));
    }
    (changed, rounded.get())
}

#[test]
fn transformed_weights_give_nearly_the_same_results() {
    let model = model(parsed(
        "input %x f32[1, 64, 28, 28]\nweight %w f32[64, 64, 3, 3] rand(1)\n\
         %y f32[1, 64, 28, 28] = conv(%x, %w)\nwindow 3x3 pad 1\noutput %y",
    ));
    let exact = artifact(&model, None, true);
    assert!(exact.weights().len() > 2 * 64 * 64 * 9 * 4, "it should be transformed");
    for format in FORMATS {
        let stored = artifact(&model, Some(format.narrow), true);
        // Some roundings, of a unit in the last place each.
        let allowed = 3.0 * 2f32.powi(-format.fraction);
        for cpu in LEVELS {
            let (Some(found), Some(expected)) = (outputs(&stored, cpu), outputs(&exact, cpu))
            else {
                continue;
            };
            let (found, expected) = (found[0].as_f32().unwrap(), expected[0].as_f32().unwrap());
            let scale = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
            let worst = found.iter().zip(expected).fold(0f32, |m, (f, e)| m.max((f - e).abs()));
            assert!(worst > 0.0 && worst < allowed * scale, "{cpu}: {worst} of {scale}");
        }
    }
}

// ---- artifacts -----------------------------------------------------------------------------------

/// A small ResNeSt with a stem, grouped convolutions, attention and a head.
fn small() -> Model {
    let paths = models("tiny");
    import(paths.iter().find(|p| p.to_string_lossy().contains("r2k2_avdfirst")).unwrap(), None)
}

#[test]
fn files_are_about_half_as_large() {
    let model = filters(0.5, 0.25);
    for (Format { narrow, .. }, winograd) in
        FORMATS.into_iter().flat_map(|f| [(f, true), (f, false)])
    {
        let [half, f32] = [Some(narrow), None].map(|weights| artifact(&model, weights, winograd));
        assert_eq!(half.loaded_weight_bytes(), f32.weights().len());
        let ratio = half.weights().len() as f64 / f32.weights().len() as f64;
        assert!((0.5..0.501).contains(&ratio), "{ratio}");
        assert_eq!(half.variants().len(), LEVELS.len());
        for i in 0..LEVELS.len() {
            assert!(half.code(i) == f32.code(i), "code does not depend on how weights are stored");
        }
        assert_eq!(half.manifest().weight_runs.len(), 1, "neighbours are merged");
    }
}

#[test]
fn an_artifact_does_not_depend_on_the_threads_that_pack_it() {
    for Format { narrow, .. } in FORMATS {
        for model in [small(), filters(0.5, 7e4)] {
            let with = |threads: usize| {
                let threads = NonZeroUsize::new(threads).unwrap();
                let weights = Some(narrow);
                let options = CompileOptions { threads, weights, ..CompileOptions::default() };
                compile(&model, &targets(), &options).unwrap().parts.to_artifact().unwrap()
            };
            let expected = with(1);
            for threads in [1, 4, 100_000] {
                assert!(with(threads).as_bytes() == expected.as_bytes(), "{threads}");
            }
        }
    }
}

fn relinked(new: &Model, old: &Artifact) -> Artifact {
    let relinked = relink(new, old, NonZeroUsize::new(3).unwrap()).unwrap();
    relinked.parts.to_artifact().unwrap()
}

/// Whichever of the weights the old model and the new one have beyond the format: all of them too.
#[test]
fn relinking_gives_what_compiling_gives() {
    for format in FORMATS {
        let beyond = format.most().next_up();
        let values = [(0.5, 0.25), (beyond, 0.1), (0.3, beyond), (beyond, beyond)];
        let models = values.map(|(first, second)| filters(first, second));
        let weights = Some(format.narrow);
        for (i, old) in models.iter().enumerate() {
            let old = artifact(old, weights, true);
            for (j, new) in models.iter().enumerate() {
                let expected = artifact(new, weights, true);
                assert!(relinked(new, &old).as_bytes() == expected.as_bytes(), "{i} {j}");
            }
        }
    }
}

/// Older artifacts say of their weights only that they have runs; later ones may say what is not known here.
#[test]
fn relinking_knows_what_older_and_later_artifacts_say() {
    let (old, new) = (filters(0.5, 0.25), filters(0.3, 0.2));
    let saying = |code| {
        let mut parts = compiled(&old, Some(Narrow::F16), true).parts;
        assert_eq!(parts.manifest.weights, 1);
        parts.manifest.weights = code;
        parts.to_artifact().unwrap()
    };
    let expected = artifact(&new, Some(Narrow::F16), true);
    assert!(relinked(&new, &saying(0)).as_bytes() == expected.as_bytes());
    let error = relink(&new, &saying(3), NonZeroUsize::MIN).unwrap_err();
    assert!(matches!(error.problem, Problem::OtherGraph(Difference::Encoding(3))), "{error}");
    assert_eq!(compiled(&old, None, true).parts.manifest.weights, 0);
}

#[test]
fn objects_have_f32_weights() {
    let target = &targets()[1..2];
    let of = |weights| {
        let options = CompileOptions { weights, ..CompileOptions::default() };
        let artifact = compile(&small(), target, &options).unwrap().parts.to_artifact().unwrap();
        object::build(&artifact, &Name::from_stem("small"))
    };
    assert!(of(None).is_ok());
    for Format { narrow, .. } in FORMATS {
        let error = of(Some(narrow)).unwrap_err();
        let Problem::Unsupported(what) = &error.problem else { panic!("{error}") };
        assert!(what.contains(narrow.words()), "{error}");
    }
}

/// Copies of a real artifact, damaged all over: its manifest, code and weights, and cut short.
#[test]
fn damaged_copies_are_refused() {
    FORMATS.iter().for_each(|format| refuses_damaged_copies(format.narrow));
}

fn refuses_damaged_copies(narrow: Narrow) {
    let intact = artifact(&small(), Some(narrow), true);
    assert!(intact.stored_in(Encoding::Narrow(narrow)) > 0);
    let bytes = intact.as_bytes();
    for k in 0..300 {
        let at = (bytes.len() - 1) * k / 299;
        let mut copy = bytes.to_vec();
        copy[at] ^= 1 << (k % 8);
        assert!(Artifact::copy(&copy).is_err(), "bit {} of byte {at}", k % 8);
        assert!(Artifact::copy(&bytes[..at]).is_err(), "cut at {at}");
    }
    for at in 0..2048 {
        let mut copy = bytes[..].to_vec();
        copy[at] ^= 0x11;
        assert!(Artifact::copy(&copy).is_err(), "byte {at}");
    }
    assert!(Artifact::copy(bytes).is_ok());
}
