//! Compiling takes as much more as there is more to compile, and stacks do not grow with depth.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;

use std::time::{Duration, Instant};

use cardinal_compiler::ir::{
    Binary, Epilogue, Graph, NodeId, Op, Pool, PoolKind, TensorType, Unary, Window,
};
use cardinal_compiler::{CompileOptions, Model, Pipeline, Target, compile};
use common::{Builder, f32s};

/// So many operators, in one shape or another.
type Shape = fn(usize) -> Graph;

fn relu() -> Op {
    Op::Unary(Unary::Relu, Epilogue::none())
}

fn softmax() -> Op {
    Op::Softmax { axis: 1, log: false }
}

fn starting(ty: &TensorType) -> (Builder, NodeId) {
    let mut builder = Builder::new("growth");
    let x = builder.add("x", Op::Input, ty.clone(), &[]);
    (builder, x)
}

fn ending(mut builder: Builder, last: NodeId) -> Graph {
    builder.0.add_output("y", last);
    builder.0
}

/// One after the other, so many of these in turns.
fn chain(count: usize, ty: &TensorType, ops: &[Op]) -> Graph {
    let (mut builder, mut last) = starting(ty);
    for (i, op) in ops.iter().cycle().take(count).enumerate() {
        last = builder.add(&format!("v{i}"), op.clone(), ty.clone(), &[last]);
    }
    ending(builder, last)
}

/// All of which are fused with others.
fn relus(count: usize) -> Graph {
    chain(count, &f32s(&[1, 8]), &[relu()])
}

/// None of which is fused.
fn softmaxes(count: usize) -> Graph {
    chain(count, &f32s(&[1, 8]), &[softmax(), relu()])
}

/// As a batch, so that there are stages.
fn batch(count: usize) -> Graph {
    chain(count, &f32s(&[4, 8]), &[softmax(), relu()])
}

fn reshapes(count: usize) -> Graph {
    let (mut builder, mut last) = starting(&f32s(&[1, 8]));
    for i in 0..count {
        let ty = [f32s(&[8, 1]), f32s(&[2, 4])][i % 2].clone();
        last = builder.add(&format!("v{i}"), Op::Reshape, ty, &[last]);
    }
    ending(builder, last)
}

/// A sum of many inputs.
fn sum(count: usize) -> Graph {
    let ty = f32s(&[1, 8]);
    let (mut builder, mut last) = starting(&ty);
    for i in 0..count {
        let addend = builder.add(&format!("x{i}"), Op::Input, ty.clone(), &[]);
        let add = Op::Binary(Binary::Add, Epilogue::none());
        last = builder.add(&format!("v{i}"), add, ty.clone(), &[last, addend]);
    }
    ending(builder, last)
}

/// One value with many users, one operator with many operands.
fn fan(count: usize) -> Graph {
    let ty = f32s(&[1, 8]);
    let (mut builder, x) = starting(&ty);
    let part = |i: usize| builder.add(&format!("v{i}"), relu(), ty.clone(), &[x]);
    let parts: Vec<NodeId> = (0..count).map(part).collect();
    let all = builder.add("all", Op::Concat { axis: 1 }, f32s(&[1, 8 * count]), &parts);
    ending(builder, all)
}

/// Many results.
fn outputs(count: usize) -> Graph {
    let ty = f32s(&[1, 8]);
    let (mut builder, x) = starting(&ty);
    for i in 0..count {
        let y = builder.add(&format!("v{i}"), softmax(), ty.clone(), &[x]);
        builder.0.add_output(format!("y{i}"), y);
    }
    builder.0
}

/// Two chains that look alike, joined.
fn twins(count: usize) -> Graph {
    let ty = f32s(&[1, 4, 4, 4]);
    let (mut builder, x) = starting(&ty);
    let pool = Op::Pool(Pool {
        kind: PoolKind::Max,
        window: Window { kernel: [3, 3], pad_before: [1, 1], pad_after: [1, 1], ..Window::POINT },
        ceil: false,
    });
    let mut ends = [x, x];
    for (branch, end) in ends.iter_mut().enumerate() {
        for (i, op) in [relu(), pool.clone()].iter().cycle().take(count / 2).enumerate() {
            *end = builder.add(&format!("v{branch}_{i}"), op.clone(), ty.clone(), &[*end]);
        }
    }
    let joined = builder.add("joined", Op::Concat { axis: 1 }, f32s(&[1, 8, 4, 4]), &ends);
    ending(builder, joined)
}

const SHAPES: [(&str, Shape); 8] = [
    ("relus", relus),
    ("softmaxes", softmaxes),
    ("batch", batch),
    ("reshapes", reshapes),
    ("sum", sum),
    ("fan", fan),
    ("outputs", outputs),
    ("twins", twins),
];

fn model(graph: Graph) -> Model {
    Model { graph, metadata: Vec::new(), digest: [0; 32], operators: Default::default() }
}

fn target() -> Target {
    Target::new("x86_64-unknown-linux-gnu", &[]).unwrap()
}

/// On the stack of a test's thread, of 2 MiB. What is done to each pair of nodes would take minutes.
#[test]
fn large_and_deep_models_compile() {
    for (name, shape) in SHAPES {
        let model = model(shape(20_000));
        let begin = Instant::now();
        compile(&model, &[target()], &CompileOptions::default()).unwrap();
        let took = begin.elapsed();
        println!("{name}: {took:.1?}");
        assert!(took < Duration::from_secs(60), "{name} took {took:?}");
    }
}

#[test]
fn nodes_grow_no_further_than_is_of_use() {
    let options = CompileOptions::default();
    for (name, shape) in SHAPES {
        let model = model(shape(1000));
        let trace = Pipeline::new(&model, &options).passes(None).unwrap();
        for id in trace.graph.nodes() {
            let node = trace.graph.node(id);
            let steps = node.op.epilogue().map_or(0, |epilogue| epilogue.steps.len());
            assert!(steps <= 32 && node.from.len() <= 256, "{name}: `{}`", node.name);
        }
    }
}

/// Buffers beyond the number that is compared pair by pair: the plan's own check is passed, and memory is
/// used again.
#[test]
fn arenas_of_many_buffers_are_small() {
    let options = CompileOptions::default();
    let model = model(softmaxes(10_000));
    let trace = Pipeline::new(&model, &options).plans(&[target()]).unwrap();
    let plan = trace.variants[0].plan().unwrap();
    assert!(plan.buffers.len() > 9000);
    assert_eq!(plan.arena_bytes, 128);
}

#[test]
fn an_inference_takes_no_more_memory_than_is_allowed() {
    let vast = model(chain(2, &f32s(&[1 << 32, 8]), &[softmax(), relu()]));
    let refused = |options: &CompileOptions| compile(&vast, &[target()], options).err();
    let error = refused(&CompileOptions::default()).unwrap();
    let (site, text) = (error.site.as_ref().unwrap(), error.to_string());
    assert!(site.node == "/v0/softmax" && text.contains("of 68719476736 allowed"), "{text}");
    assert_eq!(refused(&CompileOptions { memory: 1 << 40, ..CompileOptions::default() }), None);
}
