//! The portable instructions and their operands.
//!
//! These are what kernels in f32, those of bfloat16 that sum in f32, and those of bytes that sum in i32,
//! need. Room is left for more of each kind:
//!
//! - *convert*: loads of f16 that widen, stores that narrow;
//! - *tiles*: AMX has registers of rows beside the vectors, so they would be a kind of register of their
//!   own, with configure, load, store and dot product;
//! - *multiply-add by an element*: NEON multiplies by one lane of a register, AVX-512 by an element in
//!   memory, each without a broadcast before it.

use crate::machine::BLOCK;

/// A vector register. A lane is 32 bits, whatever they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Vector(pub usize);

/// An integer register of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Register {
    /// First parameter: what is read.
    From,
    /// Second parameter: the weights, scratch memory, or another place to write to.
    Second,
    /// Third parameter: what is written.
    To,
    /// Fourth parameter: the bias.
    Bias,
    /// Fifth parameter: how many tiles, or pixels.
    Tiles,
    /// Sixth parameter: the other operand.
    Other,
    /// Free. [`Instruction::Splat`] may overwrite it.
    Scratch0,
    /// Free.
    Scratch1,
    /// Free.
    Scratch2,
    /// The caller's.
    Saved0,
    /// The caller's.
    Saved1,
    /// The caller's.
    Saved2,
    /// The caller's.
    Saved3,
    /// The caller's.
    Saved4,
    /// The caller's.
    Saved5,
}

impl Register {
    /// In the order of their numbers.
    pub const ALL: [Register; 15] = [
        Register::From,
        Register::Second,
        Register::To,
        Register::Bias,
        Register::Tiles,
        Register::Other,
        Register::Scratch0,
        Register::Scratch1,
        Register::Scratch2,
        Register::Saved0,
        Register::Saved1,
        Register::Saved2,
        Register::Saved3,
        Register::Saved4,
        Register::Saved5,
    ];

    /// The parameters, first to last.
    pub const PARAMETERS: [Register; 6] = [
        Register::From,
        Register::Second,
        Register::To,
        Register::Bias,
        Register::Tiles,
        Register::Other,
    ];

    /// Those that must hold what they held when the function returns.
    pub const CALLERS: [Register; 6] = [
        Register::Saved0,
        Register::Saved1,
        Register::Saved2,
        Register::Saved3,
        Register::Saved4,
        Register::Saved5,
    ];

    /// The address so many bytes behind what it holds.
    pub fn at(self, bytes: usize) -> Address {
        Address { base: self, bytes }
    }
}

/// A place in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// What the register points at,
    pub base: Register,
    /// and so many bytes behind it.
    pub bytes: usize,
}

/// A place to jump back to: the number of an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label(pub usize);

/// How many words of 32 bits are spread over the lanes of a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// A quarter of 512 bits.
    Four,
    /// Half of them; only for vectors of that size.
    Eight,
    /// As many; only for vectors of that size.
    Sixteen,
}

impl Words {
    /// The number.
    pub const fn count(self) -> usize {
        match self {
            Words::Four => 4,
            Words::Eight => 8,
            Words::Sixteen => 16,
        }
    }
}

/// What a function is made of. Vector operands are f32 unless it says otherwise; sources may be the
/// destination too.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs, reason = "what each does names its operands")]
pub enum Instruction {
    /// `to = [from]`
    Load { to: Vector, from: Address },
    /// `[to] = from`
    Store { to: Address, from: Vector },
    /// Every lane of `to` = the 32 bits at `from`.
    Broadcast { to: Vector, from: Address },
    /// Loads, with lane `lane` of every four lanes in all four of them.
    BroadcastInQuarters { to: Vector, from: Address, lane: usize },
    /// `to += a * b`, rounded once.
    MultiplyAdd { to: Vector, a: Vector, b: Vector },
    /// `to = to * by + plus`, rounded once.
    MultiplyBy { to: Vector, by: Vector, plus: Vector },
    /// `to = a + b`
    Add { to: Vector, a: Vector, b: Vector },
    /// `to += [from]`
    AddMemory { to: Vector, from: Address },
    /// `to = a - b`
    Subtract { to: Vector, a: Vector, b: Vector },
    /// `to = a * b`
    Multiply { to: Vector, a: Vector, b: Vector },
    /// `to = a / b`
    Divide { to: Vector, a: Vector, b: Vector },
    /// `to = √from`
    SquareRoot { to: Vector, from: Vector },
    /// `to = a > b ? a : b`, so a NaN in `b` stays, and one in `a` gets lost.
    Max { to: Vector, a: Vector, b: Vector },
    /// `to = a < b ? a : b`, so a NaN in `b` stays, and one in `a` gets lost.
    Min { to: Vector, a: Vector, b: Vector },
    /// Every bit of a lane of `to` = whether `a < b`, which a NaN is not.
    Less { to: Vector, a: Vector, b: Vector },
    /// `mask = mask ? yes : no`, where each lane of `mask` has all bits set or none.
    Pick { mask: Vector, yes: Vector, no: Vector },
    /// `to = a & b`, bit by bit.
    And { to: Vector, a: Vector, b: Vector },
    /// `to = a ^ b`, bit by bit.
    Xor { to: Vector, a: Vector, b: Vector },
    /// `to += Σ bytes * weights` of the four bytes of each lane, in i32, which wraps: those of `bytes` have
    /// no sign, those of `weights` have one.
    DotBytes { to: Vector, bytes: Vector, weights: Vector },
    /// Each half of a lane of `to` = the sum of two products of bytes, in i16, which stops at its ends: those
    /// of `bytes` have no sign, those of `weights` have one.
    DotPairs { to: Vector, bytes: Vector, weights: Vector },
    /// Each lane of `to` = the sum of the products of its two i16, in i32.
    DotHalves { to: Vector, a: Vector, b: Vector },
    /// `to += Σ a * b` of the two i16 of each lane, in i32, which wraps.
    AddDotHalves { to: Vector, a: Vector, b: Vector },
    /// `to += Σ a * b` of the two bfloat16 of each lane: the product of the upper ones first, each rounded with
    /// its sum to an f32. What is denormal, of operands and sums, is 0.
    AddDotBfloats { to: Vector, a: Vector, b: Vector },
    /// `to = a + b`, in i32, which wraps.
    AddIntegers { to: Vector, a: Vector, b: Vector },
    /// `to = a - b`, in i32, which wraps.
    SubtractIntegers { to: Vector, a: Vector, b: Vector },
    /// `to = from << by`, in i32.
    ShiftLeft { to: Vector, from: Vector, by: u8 },
    /// `to = from >> by`, in i32: the sign fills in.
    ShiftRight { to: Vector, from: Vector, by: u8 },
    /// `to = from`, of i32: the nearest f32, of two the even one.
    FloatsOfIntegers { to: Vector, from: Vector },
    /// `to = from`, of f32: the nearest i32, of two the even one; the least where there is none near.
    IntegersOfFloats { to: Vector, from: Vector },
    /// `to = [from]`, a byte without a sign for each lane, as i32.
    LoadBytes { to: Vector, from: Address },
    /// `to = [from]`, a byte with a sign for each lane, as i32.
    LoadSignedBytes { to: Vector, from: Address },
    /// `to = [from]`, a bfloat16 for each lane, as f32.
    LoadBfloats { to: Vector, from: Address },
    /// `to = [from]`, so many words, of which each lane gets the one whose number, from 0 on, the lane of `order`
    /// holds.
    SpreadWords { to: Vector, from: Address, words: Words, order: Vector },
    /// `[to] = from`, each lane, of i32 from 0 to 255, as a byte. Afterwards nobody knows what `from` holds.
    StoreBytes { to: Address, from: Vector },
    /// `[to] = from`, each lane, an i32 that is an i16 too, as an i16. Afterwards nobody knows what `from`
    /// holds.
    StoreHalves { to: Address, from: Vector },
    /// `[to] = from`, each lane as the nearest bfloat16, of two the even one; what is denormal as 0, with its
    /// sign. Afterwards nobody knows what `from` holds.
    StoreBfloats { to: Address, from: Vector },
    /// `to = 0`
    Zero { to: Vector },
    /// `to = from`
    CopyVector { to: Vector, from: Vector },
    /// Every lane of `to` = `value`. Afterwards nobody knows what [`Register::Scratch0`] holds.
    Splat { to: Vector, value: f32 },
    /// Every lane of `to` = these bits, which lie behind the code.
    Constant { to: Vector, bits: u32 },
    /// Lane `i` of `to` = `numbers[i]`, as i32; these lie behind the code.
    Numbers { to: Vector, numbers: [u8; BLOCK] },
    /// Brings a line into the first-level cache. No address is wrong for it.
    PrefetchT0 { at: Address },
    /// Brings a line into the second-level cache. No address is wrong for it.
    PrefetchT1 { at: Address },
    /// Brings a line that will be written into the cache. No address is wrong for it.
    PrefetchWrite { at: Address },
    /// `to = from`
    Copy { to: Register, from: Register },
    /// `to = from`, the address.
    Lea { to: Register, from: Address },
    /// `to = value`
    Set { to: Register, value: usize },
    /// `to += by`
    AddImmediate { to: Register, by: i64 },
    /// `to = from` where `counter` is `value`.
    CopyIfEqual { to: Register, from: Register, counter: Register, value: usize },
    /// Puts a register on the stack.
    Save { register: Register },
    /// Takes a register off the stack.
    Restore { register: Register },
    /// `counter -= 1`, and back to `to` unless that is 0.
    LoopBack { counter: Register, to: Label },
    /// Ends the function.
    Return,
}
