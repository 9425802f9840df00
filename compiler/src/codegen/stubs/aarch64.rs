//! aarch64, as words: Cranelift's assembler is not public.

use cardinal_runtime::abi::float_mode::FPCR;
use object::elf::{R_AARCH64_ADD_ABS_LO12_NC, R_AARCH64_ADR_PREL_PG_HI21};

use super::{Relocation, Stubs};

const MRS_X0_FPCR: u32 = 0xD53B_4400;
const MSR_FPCR_X0: u32 = 0xD51B_4400;
const MSR_FPCR_X1: u32 = 0xD51B_4401;
/// `movz x1, #0, lsl #16`
const MOVZ_X1_HIGH: u32 = 0xD2A0_0001;
const MOV_W0_1: u32 = 0x5280_0020;
/// `adr x0, .`
const ADR_X0: u32 = 0x1000_0000;
const ADRP_X0: u32 = 0x9000_0000;
const ADD_X0_X0: u32 = 0x9100_0000;
const RET: u32 = 0xD65F_03C0;

// The control word is set by its upper half alone.
const _: () = assert!(FPCR & 0xFFFF == 0);

pub(super) fn stubs() -> Stubs {
    let upper = MOVZ_X1_HIGH | (FPCR >> 16) << 5;
    Stubs {
        enter_mode: bytes(&[MRS_X0_FPCR, upper, MSR_FPCR_X1, RET]),
        leave_mode: bytes(&[MSR_FPCR_X0, RET]),
        here: bytes(&[ADR_X0, RET]),
        weights: bytes(&[ADRP_X0, ADD_X0_X0, RET]),
        relocations: vec![
            Relocation { offset: 0, kind: R_AARCH64_ADR_PREL_PG_HI21, addend: 0 },
            Relocation { offset: 4, kind: R_AARCH64_ADD_ABS_LO12_NC, addend: 0 },
        ],
        // Code for aarch64 uses nothing beyond its baseline, which has vectors.
        cpu_supported: bytes(&[MOV_W0_1, RET]),
    }
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
