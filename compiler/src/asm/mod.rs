//! A small portable vector assembler: kernels are written once, in the instructions that every vector
//! instruction set has, and one file turns them into the machine code of each.
//!
//! ```text
//!            Assembler ──► Function ─┬─► encode ────► machine code, by the encoder of its vectors
//!   emitters write to      a list of │
//!                       instructions └─► interpret ─► what it does to memory, on any host
//! ```
//!
//! A function here is a leaf: it calls nothing, and besides the caller's registers that it saves it
//! keeps everything in registers. It sees
//!
//! ```text
//!   vectors    Vector(0) … Vector(n - 1)    lanes of 32 bits; how many of both, `Vectors` says
//!
//!   integers   From  Second  To  Bias  Tiles  Other            the six parameters, in this order
//!              Scratch0  Scratch1  Scratch2                    free to use
//!              Saved0 … Saved5                                 the caller's: to be saved and restored
//!
//!   memory     base + bytes                                    whatever the parameters point at
//! ```
//!
//! and follows the System V convention, whatever the platform's own is.
//!
//! A new instruction set is an [`Encoder`] in a file of its own, and a row in [`encoder`]. A new
//! instruction is a variant of [`Instruction`], which then has to be given a meaning by the interpreter
//! and code by each encoder, or an error where the machine has none.

mod instruction;
pub mod interpret;
pub(crate) mod x86;

pub use instruction::{Address, Instruction, Label, Register, Vector, Words};

use crate::error::{Error, Result};
use crate::machine::BLOCK;
pub use crate::machine::Vectors;

/// A leaf function.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    /// What it is called in errors.
    pub name: &'static str,
    /// The registers that it was made for.
    pub vectors: Vectors,
    /// What it does, first to last.
    pub instructions: Vec<Instruction>,
}

/// Turns functions into the machine code of an instruction set.
trait Encoder: Sync {
    /// The bytes of a function.
    fn encode(&self, function: &Function) -> Result<Vec<u8>>;

    /// Code that lies at `base` as text, one instruction a line.
    fn disassemble(&self, code: &[u8], base: usize) -> String;
}

/// The encoder for these vectors, if there is one.
fn encoder(vectors: Vectors) -> Option<&'static dyn Encoder> {
    match vectors {
        Vectors::Avx2 => Some(&x86::AVX2),
        Vectors::Avx512 => Some(&x86::AVX512),
        Vectors::Sse | Vectors::Neon => None,
    }
}

/// Whether there is machine code for these vectors.
pub fn is_encoded(vectors: Vectors) -> bool {
    encoder(vectors).is_some()
}

impl Function {
    /// Its machine code.
    ///
    /// # Errors
    /// If there is no encoder for its vectors, or an operand does not fit a machine instruction.
    pub fn encode(&self) -> Result<Vec<u8>> {
        self.encoder()?.encode(self)
    }

    /// Its machine code as text, one instruction a line, where it lies at `base`.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn disassemble(&self, base: usize) -> Result<String> {
        let encoder = self.encoder()?;
        Ok(encoder.disassemble(&encoder.encode(self)?, base))
    }

    fn encoder(&self) -> Result<&'static dyn Encoder> {
        let none = || Error::internal(format!("{}: no encoder for {:?}", self.name, self.vectors));
        encoder(self.vectors).ok_or_else(none)
    }
}

/// Writes a function, an instruction a call; see [`Instruction`] for what each does.
#[derive(Debug)]
pub struct Assembler {
    function: Function,
}

impl Assembler {
    /// A function without instructions.
    pub fn new(name: &'static str, vectors: Vectors) -> Assembler {
        Assembler { function: Function { name, vectors, instructions: Vec::new() } }
    }

    /// The registers that the function is made for.
    pub fn vectors(&self) -> Vectors {
        self.function.vectors
    }

    /// Appends an instruction.
    pub fn push(&mut self, instruction: Instruction) {
        self.function.instructions.push(instruction);
    }

    /// The place of the next instruction.
    pub fn here(&self) -> Label {
        Label(self.function.instructions.len())
    }

    /// The function, which returns here.
    pub fn finish(mut self) -> Function {
        self.push(Instruction::Return);
        self.function
    }

    // ---- vectors and memory ------------------------------------------------------------------

    /// `to = [from]`
    pub fn load(&mut self, to: Vector, from: Address) {
        self.push(Instruction::Load { to, from });
    }

    /// `[to] = from`
    pub fn store(&mut self, to: Address, from: Vector) {
        self.push(Instruction::Store { to, from });
    }

    /// Every lane of `to` = the element at `from`.
    pub fn broadcast(&mut self, to: Vector, from: Address) {
        self.push(Instruction::Broadcast { to, from });
    }

    /// Loads, with lane `lane` of every four lanes in all four of them.
    pub fn broadcast_in_quarters(&mut self, to: Vector, from: Address, lane: usize) {
        self.push(Instruction::BroadcastInQuarters { to, from, lane });
    }

    /// `to += [from]`
    pub fn add_memory(&mut self, to: Vector, from: Address) {
        self.push(Instruction::AddMemory { to, from });
    }

    /// Into the first-level cache.
    pub fn prefetch_t0(&mut self, at: Address) {
        self.push(Instruction::PrefetchT0 { at });
    }

    /// Into the second-level cache.
    pub fn prefetch_t1(&mut self, at: Address) {
        self.push(Instruction::PrefetchT1 { at });
    }

    /// What will be written.
    pub fn prefetch_write(&mut self, at: Address) {
        self.push(Instruction::PrefetchWrite { at });
    }

    // ---- vectors -----------------------------------------------------------------------------

    /// `to += a * b`, rounded once.
    pub fn multiply_add(&mut self, to: Vector, a: Vector, b: Vector) {
        self.push(Instruction::MultiplyAdd { to, a, b });
    }

    /// `to = to * by + plus`, rounded once.
    pub fn multiply_by(&mut self, to: Vector, by: Vector, plus: Vector) {
        self.push(Instruction::MultiplyBy { to, by, plus });
    }

    /// `to = a + b`
    pub fn add(&mut self, to: Vector, a: Vector, b: Vector) {
        self.push(Instruction::Add { to, a, b });
    }

    /// `to = a - b`
    pub fn subtract(&mut self, to: Vector, a: Vector, b: Vector) {
        self.push(Instruction::Subtract { to, a, b });
    }

    /// `to = a * b`
    pub fn multiply(&mut self, to: Vector, a: Vector, b: Vector) {
        self.push(Instruction::Multiply { to, a, b });
    }

    /// `to = a / b`
    pub fn divide(&mut self, to: Vector, a: Vector, b: Vector) {
        self.push(Instruction::Divide { to, a, b });
    }

    /// `to = √from`
    pub fn square_root(&mut self, to: Vector, from: Vector) {
        self.push(Instruction::SquareRoot { to, from });
    }

    /// Every bit of a lane of `to` = whether `a < b`.
    pub fn less(&mut self, to: Vector, a: Vector, b: Vector) {
        self.push(Instruction::Less { to, a, b });
    }

    /// `mask = mask ? yes : no`
    pub fn pick(&mut self, mask: Vector, yes: Vector, no: Vector) {
        self.push(Instruction::Pick { mask, yes, no });
    }

    /// `to = a & b`
    pub fn and(&mut self, to: Vector, a: Vector, b: Vector) {
        self.push(Instruction::And { to, a, b });
    }

    /// `to = a ^ b`
    pub fn xor(&mut self, to: Vector, a: Vector, b: Vector) {
        self.push(Instruction::Xor { to, a, b });
    }

    /// `to = max(a, b)`: a NaN in `b` stays.
    pub fn max(&mut self, to: Vector, a: Vector, b: Vector) {
        self.push(Instruction::Max { to, a, b });
    }

    /// `to = min(a, b)`: a NaN in `b` stays.
    pub fn min(&mut self, to: Vector, a: Vector, b: Vector) {
        self.push(Instruction::Min { to, a, b });
    }

    /// `to = from`
    pub fn copy_vector(&mut self, to: Vector, from: Vector) {
        self.push(Instruction::CopyVector { to, from });
    }

    /// `to = 0`
    pub fn zero(&mut self, to: Vector) {
        self.push(Instruction::Zero { to });
    }

    /// Every lane of `to` = `value`.
    pub fn splat(&mut self, to: Vector, value: f32) {
        self.push(Instruction::Splat { to, value });
    }

    /// Every lane of `to` = these bits, from behind the code.
    pub fn constant(&mut self, to: Vector, bits: u32) {
        self.push(Instruction::Constant { to, bits });
    }

    /// Lane `i` of `to` = `numbers[i]`, as i32, from behind the code.
    pub fn numbers(&mut self, to: Vector, numbers: [u8; BLOCK]) {
        self.push(Instruction::Numbers { to, numbers });
    }

    // ---- vectors of integers -----------------------------------------------------------------

    /// `to += Σ bytes * weights` of the four bytes of each lane.
    pub fn dot_bytes(&mut self, to: Vector, bytes: Vector, weights: Vector) {
        self.push(Instruction::DotBytes { to, bytes, weights });
    }

    /// Each half of a lane of `to` = `Σ bytes * weights` of its two bytes, at most an i16.
    pub fn dot_pairs(&mut self, to: Vector, bytes: Vector, weights: Vector) {
        self.push(Instruction::DotPairs { to, bytes, weights });
    }

    /// `to = Σ a * b` of the two halves of each lane.
    pub fn dot_halves(&mut self, to: Vector, a: Vector, b: Vector) {
        self.push(Instruction::DotHalves { to, a, b });
    }

    /// `to += Σ a * b` of the two halves of each lane.
    pub fn add_dot_halves(&mut self, to: Vector, a: Vector, b: Vector) {
        self.push(Instruction::AddDotHalves { to, a, b });
    }

    /// `to += Σ a * b` of the two bfloat16 of each lane.
    pub fn add_dot_bfloats(&mut self, to: Vector, a: Vector, b: Vector) {
        self.push(Instruction::AddDotBfloats { to, a, b });
    }

    /// `to = a + b`
    pub fn add_integers(&mut self, to: Vector, a: Vector, b: Vector) {
        self.push(Instruction::AddIntegers { to, a, b });
    }

    /// `to = a - b`
    pub fn subtract_integers(&mut self, to: Vector, a: Vector, b: Vector) {
        self.push(Instruction::SubtractIntegers { to, a, b });
    }

    /// `to = from << by`
    pub fn shift_left(&mut self, to: Vector, from: Vector, by: u8) {
        self.push(Instruction::ShiftLeft { to, from, by });
    }

    /// `to = from >> by`; the sign fills in.
    pub fn shift_right(&mut self, to: Vector, from: Vector, by: u8) {
        self.push(Instruction::ShiftRight { to, from, by });
    }

    /// `to = from`, as f32.
    pub fn floats_of_integers(&mut self, to: Vector, from: Vector) {
        self.push(Instruction::FloatsOfIntegers { to, from });
    }

    /// `to = from`, as i32, rounded to the nearest.
    pub fn integers_of_floats(&mut self, to: Vector, from: Vector) {
        self.push(Instruction::IntegersOfFloats { to, from });
    }

    /// `to = [from]`, a byte for each lane.
    pub fn load_bytes(&mut self, to: Vector, from: Address) {
        self.push(Instruction::LoadBytes { to, from });
    }

    /// `to = [from]`, a byte with a sign for each lane.
    pub fn load_signed_bytes(&mut self, to: Vector, from: Address) {
        self.push(Instruction::LoadSignedBytes { to, from });
    }

    /// `to = [from]`, a bfloat16 for each lane, as f32.
    pub fn load_bfloats(&mut self, to: Vector, from: Address) {
        self.push(Instruction::LoadBfloats { to, from });
    }

    /// `to = [from]`, so many words, one for each lane by its number in `order`.
    pub fn spread_words(&mut self, to: Vector, from: Address, words: Words, order: Vector) {
        self.push(Instruction::SpreadWords { to, from, words, order });
    }

    /// `[to] = from`, each lane as a byte; `from` is overwritten.
    pub fn store_bytes(&mut self, to: Address, from: Vector) {
        self.push(Instruction::StoreBytes { to, from });
    }

    /// `[to] = from`, each lane as an i16; `from` is overwritten.
    pub fn store_halves(&mut self, to: Address, from: Vector) {
        self.push(Instruction::StoreHalves { to, from });
    }

    /// `[to] = from`, each lane as a bfloat16; `from` is overwritten.
    pub fn store_bfloats(&mut self, to: Address, from: Vector) {
        self.push(Instruction::StoreBfloats { to, from });
    }

    // ---- integers ----------------------------------------------------------------------------

    /// `to = from`
    pub fn copy(&mut self, to: Register, from: Register) {
        self.push(Instruction::Copy { to, from });
    }

    /// `to = from`, the address.
    pub fn lea(&mut self, to: Register, from: Address) {
        self.push(Instruction::Lea { to, from });
    }

    /// `to = value`
    pub fn set(&mut self, to: Register, value: usize) {
        self.push(Instruction::Set { to, value });
    }

    /// `to += by`; nothing where that is 0.
    pub fn add_immediate(&mut self, to: Register, by: i64) {
        if by != 0 {
            self.push(Instruction::AddImmediate { to, by });
        }
    }

    /// `to = from` where `counter` is `value`.
    pub fn copy_if_equal(
        &mut self,
        to: Register,
        from: Register,
        (counter, value): (Register, usize),
    ) {
        self.push(Instruction::CopyIfEqual { to, from, counter, value });
    }

    /// Saves one of the caller's registers.
    pub fn save(&mut self, register: Register) {
        self.push(Instruction::Save { register });
    }

    /// Restores the register that was saved last of those that still are.
    pub fn restore(&mut self, register: Register) {
        self.push(Instruction::Restore { register });
    }

    /// Counts down and jumps back while there is more.
    pub fn loop_back(&mut self, counter: Register, to: Label) {
        self.push(Instruction::LoopBack { counter, to });
    }
}
