use cardinal_compiler::error::Problem;
use cardinal_compiler::interp::{Data, Tensor, evaluate};
use cardinal_compiler::ir::{
    Binary, Conv, DType, Epilogue, Op, Pool, PoolKind, Reduce, ReduceKind, Step, TensorType, Unary,
    Weight, Window,
};

use super::{compute, f32s};

fn ones(shape: &[usize]) -> Tensor {
    f32s(shape, &vec![1.0; shape.iter().product()])
}

/// Every operator with attributes that would do for some operand.
fn operators() -> Vec<Op> {
    let none = Epilogue::none;
    let odd = Window { kernel: [0, 3], stride: [0, 1], ..Window::POINT };
    let huge = Window { pad_before: [usize::MAX, 1], ..Window::POINT };
    let step = |f, slot| Epilogue { steps: vec![Step::Binary(f, slot)] };
    let mut all = vec![
        Op::Input,
        Op::Weight(Weight::absent(1)),
        Op::BatchNorm { epsilon: 0.0 },
        Op::MatMul { transpose_a: true, transpose_b: false, epilogue: none() },
        Op::MatMul { transpose_a: false, transpose_b: false, epilogue: step(Binary::Add, 3) },
        Op::Unary(Unary::Exp, none()),
        Op::Unary(Unary::Relu, step(Binary::Equal, 1)),
        Op::Binary(Binary::Add, none()),
        Op::Binary(Binary::Equal, none()),
        Op::Where,
        Op::Cast { to: DType::I32 },
        Op::Softmax { axis: 7, log: false },
        Op::Softmax { axis: 0, log: true },
        Op::Reshape,
        Op::Expand,
        Op::Transpose { perm: vec![0, 0] },
        Op::Transpose { perm: vec![1, 0] },
        Op::Concat { axis: 1 },
        Op::Slice { starts: vec![0, 1], steps: vec![1, isize::MIN] },
        Op::Slice { starts: vec![usize::MAX], steps: vec![0] },
        Op::Gather { axis: 1 },
        Op::Scatter { extent: 7 },
        Op::Scatter { extent: usize::MAX },
        Op::Pad { before: vec![1, usize::MAX], after: vec![1, 2], value: 0.0 },
        Op::ArgMax { axis: 1, keep: false, last: false },
        Op::Identity,
    ];
    for window in [Window::POINT, odd, huge] {
        all.extend([0, 1, 2].map(|groups| Op::Conv(Conv { groups, window, epilogue: none() })));
        let kinds = [PoolKind::Max, PoolKind::Average { count_padding: true }];
        all.extend(kinds.map(|kind| Op::Pool(Pool { kind, window, ceil: true })));
    }
    for axes in [vec![], vec![0, 0], vec![1], vec![9]] {
        all.push(Op::Reduce(Reduce { kind: ReduceKind::Mean, axes, keep: true }));
    }
    all
}

/// Tensors of many types, some of whose elements are not what they say.
fn tensors() -> Vec<Tensor> {
    let bare = |shape: &[usize]| Tensor {
        dtype: DType::F32,
        shape: shape.to_vec(),
        data: Data::Float(vec![]),
    };
    vec![
        ones(&[]),
        ones(&[2]),
        ones(&[2, 2]),
        ones(&[1, 2, 0]),
        ones(&[1, 2, 3, 3]),
        ones(&[2, 2, 1, 1]),
        Tensor { dtype: DType::I64, shape: vec![2, 2], data: Data::Int(vec![1, 0, -1, 9]) },
        Tensor { dtype: DType::Bool, shape: vec![2], data: Data::Int(vec![0, 1]) },
        Tensor { dtype: DType::I64, shape: vec![1], data: Data::Float(vec![1.0]) },
        bare(&[3]),
        bare(&[usize::MAX, usize::MAX]),
        bare(&[usize::MAX, 2, 0, usize::MAX]),
        bare(&[0, usize::MAX]),
        bare(&[0, 3, usize::MAX, usize::MAX]),
    ]
}

#[test]
fn nothing_panics_whatever_the_operands() {
    let tensors = tensors();
    let mut types: Vec<TensorType> = tensors.iter().map(Tensor::ty).collect();
    types.push(TensorType::new(DType::F32, &[1, 2, 3, 2]));
    for (i, op) in operators().iter().enumerate() {
        for ty in &types {
            let _ = evaluate(op, &[], ty);
            for a in &tensors {
                let _ = evaluate(op, &[(0, a)], ty);
                let _ = evaluate(op, &[(1, a), (9, a)], ty);
                for b in &tensors {
                    let _ = evaluate(op, &[(0, a), (1, b)], ty);
                    let _ = evaluate(op, &[(0, a), (1, b), (2, b), (3, a)], ty);
                    let c = &tensors[i % tensors.len()];
                    let _ = evaluate(op, &[(0, a), (1, b), (2, b), (3, b), (4, c)], ty);
                }
            }
        }
    }
}

#[track_caller]
fn refused(body: &str, what: &str) {
    match compute(body).unwrap_err().problem {
        Problem::Internal(found) => assert_eq!(found, what),
        other => panic!("{other}"),
    }
}

#[test]
fn what_contradicts_the_type_is_named() {
    let x = "weight %x f32[1, 2] = [1, 2] weight %i i64[2] = [1, 2]\n".to_owned();
    refused(
        &(x.clone() + "%y f32[3] = relu(%x)"),
        "the operands give f32[1, 2], and the type is f32[3]",
    );
    refused(&(x.clone() + "%y f32[1, 2] = add(%x, %i)"), "operand 1 is i64[2], not f32");
    refused(&(x.clone() + "%y f32[1, 2] = add(%x)"), "no operand in slot 1");
    refused(&(x.clone() + "%y f32[1, 2] = neg(%x, %x)"), "an operand in slot 1");
    refused(&(x.clone() + "%y i64[2] = exp(%i)"), "`exp` of integers");
    refused(&(x.clone() + "%y f32[3] = reshape(%x)"), "f32[1, 2] does not reshape to f32[3]");
    refused(
        &(x.clone() + "%y f32[2, 3] = expand(%x)"),
        "f32[1, 2] does not broadcast to f32[2, 3]",
    );
    refused(&(x + "%y f32[1, 2] = relu(%x) then add %i"), "operand 1 is i64[2], not f32");
}

#[test]
fn a_weight_of_a_dump_has_no_elements() {
    let error = compute("weight %y f32[1] #0123456789abcdef").unwrap_err();
    assert_eq!(
        error.to_string(),
        "node `y` (weight): bad tensor `#0123456789abcdef`: its elements are not known, the dump \
         has only their hash"
    );
}

#[test]
fn weights_have_as_many_bytes_as_their_type_takes() {
    let ty = TensorType::new(DType::F32, &[2]);
    let few = Op::Weight(Weight::from_bytes(vec![0; 7].into()));
    let error = evaluate(&few, &[], &ty).unwrap_err();
    assert!(error.to_string().ends_with("7 bytes for f32[2], which takes 8"), "{error}");
    let ty = TensorType::new(DType::F32, &[1 << 30]);
    let error = evaluate(&Op::Weight(Weight::rand(1)), &[], &ty).unwrap_err();
    assert!(error.to_string().ends_with("f32[1073741824] is too large to be made up"), "{error}");
}
