//! The machine code of leaf functions does what the interpreter says, to the bit, on memory that ends
//! where they must stop. What they must compute, the compiler's own tests say.

#![cfg(all(unix, target_arch = "x86_64"))]

#[allow(dead_code, reason = "what they must compute")]
#[path = "../../compiler/tests/leaves/cases/mod.rs"]
mod cases;

use cardinal_compiler::asm::interpret;
use cardinal_compiler::asm::{Instruction, Vectors};
use cardinal_workbench::leaf::{self, Argument};
use cardinal_workbench::machine;
use cardinal_workbench::memory::Placement;
use cases::{Case, KINDS, assembled};

/// Random functions of each kind.
const SEEDS: u64 = 200;

#[test]
fn machine_code_does_what_the_interpreter_says() {
    assembled().for_each(check);
}

fn check(vectors: Vectors) {
    if !machine::has(vectors) {
        println!("this machine has no {vectors:?}");
        return;
    }
    for ((kind, make), seed) in KINDS.into_iter().flat_map(|k| (0..SEEDS).map(move |s| (k, s))) {
        let case = Case::of(make, vectors, seed);
        // Those of bfloat16 are for one kind of vectors only.
        let vectors = case.function.vectors;
        let bfloats = |of: &Instruction| {
            matches!(of, Instruction::AddDotBfloats { .. } | Instruction::StoreBfloats { .. })
        };
        if case.function.instructions.iter().any(bfloats) && !machine::has_bfloats(vectors) {
            println!("NOT TESTED: this machine multiplies no bfloat16");
            continue;
        }
        let dots = |of: &Instruction| {
            matches!(of, Instruction::DotBytes { .. } | Instruction::AddDotHalves { .. })
        };
        if case.function.instructions.iter().any(dots) && !machine::has_dots(vectors) {
            println!("NOT TESTED: this machine has no dot products of bytes in {vectors:?}");
            continue;
        }
        // With `--nocapture`, the last line before a crash says whose it is.
        println!("{kind} for {vectors:?}, seed {seed}: {}", case.spec);
        compare(&case, seed);
    }
}

fn compare(case: &Case, seed: u64) {
    let mut memory = case.memory(seed);
    let call = case.call(&memory);
    let before = memory.clone();
    interpret::run(&case.function, &call, &mut memory, &mut |_| {}).expect("no fault");
    let contents: Vec<&[u8]> = before.regions.iter().map(|r| r.bytes.as_slice()).collect();
    let arguments = case.arguments.map(|argument| match argument {
        cases::Argument::Nothing => Argument::Number(0),
        cases::Argument::Count(count) => Argument::Number(count),
        cases::Argument::Place(place) => Argument::Address(place, case.offset(place)),
    });
    for placement in [Placement::BeforeGuard, Placement::BehindGuard] {
        let found = leaf::run(&case.function, arguments, &contents, placement);
        for (region, found) in memory.regions.iter().zip(&found) {
            assert!(region.bytes == *found, "`{}` differs", region.name);
        }
    }
}
