//! The operands of one node, and what is checked of them.

use super::{Data, Tensor};
use crate::error::{Error, Result};
use crate::ir::{DType, Op, Step, TensorType};

/// Operands by slot.
pub(super) struct Operands<'a>(&'a [(usize, &'a Tensor)]);

impl<'a> Operands<'a> {
    /// The operands of `op`, whole and each in a slot that it has, for a result that fits memory.
    pub(super) fn new(
        op: &Op,
        operands: &'a [(usize, &'a Tensor)],
        ty: &TensorType,
    ) -> Result<Operands<'a>> {
        // Every element takes eight bytes here.
        let bytes = ty.elements().saturating_mul(8);
        ensure(isize::try_from(bytes).is_ok(), || format!("{ty} is too large"))?;
        for (i, (slot, x)) in operands.iter().enumerate() {
            let again = operands.iter().take(i).any(|(s, _)| s == slot);
            ensure(!again, || format!("slot {slot} holds two operands"))?;
            ensure(has_slot(op, *slot), || format!("an operand in slot {slot}"))?;
            ensure(x.is_whole(), || format!("the elements of operand {slot} are not {}", x.ty()))?;
        }
        Ok(Operands(operands))
    }

    /// The operand in a slot that may be empty.
    pub(super) fn get(&self, slot: usize) -> Option<&'a Tensor> {
        self.0.iter().find(|(s, _)| *s == slot).map(|(_, x)| *x)
    }

    /// The operand in a slot that must be filled.
    pub(super) fn need(&self, slot: usize) -> Result<&'a Tensor> {
        self.get(slot).ok_or_else(|| Error::internal(format!("no operand in slot {slot}")))
    }

    /// The operand in a slot that must be filled, with elements of this type.
    pub(super) fn of(&self, slot: usize, dtype: DType) -> Result<&'a Tensor> {
        let x = self.need(slot)?;
        ensure(x.dtype == dtype, || format!("operand {slot} is {}, not {dtype}", x.ty()))?;
        Ok(x)
    }

    /// The floats of an operand of this type and shape.
    pub(super) fn floats(&self, slot: usize, dtype: DType, shape: &[usize]) -> Result<&'a [f64]> {
        let x = self.of(slot, dtype)?;
        ensure(x.shape == shape, || format!("operand {slot} is {}, not {shape:?}", x.ty()))?;
        floats(&x.data)
    }

    /// The operands in slots 0, 1, … without a gap.
    pub(super) fn all(&self) -> Result<Vec<&'a Tensor>> {
        (0..self.0.len()).map(|slot| self.need(slot)).collect()
    }
}

fn has_slot(op: &Op, slot: usize) -> bool {
    let (_, own) = op.own_slots();
    let reads = |step: &Step| matches!(step, Step::Binary(_, s) if *s == slot);
    own.is_none_or(|own| slot < own) || op.epilogue().is_some_and(|e| e.steps.iter().any(reads))
}

/// An error saying what is wrong, unless `holds`.
pub(super) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::internal(otherwise())) }
}

/// Checks that an operator gives what its node's type says.
pub(super) fn gives(dtype: DType, shape: &[usize], ty: &TensorType) -> Result<()> {
    ensure(dtype == ty.dtype && shape == ty.shape(), || {
        format!("the operands give {}, and the type is {ty}", TensorType::new(dtype, shape))
    })
}

/// Checks that a tensor has an axis.
pub(super) fn has_axis(x: &Tensor, axis: usize) -> Result<()> {
    ensure(axis < x.shape.len(), || format!("{} has no axis {axis}", x.ty()))
}

/// Elements that must be floats.
pub(super) fn floats(data: &Data) -> Result<&[f64]> {
    match data {
        Data::Float(v) => Ok(v),
        Data::Int(_) => Err(Error::internal("the operator is not for integers")),
    }
}

/// Elements that must be integers.
pub(super) fn ints(data: &Data) -> Result<&[i64]> {
    match data {
        Data::Int(v) => Ok(v),
        Data::Float(_) => Err(Error::internal("the operator is not for floats")),
    }
}
