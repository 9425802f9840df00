//! What functions may do wrong, and what the interpreter says of it.

use cardinal_compiler::asm::interpret::{
    Access, AccessKind, Call, Content, Fault, Memory, Misuse, Permission, Region, Wrong, run,
};
use cardinal_compiler::asm::{Assembler, Label, Register, Vector, Vectors};

const INPUT: u64 = 0xFFFF_0000_0000_1000;
const OUTPUT: u64 = 0x40;

/// Eight elements to read at `From`, as many to write at `To`.
fn memory() -> Memory {
    let input = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, f32::NAN, -0.0];
    Memory {
        regions: vec![
            Region::of("input", INPUT, &input, Permission::Read),
            Region::of("output", OUTPUT, &[0.0; 8], Permission::ReadWrite),
        ],
    }
}

fn call() -> Call {
    Call::new([Some(INPUT), None, Some(OUTPUT), None, Some(3), None])
}

/// What is written by a function, or what is wrong with it and the number of the instruction.
fn outcome(write: impl FnOnce(&mut Assembler)) -> Result<Vec<f32>, (usize, Wrong)> {
    let mut a = Assembler::new("test", Vectors::Avx2);
    write(&mut a);
    let mut memory = memory();
    let call = Call { most_instructions: 100, ..call() };
    let result = run(&a.finish(), &call, &mut memory, &mut |_| {});
    result.map(|()| memory.regions[1].elements()).map_err(|Fault { at, wrong, .. }| (at, wrong))
}

#[test]
fn memory_ends_where_it_ends() {
    let outside = |bytes: usize| {
        outcome(|a| {
            a.zero(Vector(0));
            a.load(Vector(1), Register::From.at(bytes));
        })
    };
    assert!(outside(0).is_ok());
    let access = |kind, bytes| Access { kind, address: INPUT + bytes, bytes: 8 * size_of::<f32>() };
    let (near, read) = ("`input`, which has 32".to_owned(), access(AccessKind::Read, 4));
    let wrong = Misuse::Outside { access: read, near, from: 4 };
    assert_eq!(outside(4), Err((1, Wrong::Memory(wrong))));
    let unaligned = Misuse::Unaligned(access(AccessKind::Read, 2));
    assert_eq!(outside(2), Err((1, Wrong::Memory(unaligned))));
    let written = outcome(|a| {
        a.zero(Vector(0));
        a.store(Register::From.at(0), Vector(0));
    });
    let access = access(AccessKind::Write, 0);
    let read_only = Misuse::ReadOnly { access, region: "input" };
    assert_eq!(written, Err((1, Wrong::Memory(read_only))));
}

/// Two products of bytes may be more than an i16.
#[test]
fn sums_of_pairs_stop_at_their_ends() {
    const ONES: u32 = 0x0001_0001;
    for (weights, expected) in [
        (0x7F7F_7F7F_u32, 2.0 * 32767.0),
        (0x8080_8080, -2.0 * 32768.0),
        (0x0040_0040, 2.0 * 255.0 * 64.0),
        (0x807F_0001, 255.0 * (127.0 - 128.0) + 255.0),
    ] {
        let found = outcome(|a| {
            for (vector, bits) in [(1, u32::MAX), (2, weights), (3, ONES)] {
                a.splat(Vector(vector), f32::from_bits(bits));
            }
            a.dot_pairs(Vector(1), Vector(1), Vector(2));
            a.dot_halves(Vector(1), Vector(1), Vector(3));
            a.floats_of_integers(Vector(1), Vector(1));
            a.store(Register::To.at(0), Vector(1));
        });
        assert_eq!(found, Ok(vec![expected; 8]), "{weights:#x}");
    }
}

#[test]
fn no_address_is_wrong_for_a_prefetch() {
    let fetched = outcome(|a| {
        a.prefetch_t0(Register::From.at(1 << 20));
        a.prefetch_t1(Register::To.at(1));
        a.prefetch_write(Register::From.at(0));
    });
    assert!(fetched.is_ok());
}

#[test]
fn registers_hold_what_was_written_to_them() {
    let vector = outcome(|a| a.add(Vector(1), Vector(2), Vector(2)));
    assert_eq!(vector, Err((0, Wrong::UnsetVector(Vector(2)))));
    let none = outcome(|a| a.zero(Vector(16)));
    assert_eq!(none, Err((0, Wrong::NoVector(Vector(16)))));
    let argument = outcome(|a| a.copy(Register::Scratch0, Register::Other));
    assert_eq!(argument, Err((0, Wrong::Unset(Register::Other, Content::Nothing))));
    let callers = outcome(|a| a.add_immediate(Register::Saved1, 4));
    let content = Content::Callers(Register::Saved1);
    assert_eq!(callers, Err((0, Wrong::Unset(Register::Saved1, content))));
    let clobbered = outcome(|a| {
        a.copy(Register::Scratch0, Register::From);
        a.splat(Vector(0), 1.5);
        a.load(Vector(1), Register::Scratch0.at(0));
    });
    assert_eq!(clobbered, Err((2, Wrong::Unset(Register::Scratch0, Content::Nothing))));
}

#[test]
fn the_caller_finds_what_it_left() {
    let saved = outcome(|a| {
        a.save(Register::Saved0);
        a.set(Register::Saved0, 7);
        a.restore(Register::Saved0);
    });
    assert!(saved.is_ok());
    let kept = outcome(|a| a.save(Register::Saved0));
    assert_eq!(kept, Err((1, Wrong::StillSaved(1))));
    let never = outcome(|a| a.restore(Register::Saved0));
    assert_eq!(never, Err((0, Wrong::NothingSaved)));
    let changed = outcome(|a| a.set(Register::Saved5, 7));
    let wrong = Wrong::NotRestored(Register::Saved5, Content::Number(7));
    assert_eq!(changed, Err((1, wrong)));
    let swapped = outcome(|a| {
        a.save(Register::Saved0);
        a.save(Register::Saved1);
        a.restore(Register::Saved0);
        a.restore(Register::Saved1);
    });
    let content = Content::Callers(Register::Saved1);
    assert_eq!(swapped, Err((4, Wrong::NotRestored(Register::Saved0, content))));
}

#[test]
fn loops_end() {
    let rounds = outcome(|a| {
        a.zero(Vector(0));
        a.splat(Vector(1), 0.5);
        let again = a.here();
        a.add(Vector(0), Vector(0), Vector(1));
        a.loop_back(Register::Tiles, again);
        a.store(Register::To.at(0), Vector(0));
    });
    assert_eq!(rounds, Ok(vec![1.5; 8]));
    let never = outcome(|a| {
        a.set(Register::Tiles, 0);
        a.loop_back(Register::Tiles, Label(0));
    });
    assert_eq!(never, Err((1, Wrong::Counter(Register::Tiles))));
    let endless = outcome(|a| {
        a.set(Register::Tiles, 2);
        a.loop_back(Register::Tiles, Label(0));
    });
    assert_eq!(endless, Err((0, Wrong::Endless(100))));
    let beyond = outcome(|a| a.loop_back(Register::Tiles, Label(9)));
    assert_eq!(beyond, Err((9, Wrong::NoEnd)));
}

#[test]
fn a_fault_says_where_and_what() {
    let mut a = Assembler::new("relu", Vectors::Avx512);
    a.max(Vector(0), Vector(1), Vector(0));
    let fault = run(&a.finish(), &call(), &mut memory(), &mut |_| {}).unwrap_err();
    let text = fault.to_string();
    assert!(text.starts_with("relu, instruction 0, Max") && text.ends_with("holds nothing"));
}

#[test]
fn lanes_are_picked_and_nans_stay_in_the_second_operand() {
    let quarters = outcome(|a| {
        a.broadcast_in_quarters(Vector(0), Register::From.at(0), 1);
        a.store(Register::To.at(0), Vector(0));
    });
    assert_eq!(quarters, Ok(vec![2.0, 2.0, 2.0, 2.0, 6.0, 6.0, 6.0, 6.0]));
    let max = |swap: bool| {
        let [a, b] = if swap { [1, 0] } else { [0, 1] }.map(Vector);
        let written = outcome(|asm| {
            asm.splat(Vector(0), 4.5);
            asm.load(Vector(1), Register::From.at(0));
            asm.max(Vector(2), a, b);
            asm.store(Register::To.at(0), Vector(2));
        });
        written.unwrap()
    };
    let [stays, lost] = [max(false), max(true)];
    assert_eq!(stays[..6], [4.5, 4.5, 4.5, 4.5, 5.0, 6.0]);
    assert!(stays[6].is_nan() && stays[7] == 4.5);
    assert_eq!(lost, [4.5, 4.5, 4.5, 4.5, 5.0, 6.0, 4.5, 4.5]);
}

#[test]
fn products_are_rounded_once() {
    let written = outcome(|a| {
        a.splat(Vector(0), 1.0 + f32::EPSILON);
        a.splat(Vector(1), -1.0 - 2.0 * f32::EPSILON);
        a.multiply_add(Vector(1), Vector(0), Vector(0));
        a.store(Register::To.at(0), Vector(1));
    });
    assert_eq!(written, Ok(vec![f32::EPSILON * f32::EPSILON; 8]));
}
