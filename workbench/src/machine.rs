//! What the machine has and can do: its vectors, and the ceilings that kernels are held against.

use std::arch::asm;
use std::hint::black_box;
use std::time::Instant;

use cardinal_compiler::machine::Vectors;
use cardinal_runtime::cpu;

use crate::memory::{Memory, Placement};

/// Whether this machine has the instructions for these vectors.
pub fn has(vectors: Vectors) -> bool {
    let present = cpu::host_features();
    let is_present = |feature: &&str| present.iter().any(|f| f == feature);
    Vectors::X86_64.contains(&vectors) && vectors.features().iter().all(is_present)
}

/// Whether it has dot products of bytes in these vectors.
pub fn has_dots(vectors: Vectors) -> bool {
    let present = cpu::host_features();
    vectors.dots_feature().is_some_and(|feature| present.iter().any(|f| f == feature))
}

/// Whether this machine multiplies bfloat16 in these vectors.
pub fn has_bfloats(vectors: Vectors) -> bool {
    let present = cpu::host_features();
    has(vectors)
        && vectors.bfloats_feature().is_some_and(|feature| present.iter().any(|f| f == feature))
}

/// Multiply-adds of a turn of the loops below, each of a whole register and into one of its own: more
/// than are in flight.
const IN_A_TURN: usize = 12;

/// Multiply-adds a second, in units of 10⁹ operations of which each is two: the best of some runs.
///
/// # Panics
/// For vectors of other lanes than eight or sixteen, or that this machine does not have.
pub fn peak(vectors: Vectors) -> f64 {
    const TURNS: usize = 1 << 20;
    assert!(has(vectors), "this machine has no {vectors:?}");
    let turns: fn(usize) = match vectors.lanes() {
        8 => multiply_add_256,
        16 => multiply_add_512,
        lanes => panic!("no peak of registers of {lanes} lanes"),
    };
    let operations = (2 * vectors.lanes() * IN_A_TURN * TURNS) as f64;
    let run = |_| {
        let begin = Instant::now();
        turns(TURNS);
        operations / begin.elapsed().as_secs_f64() / 1e9
    };
    (0..15).map(run).fold(0.0, f64::max)
}

/// GB a second that one thread reads from memory, streaming 256 MB: the best of some runs.
pub fn bandwidth() -> f64 {
    const BYTES: usize = 256 << 20;
    let mut memory = Memory::new(BYTES, Placement::Free);
    memory.bytes_mut().fill(1);
    let run = |_| {
        let (words, _) = memory.bytes().as_chunks::<8>();
        let begin = Instant::now();
        black_box(words.iter().map(|w| u64::from_le_bytes(*w)).fold(0, u64::wrapping_add));
        BYTES as f64 / begin.elapsed().as_secs_f64() / 1e9
    };
    (0..5).map(run).fold(0.0, f64::max)
}

/// A loop of independent multiply-adds over registers of this prefix.
macro_rules! multiply_adds {
    ($name:ident, $register:literal) => {
        fn $name(turns: usize) {
            let half = 0.5f32;
            // SAFETY: touches the registers named only, and reads `half`. `peak` has seen that this
            // machine has them.
            unsafe {
                asm!(
                    concat!("vbroadcastss ", $register, "14, [{half}]"),
                    concat!("vbroadcastss ", $register, "15, [{half}]"),
                    "2:",
                    multiply_adds!(@one $register, "0"),
                    multiply_adds!(@one $register, "1"),
                    multiply_adds!(@one $register, "2"),
                    multiply_adds!(@one $register, "3"),
                    multiply_adds!(@one $register, "4"),
                    multiply_adds!(@one $register, "5"),
                    multiply_adds!(@one $register, "6"),
                    multiply_adds!(@one $register, "7"),
                    multiply_adds!(@one $register, "8"),
                    multiply_adds!(@one $register, "9"),
                    multiply_adds!(@one $register, "10"),
                    multiply_adds!(@one $register, "11"),
                    "dec {turns}",
                    "jnz 2b",
                    "vzeroupper",
                    turns = inout(reg) turns => _,
                    half = in(reg) &raw const half,
                    out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
                    out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
                    out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                    out("xmm14") _, out("xmm15") _,
                    options(readonly, nostack),
                );
            }
        }
    };
    (@one $register:literal, $sum:literal) => {
        concat!("vfmadd231ps ", $register, $sum, ", ", $register, "14, ", $register, "15")
    };
}

multiply_adds!(multiply_add_256, "ymm");
multiply_adds!(multiply_add_512, "zmm");
