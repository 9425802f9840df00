//! x86-64.

use cardinal_runtime::abi::float_mode::MXCSR;
use iced_x86::{Code, IcedError, Instruction, MemoryOperand, Register};
use object::elf::R_X86_64_PC32;

use super::{Relocation, Stubs};
use crate::asm::x86::encode;
use crate::error::{Error, Result};

/// A leaf of `cpuid` and its sub-leaf, the register that has the answer, and the features by bit (Intel's
/// Software Developer's Manual, volume 2, CPUID). A sub-leaf that there is not answers with zeros.
type Row = ([u32; 2], Register, &'static [(&'static str, u32)]);

#[rustfmt::skip]
const ROWS: [Row; 5] = [
    ([1, 0], Register::ECX, &[
        ("sse3", 0), ("ssse3", 9), ("fma", 12), ("sse4.1", 19), ("sse4.2", 20), ("popcnt", 23),
        (OSXSAVE, 27), ("avx", 28),
    ]),
    ([7, 0], Register::EBX, &[
        ("bmi1", 3), ("avx2", 5), ("bmi2", 8), ("avx512f", 16), ("avx512dq", 17), ("avx512cd", 28),
        ("avx512bw", 30), ("avx512vl", 31),
    ]),
    ([7, 0], Register::ECX, &[("avx512vnni", 11)]),
    ([7, 1], Register::EAX, &[("avxvnni", 4), ("avx512bf16", 5)]),
    ([0x8000_0001, 0], Register::ECX, &[("lzcnt", 5)]),
];

/// That the system saves registers as `xgetbv` says.
const OSXSAVE: &str = "osxsave";

/// State components that the system saves: XMM and YMM; opmasks and both parts of ZMM.
const AVX_STATE: u32 = 0b0000_0110;
const AVX512_STATE: u32 = 0b1110_0000;

/// Where `cpuid` tells the last leaf of the range that a leaf is in.
const RANGE: u32 = 0x8000_0000;

pub(super) fn stubs(features: &[String]) -> Result<Stubs> {
    Ok(Stubs {
        enter_mode: encode("enter_mode", &enter_mode()?)?,
        leave_mode: encode("leave_mode", &leave_mode()?)?,
        here: LEA_RAX_HERE.to_vec(),
        weights: LEA_RAX_LINKED.to_vec(),
        // Distances count from the end of the field.
        relocations: vec![Relocation { offset: 3, kind: R_X86_64_PC32, addend: -4 }],
        cpu_supported: Detection::new(features)?.code()?,
    })
}

/// `lea rax, [rip - 7]; ret`
const LEA_RAX_HERE: [u8; 8] = [0x48, 0x8D, 0x05, 0xF9, 0xFF, 0xFF, 0xFF, 0xC3];

/// `lea rax, [rip + …]; ret`
const LEA_RAX_LINKED: [u8; 8] = [0x48, 0x8D, 0x05, 0, 0, 0, 0, 0xC3];

fn top_of_stack() -> MemoryOperand {
    MemoryOperand::with_base(Register::RSP)
}

fn enter_mode() -> Result<Vec<Instruction>> {
    collect([
        Instruction::with1(Code::Push_r64, Register::RAX),
        Instruction::with1(Code::Stmxcsr_m32, top_of_stack()),
        Instruction::with2(Code::Mov_r32_rm32, Register::EAX, top_of_stack()),
        Instruction::with2(Code::Mov_rm32_imm32, top_of_stack(), MXCSR),
        Instruction::with1(Code::Ldmxcsr_m32, top_of_stack()),
        Instruction::with1(Code::Pop_r64, Register::RCX),
        Ok(Instruction::with(Code::Retnq)),
    ])
}

fn leave_mode() -> Result<Vec<Instruction>> {
    collect([
        Instruction::with1(Code::Push_r64, Register::RDI),
        Instruction::with1(Code::Ldmxcsr_m32, top_of_stack()),
        Instruction::with1(Code::Pop_r64, Register::RDI),
        Ok(Instruction::with(Code::Retnq)),
    ])
}

fn collect<const N: usize>(
    instructions: [std::result::Result<Instruction, IcedError>; N],
) -> Result<Vec<Instruction>> {
    let all: std::result::Result<Vec<_>, _> = instructions.into_iter().collect();
    all.map_err(|error| Error::internal(error.to_string()))
}

/// What has to be there.
#[derive(Debug, PartialEq, Eq)]
struct Detection {
    /// Bits by row of [`ROWS`].
    bits: [u32; ROWS.len()],
    /// Bits of XCR0.
    state: u32,
}

impl Detection {
    fn new(features: &[String]) -> Result<Detection> {
        let mut detection = Detection { bits: [0; ROWS.len()], state: 0 };
        for feature in features {
            detection.need(feature)?;
            if feature.starts_with("avx") || feature == "fma" {
                detection.need(OSXSAVE)?;
                detection.state |= AVX_STATE;
            }
            if feature.starts_with("avx512") {
                detection.state |= AVX512_STATE;
            }
        }
        Ok(detection)
    }

    fn need(&mut self, feature: &str) -> Result<()> {
        for (bits, (_, _, row)) in self.bits.iter_mut().zip(&ROWS) {
            if let Some((_, bit)) = row.iter().find(|(name, _)| *name == feature) {
                *bits |= 1 << bit;
                return Ok(());
            }
        }
        Err(Error::internal(format!("nobody knows how to detect `{feature}`")))
    }

    /// Asks the rows in order, and leaves at the first that lacks something. `xgetbv` comes after
    /// the first row, which has the bit that allows it.
    fn code(&self) -> Result<Vec<u8>> {
        let mut asm = Checks::default();
        // `cpuid` writes to it, and it is the caller's.
        asm.push(Instruction::with1(Code::Push_r64, Register::RBX))?;
        for ((leaf, register, _), bits) in ROWS.into_iter().zip(self.bits) {
            if bits != 0 {
                asm.cpuid(leaf, register, bits)?;
            }
            if leaf == [1, 0] && self.state != 0 {
                asm.xgetbv(self.state)?;
            }
        }
        asm.finish()
    }
}

/// Instructions of a function that returns 0 where a check fails, and 1 at its end.
#[derive(Debug, Default)]
struct Checks {
    instructions: Vec<Instruction>,
}

/// The address before encoding of the instruction that failed checks jump to.
const FAILED: u64 = u32::MAX as u64;

impl Checks {
    fn push(&mut self, instruction: std::result::Result<Instruction, IcedError>) -> Result<()> {
        let mut instruction = instruction.map_err(|e| Error::internal(e.to_string()))?;
        instruction.set_ip(self.instructions.len() as u64);
        self.instructions.push(instruction);
        Ok(())
    }

    fn set(&mut self, register: Register, value: u32) -> Result<()> {
        self.push(Instruction::with2(Code::Mov_r32_imm32, register, value))
    }

    /// Fails unless the leaf exists and has all the bits in the register.
    fn cpuid(&mut self, [leaf, part]: [u32; 2], register: Register, bits: u32) -> Result<()> {
        self.set(Register::EAX, leaf & RANGE)?;
        self.push(Ok(Instruction::with(Code::Cpuid)))?;
        self.push(Instruction::with2(Code::Cmp_rm32_imm32, Register::EAX, leaf))?;
        self.push(Instruction::with_branch(Code::Jb_rel32_64, FAILED))?;
        self.set(Register::EAX, leaf)?;
        self.set(Register::ECX, part)?;
        self.push(Ok(Instruction::with(Code::Cpuid)))?;
        self.all_of(register, bits)
    }

    /// Fails unless the system saves all these parts of the state.
    fn xgetbv(&mut self, state: u32) -> Result<()> {
        self.set(Register::ECX, 0)?;
        self.push(Ok(Instruction::with(Code::Xgetbv)))?;
        self.all_of(Register::EAX, state)
    }

    fn all_of(&mut self, register: Register, bits: u32) -> Result<()> {
        self.push(Instruction::with2(Code::And_rm32_imm32, register, bits))?;
        self.push(Instruction::with2(Code::Cmp_rm32_imm32, register, bits))?;
        self.push(Instruction::with_branch(Code::Jne_rel32_64, FAILED))
    }

    fn finish(mut self) -> Result<Vec<u8>> {
        self.answer(1)?;
        let failed = self.instructions.len();
        self.answer(0)?;
        self.instructions[failed].set_ip(FAILED);
        encode("cpu_supported", &self.instructions)
    }

    fn answer(&mut self, value: u32) -> Result<()> {
        self.set(Register::EAX, value)?;
        self.push(Instruction::with1(Code::Pop_r64, Register::RBX))?;
        self.push(Ok(Instruction::with(Code::Retnq)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_that_code_uses_can_be_detected() {
        for (feature, _) in crate::codegen::target::USED {
            assert!(stubs(&[(*feature).into()]).is_ok(), "{feature}");
        }
        assert!(stubs(&["telepathy".into()]).is_err());
    }

    #[test]
    fn wide_registers_need_a_system_that_saves_them() {
        let needs = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).into()).collect();
            Detection::new(&names).unwrap()
        };
        assert_eq!(needs(&[]), Detection { bits: [0; 5], state: 0 });
        assert_eq!(needs(&["lzcnt", "sse3"]), Detection { bits: [1, 0, 0, 0, 1 << 5], state: 0 });
        let avx2 = Detection { bits: [1 << 27, 1 << 5, 0, 0, 0], state: 0b110 };
        assert_eq!(needs(&["avx2"]), avx2);
        assert_eq!(needs(&["avx2", "avx512f"]).state, 0b1110_0110);
    }
}
