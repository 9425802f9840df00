//! Machine code for the vector widths that Cranelift does not have: one emitter, and an instruction
//! set is a row of constants.
//!
//! Only leaf functions are made here: they call nothing, keep everything in registers, and follow
//! the System V convention, whatever the platform's own is.

mod strassen;
mod tile;
mod winograd;

use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Code, Decoder, DecoderOptions, Formatter, IcedError,
    Instruction, InstructionBlock, IntelFormatter, MemoryOperand, Register,
};

pub(crate) use strassen::sums;
pub(crate) use tile::micro_kernel;
pub(crate) use winograd::transform;

use crate::error::{Error, Result};
use crate::machine::Vectors;

/// An instruction set: registers, and the opcodes of what kernels do with them.
#[derive(Debug)]
pub(crate) struct Isa {
    /// Which one.
    pub(crate) vectors: Vectors,
    /// Vector register 0; the others follow it.
    first: Register,
    load: Code,
    store: Code,
    broadcast: Code,
    /// `a += b * c`
    multiply_add: Code,
    add: Code,
    subtract: Code,
    multiply: Code,
    max: Code,
    xor: Code,
    copy: Code,
    /// From the lowest lane of a 128-bit register.
    spread: Code,
    /// Lanes within each quarter of 128 bits, picked by an immediate.
    permute: Code,
}

/// Every instruction set that has a row.
const ROWS: [Isa; 2] = [
    Isa {
        vectors: Vectors::Avx2,
        first: Register::YMM0,
        load: Code::VEX_Vmovups_ymm_ymmm256,
        store: Code::VEX_Vmovups_ymmm256_ymm,
        broadcast: Code::VEX_Vbroadcastss_ymm_m32,
        multiply_add: Code::VEX_Vfmadd231ps_ymm_ymm_ymmm256,
        add: Code::VEX_Vaddps_ymm_ymm_ymmm256,
        max: Code::VEX_Vmaxps_ymm_ymm_ymmm256,
        xor: Code::VEX_Vxorps_ymm_ymm_ymmm256,
        subtract: Code::VEX_Vsubps_ymm_ymm_ymmm256,
        multiply: Code::VEX_Vmulps_ymm_ymm_ymmm256,
        copy: Code::VEX_Vmovaps_ymm_ymmm256,
        spread: Code::VEX_Vbroadcastss_ymm_xmm,
        permute: Code::VEX_Vpermilps_ymm_ymmm256_imm8,
    },
    Isa {
        vectors: Vectors::Avx512,
        first: Register::ZMM0,
        load: Code::EVEX_Vmovups_zmm_k1z_zmmm512,
        store: Code::EVEX_Vmovups_zmmm512_k1z_zmm,
        broadcast: Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32,
        multiply_add: Code::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er,
        add: Code::EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er,
        max: Code::EVEX_Vmaxps_zmm_k1z_zmm_zmmm512b32_sae,
        xor: Code::EVEX_Vxorps_zmm_k1z_zmm_zmmm512b32,
        subtract: Code::EVEX_Vsubps_zmm_k1z_zmm_zmmm512b32_er,
        multiply: Code::EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er,
        copy: Code::EVEX_Vmovaps_zmm_k1z_zmmm512,
        spread: Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32,
        permute: Code::EVEX_Vpermilps_zmm_k1z_zmmm512b32_imm8,
    },
];

/// The row of an instruction set, if code for it is made here.
pub(crate) fn isa(vectors: Vectors) -> Option<&'static Isa> {
    ROWS.iter().find(|row| row.vectors == vectors)
}

/// Bytes of an element.
const ELEMENT: usize = 4;

// The parameters that every function made here has, in System V's order. The second is the weights
// or the scratch memory.
const FROM: Register = Register::RDI;
const SECOND: Register = Register::RSI;
const TO: Register = Register::RDX;
const BIAS: Register = Register::RCX;
const TILES: Register = Register::R8;
const OTHER: Register = Register::R9;

/// A place to jump back to.
#[derive(Debug, Clone, Copy)]
struct Label(u64);

/// Collects the instructions of one function. Errors of the encoder are kept until the end.
struct Assembler<'i> {
    isa: &'i Isa,
    instructions: Vec<Instruction>,
    failed: Option<IcedError>,
}

impl<'i> Assembler<'i> {
    fn new(isa: &'i Isa) -> Assembler<'i> {
        Assembler { isa, instructions: Vec::new(), failed: None }
    }

    fn push(&mut self, instruction: std::result::Result<Instruction, IcedError>) {
        match instruction {
            Ok(mut instruction) => {
                // Addresses before encoding only tell instructions apart.
                instruction.set_ip(self.instructions.len() as u64);
                self.instructions.push(instruction);
            }
            Err(error) => {
                self.failed.get_or_insert(error);
            }
        }
    }

    /// Vector register `n`.
    fn vector(&self, n: usize) -> Register {
        self.isa.first + n as u32
    }

    // ---- vectors -----------------------------------------------------------------------------

    fn load(&mut self, to: usize, base: Register, bytes: usize) {
        let to = self.vector(to);
        self.push(Instruction::with2(self.isa.load, to, at(base, bytes)));
    }

    fn store(&mut self, base: Register, bytes: usize, from: usize) {
        let from = self.vector(from);
        self.push(Instruction::with2(self.isa.store, at(base, bytes), from));
    }

    /// Loads, with lane `lane` of every four lanes in all four of them.
    fn spread_quarters(&mut self, to: usize, base: Register, bytes: usize, lane: usize) {
        let (to, picked) = (self.vector(to), (lane * 0b01_01_01_01) as u32);
        self.push(Instruction::with3(self.isa.permute, to, at(base, bytes), picked));
    }

    fn prefetch(&mut self, base: Register, bytes: usize) {
        self.push(Instruction::with1(Code::Prefetcht0_m8, at(base, bytes)));
    }

    /// What will be written.
    fn fetch_to_write(&mut self, base: Register, bytes: usize) {
        self.push(Instruction::with1(Code::Prefetchw_m8, at(base, bytes)));
    }

    /// Into the second-level cache.
    fn fetch_ahead(&mut self, base: Register, bytes: usize) {
        self.push(Instruction::with1(Code::Prefetcht1_m8, at(base, bytes)));
    }

    fn broadcast(&mut self, to: usize, base: Register, bytes: usize) {
        let to = self.vector(to);
        self.push(Instruction::with2(self.isa.broadcast, to, at(base, bytes)));
    }

    fn three(&mut self, code: Code, to: usize, a: usize, b: usize) {
        let [to, a, b] = [to, a, b].map(|n| self.vector(n));
        self.push(Instruction::with3(code, to, a, b));
    }

    /// `to += a * b`
    fn multiply_add(&mut self, to: usize, a: usize, b: usize) {
        self.three(self.isa.multiply_add, to, a, b);
    }

    fn add(&mut self, to: usize, a: usize, b: usize) {
        self.three(self.isa.add, to, a, b);
    }

    fn subtract(&mut self, to: usize, a: usize, b: usize) {
        self.three(self.isa.subtract, to, a, b);
    }

    fn multiply(&mut self, to: usize, a: usize, b: usize) {
        self.three(self.isa.multiply, to, a, b);
    }

    fn copy_vector(&mut self, to: usize, from: usize) {
        let [to, from] = [to, from].map(|n| self.vector(n));
        self.push(Instruction::with2(self.isa.copy, to, from));
    }

    /// Sets every lane of one of the first 16 registers.
    fn constant(&mut self, to: usize, value: f32) {
        let (lane, all) = (Register::XMM0 + to as u32, self.vector(to));
        let bits = value.to_bits();
        self.push(Instruction::with2(Code::Mov_r32_imm32, Register::EAX, bits));
        self.push(Instruction::with2(Code::VEX_Vmovd_xmm_rm32, lane, Register::EAX));
        self.push(Instruction::with2(self.isa.spread, all, lane));
    }

    /// `to += [base + bytes]`
    fn add_memory(&mut self, to: usize, base: Register, bytes: usize) {
        let to = self.vector(to);
        self.push(Instruction::with3(self.isa.add, to, to, at(base, bytes)));
    }

    /// `to = max(a, to)`: a NaN in `to` stays.
    fn max(&mut self, to: usize, a: usize) {
        self.three(self.isa.max, to, a, to);
    }

    fn zero(&mut self, to: usize) {
        self.three(self.isa.xor, to, to, to);
    }

    // ---- integers ----------------------------------------------------------------------------

    fn copy(&mut self, to: Register, from: Register) {
        self.push(Instruction::with2(Code::Mov_r64_rm64, to, from));
    }

    /// `to = from + bytes`
    fn point(&mut self, to: Register, from: Register, bytes: usize) {
        self.push(Instruction::with2(Code::Lea_r64_m, to, at(from, bytes)));
    }

    /// `to = from` where `counter` is `value`.
    fn copy_if_equal(&mut self, to: Register, from: Register, counter: Register, value: usize) {
        self.push(Instruction::with2(Code::Cmp_rm64_imm32, counter, value as i32));
        self.push(Instruction::with2(Code::Cmove_r64_rm64, to, from));
    }

    fn set(&mut self, to: Register, value: usize) {
        self.push(Instruction::with2(Code::Mov_rm64_imm32, to, value as i32));
    }

    /// `to += by`, which may be negative.
    fn advance(&mut self, to: Register, by: i64) {
        if by != 0 {
            self.push(Instruction::with2(Code::Add_rm64_imm32, to, by as i32));
        }
    }

    fn save(&mut self, register: Register) {
        self.push(Instruction::with1(Code::Push_r64, register));
    }

    fn restore(&mut self, register: Register) {
        self.push(Instruction::with1(Code::Pop_r64, register));
    }

    /// The next instruction.
    fn here(&self) -> Label {
        Label(self.instructions.len() as u64)
    }

    /// Counts down and jumps back while there is more.
    fn loop_back(&mut self, counter: Register, label: Label) {
        self.push(Instruction::with1(Code::Dec_rm64, counter));
        self.push(Instruction::with_branch(Code::Jne_rel32_64, label.0));
    }

    /// Ends the function; its bytes.
    fn finish(mut self, name: &str) -> Result<Vec<u8>> {
        self.push(Ok(Instruction::with(Code::VEX_Vzeroupper)));
        self.push(Ok(Instruction::with(Code::Retnq)));
        match self.failed {
            Some(error) => Err(Error::internal(format!("{name}: {error}"))),
            None => encode(name, &self.instructions),
        }
    }
}

/// The bytes of a function. Branches lead to instructions by their addresses before encoding.
pub(super) fn encode(name: &str, instructions: &[Instruction]) -> Result<Vec<u8>> {
    let block = InstructionBlock::new(instructions, 0);
    let encoded = BlockEncoder::encode(64, block, BlockEncoderOptions::NONE);
    let encoded = encoded.map_err(|error| Error::internal(format!("{name}: {error}")))?;
    Ok(encoded.code_buffer)
}

fn at(base: Register, bytes: usize) -> MemoryOperand {
    MemoryOperand::with_base_displ(base, bytes as i64)
}

/// The code as text, one instruction a line.
pub(crate) fn disassemble(code: &[u8]) -> String {
    let mut formatter = IntelFormatter::new();
    let mut text = String::new();
    for instruction in Decoder::with_ip(64, code, 0, DecoderOptions::NONE) {
        text += &format!("{:6x}  ", instruction.ip());
        formatter.format(&instruction, &mut text);
        text.push('\n');
    }
    text
}
