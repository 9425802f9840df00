//! One broken graph for each rule.

use bytes::Bytes;

use super::*;
use crate::error::Problem;
use crate::ir::function::Binary;
use crate::ir::text::parse;
use crate::ir::{Axis, DType, Factor};

fn read(body: &str) -> Graph {
    parse(&format!("graph @g {{ {body} }}")).unwrap()
}

#[track_caller]
fn refused(graph: &Graph, rule: &str) {
    let error = verify(graph).unwrap_err();
    match error.problem {
        Problem::Internal(what) => assert_eq!(what, rule),
        other => panic!("{other}"),
    }
}

#[track_caller]
fn refused_text(body: &str, rule: &str) {
    refused(&read(body), rule);
}

fn node(name: &str, op: Op, shape: &[usize]) -> Node {
    Node { name: name.into(), op, ty: TensorType::new(DType::F32, shape), from: Vec::new() }
}

fn one_input() -> (Graph, NodeId) {
    let mut graph = Graph::new("g");
    let x = graph.add(node("x", Op::Input, &[2]), &[]);
    (graph, x)
}

#[test]
fn accepts_a_graph_that_keeps_every_rule() {
    let graph = read(
        r#"
        input %x f32[(k2 c3), 4] input %i i64[2]
        weight %w f32[6, 4] rand(1) weight %b f32[4] = [1, 2, 3, 4]
        weight %absent f32[100] #0123456789abcdef
        %p f32[6, 6] = matmul(%w, %x) trans_b true
        %m f32[6, 4] = add(%x, %w) then relu, mul %x, sub %w from "/a" "/b"
        %r f32[2, 12] = reshape(%m)
        %e f32[3, 2, 12] = expand(%r)
        %s f32[1, 2, 5] = slice(%e) starts [2, 1, 8] steps [7, -1, -2]
        %none f32[0, 2, 12] = slice(%e) starts [3, 0, 0]
        %c f32[2, 2, 5] = concat(%s, %s) axis 0
        %f f32[6, 6] = matmul(%x, %w, _) trans_b true then add %p
        output %s output %m as "x"
        "#,
    );
    assert_eq!(verify(&graph), Ok(()));
}

#[test]
fn the_public_check_holds_the_same_rules() {
    let good = read("input %x f32[2, 3] %y f32[6] = reshape(%x) output %y");
    assert_eq!(verify(&good), Ok(()));
    let bad = read("input %x f32[2, 3] %y f32[5] = reshape(%x)");
    assert!(verify(&bad).is_err());
}

#[test]
fn names() {
    refused_text(r#"input %"" f32[2]"#, "value `` (input): a value has a name");
    let (mut graph, x) = one_input();
    graph.add(node("x", Op::Identity, &[2]), &[(0, x)]);
    refused(&graph, "value `x` (identity): another value has this name");
}

#[test]
fn inputs() {
    let (mut graph, x) = one_input();
    graph.inputs.clear();
    refused(&graph, "value `x` (input): it is not listed among the inputs");
    graph.inputs = vec![x, x];
    refused(&graph, "value `x` (input): it is listed twice among the inputs");
    let y = graph.add(node("y", Op::Identity, &[2]), &[(0, x)]);
    graph.inputs = vec![x, y];
    refused(&graph, "value `y` (identity): it is listed among the inputs");
    graph.inputs = vec![x, NodeId::new(7)];
    refused(&graph, "an input of the graph is not one of its nodes");
}

#[test]
fn outputs() {
    refused_text(r#"input %x f32[2] output %x as """#, "output ``: an output has a name");
    refused_text("input %x f32[2] output %x output %x", "output `x`: another output has this name");
    let (mut graph, _) = one_input();
    graph.add_output("y", NodeId::new(7));
    refused(&graph, "output `y`: its value is not a node of the graph");
}

#[test]
fn origins() {
    refused_text(
        r#"input %x f32[2] from "/a""#,
        "value `x` (input, from `/a`): an input comes from no ONNX node",
    );
    refused_text(
        r#"input %x f32[2] %y f32[2] = relu(%x) from "/a" "/b" "/a" "/c" "/d" "/e""#,
        "value `y` (relu, from `/a`, `/b`, `/a`, `/c` and 2 more): \
         the origin `/a` is listed twice",
    );
}

#[test]
fn slots() {
    let (mut graph, x) = one_input();
    graph.add(node("y", Op::Identity, &[2]), &[(0, x), (0, x)]);
    refused(&graph, "value `y` (identity): slot 0 holds two operands");
    refused_text("input %x f32[2] %y f32[2] = add(%x)", "value `y` (add): slot 1 holds no operand");
    refused_text(
        "input %x f32[2] %y f32[2] = concat(%x, _, %x) axis 0",
        "value `y` (concat): slot 1 holds no operand",
    );
    refused_text(
        "input %x f32[2] %y f32[2] = concat() axis 0",
        "value `y` (concat): slot 0 holds no operand",
    );
    refused_text(
        "input %x f32[2] %y f32[2] = identity(%x, %x)",
        "value `y` (identity): it has an operand in slot 1, which its operator lacks",
    );
    let (mut graph, x) = one_input();
    graph.add(node("w", Op::Weight(Weight::rand(1)), &[2]), &[(0, x)]);
    refused(&graph, "value `w` (weight): it has an operand in slot 0, which its operator lacks");
}

#[test]
fn slots_of_every_operator() {
    let image = "f32[1, 2, 3, 3]";
    for (op, operands, ty, attributes) in [
        ("conv", &[image, "f32[2, 2, 1, 1]"][..], image, "window 1x1"),
        ("batch_norm", &[image, "f32[2]", "f32[2]", "f32[2]", "f32[2]"], image, "epsilon 0.5"),
        ("where", &["bool[2]", "f32[2]", "f32[2]"], "f32[2]", ""),
        ("gather", &["f32[2]", "i64[3]"], "f32[3]", "axis 0"),
        ("softmax", &["f32[2]"], "f32[2]", "axis 0"),
    ] {
        let inputs = operands.iter().enumerate().map(|(i, ty)| format!("input %x{i} {ty} "));
        let inputs = inputs.collect::<String>();
        let names = (0..operands.len()).map(|i| format!("%x{i}")).collect::<Vec<_>>();
        let body = |names: &[String]| {
            format!("{inputs} %y {ty} = {op}({}) {attributes}", names.join(", "))
        };
        assert_eq!(verify(&read(&body(&names))), Ok(()));
        let last = names.len() - 1;
        let rule = format!("value `y` ({op}): slot {last} holds no operand");
        refused_text(&body(&names[..last]), &rule);
    }
}

#[test]
fn order() {
    let (mut graph, x) = one_input();
    let a = graph.add(node("a", Op::Binary(Binary::Add, Default::default()), &[2]), &[(0, x)]);
    let b = graph.add(node("b", Op::Identity, &[2]), &[(0, a)]);
    graph.dag.connect(b, a, 1);
    graph.add(node("c", Op::Identity, &[2]), &[(0, b)]);
    refused(&graph, "value `b` (identity): it depends on itself");
}

#[test]
fn epilogues() {
    refused_text(
        "input %x f32[2] %y f32[2] = relu(%x) then add _",
        "value `y` (relu): its epilogue's `add` reads slot 1, which holds no operand",
    );
    refused_text(
        "input %x f32[2] %y f32[2] = relu(%x) then add %x at 0",
        "value `y` (relu): its epilogue's `add` reads slot 0, which is not the epilogue's",
    );
    refused_text(
        "input %x f32[2] %y f32[2] = relu(%x, %x)",
        "value `y` (relu): slot 1 holds an operand that no step of its epilogue reads",
    );
    refused_text(
        "input %x f32[2] %y f32[2] = relu(%x) then equal %x",
        "value `y` (relu): its epilogue applies `equal`, which changes the element type",
    );
    refused_text(
        "input %x f32[2] input %z f32[1] %y f32[2] = relu(%x) then mul %z",
        "value `y` (relu): its epilogue's `mul` reads f32[1], and its result is f32[2]",
    );
    refused_text(
        "input %x f32[2] input %z i32[2] %y f32[2] = relu(%x) then mul %z",
        "value `y` (relu): its epilogue's `mul` reads i32[2], and its result is f32[2]",
    );
}

#[test]
fn type_bounds() {
    let (mut graph, x) = one_input();
    graph.add(node("y", Op::Identity, &[usize::MAX, 2]), &[(0, x)]);
    refused(
        &graph,
        "value `y` (identity): the bytes of f32[18446744073709551615, 2] cannot be counted",
    );
    let (mut graph, x) = one_input();
    let mut y = node("y", Op::Identity, &[]);
    y.ty.axes = vec![Axis::product([Factor { name: '%', size: 2 }]).unwrap()];
    graph.add(y, &[(0, x)]);
    refused(&graph, "value `y` (identity): an axis factor is named by a letter, not '%'");
}

#[test]
fn types_that_operands_give() {
    refused_text(
        "input %x f32[2] %y f32[3] = relu(%x)",
        "value `y` (relu): its type is f32[3], and its operands give f32[2]",
    );
    refused_text(
        "input %x f32[2] %y i32[2] = relu(%x)",
        "value `y` (relu): its type is i32[2], and its operands give f32[2]",
    );
    refused_text(
        "input %x bool[2] %y bool[2] = relu(%x)",
        "value `y` (relu): relu is not defined for bool",
    );
}

#[test]
fn weights() {
    let mut graph = Graph::new("g");
    let bytes = Bytes::from_static(&[0; 7]);
    graph.add(node("w", Op::Weight(Weight::from_bytes(bytes)), &[2]), &[]);
    refused(&graph, "value `w` (weight): 7 bytes for f32[2], which takes 8");
    refused_text(
        "weight %w f32[1000000000] rand(1)",
        "value `w` (weight): 4000000000 bytes of `rand`, of at most 1073741824",
    );
}

#[test]
fn reshapes() {
    refused_text(
        "input %x f32[2, 3] %y f32[5] = reshape(%x)",
        "value `y` (reshape): f32[5] has 5 elements, and its operand f32[2, 3] has 6",
    );
    refused_text(
        "input %x f32[2] %y i32[2] = reshape(%x)",
        "value `y` (reshape): its type is i32[2], and its operand is f32[2]",
    );
}

#[test]
fn expands() {
    refused_text(
        "input %x f32[2] %y f32[2, 3] = expand(%x)",
        "value `y` (expand): its operand f32[2] does not broadcast to f32[2, 3]",
    );
    refused_text(
        "input %x f32[1, 2] %y f32[2] = expand(%x)",
        "value `y` (expand): its operand f32[1, 2] does not broadcast to f32[2]",
    );
    refused_text(
        "input %x f32[1] %y i8[2] = expand(%x)",
        "value `y` (expand): its type is i8[2], and its operand is f32[1]",
    );
}

#[test]
fn slices() {
    refused_text(
        "input %x f32[2] %y f32[2] = slice(%x) starts [0, 0]",
        "value `y` (slice): its operand f32[2] has 1 axes; 2 starts and 2 steps for f32[2]",
    );
    refused_text(
        "input %x f32[2] %y f32[2] = slice(%x) starts [0] steps [0]",
        "value `y` (slice): step 0 along axis 0",
    );
    refused_text(
        "input %x f32[4, 4] %y f32[4, 2] = slice(%x) starts [0, 2] steps [1, 2]",
        "value `y` (slice): elements 2 to 4 of axis 1, whose extent is 4",
    );
    refused_text(
        "input %x f32[4] %y f32[3] = slice(%x) starts [1] steps [-1]",
        "value `y` (slice): elements 1 to -1 of axis 0, whose extent is 4",
    );
    refused_text(
        "input %x f32[4] %y f64[4] = slice(%x) starts [0]",
        "value `y` (slice): its type is f64[4], and its operand is f32[4]",
    );
}
