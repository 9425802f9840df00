//! Runs of fewer images than a program was compiled for: whatever the number, each row has the bits that its
//! image has alone.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

use std::num::NonZeroUsize;
use std::sync::Arc;

use cardinal_compiler::ir::TensorType;
use cardinal_runtime::{DType, Program, Session, Tensor};

use super::random;

/// Some images of a tensor.
pub(crate) fn rows(tensor: &Tensor, from: usize, count: usize) -> Tensor {
    let mut shape = tensor.shape().to_vec();
    let row = tensor.as_bytes().len() / shape[0];
    shape[0] = count;
    let bytes = &tensor.as_bytes()[from * row..(from + count) * row];
    Tensor::from_bytes(tensor.dtype(), &shape, bytes).unwrap()
}

/// Random inputs of as many images as a program takes.
pub(crate) fn inputs(program: &Program) -> Vec<Tensor> {
    let types = program.inputs().iter().map(|spec| TensorType::new(spec.dtype, &spec.shape));
    types.zip(1..).map(|(ty, seed)| random(&ty, seed)).collect()
}

/// Leaves NaN in all of a session's memory that an inference of all images touches.
fn poison(session: &mut Session) {
    let program = Arc::clone(session.program());
    let all = program.inputs().iter().map(|spec| {
        let count = spec.shape.iter().product();
        match spec.dtype {
            DType::F32 => Tensor::from_f32(&spec.shape, &vec![f32::NAN; count]).unwrap(),
            _ => Tensor::zeros(spec.dtype, &spec.shape).unwrap(),
        }
    });
    session.run(&all.collect::<Vec<_>>()).unwrap();
}

/// Checks every number of images, on one thread and on two.
pub(crate) fn check(program: &Arc<Program>, about: &str) {
    assert!(program.takes_fewer(), "{about}: {:?}", program.fixed_by());
    let all = inputs(program);
    let most = all[0].shape()[0];
    let session =
        |threads| Session::new(Arc::clone(program), NonZeroUsize::new(threads).unwrap()).unwrap();
    let mut sessions = [session(1), session(2)];
    let some = |from: usize, count: usize| -> Vec<Tensor> {
        all.iter().map(|input| rows(input, from, count)).collect()
    };
    let alone: Vec<Vec<Tensor>> =
        (0..most).map(|image| sessions[0].run(&some(image, 1)).unwrap()).collect();
    for session in &mut sessions {
        for count in 1..=most {
            poison(session);
            // The first of them, and the last.
            for from in [0, most - count] {
                let outputs = session.run(&some(from, count)).unwrap();
                for (at, output) in outputs.iter().enumerate() {
                    assert_eq!(output.shape()[0], count, "{about}");
                    for row in 0..count {
                        let found = rows(output, row, 1);
                        let expected = &alone[from + row][at];
                        assert!(found == *expected, "{about}: row {row} of {count} from {from}");
                    }
                }
            }
        }
    }
}
