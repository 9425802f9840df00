//! The steps that operators are composed of, where the graph has no operator that is the same.

use crate::error::Result;
use crate::ir::{Binary, DType, Op, Reduce, ReduceKind};
use crate::onnx::builder::ValueId;
use crate::onnx::context::NodeContext;

impl NodeContext<'_, '_> {
    /// A number of the element type that `like` has.
    pub(in crate::onnx) fn number(&mut self, like: ValueId, value: f64) -> ValueId {
        self.scalar(self.dtype(like), value)
    }

    /// `a + b`
    pub(in crate::onnx) fn add(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary(Binary::Add, a, b)
    }

    /// `a - b`
    pub(in crate::onnx) fn sub(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary(Binary::Sub, a, b)
    }

    /// `a * b`
    pub(in crate::onnx) fn mul(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary(Binary::Mul, a, b)
    }

    /// `a / b`
    pub(in crate::onnx) fn div(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary(Binary::Div, a, b)
    }

    /// `f(x, number)`, the number of x's element type.
    pub(in crate::onnx) fn with_number(
        &mut self,
        f: Binary,
        x: ValueId,
        number: f64,
    ) -> Result<ValueId> {
        let number = self.number(x, number);
        self.binary(f, x, number)
    }

    /// `x + number`, or x itself for 0.
    pub(in crate::onnx) fn shifted(&mut self, x: ValueId, number: f64) -> Result<ValueId> {
        if number == 0.0 { Ok(x) } else { self.with_number(Binary::Add, x, number) }
    }

    /// `x * factor`, or x itself for 1.
    pub(in crate::onnx) fn scaled(&mut self, x: ValueId, factor: f64) -> Result<ValueId> {
        if factor == 1.0 { Ok(x) } else { self.with_number(Binary::Mul, x, factor) }
    }

    /// `condition ? a : b`
    pub(in crate::onnx) fn choose(
        &mut self,
        condition: ValueId,
        a: ValueId,
        b: ValueId,
    ) -> Result<ValueId> {
        self.emit(Op::Where, &[condition, a, b])
    }

    /// `a == b`
    pub(in crate::onnx) fn is_equal(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary(Binary::Equal, a, b)
    }

    /// `a <= b`: whether a is the smaller. A NaN is the smaller of two, and equal to nothing.
    pub(in crate::onnx) fn is_at_most(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        let smaller = self.binary(Binary::Min, a, b)?;
        self.is_equal(smaller, a)
    }

    /// `a < b`
    pub(in crate::onnx) fn is_less(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        let (at_most, same) = (self.is_at_most(a, b)?, self.is_equal(a, b)?);
        let no = self.scalar(DType::Bool, 0.0);
        self.choose(same, no, at_most)
    }

    /// Whether x is not true.
    pub(in crate::onnx) fn not(&mut self, x: ValueId) -> Result<ValueId> {
        let no = self.scalar(DType::Bool, 0.0);
        self.is_equal(x, no)
    }

    /// Whether both are true.
    pub(in crate::onnx) fn and(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        let no = self.scalar(DType::Bool, 0.0);
        self.choose(a, b, no)
    }

    /// x over these axes, which are kept with extent 1; x itself where there are none.
    pub(in crate::onnx) fn over(
        &mut self,
        kind: ReduceKind,
        x: ValueId,
        axes: &[usize],
    ) -> Result<ValueId> {
        if axes.is_empty() {
            return Ok(x);
        }
        self.emit(Op::Reduce(Reduce { kind, axes: axes.to_vec(), keep: true }), &[x])
    }

    /// x with its axes in another order; x itself where that is its own.
    pub(in crate::onnx) fn transposed(&mut self, x: ValueId, perm: &[usize]) -> Result<ValueId> {
        if perm.is_sorted() {
            return Ok(x);
        }
        self.emit(Op::Transpose { perm: perm.to_vec() }, &[x])
    }

    /// x spread to a shape.
    pub(in crate::onnx) fn expanded(&mut self, x: ValueId, shape: &[usize]) -> Result<ValueId> {
        if self.shape(x) == shape { Ok(x) } else { self.emit_typed(Op::Expand, x, shape) }
    }

    /// These values one after the other along an axis.
    pub(in crate::onnx) fn joined(&mut self, axis: usize, parts: &[ValueId]) -> Result<ValueId> {
        match parts {
            [one] => Ok(*one),
            _ => self.emit(Op::Concat { axis }, parts),
        }
    }

    /// The elements of x at these places of an axis.
    pub(in crate::onnx) fn picked(
        &mut self,
        x: ValueId,
        axis: usize,
        places: Vec<i64>,
    ) -> Result<ValueId> {
        let places = self.ints(&[places.len()], places);
        self.emit(Op::Gather { axis }, &[x, places])
    }

    /// x with so many elements of one value before and after it along an axis.
    pub(in crate::onnx) fn bordered(
        &mut self,
        x: ValueId,
        axis: usize,
        [before, after]: [usize; 2],
        value: f64,
    ) -> Result<ValueId> {
        if [before, after] == [0, 0] {
            return Ok(x);
        }
        let only = |n: usize| {
            let mut all = vec![0; self.ty(x).rank()];
            all[axis] = n;
            all
        };
        let pad = Op::Pad { before: only(before), after: only(after), value };
        self.emit(pad, &[x])
    }

    /// 0, 1, 2 and so on, `count` of them, along one of `rank` axes.
    pub(in crate::onnx) fn counting(&mut self, count: usize, axis: usize, rank: usize) -> ValueId {
        let mut shape = vec![1; rank];
        shape[axis] = count;
        self.ints(&shape, (0..count as i64).collect())
    }
}
