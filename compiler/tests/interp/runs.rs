use std::collections::BTreeMap;

use cardinal_compiler::error::Problem;
use cardinal_compiler::interp::{Data, run, run_with};

use super::{f32s, graph};

const TWO_INPUTS: &str = "
    input %a f32[2]
    weight %w f32[2] = [1, 1]
    input %b f32[2]
    %s f32[2] = sub(%a, %b)
    %unused f32[2] = neg(%s)
    %t f32[2] = mul(%s, %s)
    %y f32[2] = add(%t, %w)
    output %s as \"difference\"
    output %a
    output %w";

#[test]
fn inputs_and_outputs_are_in_order() {
    let graph = graph(TWO_INPUTS);
    let (a, b) = (f32s(&[2], &[5.0, 7.0]), f32s(&[2], &[1.0, 10.0]));
    let outputs = run(&graph, &[a.clone(), b]).unwrap();
    let wanted = [vec![4.0, -3.0], vec![5.0, 7.0], vec![1.0, 1.0], vec![17.0, 10.0]];
    let found: Vec<_> = outputs.iter().map(|y| y.data.clone()).collect();
    assert_eq!(found, wanted.map(Data::Float));
    assert_eq!(outputs[1], a);
}

#[test]
fn every_value_is_shown_once_after_its_operands() {
    let graph = graph(TWO_INPUTS);
    let mut seen = BTreeMap::new();
    let inputs = [f32s(&[2], &[5.0, 7.0]), f32s(&[2], &[1.0, 10.0])];
    run_with(&graph, &inputs, &mut |id, value| {
        for (_, operand) in graph.operands(id) {
            assert!(seen.contains_key(&operand));
        }
        assert_eq!(value.ty(), *graph.ty(id));
        assert!(seen.insert(id, value.data.clone()).is_none());
    })
    .unwrap();
    assert_eq!(seen.len(), graph.len());
    let unused = graph.find("unused").unwrap();
    assert_eq!(seen[&unused], Data::Float(vec![-4.0, 3.0]));
}

#[test]
fn nothing_is_rounded_between_operators() {
    // In f32 the sum would be 16777216 again.
    let graph = graph(
        "input %x f32[1] weight %one f32[1] = [1]
         %s f32[1] = add(%x, %one) %y f32[1] = sub(%s, %x)",
    );
    let outputs = run(&graph, &[f32s(&[1], &[16_777_216.0])]).unwrap();
    assert_eq!(outputs[0].data, Data::Float(vec![1.0]));
    assert_eq!(outputs[0].to_bytes().as_ref(), 1f32.to_le_bytes());
}

#[test]
fn inputs_must_be_those_of_the_graph() {
    let graph = graph("input %x f32[2] %y f32[2] = relu(%x)");
    let refused = |inputs: &[_], what: &str| match run(&graph, inputs).unwrap_err().problem {
        Problem::BadOption(found) => assert_eq!(found, what),
        other => panic!("{other}"),
    };
    refused(&[], "the graph has 1 inputs, and 0 are given");
    refused(&[f32s(&[1], &[0.0])], "input `x` is f32[2], and f32[1] is given");
    refused(
        &[f32s(&[2], &[0.0])],
        "input `x` is f32[2], and the tensor given has other than its elements",
    );
}

#[test]
fn an_error_names_the_value() {
    let graph = graph("weight %x f32[2] = [1, 2] %y f32[3] = relu(%x)");
    let error = run(&graph, &[]).unwrap_err();
    let site = error.site.unwrap();
    assert_eq!((site.node.as_str(), site.operator.as_str()), ("y", "relu"));
}
