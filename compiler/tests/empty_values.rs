//! Values without elements, through every operator that takes them, and the value that is not equal to
//! itself as a parameter: compiled code against the interpreter, and both against what ONNX says.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod running;

use cardinal_compiler::interp::{self, Data};
use cardinal_compiler::ir::{Graph, text, verify};
use cardinal_runtime::Tensor;
use running::{check, host, random, run, to_reference};

fn graph(body: &str) -> Graph {
    let source = format!("graph @g {{\n{body}\n}}");
    let graph = text::parse(&source).unwrap_or_else(|e| panic!("{e}\n{source}"));
    verify(&graph).unwrap_or_else(|e| panic!("{e}\n{source}"));
    graph
}

/// The elements of every output, once compiled and once interpreted.
fn both(body: &str) -> [Vec<Data>; 2] {
    let graph = graph(body);
    let inputs: Vec<Tensor> =
        graph.inputs().iter().zip(1..).map(|(id, seed)| random(graph.ty(*id), seed)).collect();
    let compiled = run(&graph, &host(), 2, &inputs);
    let compiled = compiled.iter().map(|y| to_reference(y).data).collect();
    let inputs: Vec<_> = inputs.iter().map(to_reference).collect();
    [compiled, interp::run(&graph, &inputs).unwrap().into_iter().map(|y| y.data).collect()]
}

/// Checks the results of a graph, which are the same in all runs.
#[track_caller]
fn gives(body: &str, wanted: &[Data]) {
    for found in both(body) {
        assert_eq!(found, wanted, "{body}");
    }
}

#[test]
fn nothing_is_made_of_nothing() {
    for shape in ["0, 3", "3, 0"] {
        let same =
            ["relu(%x)", "sigmoid(%x)", "add(%x, %x)", "softmax(%x)\naxis 0", "identity(%x)"];
        let same = same.into_iter().chain(["softmax(%x)\naxis 1", "concat(%x, %x)\naxis 0"]);
        for call in same.filter(|call| !call.starts_with("concat") || shape == "0, 3") {
            // The result is read too, not only given back.
            check(&format!(
                "graph @g {{\ninput %x f32[{shape}]\n%a f32[{shape}] = {call}\n%y f32[{shape}] = \
                 relu(%a)\n%i i64[{shape}] = cast(%y)\noutput %y\noutput %i\n}}"
            ));
        }
    }
    for body in [
        "%y f32[3, 0] = transpose(%x)\nperm [1, 0]",
        "%y f32[0, 5, 3] = expand(%z)",
        "%y f32[0] = reshape(%x)",
        "%y f32[0, 2] = slice(%x)\nstarts [0, 1]",
        "%y f32[2, 0] = slice(%w)\nstarts [0, 4]",
        "%y f32[0, 9] = pad(%x)\nbefore [0, 2]\nafter [0, 4]",
        "%y f32[0, 2] = gather(%x, %i)\naxis 1",
        "%y f32[0, 4] = gather(%w, %n)\naxis 0",
        "%y f32[0] = reduce_mean(%x)\naxes [1]",
        "%y f32[0] = reduce_max(%x)\naxes [1]",
        "%y i64[0] = argmax(%x)\naxis 1",
        "%y f32[0, 4] = matmul(%x, %m)",
        "%y f32[0, 3] = where(%c, %x, %x)",
    ] {
        let inputs = "input %x f32[0, 3]\ninput %w f32[2, 4]\nweight %z f32[0, 1, 3] rand(1)\n\
                      weight %i i64[2] = [1, 0]\nweight %n i64[0] rand(1)\n\
                      weight %m f32[3, 4] rand(1)\ninput %c bool[0, 3]";
        let again = match body.contains("i64[0] = argmax") {
            true => "output %y".to_owned(),
            false => {
                let ty = body.split(" = ").next().unwrap().replace("%y ", "%r ");
                format!("{ty} = neg(%y)\noutput %y\noutput %r")
            }
        };
        check(&format!("graph @g {{\n{inputs}\n{body}\n{again}\n}}"));
    }
}

#[test]
fn batches_of_no_images() {
    check(
        "graph @g {\ninput %x f32[0, 16, 8, 8]\nweight %w f32[32, 16, 3, 3] rand(1)\n\
         %a f32[0, 32, 8, 8] = conv(%x, %w)\nwindow 3x3 pad 1\nthen relu\n\
         %p f32[0, 32, 4, 4] = max_pool(%a)\nwindow 2x2 stride 2\n\
         %m f32[0, 32] = reduce_mean(%p)\naxes [2, 3]\n\
         weight %f f32[32, 10] rand(2)\n%y f32[0, 10] = matmul(%m, %f)\noutput %y\n}",
    );
}

/// A normalization that would be a convolution of single channels, if there were pixels.
#[test]
fn normalization_of_empty_planes() {
    for size in ["0, 4", "4, 0"] {
        check(&format!(
            "graph @g {{\ninput %x f32[1, 16, {size}]\nweight %c f32[16] rand(1)\n\
             weight %v f32[16] = [{}]\n\
             %n f32[1, 16, {size}] = batch_norm(%x, %c, %c, %c, %v)\nepsilon 0.1\n\
             %p f32[1, 16, {size}] = relu(%n)\noutput %p\n}}",
            ["1"; 16].join(", ")
        ));
    }
}

/// What is empty beside what is not.
#[test]
fn something_is_made_of_nothing() {
    check(
        "graph @g {\ninput %x f32[2, 4]\nweight %c f32[2, 0] rand(1)\n\
         %e f32[2, 0] = slice(%x)\nstarts [0, 4]\n%n f32[2, 0] = neg(%e)\n\
         %y f32[2, 8] = concat(%c, %x, %n, %x, %e)\naxis 1\noutput %y\n}",
    );
    let floats = |all: &[f64]| Data::Float(all.to_vec());
    let empty = "input %x f32[2, 0]\ninput %i i64[0, 2]\ninput %j i32[0]\n";
    let fill = "%y f32[3, 2] = pad(%x)\nbefore [1, 0]\nafter [0, 2]\nvalue 0.5\noutput %y";
    gives(&(empty.to_owned() + fill), &[floats(&[0.5; 6])]);
    let (least, most) = (i64::from(i32::MIN), i64::MAX);
    gives(
        &(empty.to_owned()
            + "%a f32[2] = reduce_sum(%x)\naxes [1]\n%b f32[1, 1] = reduce_max(%x)\naxes [0, 1]\n\
               keep true\n%c f32[2] = reduce_min(%x)\naxes [1]\n%d i64[2] = reduce_min(%i)\naxes [0]\n\
               %e i32[] = reduce_max(%j)\naxes [0]\n%f i64[2] = reduce_sum(%i)\naxes [0]\n\
               output %a\noutput %b\noutput %c\noutput %d\noutput %e\noutput %f"),
        &[
            floats(&[0.0; 2]),
            floats(&[f64::NEG_INFINITY]),
            floats(&[f64::INFINITY; 2]),
            Data::Int(vec![most; 2]),
            Data::Int(vec![least]),
            Data::Int(vec![0; 2]),
        ],
    );
    gives(
        "input %x f32[2, 0]\nweight %w f32[0, 3] rand(1)\nweight %b f32[3] = [1, -2, 3]\n\
         %p f32[2, 3] = matmul(%x, %w)\n%q f32[2, 3] = matmul(%x, %w, %b)\nthen relu\n\
         output %p\noutput %q",
        &[floats(&[0.0; 6]), floats(&[1.0, 0.0, 3.0, 1.0, 0.0, 3.0])],
    );
}

/// Steps with equal kernels share a function, and a kernel is found by its attributes.
#[test]
fn nan_and_infinity_are_parameters() {
    for value in ["nan", "inf", "-inf"] {
        let body = format!(
            "input %x f32[1, 3, 5, 5]\nweight %c f32[3] = [1, 2, 3]\n\
             %a f32[1, 3, 5, 5] = leaky_relu(%x)\nalpha {value}\n\
             %b f32[1, 3, 5, 5] = batch_norm(%x, %c, %c, %c, %c)\nepsilon {value}\n\
             %p f32[1, 3, 5, 7] = pad(%x)\nbefore [0, 0, 0, 1]\nafter [0, 0, 0, 1]\nvalue {value}\n\
             %h f32[1, 3, 5, 5] = hard_sigmoid(%x)\nalpha 0.5\nbeta {value}\n\
             output %a\noutput %b\noutput %p\noutput %h"
        );
        check(&format!("graph @g {{\n{body}\n}}"));
        let printed = text::print(&graph(&body));
        assert_eq!(text::print(&text::parse(&printed).unwrap()), printed);
    }
}
