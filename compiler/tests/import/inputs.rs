//! Inputs whose dimensions the model leaves open, and the options that fix them.

use cardinal_compiler::error::{Error, Problem};
use cardinal_compiler::onnx::{NoExternalData, import};
use cardinal_compiler::options::ImportOptions;
use onnx_protobuf::{ModelProto, type_proto};
use protobuf::MessageField;

use crate::proto::Dim::{Is, Named, Open};
use crate::proto::{Dim, bytes, empty_model, floats, node, untyped, value, with};

/// A model with these inputs, all used.
fn model(inputs: &[(&str, &[Dim])]) -> ModelProto {
    let mut model = empty_model();
    let graph = model.graph.as_mut().unwrap();
    for (name, dims) in inputs {
        graph.input.push(value(name, dims));
        let output = format!("{name}.out");
        graph.node.push(node("Relu", &[name], &[&output], vec![]));
        graph.output.push(untyped(&output));
    }
    model
}

fn options(batch: Option<usize>, shapes: &[(&str, &[usize])]) -> ImportOptions {
    let shapes = shapes.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec()));
    ImportOptions { batch, shapes: shapes.collect() }
}

/// The shapes of the inputs after import.
fn shapes(model: &ModelProto, options: &ImportOptions) -> Result<Vec<Vec<usize>>, Error> {
    let graph = import(bytes(model), &NoExternalData, options)?.graph;
    Ok(graph.inputs().iter().map(|id| graph.ty(*id).shape()).collect())
}

fn bad_option(model: &ModelProto, options: &ImportOptions) -> String {
    match shapes(model, options).unwrap_err() {
        Error { problem: Problem::BadOption(what), .. } => what,
        Error { problem: problem @ Problem::FixedBatch { .. }, .. } => problem.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_batch_is_one_by_default() {
    for first in [Named("batch"), Open] {
        let model = model(&[("x", &[first, Is(3), Is(8), Is(8)])]);
        assert_eq!(shapes(&model, &options(None, &[])).unwrap(), [[1, 3, 8, 8]]);
        assert_eq!(shapes(&model, &options(Some(5), &[])).unwrap(), [[5, 3, 8, 8]]);
        assert!(bad_option(&model, &options(Some(0), &[])).contains("at least 1"));
    }
}

#[test]
fn a_fixed_batch_stays() {
    let fixed = model(&[("x", &[Is(2), Is(3)])]);
    assert_eq!(shapes(&fixed, &options(None, &[])).unwrap(), [[2, 3]]);
    assert_eq!(shapes(&fixed, &options(Some(2), &[])).unwrap(), [[2, 3]]);
    assert!(bad_option(&fixed, &options(Some(4), &[])).contains("input `x` has batch 2"));
    assert!(
        bad_option(&fixed, &options(None, &[("x", &[4, 3])])).contains("input `x` has batch 2")
    );
    assert!(bad_option(&fixed, &options(None, &[("x", &[2, 3, 1])])).contains("3 dimensions"));
    assert!(bad_option(&fixed, &options(None, &[("x", &[2, 0])])).contains("dimension 0"));
}

#[test]
fn other_open_dimensions_must_be_given() {
    let open = model(&[("x", &[Named("n"), Is(3), Named("h"), Open])]);
    let error = shapes(&open, &options(None, &[])).unwrap_err();
    let problem = Problem::UnknownDimension { input: "x".into(), dimension: "h".into() };
    assert_eq!(error.problem, problem);
    assert!(error.remedy.unwrap().contains("--shape x=1x3x224x224"));
    let given = options(None, &[("x", &[1, 3, 32, 16])]);
    assert_eq!(shapes(&open, &given).unwrap(), [[1, 3, 32, 16]]);
    let unknown = options(None, &[("y", &[1])]);
    assert!(bad_option(&open, &unknown).contains("`y`"));
    assert!(shapes(&open, &unknown).unwrap_err().remedy.unwrap().contains("`x`"));
}

#[test]
fn a_named_dimension_has_one_extent() {
    let two = model(&[("a", &[Named("n"), Named("w")]), ("b", &[Named("n"), Named("w")])]);
    let given = options(None, &[("a", &[2, 7])]);
    assert_eq!(shapes(&two, &given).unwrap(), [[2, 7], [2, 7]]);
    let torn = options(None, &[("a", &[2, 7]), ("b", &[2, 8])]);
    assert!(bad_option(&two, &torn).contains("8 at dimension 1, the model has 7"));
    let contradiction = options(Some(3), &[("a", &[2, 7])]);
    assert!(bad_option(&two, &contradiction).contains("batch"));
}

#[test]
fn an_input_without_a_shape_needs_one() {
    let mut bare = model(&[("x", &[])]);
    let input = &mut bare.graph.as_mut().unwrap().input[0];
    let Some(type_proto::Value::TensorType(tensor)) = &mut input.type_.as_mut().unwrap().value
    else {
        panic!()
    };
    tensor.shape = MessageField::none();
    let error = shapes(&bare, &options(None, &[])).unwrap_err();
    assert!(matches!(error.problem, Problem::UnknownDimension { .. }), "{error}");
    assert_eq!(shapes(&bare, &options(None, &[("x", &[4, 2])])).unwrap(), [[4, 2]]);
}

#[test]
fn declared_dimensions_must_be_possible() {
    for dims in [&[Is(0)][..], &[Is(1), Is(-2)], &[Is(i64::MIN)], &[Is(1 << 40), Is(1 << 40)]] {
        shapes(&model(&[("x", dims)]), &options(None, &[])).unwrap_err();
    }
}

#[test]
fn a_dimension_of_minus_one_is_open() {
    let open = model(&[("x", &[Is(-1), Is(-1)])]);
    let error = shapes(&open, &options(None, &[])).unwrap_err();
    assert!(matches!(error.problem, Problem::UnknownDimension { .. }), "{error}");
    assert_eq!(shapes(&open, &options(None, &[("x", &[4, 2])])).unwrap(), [[4, 2]]);
    assert_eq!(
        shapes(&model(&[("x", &[Is(-1), Is(2)])]), &options(Some(3), &[])).unwrap(),
        [[3, 2]]
    );
}

#[test]
fn inputs_must_be_tensors_of_known_elements() {
    for (elements, what) in
        [(10, "float16"), (11, "float64"), (8, "string"), (0, "no element type")]
    {
        let mut other = model(&[("x", &[Is(1)])]);
        let input = &mut other.graph.as_mut().unwrap().input[0];
        let value = &mut input.type_.as_mut().unwrap().value;
        let Some(type_proto::Value::TensorType(tensor)) = value else { panic!() };
        tensor.elem_type = elements;
        let error = shapes(&other, &options(None, &[])).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[test]
fn an_input_with_an_initializer_is_a_constant() {
    let both = model(&[("x", &[Is(2)]), ("w", &[Named("anything")])]);
    let both = with(both, vec![floats("w", &[2])]);
    assert_eq!(shapes(&both, &options(None, &[])).unwrap(), [[2]]);
}
