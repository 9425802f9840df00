//! x86-64: an encoder whose instruction sets are rows of registers and opcodes.

use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Code, Decoder, DecoderOptions, Formatter, IcedError,
    Instruction as Machine, InstructionBlock, IntelFormatter, MemoryOperand, Register as Name,
};

use super::{Address, Encoder, Function, Instruction, Register, Vector, Words};
use crate::error::{Error, Result};

/// An instruction set: its first vector register, and the opcodes for whole vectors.
#[derive(Debug)]
pub(super) struct Row {
    /// Vector register 0; the others follow it.
    first: Name,
    load: Code,
    store: Code,
    broadcast: Code,
    multiply_add: Code,
    multiply_by: Code,
    add: Code,
    subtract: Code,
    multiply: Code,
    divide: Code,
    square_root: Code,
    max: Code,
    min: Code,
    masks: Masks,
    /// Of bytes; only where the CPU has VNNI.
    dot_bytes: Code,
    dot_pairs: Code,
    dot_halves: Code,
    /// Of i16, added up; only where the CPU has VNNI.
    add_dot_halves: Code,
    /// Of bfloat16, where there are such instructions.
    bfloats: Option<Bfloats>,
    add_integers: Code,
    subtract_integers: Code,
    shift_left: Code,
    shift_right: Code,
    floats_of_integers: Code,
    integers_of_floats: Code,
    load_bytes: Code,
    load_signed_bytes: Code,
    /// 16 bits each.
    load_halves: Code,
    store_bytes: Narrowed,
    store_halves: Narrowed,
    /// 128 bits of memory in every quarter.
    repeat_quarter: Code,
    /// Lanes within each quarter, picked by those of another register.
    permute_by: Code,
    /// What spreads more words than a quarter has, where there are such instructions.
    spread: Option<Spread>,
    and: Code,
    xor: Code,
    copy: Code,
    /// From the lowest lane of a 128-bit register.
    splat: Code,
    /// From an integer register, for the registers that VEX has no names for.
    splat_beyond: Option<Code>,
    /// Lanes within each quarter of 128 bits, picked by an immediate.
    permute: Code,
}

/// What is done with bfloat16; only where the CPU has AVX512-BF16.
#[derive(Debug)]
struct Bfloats {
    /// Added up.
    add_dot: Code,
    /// To a register of half as many bits.
    of_floats: Code,
    /// The first of these.
    first: Name,
    store: Code,
}

/// How words are spread over all lanes.
#[derive(Debug)]
struct Spread {
    /// Into a register of half as many bits,
    load_half: Code,
    /// the first of these.
    first: Name,
    /// Lanes of the last operand, picked by those of the second.
    permute: Code,
}

/// How lanes are compared and picked.
#[derive(Debug)]
enum Masks {
    /// In vector registers.
    Vectors,
    /// In a register of masks, whose bits are copied to lanes.
    Bits,
}

/// How each lane is stored as a byte, or as 16 bits.
#[derive(Debug)]
enum Narrowed {
    /// By an instruction.
    At(Code),
    /// By packing the lanes of each half of a register to 16 bits, and for bytes all of these to 8.
    Packed,
}

/// Puts the lower quarters of both halves beside each other.
const LOWER_QUARTERS: u32 = 0b10_00;

/// 16 registers of 256 bits, with FMA.
pub(super) const AVX2: Row = Row {
    first: Name::YMM0,
    load: Code::VEX_Vmovups_ymm_ymmm256,
    store: Code::VEX_Vmovups_ymmm256_ymm,
    broadcast: Code::VEX_Vbroadcastss_ymm_m32,
    multiply_add: Code::VEX_Vfmadd231ps_ymm_ymm_ymmm256,
    multiply_by: Code::VEX_Vfmadd213ps_ymm_ymm_ymmm256,
    add: Code::VEX_Vaddps_ymm_ymm_ymmm256,
    subtract: Code::VEX_Vsubps_ymm_ymm_ymmm256,
    multiply: Code::VEX_Vmulps_ymm_ymm_ymmm256,
    divide: Code::VEX_Vdivps_ymm_ymm_ymmm256,
    square_root: Code::VEX_Vsqrtps_ymm_ymmm256,
    max: Code::VEX_Vmaxps_ymm_ymm_ymmm256,
    min: Code::VEX_Vminps_ymm_ymm_ymmm256,
    masks: Masks::Vectors,
    dot_bytes: Code::VEX_Vpdpbusd_ymm_ymm_ymmm256,
    dot_pairs: Code::VEX_Vpmaddubsw_ymm_ymm_ymmm256,
    dot_halves: Code::VEX_Vpmaddwd_ymm_ymm_ymmm256,
    add_dot_halves: Code::VEX_Vpdpwssd_ymm_ymm_ymmm256,
    bfloats: None,
    add_integers: Code::VEX_Vpaddd_ymm_ymm_ymmm256,
    subtract_integers: Code::VEX_Vpsubd_ymm_ymm_ymmm256,
    shift_left: Code::VEX_Vpslld_ymm_ymm_imm8,
    shift_right: Code::VEX_Vpsrad_ymm_ymm_imm8,
    floats_of_integers: Code::VEX_Vcvtdq2ps_ymm_ymmm256,
    integers_of_floats: Code::VEX_Vcvtps2dq_ymm_ymmm256,
    load_bytes: Code::VEX_Vpmovzxbd_ymm_xmmm64,
    load_signed_bytes: Code::VEX_Vpmovsxbd_ymm_xmmm64,
    load_halves: Code::VEX_Vpmovzxwd_ymm_xmmm128,
    store_bytes: Narrowed::Packed,
    store_halves: Narrowed::Packed,
    repeat_quarter: Code::VEX_Vbroadcasti128_ymm_m128,
    permute_by: Code::VEX_Vpermilps_ymm_ymm_ymmm256,
    spread: None,
    and: Code::VEX_Vandps_ymm_ymm_ymmm256,
    xor: Code::VEX_Vxorps_ymm_ymm_ymmm256,
    copy: Code::VEX_Vmovaps_ymm_ymmm256,
    splat: Code::VEX_Vbroadcastss_ymm_xmm,
    splat_beyond: None,
    permute: Code::VEX_Vpermilps_ymm_ymmm256_imm8,
};

/// 32 registers of 512 bits.
pub(super) const AVX512: Row = Row {
    first: Name::ZMM0,
    load: Code::EVEX_Vmovups_zmm_k1z_zmmm512,
    store: Code::EVEX_Vmovups_zmmm512_k1z_zmm,
    broadcast: Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32,
    multiply_add: Code::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er,
    multiply_by: Code::EVEX_Vfmadd213ps_zmm_k1z_zmm_zmmm512b32_er,
    add: Code::EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er,
    subtract: Code::EVEX_Vsubps_zmm_k1z_zmm_zmmm512b32_er,
    multiply: Code::EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er,
    divide: Code::EVEX_Vdivps_zmm_k1z_zmm_zmmm512b32_er,
    square_root: Code::EVEX_Vsqrtps_zmm_k1z_zmmm512b32_er,
    max: Code::EVEX_Vmaxps_zmm_k1z_zmm_zmmm512b32_sae,
    min: Code::EVEX_Vminps_zmm_k1z_zmm_zmmm512b32_sae,
    masks: Masks::Bits,
    dot_bytes: Code::EVEX_Vpdpbusd_zmm_k1z_zmm_zmmm512b32,
    dot_pairs: Code::EVEX_Vpmaddubsw_zmm_k1z_zmm_zmmm512,
    dot_halves: Code::EVEX_Vpmaddwd_zmm_k1z_zmm_zmmm512,
    add_dot_halves: Code::EVEX_Vpdpwssd_zmm_k1z_zmm_zmmm512b32,
    bfloats: Some(Bfloats {
        add_dot: Code::EVEX_Vdpbf16ps_zmm_k1z_zmm_zmmm512b32,
        of_floats: Code::EVEX_Vcvtneps2bf16_ymm_k1z_zmmm512b32,
        first: Name::YMM0,
        store: Code::EVEX_Vmovups_ymmm256_k1z_ymm,
    }),
    add_integers: Code::EVEX_Vpaddd_zmm_k1z_zmm_zmmm512b32,
    subtract_integers: Code::EVEX_Vpsubd_zmm_k1z_zmm_zmmm512b32,
    shift_left: Code::EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8,
    shift_right: Code::EVEX_Vpsrad_zmm_k1z_zmmm512b32_imm8,
    floats_of_integers: Code::EVEX_Vcvtdq2ps_zmm_k1z_zmmm512b32_er,
    integers_of_floats: Code::EVEX_Vcvtps2dq_zmm_k1z_zmmm512b32_er,
    load_bytes: Code::EVEX_Vpmovzxbd_zmm_k1z_xmmm128,
    load_signed_bytes: Code::EVEX_Vpmovsxbd_zmm_k1z_xmmm128,
    load_halves: Code::EVEX_Vpmovzxwd_zmm_k1z_ymmm256,
    store_bytes: Narrowed::At(Code::EVEX_Vpmovdb_xmmm128_k1z_zmm),
    store_halves: Narrowed::At(Code::EVEX_Vpmovdw_ymmm256_k1z_zmm),
    repeat_quarter: Code::EVEX_Vbroadcasti32x4_zmm_k1z_m128,
    permute_by: Code::EVEX_Vpermilps_zmm_k1z_zmm_zmmm512b32,
    spread: Some(Spread {
        load_half: Code::EVEX_Vmovups_ymm_k1z_ymmm256,
        first: Name::YMM0,
        permute: Code::EVEX_Vpermps_zmm_k1z_zmm_zmmm512b32,
    }),
    and: Code::EVEX_Vandps_zmm_k1z_zmm_zmmm512b32,
    xor: Code::EVEX_Vxorps_zmm_k1z_zmm_zmmm512b32,
    copy: Code::EVEX_Vmovaps_zmm_k1z_zmmm512,
    splat: Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32,
    splat_beyond: Some(Code::EVEX_Vpbroadcastd_zmm_k1z_r32),
    permute: Code::EVEX_Vpermilps_zmm_k1z_zmmm512b32_imm8,
};

/// The machine's name of a register: parameters are in System V's order.
fn name(register: Register) -> Name {
    match register {
        Register::From => Name::RDI,
        Register::Second => Name::RSI,
        Register::To => Name::RDX,
        Register::Bias => Name::RCX,
        Register::Tiles => Name::R8,
        Register::Other => Name::R9,
        Register::Scratch0 => Name::RAX,
        Register::Scratch1 => Name::R10,
        Register::Scratch2 => Name::R11,
        Register::Saved0 => Name::RBX,
        Register::Saved1 => Name::RBP,
        Register::Saved2 => Name::R12,
        Register::Saved3 => Name::R13,
        Register::Saved4 => Name::R14,
        Register::Saved5 => Name::R15,
    }
}

impl Encoder for Row {
    fn encode(&self, function: &Function) -> Result<Vec<u8>> {
        let constants = constants(function);
        let registers = function.vectors.registers();
        let maker = |behind| Maker { row: self, registers, constants: &constants, behind };
        let code = maker(0).code(function)?;
        if constants.is_empty() {
            return Ok(code);
        }
        // Where they are does not change how long the code is.
        let behind = code.len().next_multiple_of(CONSTANT);
        let mut code = maker(behind).code(function)?;
        code.resize(behind, 0);
        code.extend(constants.into_iter().flatten());
        Ok(code)
    }

    fn disassemble(&self, code: &[u8], base: usize) -> String {
        disassemble(code, base)
    }
}

/// Where code is while it is encoded: where no instruction was [before](address), so that what lies behind
/// the code is not taken for one.
const BASE: u64 = 1 << 32;

/// Bytes of a word of what lies behind the code.
const CONSTANT: usize = 4;

/// The constants that a function takes from memory, each once.
fn constants(function: &Function) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for constant in function.instructions.iter().filter_map(constant) {
        if !all.contains(&constant) {
            all.push(constant);
        }
    }
    all
}

/// What an instruction takes from behind the code, in whole words.
fn constant(instruction: &Instruction) -> Option<Vec<u8>> {
    match instruction {
        Instruction::Constant { bits, .. } => Some(bits.to_le_bytes().to_vec()),
        Instruction::Numbers { numbers, .. } => Some(numbers.to_vec()),
        _ => None,
    }
}

/// Where the machine instructions of a portable one begin, before encoding: there, addresses only tell
/// instructions apart.
fn address(number: usize) -> u64 {
    const MOST_PARTS: usize = 16;
    (number * MOST_PARTS) as u64
}

/// Makes machine instructions with a row, of so many vector registers.
struct Maker<'r> {
    row: &'r Row,
    registers: usize,
    /// What lies behind the code.
    constants: &'r [Vec<u8>],
    /// Where: bytes from its start.
    behind: usize,
}

/// The machine instructions of a portable one, or why there are none.
type Parts = Result<Vec<Machine>, String>;

impl Maker<'_> {
    fn code(&self, function: &Function) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        for (number, instruction) in function.instructions.iter().enumerate() {
            let fail = |why| Error::internal(format!("{}: {instruction:?}: {why}", function.name));
            let parts = self.parts(instruction).map_err(fail)?;
            for (part, mut machine) in parts.into_iter().enumerate() {
                machine.set_ip(address(number) + part as u64);
                all.push(machine);
            }
        }
        encode(function.name, &all)
    }

    fn parts(&self, instruction: &Instruction) -> Parts {
        let row = self.row;
        match *instruction {
            Instruction::Load { to, from } => self.load(row.load, to, from),
            Instruction::Store { to, from } => self.store(to, from),
            Instruction::Broadcast { to, from } => self.load(row.broadcast, to, from),
            Instruction::BroadcastInQuarters { to, from, lane } => self.in_quarters(to, from, lane),
            Instruction::MultiplyAdd { to, a, b } => self.three(row.multiply_add, to, a, b),
            Instruction::MultiplyBy { to, by, plus } => self.three(row.multiply_by, to, by, plus),
            Instruction::Add { to, a, b } => self.three(row.add, to, a, b),
            Instruction::AddMemory { to, from } => self.add_memory(to, from),
            Instruction::Subtract { to, a, b } => self.three(row.subtract, to, a, b),
            Instruction::Multiply { to, a, b } => self.three(row.multiply, to, a, b),
            Instruction::Divide { to, a, b } => self.three(row.divide, to, a, b),
            Instruction::SquareRoot { to, from } => self.two(row.square_root, to, from),
            Instruction::Less { to, a, b } => self.less(to, a, b),
            Instruction::Pick { mask, yes, no } => self.pick(mask, yes, no),
            Instruction::And { to, a, b } => self.three(row.and, to, a, b),
            Instruction::Xor { to, a, b } => self.three(row.xor, to, a, b),
            Instruction::Max { to, a, b } => self.three(row.max, to, a, b),
            Instruction::Min { to, a, b } => self.three(row.min, to, a, b),
            Instruction::DotBytes { to, bytes, weights } => {
                self.three(row.dot_bytes, to, bytes, weights)
            }
            Instruction::DotPairs { to, bytes, weights } => {
                self.three(row.dot_pairs, to, bytes, weights)
            }
            Instruction::DotHalves { to, a, b } => self.three(row.dot_halves, to, a, b),
            Instruction::AddDotHalves { to, a, b } => self.three(row.add_dot_halves, to, a, b),
            Instruction::AddDotBfloats { to, a, b } => {
                self.three(self.bfloats()?.add_dot, to, a, b)
            }
            Instruction::AddIntegers { to, a, b } => self.three(row.add_integers, to, a, b),
            Instruction::SubtractIntegers { to, a, b } => {
                self.three(row.subtract_integers, to, a, b)
            }
            Instruction::ShiftLeft { to, from, by } => self.shift(row.shift_left, to, from, by),
            Instruction::ShiftRight { to, from, by } => self.shift(row.shift_right, to, from, by),
            Instruction::FloatsOfIntegers { to, from } => {
                self.two(row.floats_of_integers, to, from)
            }
            Instruction::IntegersOfFloats { to, from } => {
                self.two(row.integers_of_floats, to, from)
            }
            Instruction::LoadBytes { to, from } => self.load(row.load_bytes, to, from),
            Instruction::LoadSignedBytes { to, from } => self.load(row.load_signed_bytes, to, from),
            Instruction::LoadBfloats { to, from } => self.load_bfloats(to, from),
            Instruction::SpreadWords { to, from, words, order } => {
                self.spread_words(to, (from, words), order)
            }
            Instruction::StoreBytes { to, from } => self.store_bytes(to, from),
            Instruction::StoreHalves { to, from } => self.store_halves(to, from),
            Instruction::StoreBfloats { to, from } => self.store_bfloats(to, from),
            Instruction::Zero { to } => self.three(row.xor, to, to, to),
            Instruction::CopyVector { to, from } => self.two(row.copy, to, from),
            Instruction::Splat { to, value } => self.splat(to, value),
            Instruction::Constant { to, .. } => self.constant(row.broadcast, to, instruction),
            Instruction::Numbers { to, .. } => self.constant(row.load_bytes, to, instruction),
            Instruction::PrefetchT0 { at } => prefetch(Code::Prefetcht0_m8, at),
            Instruction::PrefetchT1 { at } => prefetch(Code::Prefetcht1_m8, at),
            Instruction::PrefetchWrite { at } => prefetch(Code::Prefetchw_m8, at),
            Instruction::Copy { to, from } => {
                all([Machine::with2(Code::Mov_r64_rm64, name(to), name(from))])
            }
            Instruction::Lea { to, from } => {
                all([Machine::with2(Code::Lea_r64_m, name(to), memory(from))])
            }
            Instruction::Set { to, value } => immediate(Code::Mov_rm64_imm32, to, value),
            Instruction::AddImmediate { to, by } => immediate(Code::Add_rm64_imm32, to, by),
            Instruction::CopyIfEqual { to, from, counter, value } => {
                copy_if_equal(to, from, (counter, value))
            }
            Instruction::Save { register } => all([Machine::with1(Code::Push_r64, name(register))]),
            Instruction::Restore { register } => {
                all([Machine::with1(Code::Pop_r64, name(register))])
            }
            Instruction::LoopBack { counter, to } => all([
                Machine::with1(Code::Dec_rm64, name(counter)),
                Machine::with_branch(Code::Jne_rel32_64, address(to.0)),
            ]),
            Instruction::Return => {
                all([Ok(Machine::with(Code::VEX_Vzeroupper)), Ok(Machine::with(Code::Retnq))])
            }
        }
    }

    /// The machine's name of a vector register.
    fn vector(&self, Vector(number): Vector) -> Result<Name, String> {
        if number >= self.registers {
            return Err(format!("there are {} vector registers", self.registers));
        }
        Ok(self.row.first + number as u32)
    }

    fn load(&self, code: Code, to: Vector, from: Address) -> Parts {
        all([Machine::with2(code, self.vector(to)?, memory(from))])
    }

    fn store(&self, to: Address, from: Vector) -> Parts {
        all([Machine::with2(self.row.store, memory(to), self.vector(from)?)])
    }

    fn add_memory(&self, to: Vector, from: Address) -> Parts {
        let to = self.vector(to)?;
        all([Machine::with3(self.row.add, to, to, memory(from))])
    }

    fn spread_words(&self, to: Vector, (from, words): (Address, Words), order: Vector) -> Parts {
        let spread = || self.row.spread.as_ref().ok_or("vectors have too few lanes");
        let [whole, by] = [self.vector(to)?, self.vector(order)?];
        match words {
            Words::Four => {
                let mut parts = self.load(self.row.repeat_quarter, to, from)?;
                parts.extend(self.three(self.row.permute_by, to, to, order)?);
                Ok(parts)
            }
            Words::Eight => {
                let Spread { load_half, first, permute } = *spread()?;
                all([
                    Machine::with2(load_half, first + to.0 as u32, memory(from)),
                    Machine::with3(permute, whole, by, whole),
                ])
            }
            Words::Sixteen => all([Machine::with3(spread()?.permute, whole, by, memory(from))]),
        }
    }

    fn three(&self, code: Code, to: Vector, a: Vector, b: Vector) -> Parts {
        all([Machine::with3(code, self.vector(to)?, self.vector(a)?, self.vector(b)?)])
    }

    fn two(&self, code: Code, to: Vector, from: Vector) -> Parts {
        all([Machine::with2(code, self.vector(to)?, self.vector(from)?)])
    }

    fn shift(&self, code: Code, to: Vector, from: Vector, by: u8) -> Parts {
        let by = i32::from(by);
        all([Machine::with3(code, self.vector(to)?, self.vector(from)?, by)])
    }

    fn less(&self, to: Vector, a: Vector, b: Vector) -> Parts {
        // Less than, of what is ordered; NaNs are no exceptions.
        const LESS: i32 = 0x11;
        let [to, a, b] = [self.vector(to)?, self.vector(a)?, self.vector(b)?];
        match self.row.masks {
            Masks::Vectors => {
                all([Machine::with4(Code::VEX_Vcmpps_ymm_ymm_ymmm256_imm8, to, a, b, LESS)])
            }
            Masks::Bits => {
                let compare = Code::EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae;
                all([
                    Machine::with4(compare, Name::K1, a, b, LESS),
                    Machine::with2(Code::EVEX_Vpmovm2d_zmm_kr, to, Name::K1),
                ])
            }
        }
    }

    fn pick(&self, mask: Vector, yes: Vector, no: Vector) -> Parts {
        // By the bits of the first operand, those of the second, or of the third.
        const FIRST: i32 = 0xCA;
        let [mask, yes, no] = [self.vector(mask)?, self.vector(yes)?, self.vector(no)?];
        all([match self.row.masks {
            Masks::Vectors => {
                Machine::with4(Code::VEX_Vblendvps_ymm_ymm_ymmm256_ymm, mask, no, yes, mask)
            }
            Masks::Bits => {
                let code = Code::EVEX_Vpternlogd_zmm_k1z_zmm_zmmm512b32_imm8;
                Machine::with4(code, mask, yes, no, FIRST)
            }
        }])
    }

    /// Loads what an instruction takes from behind the code.
    fn constant(&self, code: Code, to: Vector, instruction: &Instruction) -> Parts {
        let number =
            self.constants.iter().position(|known| Some(known) == constant(instruction).as_ref());
        let before = &self.constants[..number.ok_or("the constant has no place")?];
        let at = BASE + (self.behind + before.iter().map(Vec::len).sum::<usize>()) as u64;
        let from = MemoryOperand::with_base_displ(Name::RIP, at.cast_signed());
        all([Machine::with2(code, self.vector(to)?, from)])
    }

    fn store_bytes(&self, to: Address, from: Vector) -> Parts {
        let whole = self.vector(from)?;
        match self.row.store_bytes {
            Narrowed::At(code) => all([Machine::with2(code, memory(to), whole)]),
            Narrowed::Packed => {
                let half = Name::XMM0 + from.0 as u32;
                all([
                    Machine::with3(Code::VEX_Vpackusdw_ymm_ymm_ymmm256, whole, whole, whole),
                    Machine::with3(Code::VEX_Vpermq_ymm_ymmm256_imm8, whole, whole, LOWER_QUARTERS),
                    Machine::with3(Code::VEX_Vpackuswb_xmm_xmm_xmmm128, half, half, half),
                    Machine::with2(Code::VEX_Vmovq_xmmm64_xmm, memory(to), half),
                ])
            }
        }
    }

    fn store_halves(&self, to: Address, from: Vector) -> Parts {
        let whole = self.vector(from)?;
        match self.row.store_halves {
            Narrowed::At(code) => all([Machine::with2(code, memory(to), whole)]),
            Narrowed::Packed => {
                let half = Name::XMM0 + from.0 as u32;
                all([
                    Machine::with3(Code::VEX_Vpackssdw_ymm_ymm_ymmm256, whole, whole, whole),
                    Machine::with3(Code::VEX_Vpermq_ymm_ymmm256_imm8, whole, whole, LOWER_QUARTERS),
                    Machine::with2(Code::VEX_Vmovups_xmmm128_xmm, memory(to), half),
                ])
            }
        }
    }

    fn bfloats(&self) -> Result<&Bfloats, String> {
        self.row.bfloats.as_ref().ok_or_else(|| "there are no bfloat16".into())
    }

    /// A bfloat16 is the upper half of an f32.
    fn load_bfloats(&self, to: Vector, from: Address) -> Parts {
        let mut parts = self.load(self.row.load_halves, to, from)?;
        parts.extend(self.shift(self.row.shift_left, to, to, 16)?);
        Ok(parts)
    }

    fn store_bfloats(&self, to: Address, from: Vector) -> Parts {
        let bfloats = self.bfloats()?;
        let half = bfloats.first + from.0 as u32;
        all([
            Machine::with2(bfloats.of_floats, half, self.vector(from)?),
            Machine::with2(bfloats.store, memory(to), half),
        ])
    }

    fn in_quarters(&self, to: Vector, from: Address, lane: usize) -> Parts {
        if lane >= 4 {
            return Err("a quarter has four lanes".into());
        }
        let picked = (lane * 0b01_01_01_01) as u32;
        all([Machine::with3(self.row.permute, self.vector(to)?, memory(from), picked)])
    }

    fn splat(&self, to: Vector, value: f32) -> Parts {
        // VEX, which moves from an integer register, names so many.
        const NAMED: usize = 16;
        let (lane, through) = (Name::XMM0 + to.0 as u32, Name::EAX);
        let number = Machine::with2(Code::Mov_r32_imm32, through, value.to_bits());
        if let Some(code) = self.row.splat_beyond.filter(|_| to.0 >= NAMED) {
            return all([number, Machine::with2(code, self.vector(to)?, through)]);
        }
        all([
            number,
            Machine::with2(Code::VEX_Vmovd_xmm_rm32, lane, through),
            Machine::with2(self.row.splat, self.vector(to)?, lane),
        ])
    }
}

fn all<const N: usize>(parts: [Result<Machine, IcedError>; N]) -> Parts {
    let parts: Result<Vec<Machine>, IcedError> = parts.into_iter().collect();
    parts.map_err(|error| error.to_string())
}

fn prefetch(code: Code, at: Address) -> Parts {
    all([Machine::with1(code, memory(at))])
}

/// An instruction with a constant, which the machine has 32 bits for.
fn immediate(code: Code, to: Register, value: impl TryInto<i32>) -> Parts {
    let value = value.try_into().map_err(|_| "the constant has more than 32 bits")?;
    all([Machine::with2(code, name(to), value)])
}

fn copy_if_equal(to: Register, from: Register, (counter, value): (Register, usize)) -> Parts {
    let mut parts = immediate(Code::Cmp_rm64_imm32, counter, value)?;
    parts.extend(all([Machine::with2(Code::Cmove_r64_rm64, name(to), name(from))])?);
    Ok(parts)
}

fn memory(Address { base, bytes }: Address) -> MemoryOperand {
    MemoryOperand::with_base_displ(name(base), bytes as i64)
}

/// The bytes of a function. Branches lead to instructions by their addresses before encoding.
pub(crate) fn encode(name: &str, instructions: &[Machine]) -> Result<Vec<u8>> {
    let block = InstructionBlock::new(instructions, BASE);
    let encoded = BlockEncoder::encode(64, block, BlockEncoderOptions::NONE);
    let encoded = encoded.map_err(|error| Error::internal(format!("{name}: {error}")))?;
    Ok(encoded.code_buffer)
}

/// The code of a function that lies at `base` as text, in Intel's syntax: an instruction a line with its address, then the
/// constants behind it, the first of which is where the code ends.
pub(crate) fn disassemble(code: &[u8], base: usize) -> String {
    let mut formatter = IntelFormatter::new();
    formatter.options_mut().set_branch_leading_zeros(false);
    let mut text = String::new();
    let mut decoder = Decoder::with_ip(64, code, base as u64, DecoderOptions::NONE);
    let end = (base + code.len()) as u64;
    let mut constants = end;
    while decoder.can_decode() && decoder.ip() < constants {
        let instruction = decoder.decode();
        if instruction.is_ip_rel_memory_operand() {
            constants = constants.min(instruction.ip_rel_memory_address());
        }
        text += &format!("{:6x}  ", instruction.ip());
        formatter.format(&instruction, &mut text);
        text.push('\n');
        // A function returns once, at its end. What lies between that and constants is no code.
        if constants < end && instruction.code() == Code::Retnq {
            break;
        }
    }
    let behind = constants as usize - base;
    let (constants, _) = code.get(behind..).unwrap_or_default().as_chunks::<CONSTANT>();
    for (number, bytes) in constants.iter().enumerate() {
        let [at, bits] = [base + behind + number * CONSTANT, u32::from_le_bytes(*bytes) as usize];
        text += &format!("{at:6x}  dd {bits:#x}\n");
    }
    text
}
