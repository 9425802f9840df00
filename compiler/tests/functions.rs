//! Every elementwise function on every element type, where numbers end: compiled code against the
//! interpreter, and the interpreter's integers against arithmetic that is written here once more.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod running;

use std::collections::BTreeSet;

use cardinal_compiler::codegen::{Listing, Target};
use cardinal_compiler::interp::{self, Data};
use cardinal_compiler::ir::expr::Expr;
use cardinal_compiler::ir::{Binary, DType, Graph, Unary, text, verify};
use cardinal_compiler::kernels::conv::blocked::BlockedConv;
use cardinal_compiler::kernels::map::Map;
use cardinal_compiler::machine::Element;
use cardinal_compiler::plan::generate;
use cardinal_compiler::plan::kernel::KernelRef;
use cardinal_runtime::{Tensor, cpu};
use running::edges::{
    TYPES, agrees, call, compare, compiled_types, edges, element, floats, flushed, range,
};
use running::linked::{Link, Linked, artifact, foreign};
use running::{avx2, host, run, to_reference};

/// Names of the functions that are defined for the type, as outputs of one graph.
fn graph_of_all(dtype: DType, n: usize) -> (Vec<&'static str>, Graph) {
    let unary = Unary::ALL.into_iter().filter(|f| f.is_defined_for(dtype));
    let unary = unary.map(|f| (f.mnemonic(), f.result(dtype), call(f)));
    let binary = Binary::ALL.into_iter().filter(|f| f.is_defined_for(dtype));
    let binary =
        binary.map(|f| (f.mnemonic(), f.result(dtype), format!("{}(%a, %b)", f.mnemonic())));
    let mut source = format!("graph @all {{\ninput %a {dtype}[{n}]\ninput %b {dtype}[{n}]\n");
    let mut names = Vec::new();
    for (name, result, call) in unary.chain(binary) {
        source += &format!("%{name} {result}[{n}] = {call}\noutput %{name}\n");
        names.push(name);
    }
    let graph = text::parse(&(source + "}")).unwrap_or_else(|e| panic!("{e}"));
    verify(&graph).unwrap();
    (names, graph)
}

/// Machines with code that differs: this one, the least, and a foreign one where one is asked for.
fn everywhere(graph: &Graph, inputs: &[Tensor]) -> Vec<Vec<Tensor>> {
    let mut all = vec![run(graph, &host(), 1, inputs)];
    if cfg!(target_arch = "x86_64") {
        let least = Target::named(&cpu::host_triple(), "x86-64").unwrap();
        all.push(run(graph, &least, 1, inputs));
    }
    if let Some((target, tools)) = foreign() {
        all.push(Linked::new(&artifact(graph, &target), tools, Link::Static).run(0, inputs));
    }
    all
}

#[test]
fn compiled_functions_agree_where_numbers_end() {
    for dtype in compiled_types() {
        let inputs = edges(dtype);
        let (names, graph) = graph_of_all(dtype, inputs[0].shape()[0]);
        let operands = inputs.each_ref().map(to_reference);
        let exact = interp::run(&graph, &operands).unwrap();
        let flushed = interp::run(&graph, &operands.each_ref().map(flushed)).unwrap();
        for outputs in everywhere(&graph, &inputs) {
            let expected = exact.iter().zip(&flushed);
            for ((name, found), (exact, flushed)) in names.iter().zip(&outputs).zip(expected) {
                let made = |i| {
                    let [a, b] = operands.each_ref().map(|x| element(x, i));
                    format!("{name} of {dtype} {a} (and {b})")
                };
                let kept = with_tails(name, &to_reference(found), exact, &operands[0]);
                compare(&made, found, &[exact, flushed, &kept]);
            }
        }
    }
}

/// The definitions of GELU add 1 to what may be nearly -1, and so lose in f64 what compiled code may keep: the exact
/// results, with what was found where it differs by no more than that.
fn with_tails(
    name: &str,
    found: &interp::Tensor,
    exact: &interp::Tensor,
    x: &interp::Tensor,
) -> interp::Tensor {
    let (Data::Float(f), Data::Float(e), Data::Float(x)) = (&found.data, &exact.data, &x.data)
    else {
        return exact.clone();
    };
    let is_tail = |x: f64| name.starts_with("gelu") && (-40.0..0.0).contains(&x);
    let all = f.iter().zip(e).zip(x).map(|((f, e), x)| {
        let is_lost = is_tail(*x) && (f - e).abs() <= x.abs() * f64::EPSILON;
        if is_lost { *f } else { *e }
    });
    interp::Tensor { data: Data::Float(all.collect()), ..exact.clone() }
}

/// Three to the power of six is 729, and nothing near it.
#[test]
fn powers_of_integers_are_exact() {
    let source =
        "graph @g {\ninput %a i32[5]\ninput %b i32[5]\n%y i32[5] = pow(%a, %b)\noutput %y\n}";
    let graph = text::parse(source).unwrap();
    let operands = [[3, 7, -2, 2, -1], [6, 11, 31, -1, -3]].map(|values: [i32; 5]| {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        Tensor::from_bytes(DType::I32, &[5], &bytes).unwrap()
    });
    let wanted = Data::Int(vec![729, 1_977_326_743, -2_147_483_648, 0, -1]);
    assert_eq!(
        interp::run(&graph, &operands.each_ref().map(to_reference)).unwrap()[0].data,
        wanted
    );
    for outputs in everywhere(&graph, &operands) {
        assert_eq!(to_reference(&outputs[0]).data, wanted);
    }
}

/// The integer that is left in the bits of a type.
fn wrapped(dtype: DType, x: i128) -> i128 {
    let (least, most) = range(dtype);
    (x - least).rem_euclid(most - least + 1) + least
}

/// `a` to the power of a `b` that is not negative, in the bits of i64: bits of `b` from the highest.
fn power(a: i128, b: i128) -> i128 {
    (0..64).rev().fold(1, |product, bit| {
        let square = wrapped(DType::I64, product * product);
        if b >> bit & 1 == 1 { wrapped(DType::I64, square * a) } else { square }
    })
}

/// What a function of integers is; `b` does not matter to those of one operand.
fn meaning(name: &str, a: i128, b: i128) -> i128 {
    match name {
        "relu" if a < 0 => 0,
        "relu" => a,
        "clip" => a.clamp(-2, 77),
        "neg" => -a,
        "abs" if a < 0 => -a,
        "abs" => a,
        "add" => a + b,
        "sub" => a - b,
        "mul" => a * b,
        "div" if b == 0 => 0,
        "div" => a / b,
        "pow" if b >= 0 => power(a, b),
        // The truncated quotient by what is not 0, and 0 of what is.
        "pow" if a.abs() == 1 => power(a, -b),
        "pow" => 0,
        "min" => [a, b].into_iter().min().unwrap(),
        "max" => [a, b].into_iter().max().unwrap(),
        "equal" => i128::from(a == b),
        other => panic!("`{other}` of integers is new here"),
    }
}

#[test]
fn integers_are_computed_as_integers() {
    for dtype in TYPES.into_iter().filter(|dtype| !dtype.is_float()) {
        let operands = edges(dtype).each_ref().map(to_reference);
        let (names, graph) = graph_of_all(dtype, operands[0].shape[0]);
        let [Data::Int(a), Data::Int(b)] = operands.each_ref().map(|x| &x.data) else { panic!() };
        for (name, output) in names.iter().zip(interp::run(&graph, &operands).unwrap()) {
            let Data::Int(found) = &output.data else { panic!("{name} of {dtype}") };
            for ((a, b), found) in a.iter().zip(b).zip(found) {
                let wanted = wrapped(output.dtype, meaning(name, (*a).into(), (*b).into()));
                assert_eq!(i128::from(*found), wanted, "{name} of {dtype} {a} and {b}");
            }
        }
    }
}

#[test]
fn functions_are_refused_for_types_they_are_not_defined_for() {
    for dtype in TYPES {
        let unary = Unary::ALL.into_iter().filter(|f| !f.is_defined_for(dtype));
        let binary = Binary::ALL.into_iter().filter(|f| !f.is_defined_for(dtype));
        let calls = unary.map(|f| (f.mnemonic(), call(f))).chain(binary.map(|f| {
            let name = f.mnemonic();
            (name, format!("{name}(%a, %b)"))
        }));
        for (name, call) in calls {
            let source = format!(
                "graph @g {{\ninput %a {dtype}[2]\ninput %b {dtype}[2]\n%y {dtype}[2] = {call}\noutput %y\n}}"
            );
            let error = verify(&text::parse(&source).unwrap()).unwrap_err().to_string();
            assert!(error.contains(&format!("{name} is not defined for {dtype}")), "{error}");
        }
    }
}

/// A plan that no graph has: code for it would be another function's.
#[test]
fn plans_with_undefined_functions_get_no_code() {
    let source = "graph @g {\ninput %a i32[8]\n%y i32[8] = neg(%a)\noutput %y\n}";
    let mut plan = running::planned(&text::parse(source).unwrap(), &avx2());
    let target = Target::named("x86_64-unknown-linux-gnu", "x86-64-v3").unwrap();
    let code = |plan: &_| generate(plan, &target, Listing::default());
    code(&plan).unwrap();
    let mut map = plan.steps[0].kernel.get::<Map>().unwrap().clone();
    map.expr = Expr::Operand(1).unary(Unary::Sigmoid);
    plan.steps[0].kernel = map.into();
    let error = code(&plan).unwrap_err().to_string();
    assert!(error.contains("`sigmoid` is not emitted for i32"), "{error}");
}

/// Register tiles apply functions of many steps to sums of f32 only.
#[test]
fn sums_of_integers_are_not_finished() {
    let source = "graph @g {\ninput %a f32[1, 32, 4, 4]\nweight %w f32[32, 32, 1, 1] rand(1)\n\
                  %y f32[1, 32, 4, 4] = conv(%a, %w)\nwindow 1x1\nthen swish\noutput %y\n}";
    let plan = running::planned(&text::parse(source).unwrap(), &avx2());
    let is_conv = |kernel: &KernelRef| kernel.get::<BlockedConv>().is_some();
    let at = plan.steps.iter().position(|step| is_conv(&step.kernel)).unwrap();
    let code = |element: Element| {
        let mut plan = plan.clone();
        let mut conv = plan.steps[at].kernel.get::<BlockedConv>().unwrap().clone();
        assert_ne!(conv.micro.finish, Expr::default());
        conv.micro.element = element;
        plan.steps[at].kernel = conv.into();
        generate(&plan, &avx2(), Listing::default()).map(|_| ())
    };
    code(Element::F32).unwrap();
    for element in [Element::U8, Element::I16] {
        let error = code(element).unwrap_err().to_string();
        assert!(error.contains("finishes what it cannot"), "{error}");
    }
}

#[test]
fn what_follows_from_rows() {
    let poles = Unary::ALL.into_iter().filter(|f| !f.keeps_zero_finite()).map(Unary::mnemonic);
    assert_eq!(poles.collect::<Vec<_>>(), ["log", "acosh", "reciprocal"]);
    let poles = Binary::ALL.into_iter().filter(|f| !f.keeps_zero_finite()).map(Binary::mnemonic);
    assert_eq!(poles.collect::<Vec<_>>(), ["div", "pow"]);
    let unary = Unary::ALL.into_iter().map(Unary::mnemonic);
    let all: BTreeSet<_> = unary.chain(Binary::ALL.into_iter().map(Binary::mnemonic)).collect();
    assert_eq!(all.len(), Unary::ALL.len() + Binary::ALL.len(), "two have one name");
    for function in Binary::ALL {
        let [a, b] = [floats(DType::F64), floats(DType::F64)];
        let mut pairs = a.iter().flat_map(|a| b.iter().map(move |b| (*a, *b)));
        let same = |(a, b)| agrees(DType::F64, function.of_floats(a, b), function.of_floats(b, a));
        assert_eq!(function.commutes(), pairs.all(same), "{function:?}");
    }
}
