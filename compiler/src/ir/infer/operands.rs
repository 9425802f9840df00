//! The operands of a node, by slot.

use std::collections::BTreeSet;

use super::bad;
use crate::error::{Problem, Result};
use crate::ir::epilogue::Step;
use crate::ir::op::Op;
use crate::ir::types::TensorType;

/// The types of a node's operands; every slot is one that the operator has, and given once.
pub(super) struct Operands<'a> {
    all: &'a [(usize, &'a TensorType)],
}

impl<'a> Operands<'a> {
    /// Checks the slots.
    pub(super) fn new(op: &Op, all: &'a [(usize, &'a TensorType)]) -> Result<Operands<'a>> {
        let (_, own) = op.own_slots();
        let mut seen = BTreeSet::new();
        for &(slot, _) in all {
            if !seen.insert(slot) {
                return bad(format!("operand {slot} is given twice"));
            }
            if own.is_some_and(|own| slot >= own) && !in_epilogue(op, slot) {
                return bad(format!("{} has no operand {slot}", op.mnemonic()));
            }
        }
        Ok(Operands { all })
    }

    /// Every operand, by slot.
    pub(super) fn all(&self) -> &'a [(usize, &'a TensorType)] {
        self.all
    }

    /// The operand in `slot`, if it is there.
    pub(super) fn optional(&self, slot: usize) -> Option<&'a TensorType> {
        self.all.iter().find(|(s, _)| *s == slot).map(|(_, ty)| *ty)
    }

    /// The operand in `slot`, called `name` by ONNX.
    pub(super) fn required(&self, slot: usize, name: &str) -> Result<&'a TensorType> {
        let missing = || Problem::BadNode(format!("operand {slot} ({name}) is missing")).into();
        self.optional(slot).ok_or_else(missing)
    }
}

fn in_epilogue(op: &Op, slot: usize) -> bool {
    op.epilogue().is_some_and(|epilogue| {
        epilogue.steps.iter().any(|step| match step {
            Step::Unary(_) => false,
            Step::Binary(_, read) => *read == slot,
        })
    })
}
