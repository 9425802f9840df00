//! What convolutions in blocks do to their sums before they store them.

use crate::error::Result;
use crate::ir::text::lexer::Cursor;
use crate::ir::text::values::Value;
use crate::ir::{Binary, Epilogue, Step, Unary};

/// One step of a convolution's epilogue, on sums in registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FusedStep {
    /// Add the residual operand.
    AddResidual,
    /// `max(x, 0)`; a NaN stays.
    Relu,
}

impl Value for FusedStep {
    fn write(&self) -> String {
        match self {
            FusedStep::AddResidual => "add_residual",
            FusedStep::Relu => "relu",
        }
        .into()
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<FusedStep> {
        cursor.word("`add_residual` or `relu`", |w| match w {
            "add_residual" => Some(FusedStep::AddResidual),
            "relu" => Some(FusedStep::Relu),
            _ => None,
        })
    }
}

/// The part of an epilogue that is applied to sums in registers: its first steps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Fused {
    /// The steps, first to last.
    pub(crate) steps: Vec<FusedStep>,
    /// The slot of the residual operand, if a step adds one.
    pub(crate) residual: Option<usize>,
    /// How many steps are left, which a loop over the stored result applies.
    pub(crate) left: usize,
}

impl Fused {
    /// Of this epilogue.
    pub(crate) fn of(then: &Epilogue) -> Fused {
        let mut fused = Fused::default();
        for step in &then.steps {
            match step {
                Step::Binary(Binary::Add, slot) if fused.residual.is_none() => {
                    fused.residual = Some(*slot);
                    fused.steps.push(FusedStep::AddResidual);
                }
                Step::Unary(Unary::Relu) => fused.steps.push(FusedStep::Relu),
                Step::Unary(_) | Step::Binary(..) => break,
            }
        }
        fused.left = then.steps.len() - fused.steps.len();
        fused
    }
}
