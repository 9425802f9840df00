//! The leaf functions of kernels in the interpreter of the portable assembler: the registers of every
//! instruction set that they are assembled for, on any host, against their definitions.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod cases;
mod faults;
mod fetches;

use cardinal_compiler::asm::interpret;
use cardinal_compiler::asm::{Address, Assembler, Instruction, Register, Vectors};
use cases::{Case, KINDS, assembled};

/// Random functions of each kind and instruction set.
const SEEDS: u64 = 300;

fn check(kind: usize) {
    let (name, make) = KINDS[kind];
    for (vectors, seed) in assembled().flat_map(|v| (0..SEEDS).map(move |s| (v, s))) {
        let case = Case::of(make, vectors, seed);
        if let Some(wrong) = wrong(&case, seed) {
            panic!("{name} for {vectors:?}, seed {seed}: {wrong}\n{}", case.spec);
        }
    }
}

/// What a function does wrong, if anything.
fn wrong(case: &Case, seed: u64) -> Option<String> {
    let mut memory = case.memory(seed);
    let call = case.call(&memory);
    match interpret::run(&case.function, &call, &mut memory, &mut |_| {}) {
        Ok(()) => case.difference(&memory),
        Err(fault) => Some(fault.to_string()),
    }
}

#[test]
fn micro_kernels_contract_tiles() {
    check(0);
}

#[test]
fn micro_kernels_of_narrow_groups_contract_channels_of_the_group() {
    check(1);
}

#[test]
fn input_transforms_evaluate_polynomials() {
    check(2);
}

#[test]
fn output_transforms_interpolate() {
    check(3);
}

#[test]
fn sums_of_inputs_are_strassens() {
    check(4);
}

#[test]
fn sums_of_products_are_strassens() {
    check(5);
}

#[test]
fn micro_kernels_of_bytes_contract_words() {
    check(6);
}

#[test]
fn micro_kernels_of_bytes_in_narrow_groups_contract_words_of_the_group() {
    check(7);
}

#[test]
fn micro_kernels_of_bytes_in_pairs_contract_words() {
    check(8);
}

#[test]
fn micro_kernels_of_bytes_in_pairs_contract_words_of_narrow_groups() {
    check(9);
}

#[test]
fn micro_kernels_of_halves_contract_pairs() {
    check(10);
}

#[test]
fn micro_kernels_of_halves_without_vnni_contract_pairs() {
    check(11);
}

#[test]
fn input_transforms_of_bytes_are_exact() {
    check(12);
}

#[test]
fn output_transforms_round_to_bytes() {
    check(13);
}

#[test]
fn sums_of_dense_layers_are_of_all_products() {
    check(14);
}

#[test]
fn rows_of_functions_compute_them() {
    check(15);
}

#[test]
fn micro_kernels_of_bfloat16_contract_pairs() {
    check(16);
}

#[test]
fn copies_are_the_nearest_bfloat16() {
    check(17);
}

#[test]
fn input_transforms_round_to_bfloat16() {
    check(18);
}

#[test]
fn a_nan_stays() {
    for (vectors, seed) in assembled().flat_map(|v| (0..40).map(move |s| (v, s))) {
        for (name, make) in KINDS {
            let case = Case::of(make, vectors, seed);
            let mut memory = case.memory(seed);
            let bias = memory.regions.iter_mut().find(|r| r.name == "bias" && !r.bytes.is_empty());
            let Some(bias) = bias else { continue };
            bias.bytes.fill(0xFF);
            let call = case.call(&memory);
            interpret::run(&case.function, &call, &mut memory, &mut |_| {}).unwrap();
            let stays = case.output(&memory).iter().all(|x| x.is_nan());
            assert!(stays, "{name} for {vectors:?}, seed {seed}:\n{}", case.spec);
        }
    }
}

/// Where a relu makes zeros of both, an element is as good as its neighbour.
#[test]
fn an_address_that_is_an_element_off_is_noticed() {
    for (name, make) in KINDS {
        let mut noticed = [0, 0];
        for (vectors, seed) in assembled().flat_map(|v| (0..40).map(move |s| (v, s))) {
            let mut case = Case::of(make, vectors, seed);
            let of_memory: Vec<&mut Address> =
                case.function.instructions.iter_mut().filter_map(accessed).collect();
            let number = seed as usize * 7919 % of_memory.len();
            of_memory.into_iter().nth(number).unwrap().bytes += 4;
            noticed[usize::from(wrong(&case, seed).is_some())] += 1;
        }
        assert!(noticed[1] > 9 * noticed[0], "{name}: {} of {noticed:?}", noticed[1]);
    }
}

/// The address of what an instruction reads or writes.
fn accessed(instruction: &mut Instruction) -> Option<&mut Address> {
    match instruction {
        Instruction::Load { from: address, .. }
        | Instruction::Store { to: address, .. }
        | Instruction::Broadcast { from: address, .. }
        | Instruction::BroadcastInQuarters { from: address, .. }
        | Instruction::LoadBytes { from: address, .. }
        | Instruction::LoadSignedBytes { from: address, .. }
        | Instruction::SpreadWords { from: address, .. }
        | Instruction::StoreBytes { to: address, .. }
        | Instruction::StoreHalves { to: address, .. }
        | Instruction::LoadBfloats { from: address, .. }
        | Instruction::StoreBfloats { to: address, .. }
        | Instruction::AddMemory { from: address, .. } => Some(address),
        _ => None,
    }
}

/// The specifications above are not all alike, but for copies, of which there is one kind.
#[test]
fn every_function_is_encoded() {
    for (name, make) in KINDS {
        let mut codes = std::collections::BTreeSet::new();
        for vectors in assembled() {
            for seed in 0..30 {
                let case = Case::of(make, vectors, seed);
                codes.insert(case.function.encode().unwrap());
            }
        }
        let least = if name == "copies as bfloat16" { 1 } else { 20 };
        assert!(codes.len() >= least, "{name}: {} functions", codes.len());
    }
}

#[test]
fn there_is_no_code_without_an_encoder() {
    let mut a = Assembler::new("wide", Vectors::Avx2);
    a.set(Register::Scratch0, usize::MAX);
    let error = a.finish().encode().unwrap_err().to_string();
    assert!(error.contains("wide") && error.contains("32 bits"), "{error}");
    let neon = Assembler::new("neon", Vectors::Neon).finish();
    assert!(neon.encode().unwrap_err().to_string().contains("no encoder"));
}
