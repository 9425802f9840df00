//! What runs has the bits of what is folded, where numbers end and in between; and integers are reduced
//! as integers, by definitions in i128 that are written here once more.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod running;

use cardinal_compiler::interp::{self, Data};
use cardinal_compiler::ir::{DType, Graph, Op, TensorType, text, verify};
use cardinal_compiler::passes;
use cardinal_runtime::Tensor;
use proptest::prelude::*;
use running::{cases, host, run, to_reference};

/// The graph of these statements with `%a` and `%b` as inputs, and with both as constants.
fn graphs(operands: [(&TensorType, &[String]); 2], body: &str) -> [Graph; 2] {
    let of = |statement: &dyn Fn(&str, &TensorType, &[String]) -> String| {
        let [a, b] = [("a", operands[0]), ("b", operands[1])];
        let given = [a, b].map(|(name, (ty, all))| statement(name, ty, all)).concat();
        let source = format!("graph @g {{\n{given}{body}\n}}");
        let graph = text::parse(&source).unwrap_or_else(|e| panic!("{e}\n{source}"));
        verify(&graph).unwrap_or_else(|e| panic!("{e}\n{source}"));
        graph
    };
    [
        of(&|name, ty, _| format!("input %{name} {ty}\n")),
        of(&|name, ty, all| format!("weight %{name} {ty} = [{}]\n", all.join(", "))),
    ]
}

/// What a graph gives when it runs, and when it is folded.
fn run_and_folded(operands: [(&Tensor, &[String]); 2], body: &str) -> [Vec<Tensor>; 2] {
    let types = operands.map(|(x, _)| TensorType::new(x.dtype(), x.shape()));
    let [inputs, constants] =
        graphs([(&types[0], operands[0].1), (&types[1], operands[1].1)], body);
    let mut folded = constants.clone();
    passes::run(&mut folded, None, &mut |_, _| {}).unwrap();
    assert!(folded.nodes().all(|id| matches!(folded.node(id).op, Op::Weight(_))), "{folded:?}");
    let given = [operands[0].0.clone(), operands[1].0.clone()];
    [run(&inputs, &host(), 1, &given), run(&constants, &host(), 1, &[])]
}

fn floats(all: &[f32]) -> (Tensor, Vec<String>) {
    let bytes: Vec<u8> = all.iter().flat_map(|x| x.to_le_bytes()).collect();
    let tensor = Tensor::from_bytes(DType::F32, &[all.len()], &bytes).unwrap();
    (tensor, all.iter().map(|x| format!("{x:?}").replace("NaN", "nan")).collect())
}

/// Functions that a machine rounds once, and what chooses, moves or compares; `%y0`, `%y1` and so on.
fn exact_functions(n: usize) -> String {
    let unary = ["relu", "neg", "abs", "sqrt", "reciprocal"].map(|f| format!("f32[{n}] = {f}(%a)"));
    let binary = ["add", "sub", "mul", "div", "min", "max"];
    let binary = binary.map(|f| format!("f32[{n}] = {f}(%a, %b)"));
    let others = [
        format!("f32[{n}] = leaky_relu(%a)\nalpha 0.25"),
        format!("f32[{n}] = clip(%a)\nlow -0.5\nhigh 2"),
        format!("f32[{n}] = clip(%a)\nlow 0\nhigh 6"),
        format!("bool[{n}] = equal(%a, %b)"),
        format!("bool[{n}] = cast(%a)"),
        format!("i32[{n}] = cast(%a)"),
        format!("i64[{n}] = cast(%b)"),
        "f32[] = reduce_max(%a)\naxes [0]".to_owned(),
        "f32[] = reduce_min(%b)\naxes [0]".to_owned(),
        "i64[] = argmax(%a)\naxis 0".to_owned(),
    ];
    let all = unary.into_iter().chain(binary).chain(others).enumerate();
    all.map(|(i, call)| {
        let (ty, call) = call.split_once(" = ").unwrap();
        format!("%y{i} {ty} = {call}\noutput %y{i}\n")
    })
    .collect()
}

/// The bits of all elements, one NaN like another.
fn bits(x: &Tensor) -> Vec<u8> {
    match x.dtype() {
        DType::F32 => {
            let words = x.as_bytes().as_chunks::<4>().0.iter().map(|w| f32::from_le_bytes(*w));
            words.flat_map(|x| if x.is_nan() { f32::NAN } else { x }.to_le_bytes()).collect()
        }
        DType::F64 | DType::I64 | DType::I32 | DType::U8 | DType::I8 | DType::Bool => {
            x.as_bytes().to_vec()
        }
    }
}

fn agree(a: &[f32], b: &[f32]) {
    let (body, [a, b]) = (exact_functions(a.len()), [floats(a), floats(b)]);
    let [ran, folded] = run_and_folded([(&a.0, &a.1), (&b.0, &b.1)], &body);
    let calls = body.lines().filter(|line| line.contains(" = "));
    for ((ran, folded), call) in ran.iter().zip(&folded).zip(calls) {
        let at = bits(ran).iter().zip(bits(folded)).position(|(a, b)| *a != b);
        let at = at.map(|byte| byte / ran.dtype().size());
        let pair = at.and_then(|i| a.1.get(i).zip(b.1.get(i)));
        assert!(at.is_none(), "{call}: element {at:?}, of {pair:?}");
    }
}

#[test]
fn folded_functions_have_the_bits_of_running_ones() {
    let sizes = [0.0, 0.5, 1.0, 2.5, 3.0, 1e-19, 1e19, f32::MAX, f32::INFINITY];
    let denormals = [1, 0x0040_0000, 0x007f_ffff, 0x0080_0000, 0x0080_0001].map(f32::from_bits);
    let all = sizes.into_iter().chain(denormals).flat_map(|x| [x, -x]).chain([f32::NAN]);
    let all: Vec<f32> = all.collect();
    let pairs = all.iter().flat_map(|a| all.iter().map(move |b| (*a, *b)));
    let (a, b): (Vec<f32>, Vec<f32>) = pairs.unzip();
    agree(&a, &b);
    // Without NaN, which ends the reductions, and of every length of rest.
    (1..all.len()).for_each(|n| agree(&all[..n], &all[all.len() - 1 - n..all.len() - 1]));
}

/// Integers of a type: any, and those at its ends.
fn integers(least: i64, most: i64) -> impl Strategy<Value = Vec<i64>> {
    let ends = prop_oneof![least..=most, Just(least), Just(most), -3i64..=3];
    prop::collection::vec(ends, 24)
}

fn of_integers(dtype: DType, all: &[i64]) -> (Tensor, Vec<String>) {
    let bytes = all.iter().flat_map(|x| x.to_le_bytes()[..dtype.size()].to_vec());
    let bytes: Vec<u8> = bytes.collect();
    let tensor = Tensor::from_bytes(dtype, &[2, 3, 4], &bytes).unwrap();
    (tensor, all.iter().map(i64::to_string).collect())
}

/// What is left of an integer in so many bits.
fn wrapped(bits: u32, x: i128) -> i64 {
    let period = 1i128 << bits;
    let rest = x.rem_euclid(period);
    (if rest >= period / 2 { rest - period } else { rest }) as i64
}

/// Each reduction of each line of `[2, 3, 4]` along axis 1, in the order of [`REDUCTIONS`].
fn reduced(bits: u32, x: &[i64]) -> Vec<Vec<i64>> {
    let lines: Vec<Vec<i128>> = (0..8)
        .map(|line| (0..3).map(|i| x[line / 4 * 12 + i * 4 + line % 4].into()).collect())
        .collect();
    let of = |f: &dyn Fn(&[i128]) -> i64| lines.iter().map(|line| f(line)).collect::<Vec<i64>>();
    let first = |line: &[i128]| (0..3).find(|i| line.iter().all(|x| *x <= line[*i])).unwrap();
    let last = |line: &[i128]| (0..3).rev().find(|i| line.iter().all(|x| *x <= line[*i])).unwrap();
    vec![
        of(&|line| wrapped(bits, line.iter().sum())),
        // Sums are in 64 bits, whatever the type.
        of(&|line| wrapped(64, line.iter().sum()) / 3),
        of(&|line| *line.iter().max().unwrap() as i64),
        of(&|line| *line.iter().min().unwrap() as i64),
        of(&|line| first(line) as i64),
        of(&|line| last(line) as i64),
    ]
}

fn check_reductions(dtype: DType, x: &[i64]) {
    let sums = ["reduce_sum", "reduce_mean", "reduce_max", "reduce_min"];
    let mut body: String =
        sums.map(|f| format!("%{f} {dtype}[2, 4] = {f}(%a)\naxes [1]\noutput %{f}\n")).concat();
    body += "%f i64[2, 4] = argmax(%a)\naxis 1\noutput %f\n";
    body += "%l i64[2, 4] = argmax(%a)\naxis 1\nlast true\noutput %l\n";
    let (tensor, texts) = of_integers(dtype, x);
    let operand = (&tensor, &texts[..]);
    let wanted = reduced(8 * dtype.size() as u32, x);
    let ty = TensorType::new(dtype, &[2, 3, 4]);
    let [graph, _] = graphs([(&ty, &texts), (&ty, &texts)], &body);
    let reference = [to_reference(&tensor), to_reference(&tensor)];
    let interpreted = interp::run(&graph, &reference).unwrap();
    let [ran, folded] = run_and_folded([operand, operand], &body);
    for (i, wanted) in wanted.into_iter().enumerate() {
        let wanted = Data::Int(wanted);
        assert_eq!(to_reference(&ran[i]).data, wanted, "{i} of {x:?}");
        assert_eq!(to_reference(&folded[i]).data, wanted, "{i} of {x:?}, folded");
        assert_eq!(interpreted[i].data, wanted, "{i} of {x:?}, interpreted");
    }
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn integers_are_reduced_as_integers(
        long in integers(i64::MIN, i64::MAX),
        short in integers(i32::MIN.into(), i32::MAX.into()),
    ) {
        check_reductions(DType::I64, &long);
        check_reductions(DType::I32, &short);
    }

    #[test]
    fn any_floats_are_folded_to_the_bits_that_run(
        pairs in prop::collection::vec((any::<u32>(), any::<u32>()), 1..40),
    ) {
        let (a, b): (Vec<f32>, Vec<f32>) =
            pairs.into_iter().map(|(a, b)| (f32::from_bits(a), f32::from_bits(b))).unzip();
        agree(&a, &b);
    }
}
