//! The text of the IR reads back to what was written, and refuses everything else politely.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod common;

use cardinal_compiler::error::Problem;
use cardinal_compiler::ir::text::{parse, print};
use cardinal_compiler::ir::{DType, Graph, Op, TensorType, Weight};
use common::{Builder, block, every_operator, f32s, graph_of_every_operator, graphs};
use proptest::prelude::*;
use proptest::sample::Index;

#[track_caller]
fn round_trips(graph: &Graph) {
    let text = print(graph);
    let back = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert!(back == *graph, "{text}\n{}", print(&back));
    assert_eq!(print(&back), text);
}

#[track_caller]
fn refused(text: &str, line: usize, what: &str) {
    match parse(text).unwrap_err().problem {
        Problem::Text { line: l, what: w } => assert_eq!((l, w.as_str()), (line, what)),
        other => panic!("{other}"),
    }
}

#[test]
fn every_operator_round_trips() {
    round_trips(&graph_of_every_operator());
    let drawn: std::collections::BTreeSet<_> =
        every_operator().iter().map(|(op, _)| op.mnemonic()).collect();
    // Every mnemonic but those of inputs and weights.
    assert_eq!(drawn.len(), 23 + 4 + 30 + 8);
}

#[test]
fn a_block_reads_well() {
    let graph = block();
    round_trips(&graph);
    insta::with_settings!({
        snapshot_path => "../../snapshots",
        prepend_module_to_snapshot => false,
        snapshot_suffix => "text",
        omit_expression => true,
    }, { insta::assert_snapshot!("block", print(&graph)) });
}

#[test]
fn an_empty_graph_round_trips() {
    let graph = Graph::new("");
    assert_eq!(print(&graph), "graph @\"\" {\n}\n");
    round_trips(&graph);
}

fn literal(dtype: DType, shape: &[usize], bytes: &[u8]) -> String {
    let mut b = Builder::new("g");
    let weight = Weight::from_bytes(bytes.to_vec().into());
    b.add("w", Op::Weight(weight), TensorType::new(dtype, shape), &[]);
    round_trips(&b.0);
    let text = print(&b.0);
    let line = text.lines().nth(1).unwrap();
    line.split_once("]   ").unwrap().1.to_owned()
}

#[test]
fn small_weights_show_their_values() {
    let floats = |v: &[f32]| -> Vec<u8> { v.iter().flat_map(|x| x.to_le_bytes()).collect() };
    let odd = [0.1, -0.0, 1e-40, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 16.0];
    assert_eq!(
        literal(DType::F32, &[8], &floats(&odd)),
        "= [0.1, -0, 1e-40, 3.4028235e38, inf, -inf, nan, 16]"
    );
    assert_eq!(literal(DType::F32, &[], &floats(&[0.0])), "= 0");
    assert_eq!(literal(DType::F32, &[1], &floats(&[0.5])), "= [0.5]");
    assert_eq!(literal(DType::F32, &[0, 3], &[]), "= []");
    assert_eq!(literal(DType::I64, &[1, 1], &(-3i64).to_le_bytes()), "= [-3]");
    assert_eq!(literal(DType::F64, &[], &f64::NAN.to_le_bytes()), "= nan");
    assert_eq!(literal(DType::U8, &[2], &[0, 255]), "= [0, 255]");
    assert_eq!(literal(DType::I8, &[2], &[0, 255]), "= [0, -1]");
    assert_eq!(literal(DType::Bool, &[2], &[0, 1]), "= [false, true]");
}

#[test]
fn other_weights_show_their_hash() {
    let nan = f32::from_bits(0x7fc0_0001).to_le_bytes();
    for (dtype, shape, bytes) in [
        (DType::F32, &[][..], &nan[..]),
        (DType::Bool, &[1], &[2]),
        (DType::U8, &[9], &[0; 9]),
        (DType::U8, &[2], &[0; 3]),
    ] {
        let data = literal(dtype, shape, bytes);
        let hash = Weight::from_bytes(bytes.to_vec().into()).hash();
        assert_eq!(data, format!("#{hash:016x}"));
    }
}

#[test]
fn parsed_literals_are_the_same_bytes() {
    let graph = parse("graph @g { weight %w i32[2] = [1, -2] }").unwrap();
    let w = graph.find("w").unwrap();
    let Op::Weight(weight) = &graph.node(w).op else { panic!() };
    let bytes = weight.bytes(graph.ty(w)).unwrap();
    assert_eq!(&bytes[..], [1, 0, 0, 0, 254, 255, 255, 255]);
}

#[test]
fn comments_and_layout_are_free() {
    let a = parse("graph@g{input%x f32[1,(k2 c3)]%y f32[2]=relu(%x)then exp from\"a\"\"b\"}");
    let b = parse(
        "; a comment\ngraph @g { ; another\n input %x f32[1, (k2\n c3)]\n\n %y f32[2] =\n relu(%x)\n \
         then exp\n from \"a\" ; one\n \"b\" ; 2 nodes\n } ; end",
    );
    assert_eq!(print(&a.unwrap()), print(&b.unwrap()));
}

#[test]
fn weights_stand_above_their_first_user() {
    let mut b = Builder::new("g");
    let x = b.add("x", Op::Input, f32s(&[2]), &[]);
    let unused = b.add("unused", Op::Weight(Weight::rand(1)), f32s(&[2]), &[]);
    let w = b.add("w", Op::Weight(Weight::rand(2)), f32s(&[2]), &[]);
    b.add("a", Op::Identity, f32s(&[2]), &[x]);
    let add = Op::Binary(cardinal_compiler::ir::Binary::Add, Default::default());
    b.add("b", add.clone(), f32s(&[2]), &[x, w]);
    b.add("c", add, f32s(&[2]), &[x, w]);
    b.0.add_output("unused", unused);
    let text = print(&b.0);
    let at = |what: &str| text.find(what).unwrap();
    assert!(at("weight %unused") < at("%a ") && at("%a ") < at("weight %w"), "{text}");
    assert!(at("weight %w") < at("%b ") && at("%b ") < at("%c "), "{text}");
    round_trips(&b.0);
}

#[test]
fn errors_say_where_and_what() {
    refused("", 1, "expected `graph`, found the end of the text");
    refused("graph main {}", 1, "expected the graph's name, such as `@main`, found `main`");
    refused("graph @g {\n} x", 2, "expected the end of the text, found `x`");
    refused(
        "graph @g {\n input %x f32[1]\n input %x f32[1]\n}",
        3,
        "expected a new name, `%x` is defined above",
    );
    refused(
        "graph @g {\n %y f32[1] = relu(%z)\n %z f32[1] = relu(%y)\n}",
        2,
        "expected a value defined above, found `%z`",
    );
    refused(
        "graph @g {\n output %\"a b\"\n}",
        2,
        "expected a value defined above, found `%\"a b\"`",
    );
    refused("graph @g { input %x f16[1] }", 1, "expected an element type such as f32, found `f16`");
    refused(
        "graph @g { input %x f32[-1] }",
        1,
        "expected an extent or `(` and its factors, found `-1`",
    );
    refused("graph @g { input %x f32[(2)] }", 1, "expected a factor such as `k2`, found `2`");
    refused(
        "graph @g { input %x f32[9999999999, 9999999999] }",
        1,
        "expected a type whose bytes can be counted, found f32[9999999999, 9999999999]",
    );
    refused("graph @g { input %x f32[1 }", 1, "expected `,` or `]`, found `}`");
    refused("graph @\"g\n\" {}", 1, "expected `\"` before the end of the line");
    refused("graph @g { ! }", 1, "expected a token, found \"!\"");
    refused("graph @\"\\u{110000}\" {}", 1, "expected u{…} with a hexadecimal character");
}

#[test]
fn errors_in_nodes_say_what_the_operator_has() {
    let node = |text: &str| format!("graph @g {{\n input %x f32[1]\n {text}\n}}");
    let node = |text: &str, line: usize, what: &str| refused(&node(text), line, what);
    node("%y f32[1] = cov(%x)", 3, "expected an operator such as `conv`, found `cov`");
    node("%y f32[1] = conv(%x)\n pads 1", 4, "expected `window`, found `pads`");
    node(
        "%y f32[1] = relu(%x)\n axis 1",
        4,
        "expected an attribute, `input`, `weight`, `output`, a value or `}`, found `axis`",
    );
    node(
        "%y f32[1] = conv(%x) groups 4 window 1x1",
        4,
        "expected `group_conv` with these attributes, found `conv`",
    );
    node("%y f32[1] = conv(%x) window 3", 3, "expected a kernel such as 3x3, found `3`");
    node(
        "%y f32[1] = relu(%x) then foo",
        3,
        "expected a function such as `relu` or `add`, found `foo`",
    );
    node("%y f32[1] = relu(%x) then clip 0", 4, "expected a number, found `}`");
    node("%y f32[1] = relu(%x at 256)", 3, "expected a slot below 256, found `256`");
    node("weight %w f32[2] = [1]", 4, "expected 2 elements for f32[2], found 1");
    node("weight %w u8[1] = [256]", 3, "expected an element of the declared type, found `256`");
    node("weight %w f32[2] #12", 3, "expected 16 hexadecimal digits, found `12`");
    node(
        "weight %w f32[2] zeros",
        3,
        "expected `=` and values, `#` and a hash, or `rand(SEED)`, found `zeros`",
    );
}

#[derive(Debug, Clone)]
enum Mutation {
    Delete(Index, usize),
    Insert(Index, String),
    Repeat(Index, usize),
    Truncate(Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let piece = prop_oneof![
        any::<char>().prop_map(String::from),
        "[0-9a-z%@\"(){}\\[\\],=#;\\\\_ \n-]{1,4}",
        Just("99999999999999999999".to_owned()),
        Just(" at 9".to_owned()),
        Just("18446744073709551615".to_owned()),
    ];
    prop_oneof![
        (any::<Index>(), 1usize..20).prop_map(|(i, n)| Mutation::Delete(i, n)),
        (any::<Index>(), piece).prop_map(|(i, text)| Mutation::Insert(i, text)),
        (any::<Index>(), 1usize..80).prop_map(|(i, n)| Mutation::Repeat(i, n)),
        any::<Index>().prop_map(Mutation::Truncate),
    ]
}

fn mutate(text: &str, mutation: &Mutation) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let length = chars.len();
    let range = |i: &Index, n: usize| i.index(length + 1)..(i.index(length + 1) + n).min(length);
    match mutation {
        Mutation::Delete(i, n) => drop(chars.drain(range(i, *n))),
        Mutation::Insert(i, text) => drop(chars.splice(range(i, 0), text.chars())),
        Mutation::Repeat(i, n) => {
            let piece = chars[range(i, *n)].to_vec();
            chars.splice(range(i, 0), piece);
        }
        Mutation::Truncate(i) => chars.truncate(i.index(length + 1)),
    }
    chars.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() })]

    #[test]
    fn printed_graphs_read_back(graph in graphs()) {
        round_trips(&graph);
    }

    #[test]
    fn mutated_text_never_panics(
        graph in graphs(),
        mutations in prop::collection::vec(mutation(), 1..6),
    ) {
        let text = mutations.iter().fold(print(&graph), |text, m| mutate(&text, m));
        // What still reads is a graph like any other.
        if let Ok(graph) = parse(&text) {
            let again = print(&graph);
            prop_assert_eq!(parse(&again).map(|g| print(&g)), Ok(again));
        }
    }

    #[test]
    fn any_text_never_panics(text in any::<String>()) {
        let _ = parse(&text);
        let _ = parse(&format!("graph @g {{ {text}"));
    }
}
