//! If: the branch of a condition that is known is what the model has.

use onnx_protobuf::tensor_proto::DataType;
use onnx_protobuf::{GraphProto, ModelProto, NodeProto, TensorProto};

use crate::operators::values;
use crate::proto::{graph, model, node, numbers, refused, tensor, untyped, with};

/// A branch of one node that makes `out`, and of one constant `c`.
fn branch(node: NodeProto, c: f32) -> GraphProto {
    let mut branch = GraphProto { name: "branch".into(), ..Default::default() };
    branch.node.push(node);
    branch.initializer.push(numbers("c", &[1], &[c]));
    branch.output.push(untyped("out"));
    branch
}

/// `condition ? x + 10 : x * 10`, then twice that; both branches call what they make alike.
fn choosing(condition: Option<bool>) -> ModelProto {
    let sum = node("Add", &["x", "c"], &["out"], vec![]);
    let product = node("Mul", &["x", "c"], &["out"], vec![]);
    let branches =
        vec![graph("then_branch", branch(sum, 10.0)), graph("else_branch", branch(product, 10.0))];
    let choice = node("If", &["holds"], &["chosen"], branches);
    let twice = node("Add", &["chosen", "chosen"], &["y"], vec![]);
    match condition {
        Some(holds) => {
            let holds = TensorProto {
                raw_data: vec![u8::from(holds)],
                ..tensor("holds", DataType::BOOL, &[])
            };
            with(model(&[2], vec![choice, twice]), vec![holds])
        }
        None => {
            let cast = node("IsNaN", &["x"], &["holds"], vec![]);
            model(&[1], vec![cast, choice, twice])
        }
    }
}

#[test]
fn a_known_condition_chooses() {
    assert_eq!(values(&choosing(Some(true))), [20.0, 22.0]);
    assert_eq!(values(&choosing(Some(false))), [0.0, 20.0]);
}

#[test]
fn a_condition_of_the_input_is_refused() {
    let error = refused(&choosing(None));
    assert!(error.to_string().contains("condition depends on an input"), "{error}");
    assert!(error.remedy.is_some());
}

#[test]
fn what_only_a_branch_reads_must_be_made() {
    let mut broken = choosing(Some(true));
    let choice = &mut broken.graph.as_mut().unwrap().node[0];
    choice.attribute[0].g.as_mut().unwrap().node[0].input[0] = "nowhere".into();
    let error = refused(&broken);
    assert!(error.to_string().contains("`nowhere`, which nothing makes"), "{error}");
}

#[test]
fn branches_must_make_what_the_node_gives() {
    let mut broken = choosing(Some(true));
    let choice = &mut broken.graph.as_mut().unwrap().node[0];
    choice.attribute[1].g.as_mut().unwrap().output.clear();
    assert!(refused(&broken).to_string().contains("`else_branch` has 0 outputs, not 1"));
    let mut broken = choosing(Some(true));
    broken.graph.as_mut().unwrap().node[0].attribute.pop();
    assert!(refused(&broken).to_string().contains("`else_branch` is missing"));
}
