//! Blocks whose size a model or a caller decides are made to fail in turn: each time there is an error,
//! and never an abort.
#![cfg(all(target_arch = "x86_64", unix))]
#![allow(clippy::unwrap_used, unsafe_code, reason = "an allocator that fails")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::error::Error;
use std::num::NonZeroUsize;
use std::ptr;

use cardinal_runtime::{Artifact, DType, Program, Session, Tensor};
use common::{manifest, parts};

/// Bytes from which on a block has its size from a model or a caller.
const LARGE: usize = 16 << 10;

/// Floats of the model's input and output.
const ELEMENTS: usize = 1 << 18;

thread_local! {
    /// How many large blocks this thread still gets; none fails without a number.
    static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
}

struct Failing;

#[global_allocator]
static ALLOCATOR: Failing = Failing;

impl Failing {
    /// Whether a block of this size is refused.
    fn refuses(size: usize) -> bool {
        match LEFT.get() {
            Some(left) if size >= LARGE => {
                LEFT.set(left.checked_sub(1).or(Some(0)));
                left == 0
            }
            _ => false,
        }
    }
}

// SAFETY: blocks are the system allocator's, or null, which means that there is none.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if Failing::refuses(layout.size()) {
            return ptr::null_mut();
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Loads and runs a model, whose code returns at once.
fn infer(bytes: &[u8], values: &[f32]) -> Result<Vec<Tensor>, Box<dyn Error>> {
    let program = Program::load(Artifact::copy(bytes)?)?;
    let mut session = Session::new(program, NonZeroUsize::MIN)?;
    let shape = [1, ELEMENTS];
    let inputs = [Tensor::from_f32(&shape, values)?];
    let again = Tensor::from_bytes(DType::F32, &shape, inputs[0].as_bytes())?;
    session.run(&inputs)?;
    Ok(session.run(&[again])?)
}

#[test]
fn every_large_block_that_is_refused_is_an_error() {
    let mut parts = parts();
    parts.manifest = manifest(&[1, ELEMENTS as u64]);
    parts.code[0].bytes = vec![0xC3];
    let bytes = parts.to_artifact().unwrap().as_bytes().to_vec();
    let values = vec![1.0; ELEMENTS];
    infer(&bytes, &values).unwrap();
    let mut refused = 0;
    loop {
        LEFT.set(Some(refused));
        let result = infer(&bytes, &values);
        let left = LEFT.take();
        match result {
            Err(error) => assert!(error.to_string().contains("allocate"), "{refused}: {error}"),
            // Nothing was refused any more.
            Ok(_) => break assert!(left == Some(0), "{left:?}"),
        }
        refused += 1;
    }
    println!(
        "trust: allocations of the runtime that were refused and ended in an error | {refused}"
    );
    // Two inputs, and the outputs of two runs.
    assert_eq!(refused, 4);
}
