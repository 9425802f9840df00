//! Operators that compute each element from the elements at the same index.

use std::borrow::Cow;

use super::operands::{Operands, gives, ints};
use super::scalar::{integer, integer2, real, real2, truncate, wrap};
use super::walk::{broadcast, repeating, walk};
use super::{Data, Tensor};
use crate::error::{Error, Result};
use crate::ir::{Binary, DType, Epilogue, Step, TensorType, Unary};

pub(super) fn unary(function: Unary, x: &Operands<'_>, ty: &TensorType) -> Result<Data> {
    let x = x.need(0)?;
    gives(x.dtype, &x.shape, ty)?;
    apply(function, ty.dtype, &x.data)
}

pub(super) fn binary(function: Binary, x: &Operands<'_>, ty: &TensorType) -> Result<Data> {
    let a = x.need(0)?;
    let b = x.of(1, a.dtype)?;
    let shape = common(&[a, b])?;
    gives(if function == Binary::Equal { DType::Bool } else { a.dtype }, &shape, ty)?;
    apply2(function, ty.dtype, &spread(a, &shape), &spread(b, &shape))
}

/// `condition ? a : b`
pub(super) fn choose(x: &Operands<'_>, ty: &TensorType) -> Result<Data> {
    let condition = x.of(0, DType::Bool)?;
    let (a, b) = (x.of(1, ty.dtype)?, x.of(2, ty.dtype)?);
    let shape = common(&[condition, a, b])?;
    gives(ty.dtype, &shape, ty)?;
    let condition = spread(condition, &shape);
    let condition = ints(&condition)?;
    match (&*spread(a, &shape), &*spread(b, &shape)) {
        (Data::Float(a), Data::Float(b)) => Ok(Data::Float(either(condition, a, b))),
        (Data::Int(a), Data::Int(b)) => Ok(Data::Int(either(condition, a, b))),
        (Data::Float(_), Data::Int(_)) | (Data::Int(_), Data::Float(_)) => Err(mixed()),
    }
}

fn either<T: Copy>(condition: &[i64], a: &[T], b: &[T]) -> Vec<T> {
    let pairs = a.iter().zip(b);
    condition.iter().zip(pairs).map(|(c, (a, b))| if *c != 0 { *a } else { *b }).collect()
}

pub(super) fn cast(to: DType, x: &Operands<'_>, ty: &TensorType) -> Result<Data> {
    let x = x.need(0)?;
    gives(to, &x.shape, ty)?;
    let round = to == DType::F32 && x.dtype != DType::F32;
    Ok(match (&x.data, to.is_float()) {
        (Data::Float(v), true) if round => {
            Data::Float(v.iter().map(|x| f64::from(*x as f32)).collect())
        }
        (Data::Float(v), true) => Data::Float(v.clone()),
        (Data::Float(v), false) => Data::Int(v.iter().map(|x| truncate(to, *x)).collect()),
        (Data::Int(v), true) if round => {
            Data::Float(v.iter().map(|x| f64::from(*x as f32)).collect())
        }
        (Data::Int(v), true) => Data::Float(v.iter().map(|x| *x as f64).collect()),
        (Data::Int(v), false) => Data::Int(v.iter().map(|x| wrap(to, *x)).collect()),
    })
}

/// Applies the steps to a result.
pub(super) fn epilogue(
    epilogue: &Epilogue,
    mut data: Data,
    x: &Operands<'_>,
    ty: &TensorType,
) -> Result<Data> {
    for step in &epilogue.steps {
        data = match *step {
            Step::Unary(function) => apply(function, ty.dtype, &data)?,
            Step::Binary(Binary::Equal, _) => {
                return Err(Error::internal("an epilogue applies `equal`"));
            }
            Step::Binary(function, slot) => {
                let operand = x.of(slot, ty.dtype)?;
                gives(operand.dtype, &operand.shape, ty)?;
                apply2(function, ty.dtype, &data, &operand.data)?
            }
        };
    }
    Ok(data)
}

fn apply(function: Unary, dtype: DType, x: &Data) -> Result<Data> {
    match x {
        Data::Float(v) => Ok(Data::Float(v.iter().map(|x| real(function, *x)).collect())),
        Data::Int(v) => {
            let of = |x: &i64| integer(function, *x).map(|y| wrap(dtype, y));
            let all: Option<Vec<_>> = v.iter().map(of).collect();
            let name = function.mnemonic();
            all.map(Data::Int).ok_or_else(|| Error::internal(format!("`{name}` of integers")))
        }
    }
}

/// A function of two operands of one shape, with a result of type `dtype`.
fn apply2(function: Binary, dtype: DType, a: &Data, b: &Data) -> Result<Data> {
    match (a, b) {
        (Data::Float(a), Data::Float(b)) => {
            let all = a.iter().zip(b).map(|(a, b)| real2(function, *a, *b));
            if dtype == DType::Bool {
                return Ok(Data::Int(all.map(|x| truncate(dtype, x)).collect()));
            }
            Ok(Data::Float(all.collect()))
        }
        (Data::Int(a), Data::Int(b)) => {
            let all = a.iter().zip(b).map(|(a, b)| wrap(dtype, integer2(function, *a, *b)));
            Ok(Data::Int(all.collect()))
        }
        (Data::Float(_), Data::Int(_)) | (Data::Int(_), Data::Float(_)) => Err(mixed()),
    }
}

fn mixed() -> Error {
    Error::internal("a float and an integer operand")
}

fn common(all: &[&Tensor]) -> Result<Vec<usize>> {
    let shapes: Vec<&[usize]> = all.iter().map(|x| x.shape.as_slice()).collect();
    broadcast(&shapes).ok_or_else(|| Error::internal(format!("{shapes:?} do not broadcast")))
}

/// The elements, repeated to a shape that the tensor broadcasts to.
pub(super) fn spread<'x>(x: &'x Tensor, shape: &[usize]) -> Cow<'x, Data> {
    if x.shape == shape {
        return Cow::Borrowed(&x.data);
    }
    Cow::Owned(x.data.pick(walk(shape, 0, repeating(&x.shape, shape))))
}
