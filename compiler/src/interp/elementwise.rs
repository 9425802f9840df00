//! Operators that compute each element from the elements at the same index.

use std::borrow::Cow;

use super::operands::{Operands, gives, ints};
use super::scalar::{truncate, wrap};
use super::walk::{broadcast, elements, repeating, walk};
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
    gives(function.result(a.dtype), &shape, ty)?;
    apply2(function, a.dtype, &spread(a, &shape), &spread(b, &shape))
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
            Step::Binary(function, _) if function.compares() => {
                let name = function.mnemonic();
                return Err(Error::internal(format!("an epilogue applies `{name}`")));
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

/// A function of operands of type `dtype`.
fn apply(function: Unary, dtype: DType, x: &Data) -> Result<Data> {
    match x {
        Data::Float(v) => Ok(Data::Float(v.iter().map(|x| function.of_floats(*x)).collect())),
        Data::Int(v) => {
            let all = v.iter().map(|x| function.of_integers(dtype, *x));
            wrapped(all, dtype).ok_or_else(|| undefined(function.mnemonic()))
        }
    }
}

/// A function of two operands of one shape and of type `dtype`.
fn apply2(function: Binary, dtype: DType, a: &Data, b: &Data) -> Result<Data> {
    let result = function.result(dtype);
    match (a, b) {
        (Data::Float(a), Data::Float(b)) => {
            let all = a.iter().zip(b).map(|(a, b)| function.of_floats(*a, *b));
            if result.is_float() {
                return Ok(Data::Float(all.collect()));
            }
            Ok(Data::Int(all.map(|x| truncate(result, x)).collect()))
        }
        (Data::Int(a), Data::Int(b)) => {
            let all = a.iter().zip(b).map(|(a, b)| function.of_integers(dtype, *a, *b));
            wrapped(all, result).ok_or_else(|| undefined(function.mnemonic()))
        }
        (Data::Float(_), Data::Int(_)) | (Data::Int(_), Data::Float(_)) => Err(mixed()),
    }
}

/// Integers in the range of their type, if there are all.
fn wrapped(all: impl Iterator<Item = Option<i64>>, dtype: DType) -> Option<Data> {
    all.map(|x| x.map(|x| wrap(dtype, x))).collect::<Option<Vec<_>>>().map(Data::Int)
}

fn undefined(function: &str) -> Error {
    Error::internal(format!("`{function}` of integers"))
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
    let mut strides = repeating(&x.shape, shape);
    // Most often rows have a number each: it stands for all of its row.
    let is_same = strides.iter().rev().take_while(|stride| **stride == 0).count();
    let (outer, inner) = shape.split_at(shape.len() - is_same);
    strides.truncate(outer.len());
    Cow::Owned(x.data.repeat(walk(outer, 0, strides), elements(inner)))
}
