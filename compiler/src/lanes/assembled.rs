//! Programs in the portable instructions: which register holds what.
//!
//! ```text
//!   registers   0 …                  values, each until the last step that needs it
//!               … last               constants, set once; those that there are no registers for are
//!                                    fetched from behind the code, each time
//! ```

use super::{Program, Step, Value};
use crate::asm::{Assembler, Vector};

/// A program and the registers that hold its constants.
pub(crate) struct Registers<'p> {
    program: &'p Program,
    /// The last step that needs each value; `None` for what none needs.
    last: Vec<Option<usize>>,
    /// Bits and the register that holds them.
    kept: Vec<(u32, Vector)>,
    /// How many registers values have.
    values: usize,
}

impl<'p> Registers<'p> {
    /// With so many registers, as many constants as possible kept in them; `None` if that is too few.
    pub(crate) fn of(program: &'p Program, registers: usize) -> Option<Registers<'p>> {
        let last = last_uses(program)?;
        let needed = program.steps.iter().zip(&last).filter(|(_, last)| last.is_some());
        let constants: Vec<u32> = needed.filter_map(|(step, _)| step.constant()).collect();
        let most = constants.len().min(registers);
        (0..=most).rev().find_map(|count| {
            let values = registers - count;
            let kept = constants.iter().copied().zip((values..).map(Vector)).take(count).collect();
            let fitting = Registers { program, last: last.clone(), kept, values };
            let mut attempt = Assembler::new("attempt", crate::machine::Vectors::Avx512);
            fitting.compute(&mut attempt, &mut |_, _, _| {}).is_some().then_some(fitting)
        })
    }

    /// Sets the constants that are kept.
    pub(crate) fn set(&self, a: &mut Assembler) {
        for (bits, register) in &self.kept {
            a.splat(*register, f32::from_bits(*bits));
        }
    }

    /// Computes the result, of operands that `load` puts into registers; says which register holds it. `None` if
    /// there are too few.
    pub(crate) fn compute(
        &self,
        a: &mut Assembler,
        load: &mut dyn FnMut(&mut Assembler, usize, Vector),
    ) -> Option<Vector> {
        let count = self.program.steps.len();
        let free = (0..self.values).rev().map(Vector).collect();
        let mut state =
            State { all: self, a, free, places: vec![None; count], fetched: Vec::new() };
        for number in 0..count {
            state.step(number, load)?;
        }
        state.place(Value(count - 1))
    }

    fn is_constant(&self, value: Value) -> bool {
        self.program.steps[value.0].constant().is_some()
    }
}

/// The last step that needs each value, of those that the result needs itself.
fn last_uses(program: &Program) -> Option<Vec<Option<usize>>> {
    let mut last = vec![None; program.steps.len()];
    // The result is needed behind all.
    *last.last_mut()? = Some(program.steps.len());
    for (number, step) in program.steps.iter().enumerate().rev() {
        if last[number].is_some() {
            step.sources().for_each(|source| {
                last[source.0].get_or_insert(number);
            });
        }
    }
    Some(last)
}

impl Step {
    fn constant(&self) -> Option<u32> {
        if let Step::Constant(bits) = self { Some(*bits) } else { None }
    }
}

/// Which register holds what as the steps go on.
struct State<'s, 'p> {
    all: &'s Registers<'p>,
    a: &'s mut Assembler,
    /// Registers that hold nothing, the next one last.
    free: Vec<Vector>,
    /// The register of each value.
    places: Vec<Option<Vector>>,
    /// Registers of the step's constants that are not kept.
    fetched: Vec<Vector>,
}

impl State<'_, '_> {
    fn step(
        &mut self,
        number: usize,
        load: &mut dyn FnMut(&mut Assembler, usize, Vector),
    ) -> Option<()> {
        if self.all.last[number].is_none() {
            return Some(());
        }
        let step = self.all.program.steps[number];
        let to = match step {
            Step::Constant(_) => return Some(()),
            Step::Operand(operand) => {
                let to = self.free.pop()?;
                load(self.a, operand, to);
                to
            }
            Step::MultiplyAdd(a, b, c) => self.multiply_add(number, [a, b, c])?,
            Step::Pick { a, b, yes, no } => self.pick(number, [a, b, yes, no])?,
            Step::SquareRoot(a)
            | Step::ShiftLeft(a, _)
            | Step::ShiftRight(a, _)
            | Step::FloatOfInteger(a) => self.plain(number, step, [a, a])?,
            Step::Add(a, b)
            | Step::Subtract(a, b)
            | Step::Multiply(a, b)
            | Step::Divide(a, b)
            | Step::Max(a, b)
            | Step::Min(a, b)
            | Step::And(a, b)
            | Step::Xor(a, b)
            | Step::AddIntegers(a, b)
            | Step::SubtractIntegers(a, b) => self.plain(number, step, [a, b])?,
        };
        self.places[number] = Some(to);
        Some(())
    }

    /// The register of a value; a constant that has none is fetched.
    fn place(&mut self, value: Value) -> Option<Vector> {
        let Some(bits) = self.all.program.steps[value.0].constant() else {
            return self.places[value.0];
        };
        if let Some((_, register)) = self.all.kept.iter().find(|(known, _)| *known == bits) {
            return Some(*register);
        }
        let register = self.free.pop()?;
        self.a.constant(register, bits);
        self.fetched.push(register);
        Some(register)
    }

    /// Frees the registers of what this step is the last to need.
    fn release(&mut self, number: usize, sources: &[Value]) {
        self.free.append(&mut self.fetched);
        for source in sources {
            if self.is_last(number, *source)
                && let Some(register) = self.places[source.0].take()
            {
                self.free.push(register);
            }
        }
    }

    /// Whether nothing needs the value behind this step.
    fn is_last(&self, number: usize, value: Value) -> bool {
        !self.all.is_constant(value) && self.all.last[value.0] == Some(number)
    }

    /// A step that is one instruction, of one value or two.
    fn plain(&mut self, number: usize, step: Step, sources: [Value; 2]) -> Option<Vector> {
        let [a, b] = [self.place(sources[0])?, self.place(sources[1])?];
        self.release(number, &sources);
        let to = self.free.pop()?;
        match step {
            Step::Add(..) => self.a.add(to, a, b),
            Step::Subtract(..) => self.a.subtract(to, a, b),
            Step::Multiply(..) => self.a.multiply(to, a, b),
            Step::Divide(..) => self.a.divide(to, a, b),
            Step::SquareRoot(_) => self.a.square_root(to, a),
            Step::Max(..) => self.a.max(to, a, b),
            Step::Min(..) => self.a.min(to, a, b),
            Step::And(..) => self.a.and(to, a, b),
            Step::Xor(..) => self.a.xor(to, a, b),
            Step::AddIntegers(..) => self.a.add_integers(to, a, b),
            Step::SubtractIntegers(..) => self.a.subtract_integers(to, a, b),
            Step::ShiftLeft(_, by) => self.a.shift_left(to, a, by),
            Step::ShiftRight(_, by) => self.a.shift_right(to, a, by),
            Step::FloatOfInteger(_) => self.a.floats_of_integers(to, a),
            Step::Operand(_) | Step::Constant(_) | Step::MultiplyAdd(..) | Step::Pick { .. } => {}
        }
        Some(to)
    }

    /// The result takes the register of an operand that is not needed any more, if there is one.
    fn multiply_add(&mut self, number: usize, sources: [Value; 3]) -> Option<Vector> {
        let [a, b, c] = [self.place(sources[0])?, self.place(sources[1])?, self.place(sources[2])?];
        let registers = [a, b, c];
        let ends = [0, 1, 2].map(|i| self.take(number, sources[i], registers[i]));
        let to = match ends {
            [.., true] => {
                self.a.multiply_add(c, a, b);
                c
            }
            [true, ..] => {
                self.a.multiply_by(a, b, c);
                a
            }
            [_, true, _] => {
                self.a.multiply_by(b, a, c);
                b
            }
            [false, false, false] => {
                let to = self.free.pop()?;
                self.a.copy_vector(to, c);
                self.a.multiply_add(to, a, b);
                to
            }
        };
        for (register, ends) in registers.into_iter().zip(ends) {
            if ends && register != to && !self.free.contains(&register) {
                self.free.push(register);
            }
        }
        Some(to)
    }

    /// Whether the register of a value is free behind this step; then it is nobody's.
    fn take(&mut self, number: usize, value: Value, register: Vector) -> bool {
        let fetched = self.fetched.len();
        self.fetched.retain(|fetched| *fetched != register);
        if self.is_last(number, value) {
            self.places[value.0] = None;
            return true;
        }
        fetched > self.fetched.len()
    }

    fn pick(&mut self, number: usize, sources: [Value; 4]) -> Option<Vector> {
        let [a, b] = [self.place(sources[0])?, self.place(sources[1])?];
        let mask = self.free.pop()?;
        self.a.less(mask, a, b);
        let [yes, no] = [self.place(sources[2])?, self.place(sources[3])?];
        self.a.pick(mask, yes, no);
        self.release(number, &sources);
        Some(mask)
    }
}
