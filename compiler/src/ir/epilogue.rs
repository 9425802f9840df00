//! What is done to each element of a result before it is stored.

use super::function::{Binary, Unary};

/// What is applied to each element of a result before it is stored, in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Epilogue {
    /// The steps, first to last.
    pub steps: Vec<Step>,
}

/// One step of an epilogue.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Replace the element by a function of it.
    Unary(Unary),
    /// Replace the element `x` by `function(x, operand)`; the operand, in the given slot of the
    /// node, has the result's shape and type.
    Binary(Binary, usize),
}

impl Epilogue {
    /// No steps.
    pub fn none() -> Epilogue {
        Epilogue::default()
    }

    /// Whether there are no steps.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}
