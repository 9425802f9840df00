//! What a function does, without a machine that has its instructions: memory is a few named regions, and
//! whatever is not as it should be is a [`Fault`] rather than a crash.
//!
//! Results are those of the machine to the bit, but for the payload of a NaN.

mod machine;
mod memory;

pub use memory::{Access, AccessKind, Memory, Misuse, Permission, Region};

use std::fmt;

use super::{Function, Instruction, Register, Vector};
use machine::{Machine, Then};

/// How a function is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The parameters in order. What is not passed must not be used.
    pub parameters: [Option<u64>; 6],
    /// The instructions after which it is taken for endless.
    pub most_instructions: usize,
}

impl Call {
    /// With so many instructions as leaf functions may well take.
    pub fn new(parameters: [Option<u64>; 6]) -> Call {
        Call { parameters, most_instructions: 1 << 26 }
    }
}

/// What went wrong, and where.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{name}, instruction {at}, {}: {wrong}", Shown(.instruction))]
pub struct Fault {
    /// The function's name.
    pub name: &'static str,
    /// The number of the instruction.
    pub at: usize,
    /// The instruction; `None` behind the last one.
    pub instruction: Option<Instruction>,
    /// What is wrong with it.
    pub wrong: Wrong,
}

struct Shown<'f>(&'f Option<Instruction>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(instruction) => write!(f, "{instruction:?}"),
            None => write!(f, "behind the last"),
        }
    }
}

/// What an instruction may do wrong.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Wrong {
    /// A load or a store that memory does not allow.
    #[error(transparent)]
    Memory(#[from] Misuse),
    /// There is no such vector register.
    #[error("there is no vector register {}", .0.0)]
    NoVector(Vector),
    /// A vector register is read that nothing was written to.
    #[error("vector register {} holds nothing", .0.0)]
    UnsetVector(Vector),
    /// An integer register is read that holds nothing, or nothing of the function's own.
    #[error("{0:?} holds {1}")]
    Unset(Register, Content),
    /// A loop whose counter is 0 before it is counted down.
    #[error("the loop's counter {0:?} is 0 already")]
    Counter(Register),
    /// There is no such lane, or word, of those that one is taken from.
    #[error("there is no lane {0} to take")]
    NoLane(usize),
    /// A store of bytes from a lane that holds another number.
    #[error("vector register {} holds {lane}, which is no byte", .vector.0)]
    NoByte {
        /// The register.
        vector: Vector,
        /// What one of its lanes holds.
        lane: i32,
    },
    /// A store of i16 from a lane that holds another number.
    #[error("vector register {} holds {lane}, which is no i16", .vector.0)]
    NoHalf {
        /// The register.
        vector: Vector,
        /// What one of its lanes holds.
        lane: i32,
    },
    /// A choice by a lane that is no mask.
    #[error("vector register {} holds {lane:#x}, which is no mask", .vector.0)]
    NoMask {
        /// The register.
        vector: Vector,
        /// What one of its lanes holds.
        lane: u32,
    },
    /// A restore of what was not saved.
    #[error("nothing is saved")]
    NothingSaved,
    /// A return with so many registers saved that were not restored.
    #[error("{0} registers are still saved")]
    StillSaved(usize),
    /// A return with another value in a register than the caller's.
    #[error("{0:?} is the caller's, and holds {1}")]
    NotRestored(Register, Content),
    /// The function goes on and on.
    #[error("it goes on after {0} instructions")]
    Endless(usize),
    /// There is no instruction here.
    #[error("the function has no end")]
    NoEnd,
}

/// What an integer register holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Nothing that can be relied on.
    Nothing,
    /// What the caller had in this register.
    Callers(Register),
    /// A number or an address.
    Number(u64),
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Nothing => write!(f, "nothing"),
            Content::Callers(register) => write!(f, "the caller's {register:?}"),
            Content::Number(number) => write!(f, "{number:#x}"),
        }
    }
}

/// Runs a function on memory, and shows each access to it to `watch`, in order.
///
/// # Errors
/// The first thing that it does wrong.
pub fn run(
    function: &Function,
    call: &Call,
    memory: &mut Memory,
    watch: &mut dyn FnMut(Access),
) -> Result<(), Fault> {
    let mut machine = Machine::new(function.vectors, &call.parameters, memory, watch);
    let mut at = 0;
    for left in (0..=call.most_instructions).rev() {
        let instruction = function.instructions.get(at);
        let step = match instruction {
            _ if left == 0 => Err(Wrong::Endless(call.most_instructions)),
            Some(instruction) => machine.step(instruction),
            None => Err(Wrong::NoEnd),
        };
        let fail =
            |wrong| Fault { name: function.name, at, instruction: instruction.copied(), wrong };
        match step.map_err(fail)? {
            Then::Next => at += 1,
            Then::Jump(to) => at = to,
            Then::Return => break,
        }
    }
    Ok(())
}
