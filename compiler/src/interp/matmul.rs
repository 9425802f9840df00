//! Matrix product.

use super::operands::{Operands, ensure, gives};
use super::scalar::wrap;
use super::walk::{broadcast, repeating, walk};
use super::{Data, Tensor};
use crate::error::{Error, Result};
use crate::ir::TensorType;

/// The last two axes of an operand, after its transposition if it has one.
struct Matrix<'x> {
    batch: &'x [usize],
    rows: usize,
    columns: usize,
    /// Distance between rows, and between columns.
    strides: [usize; 2],
}

fn matrix(x: &Tensor, transposed: bool) -> Result<Matrix<'_>> {
    let [batch @ .., rows, columns] = x.shape.as_slice() else {
        return Err(Error::internal(format!("{} is not a matrix", x.ty())));
    };
    let (rows, columns) = (*rows, *columns);
    Ok(match transposed {
        false => Matrix { batch, rows, columns, strides: [columns, 1] },
        true => Matrix { batch, rows: columns, columns: rows, strides: [1, columns] },
    })
}

/// `y[…, i, j] = bias[j] + Σ_k a[…, i, k] · b[…, k, j]`
pub(super) fn matmul(
    transpose_a: bool,
    transpose_b: bool,
    operands: &Operands<'_>,
    ty: &TensorType,
) -> Result<Data> {
    let (a, b) = (operands.of(0, ty.dtype)?, operands.of(1, ty.dtype)?);
    let (left, right) = (matrix(a, transpose_a)?, matrix(b, transpose_b)?);
    let fits = left.columns == right.rows;
    let batch = broadcast(&[left.batch, right.batch]).filter(|_| fits);
    let batch = batch.ok_or_else(|| Error::internal(format!("{} times {}", a.ty(), b.ty())))?;
    gives(a.dtype, &[batch.as_slice(), &[left.rows, right.columns]].concat(), ty)?;
    let bias = operands.get(2).map(|_| operands.of(2, ty.dtype)).transpose()?;
    if let Some(bias) = bias {
        ensure(bias.shape == [right.columns], || format!("the bias is {}", bias.ty()))?;
    }
    let size = ty.elements();
    let product = Product { left, right, batch, size };
    match (&a.data, &b.data, bias.map(|bias| &bias.data)) {
        (Data::Float(a), Data::Float(b), None) => {
            Ok(Data::Float(product.of(a, b, &[], 0.0, |sum, a, b| sum + a * b)))
        }
        (Data::Float(a), Data::Float(b), Some(Data::Float(bias))) => {
            Ok(Data::Float(product.of(a, b, bias, 0.0, |sum, a, b| sum + a * b)))
        }
        (Data::Int(a), Data::Int(b), None) => Ok(wrapped(product.of(a, b, &[], 0, madd), ty)),
        (Data::Int(a), Data::Int(b), Some(Data::Int(bias))) => {
            Ok(wrapped(product.of(a, b, bias, 0, madd), ty))
        }
        _ => Err(Error::internal("operands of several kinds")),
    }
}

fn madd(sum: i64, a: i64, b: i64) -> i64 {
    sum.wrapping_add(a.wrapping_mul(b))
}

fn wrapped(all: Vec<i64>, ty: &TensorType) -> Data {
    Data::Int(all.into_iter().map(|x| wrap(ty.dtype, x)).collect())
}

struct Product<'x> {
    left: Matrix<'x>,
    right: Matrix<'x>,
    batch: Vec<usize>,
    /// Elements of the result.
    size: usize,
}

impl Product<'_> {
    /// The product; an empty `bias` is none.
    fn of<T: Copy>(
        &self,
        a: &[T],
        b: &[T],
        bias: &[T],
        zero: T,
        madd: impl Fn(T, T, T) -> T,
    ) -> Vec<T> {
        let (left, right) = (&self.left, &self.right);
        let mut y = Vec::with_capacity(self.size);
        if self.size == 0 {
            return y;
        }
        let matrices = |m: &Matrix<'_>| {
            let size = m.rows * m.columns;
            walk(&self.batch, 0, repeating(m.batch, &self.batch)).map(move |i| i * size)
        };
        for (a0, b0) in matrices(left).zip(matrices(right)) {
            for i in 0..left.rows {
                for j in 0..right.columns {
                    let mut sum = bias.get(j).copied().unwrap_or(zero);
                    for k in 0..left.columns {
                        let a = a[a0 + i * left.strides[0] + k * left.strides[1]];
                        let b = b[b0 + k * right.strides[0] + j * right.strides[1]];
                        sum = madd(sum, a, b);
                    }
                    y.push(sum);
                }
            }
        }
        y
    }
}
