//! Where numbers end: operands of every type at their ends, and whether results there are the same.

use std::collections::BTreeSet;

use cardinal_compiler::interp::{self, Data};
use cardinal_compiler::ir::{DType, Unary};
use cardinal_runtime::Tensor;

use super::{TOLERANCE, to_reference};

pub(crate) const TYPES: [DType; 7] =
    [DType::F32, DType::F64, DType::I64, DType::I32, DType::U8, DType::I8, DType::Bool];

/// Those that compiled code has: models in f64 are refused.
pub(crate) fn compiled_types() -> impl Iterator<Item = DType> {
    TYPES.into_iter().filter(|dtype| *dtype != DType::F64)
}

/// What parameters are in these tests.
pub(crate) fn parameter(name: &str) -> f32 {
    match name {
        "alpha" => 0.25,
        "beta" => 0.5,
        "low" => -2.5,
        "high" => 77.75,
        "scale" => 0.0625,
        "lowest" => -12.0,
        "highest" => 243.0,
        other => panic!("no value for `{other}`"),
    }
}

/// The function of `%a` as a graph has it: name, operand, parameters.
pub(crate) fn call(mut function: Unary) -> String {
    let name = function.mnemonic();
    let parameters = function.parameters();
    let lines = parameters.iter().map(|(key, _)| format!("\n{key} {}", parameter(key)));
    format!("{name}(%a){}", lines.collect::<String>())
}

/// The least and the largest integer of a type.
pub(crate) fn range(dtype: DType) -> (i128, i128) {
    match dtype {
        DType::I64 => (i64::MIN.into(), i64::MAX.into()),
        DType::I32 => (i32::MIN.into(), i32::MAX.into()),
        DType::I8 => (-128, 127),
        DType::U8 => (0, 255),
        DType::Bool => (0, 1),
        DType::F32 | DType::F64 => panic!("{dtype} is no integer"),
    }
}

/// Integers of a type where something changes, and some between.
pub(crate) fn integers(dtype: DType) -> Vec<i128> {
    let (least, most) = range(dtype);
    let mut all: BTreeSet<i128> = (-9..=9).chain([-100, -78, 31, 63, 64, 77, 78, 100]).collect();
    all.extend((0..3).flat_map(|n| [least + n, most - n]));
    all.extend([4, 7, 8, 16, 31, 32, 63].map(|bit| 1 << bit));
    all.into_iter().filter(|n| (least..=most).contains(n)).collect()
}

/// Floats of a type where something changes, and some between.
pub(crate) fn floats(dtype: DType) -> Vec<f64> {
    let (most, least) = match dtype == DType::F32 {
        true => (f32::MAX.into(), f32::from_bits(1).into()),
        false => (f64::MAX, f64::from_bits(1)),
    };
    let sizes = [
        0.0,
        least,
        least_normal(dtype),
        0.5,
        0.75,
        1.0,
        2.5,
        2.75,
        3.0,
        4.5,
        12.0,
        90.0,
        705.0,
        most,
    ];
    let all = sizes.into_iter().chain([f64::INFINITY]).flat_map(|x| [x, -x]);
    all.chain([f64::NAN]).collect()
}

/// Every pair of edges of the type, as two tensors.
pub(crate) fn edges(dtype: DType) -> [Tensor; 2] {
    let bytes: Vec<Vec<u8>> = match dtype {
        DType::F32 => floats(dtype).iter().map(|x| (*x as f32).to_le_bytes().to_vec()).collect(),
        DType::F64 => floats(dtype).iter().map(|x| x.to_le_bytes().to_vec()).collect(),
        DType::I64 | DType::I32 | DType::U8 | DType::I8 | DType::Bool => {
            let size = dtype.size();
            integers(dtype).iter().map(|x| x.to_le_bytes()[..size].to_vec()).collect()
        }
    };
    let n = bytes.len();
    let of = |pick: fn(usize, usize) -> usize| {
        let all: Vec<u8> = (0..n * n).flat_map(|i| bytes[pick(i, n)].clone()).collect();
        Tensor::from_bytes(dtype, &[n * n], &all).unwrap()
    };
    [of(|i, n| i / n), of(|i, n| i % n)]
}

/// The least normal number of a type of floats: generated code runs with denormals that are zero.
pub(crate) fn least_normal(dtype: DType) -> f64 {
    if dtype == DType::F32 { f32::MIN_POSITIVE.into() } else { f64::MIN_POSITIVE }
}

/// The tensor with zeros for denormals.
pub(crate) fn flushed(x: &interp::Tensor) -> interp::Tensor {
    let least = least_normal(x.dtype);
    let flush = |x: &f64| if x.abs() < least { 0.0f64.copysign(*x) } else { *x };
    let data = match &x.data {
        Data::Float(all) => Data::Float(all.iter().map(flush).collect()),
        Data::Int(all) => Data::Int(all.clone()),
    };
    interp::Tensor { data, ..x.clone() }
}

/// Whether compiled code's result is the interpreter's, rounded.
pub(crate) fn agrees(dtype: DType, found: f64, expected: f64) -> bool {
    let expected = if dtype == DType::F32 { f64::from(expected as f32) } else { expected };
    let tolerance = TOLERANCE * expected.abs() + least_normal(dtype);
    found == expected
        || (found.is_nan() && expected.is_nan())
        || (found - expected).abs() <= tolerance
}

/// An element as text.
pub(crate) fn element(x: &interp::Tensor, i: usize) -> String {
    match &x.data {
        Data::Float(x) => format!("{:e}", x[i]),
        Data::Int(x) => x[i].to_string(),
    }
}

/// Whether an element is the one that is expected: exactly, or as [`agrees`] says.
pub(crate) fn same_element(found: &interp::Tensor, expected: &interp::Tensor, i: usize) -> bool {
    match (&found.data, &expected.data) {
        (Data::Float(f), Data::Float(e)) => agrees(found.dtype, f[i], e[i]),
        (Data::Int(f), Data::Int(e)) => f[i] == e[i],
        (Data::Float(_), Data::Int(_)) | (Data::Int(_), Data::Float(_)) => false,
    }
}

/// Compares each element on its own, with any of the results that may be expected; `made` says how the
/// element with this number came about.
pub(crate) fn compare(
    made: &dyn Fn(usize) -> String,
    found: &Tensor,
    expected: &[&interp::Tensor],
) {
    let found = to_reference(found);
    assert_eq!(found.shape, expected[0].shape);
    for i in 0..found.shape.iter().product() {
        let [f, e] = [&found, expected[0]].map(|x| element(x, i));
        let right = expected.iter().any(|expected| same_element(&found, expected, i));
        assert!(right, "{} is {f}, not {e}", made(i));
    }
}
