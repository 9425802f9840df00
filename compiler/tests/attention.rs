//! What recognition makes of real exporter files: counts, and twins that end alike.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod running;

use std::collections::BTreeMap;
use std::path::Path;

use cardinal_compiler::ir::{Graph, Op};
use cardinal_compiler::passes;
use running::files::{import, import_unfilled, models, stem};

/// How often each operator is there.
fn counts(graph: &Graph) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for id in graph.nodes() {
        *counts.entry(graph.node(id).op.mnemonic()).or_insert(0) += 1;
    }
    counts
}

fn fused(mut graph: Graph) -> Graph {
    passes::run(&mut graph, None, &mut |_, _| {}).unwrap();
    graph
}

/// The network that a file is of, with its attention blocks, its convolutions and the paths that it
/// joins, as the papers' tables have them. A bottleneck has three convolutions, of which SK-Net
/// makes one two paths with different dilations; basic blocks have two. Each stage whose width or
/// stride changes begins with a shortcut, and ResNeSt's deep stem has three convolutions.
fn expected(name: &str) -> [usize; 3] {
    let (_, model) = name.split_once('.').unwrap();
    let (model, _) = model.split_once('.').unwrap();
    match model {
        "resnest14d" => [4, 3 + 3 * 4 + 4, 0],
        "resnest101" | "resnest101e" => [33, 3 + 3 * 33 + 4, 0],
        "resnest269e" => [89, 3 + 3 * 89 + 4, 0],
        "seresnet50" => [16, 1 + 3 * 16 + 4, 0],
        "skresnet18" => [8, 1 + (2 + 1) * 8 + 3, 8],
        "skresnet50" => [16, 1 + (1 + 2 + 1) * 16 + 4, 16],
        "resnet50" | "resnext50_32x4d" => [0, 1 + 3 * 16 + 4, 0],
        other if other.starts_with("resnest50") => [16, 3 + 3 * 16 + 4, 0],
        other => panic!("what is {other}?"),
    }
}

#[test]
fn every_block_of_a_full_size_network_is_one_operator() {
    for path in models("graphs") {
        let name = stem(&path);
        let mut found = counts(&fused(import_unfilled(&path).graph));
        let [attention, convolutions, joins] = expected(&name);
        let mut take = |op| found.remove(op).unwrap_or(0);
        assert_eq!(take("split_attention"), attention, "{name}");
        assert_eq!(take("conv") + take("group_conv"), convolutions, "{name}");
        assert_eq!(take("concat"), joins, "{name}");
        // timm's SK paths each read half of the channels.
        assert_eq!(take("slice"), 2 * joins, "{name}");
        // The head; everything else is convolutions and pools.
        assert_eq!([take("reduce_mean"), take("reshape"), take("matmul")], [1; 3], "{name}");
        let (pools, max) = (take("average_pool"), take("max_pool"));
        assert_eq!((pools, max), (if name.contains("resnest") { 6 } else { 0 }, 1), "{name}");
        found.retain(|op, _| !matches!(*op, "input" | "weight"));
        assert!(found.is_empty(), "{name}: {found:?}");
    }
}

#[test]
fn every_block_of_a_small_network_is_one_operator() {
    for path in models("tiny") {
        let name = stem(&path);
        let found = counts(&fused(import(&path, None).graph));
        let blocks = match name.split_once('.').unwrap().0 {
            "resnet_basic" | "resnext" => 0,
            "sknet" | "sknet_basic_split" => 4,
            // The digit in the name is the number of bottlenecks of the third stage, or not there.
            other if other.starts_with("official") => 4,
            "resnest_r2k1_odd75" | "resnest_r2k1_eps1e-3" => 4,
            _ => 5,
        };
        assert_eq!(found.get("split_attention").copied().unwrap_or(0), blocks, "{name}");
        let is_resnest = name.contains("resnest") || name.contains("official");
        let moved = ["transpose", "softmax", "reduce_sum", "sigmoid", "mul", "add", "gather"];
        for op in moved.iter().chain(if is_resnest { &["concat", "slice"][..] } else { &[] }) {
            assert!(!found.contains_key(op), "{name} keeps a {op}: {found:?}");
        }
        assert_eq!(found["reshape"], 1, "{name}");
    }
}

/// A graph without what may differ between twins: the names of values and origins, and the contents
/// of weights; the latter are given apart.
fn anonymous(graph: &Graph) -> (String, Vec<Vec<f32>>) {
    let mut lines = Vec::new();
    let mut weights = Vec::new();
    let mut numbers = BTreeMap::new();
    for id in graph.topological() {
        let node = graph.node(id);
        if let Op::Weight(_) = node.op {
            continue;
        }
        let mut operands = Vec::new();
        for (slot, operand) in graph.operands(id) {
            let value = graph.node(operand);
            if let Op::Weight(weight) = &value.op {
                weights.push(weight.to_f32(&value.ty).unwrap());
                operands.push(format!("{slot}: {}", value.ty));
            } else {
                operands.push(format!("{slot}: %{}", numbers[&operand]));
            }
        }
        numbers.insert(id, lines.len());
        lines.push(format!("{} {} {:?} ({})", numbers[&id], node.ty, node.op, operands.join(", ")));
    }
    lines.push(format!(
        "{:?}",
        graph.outputs().iter().map(|o| numbers[&o.node]).collect::<Vec<_>>()
    ));
    (lines.join("\n"), weights)
}

/// K·R explicit branches and the radix-major grouped form of the same block end alike; the weights
/// agree up to the rounding of BatchNormalization that one exporter folded and the other did not.
#[test]
fn explicit_branches_and_their_grouped_twins_end_in_the_same_graph() {
    let mut seen = BTreeMap::new();
    for path in models("branches") {
        let name = stem(&path);
        let (block, form) = name.split_once('.').unwrap();
        if !block.starts_with('k') {
            continue;
        }
        let dense = if form.contains("linear") { "linear" } else { "conv" };
        let key = format!("{block}.{dense}");
        let (text, weights) = anonymous(&fused(import(&path, Some(2)).graph));
        let (first, twin, expected) =
            seen.entry(key).or_insert_with(|| (name.clone(), text.clone(), weights.clone()));
        assert_eq!(text, *twin, "{name} and {first}");
        assert_eq!(weights.len(), expected.len(), "{name} and {first}");
        for (found, expected) in weights.iter().zip(expected) {
            let scale = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
            let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-6 * scale;
            assert!(found.iter().zip(expected.iter()).all(close), "{name} and {first}");
        }
        let [k, r] = [1, 3].map(|at| block.as_bytes()[at] - b'0');
        assert!(text.contains(&format!("cardinality: {k}, radix: {r}")), "{text}");
        assert_eq!(text.lines().count(), 5 + 1, "five nodes and the output: {text}");
    }
    let own =
        models("branches").iter().all(|p| p.starts_with(Path::new(env!("CARGO_MANIFEST_DIR"))));
    assert!(own || seen.len() == 12, "{:?}", seen.keys());
}
