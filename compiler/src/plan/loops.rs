//! Loops of kernels: trip counts, and how far apart trips are in each operand.

use crate::error::Result;
use crate::ir::text::lexer::{Cursor, Token};
use crate::ir::text::values::Value;

/// A loop with the distance, in elements, from one trip to the next in each operand that moves with
/// it. As text `28 by in 1024 out 512`: distances of 0 are not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Loop {
    /// Trips.
    pub count: usize,
    /// Distance in the input.
    pub input: usize,
    /// Distance in the weights, in the unit that the kernel states.
    pub weights: usize,
    /// Distance in the output.
    pub output: usize,
    /// Distance in the residual operand.
    pub residual: usize,
}

impl Loop {
    /// A single trip.
    pub const ONCE: Loop = Loop { count: 1, input: 0, weights: 0, output: 0, residual: 0 };

    /// A loop over what is read.
    pub const fn reading(count: usize, input: usize) -> Loop {
        Loop { count, input, ..Loop::ONCE }
    }

    /// A loop over what is read and what is written.
    pub const fn over(count: usize, input: usize, output: usize) -> Loop {
        Loop { count, input, output, ..Loop::ONCE }
    }

    /// The same over the first `there` of its trips, if these are `of` images.
    pub(crate) fn of_first(self, there: usize, of: usize) -> Option<Loop> {
        (self.count == of).then_some(Loop { count: there, ..self })
    }

    /// The distances with their names in the text.
    fn named(&mut self) -> [(&'static str, &mut usize); 4] {
        let Loop { count: _, input, weights, output, residual } = self;
        [("in", input), ("weights", weights), ("out", output), ("residual", residual)]
    }
}

impl Value for Loop {
    fn write(&self) -> String {
        let mut copy = *self;
        let moving = copy.named().into_iter().filter(|(_, stride)| **stride != 0);
        let moving: Vec<String> =
            moving.map(|(name, stride)| format!(" {name} {stride}")).collect();
        let by = if moving.is_empty() { "" } else { " by" };
        format!("{}{by}{}", self.count, moving.concat())
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<Loop> {
        let mut read = Loop { count: cursor.number("a trip count")?, ..Loop::default() };
        if !cursor.eat_word("by") {
            return Ok(read);
        }
        for (name, stride) in read.named() {
            if cursor.eat_word(name) {
                *stride = cursor.number("a distance")?;
            }
        }
        match cursor.peek() {
            Token::Word("in" | "weights" | "out" | "residual") => {
                Err(cursor.expected("distances in the order in, weights, out, residual"))
            }
            _ => Ok(read),
        }
    }
}

/// A loop nest over dense or strided operands; operand 0 is the destination.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nest {
    /// Trip counts, outermost first.
    pub dims: Vec<usize>,
    /// For each operand, its stride along each dim, in elements; 0 repeats.
    pub strides: Vec<Vec<isize>>,
}

impl Nest {
    /// The nest over `dims` with the given strides, with loops of one trip dropped and loops that
    /// run on into each other merged.
    pub fn collapsed(dims: &[usize], strides: &[Vec<isize>]) -> Nest {
        let mut out = Nest { dims: Vec::new(), strides: vec![Vec::new(); strides.len()] };
        for (axis, &count) in dims.iter().enumerate() {
            if count == 1 {
                continue;
            }
            let here: Vec<isize> = strides.iter().map(|s| s[axis]).collect();
            out.push(count, &here);
        }
        out
    }

    fn push(&mut self, count: usize, here: &[isize]) {
        let runs_on = !self.dims.is_empty()
            && self.strides.iter().zip(here).all(|(s, h)| s.last() == Some(&(h * count as isize)));
        if !runs_on {
            self.dims.push(count);
            self.strides.iter_mut().zip(here).for_each(|(s, h)| s.push(*h));
            return;
        }
        if let Some(last) = self.dims.last_mut() {
            *last *= count;
        }
        for (s, h) in self.strides.iter_mut().zip(here) {
            if let Some(last) = s.last_mut() {
                *last = *h;
            }
        }
    }

    /// The same over the first `there` of `of` images, which are what the outermost loop goes through, or
    /// runs of its trips are.
    pub(crate) fn of_first(&self, there: usize, of: usize) -> Option<Nest> {
        let mut dims = self.dims.clone();
        let outermost = dims.first_mut()?;
        *outermost = of_first(*outermost, there, of)?;
        Some(Nest { dims, strides: self.strides.clone() })
    }

    /// Product of the trip counts.
    pub fn trips(&self) -> usize {
        self.dims.iter().product()
    }
}

/// How many of so many things are of the first `there` of `of` images, where each has as many.
pub(crate) fn of_first(count: usize, there: usize, of: usize) -> Option<usize> {
    (of > 0 && count.is_multiple_of(of)).then(|| count / of * there)
}
