//! What C cannot be made to show easily: panics, other threads, memory's end.

use std::ffi::CStr;
use std::ptr::{null, null_mut};

use cardinal_runtime::manifest::{Manifest, Property, TensorInfo, Variant};
use cardinal_runtime::{ArtifactParts, Code, DType, cpu};

use crate::info::{Description, Dtype};
use crate::program::*;
use crate::session::*;
use crate::status::{Failure, Status, cardinal_last_error, guard};

fn last_error() -> String {
    // SAFETY: a string, which lives until the next failure.
    unsafe { CStr::from_ptr(cardinal_last_error()) }.to_str().unwrap().to_owned()
}

/// An artifact whose code is not code, with a name that has a zero inside.
fn artifact() -> Vec<u8> {
    let tensor = |name: &str, dtype: DType, shape: &[u64]| TensorInfo {
        name: name.into(),
        dtype: dtype as u32,
        shape: shape.to_vec(),
    };
    let manifest = Manifest {
        model_name: "a\0b".into(),
        model_digest: (0..32).collect(),
        target: cpu::host_triple(),
        inputs: vec![tensor("x", DType::F32, &[2, 3]), tensor("i", DType::I64, &[])],
        outputs: vec![tensor("y", DType::U8, &[4])],
        metadata: vec![Property { key: "k".into(), value: "v".into() }],
        ..Manifest::default()
    };
    let variant = Variant { name: "any".into(), ..Variant::default() };
    let code = vec![Code { variant, bytes: vec![0xC3] }];
    let parts = ArtifactParts { manifest, code, ..ArtifactParts::<Vec<u8>>::default() };
    parts.to_artifact().unwrap().as_bytes().to_vec()
}

fn program() -> *mut Program {
    let (bytes, mut program) = (artifact(), null_mut());
    // SAFETY: the bytes are there, and so is the place.
    let status = unsafe {
        cardinal_program_from_bytes(bytes.as_ptr().cast(), bytes.len(), null(), &raw mut program)
    };
    assert_eq!(status, Status::Ok, "{}", last_error());
    program
}

fn session() -> *mut Session {
    let (program, mut session) = (program(), null_mut());
    // SAFETY: a program, and a place; the program is freed once, and its session lives on.
    unsafe {
        assert_eq!(cardinal_session_new(program, 1, &raw mut session), Status::Ok);
        cardinal_program_free(program);
    }
    session
}

#[test]
fn panics_end_here() {
    assert_eq!(guard(|| panic!("number {}", 7)), Status::Internal);
    assert_eq!(last_error(), "a bug in Cardinal: number 7");
    assert_eq!(guard(|| panic!("plain\0text")), Status::Internal);
    assert_eq!(last_error(), "a bug in Cardinal: plain\u{FFFD}text");
    assert_eq!(guard(|| std::panic::panic_any(7)), Status::Internal);
    assert_eq!(last_error(), "a bug in Cardinal: a panic");
}

#[test]
fn errors_are_the_threads_own_and_stay_until_the_next() {
    std::thread::spawn(|| assert_eq!(last_error(), "")).join().unwrap();
    assert_eq!(guard(|| Err(Failure::Null("one"))), Status::Argument);
    std::thread::spawn(|| {
        assert_eq!(last_error(), "");
        guard(|| Err(Failure::Null("two")));
        assert_eq!(last_error(), "two is null");
    })
    .join()
    .unwrap();
    assert_eq!(guard(|| Ok(())), Status::Ok);
    assert_eq!(last_error(), "one is null");
}

/// Fails while the thread's variables are being destroyed.
struct Late;

impl Drop for Late {
    fn drop(&mut self) {
        guard(|| Err(Failure::Null("late")));
        cardinal_last_error();
    }
}

#[test]
fn a_thread_that_ends_can_still_fail() {
    thread_local!(static LATE: Late = const { Late });
    std::thread::spawn(|| {
        LATE.with(|_| ());
        guard(|| Err(Failure::Null("early")));
    })
    .join()
    .unwrap();
}

#[test]
fn programs_are_described() {
    let program = program();
    // SAFETY: the program is not freed before the end; what its info says is there.
    unsafe {
        let info = cardinal_program_info(program).as_ref().unwrap();
        let text = |pointer| CStr::from_ptr(pointer).to_str().unwrap();
        assert_eq!(text(info.model_name), "a\u{FFFD}b");
        assert_eq!(
            text(info.model_digest),
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
        );
        assert_eq!(text(info.target), cpu::host_triple());
        assert_eq!(text(info.variant), "any");
        let inputs = std::slice::from_raw_parts(info.inputs, info.input_count);
        let shape = |i: usize| std::slice::from_raw_parts(inputs[i].shape, inputs[i].rank);
        let kind = |i: usize| (text(inputs[i].name), inputs[i].dtype, inputs[i].bytes);
        assert_eq!((kind(0), shape(0)), (("x", Dtype::F32, 24), &[2, 3][..]));
        assert_eq!((kind(1), shape(1)), (("i", Dtype::I64, 8), &[][..]));
        let output = info.outputs.as_ref().unwrap();
        assert_eq!((info.output_count, text(output.name), output.bytes), (1, "y", 4));
        let property = info.metadata.as_ref().unwrap();
        assert_eq!((info.metadata_count, text(property.key), text(property.value)), (1, "k", "v"));
        cardinal_program_free(program);
    }
}

#[test]
fn element_types_have_the_runtimes_numbers() {
    for dtype in DType::ALL {
        assert_eq!(Dtype::from(dtype) as u32, dtype as u32);
    }
}

#[test]
fn descriptions_can_move() {
    let artifact = cardinal_runtime::Artifact::copy(&artifact()).unwrap();
    let program = cardinal_runtime::Program::load(artifact).unwrap();
    let moved = Box::new(Description::new(&program));
    // SAFETY: the description lives, wherever it is.
    assert_eq!(unsafe { CStr::from_ptr((*moved.info.inputs).name) }, c"x");
}

#[test]
fn a_session_is_busy_for_other_threads() {
    let session = session();
    // SAFETY: a session that is not freed before the end.
    let shared = unsafe { &*session };
    let running = shared.0.lock().unwrap();
    // SAFETY: no tensors.
    let status = unsafe { cardinal_session_run(session, null(), 0, null(), 0) };
    assert_eq!(status, Status::Busy);
    assert!(last_error().contains("session of its own"), "{}", last_error());
    drop(running);
    // SAFETY: as above; then the session is freed, once.
    unsafe {
        assert_eq!(cardinal_session_run(session, null(), 0, null(), 0), Status::Argument);
        assert!(last_error().starts_with("the model has 2 input(s), 0 given\nhelp: "));
        cardinal_session_free(session);
    }
}

#[test]
fn tensors_that_no_memory_could_hold_are_refused() {
    let (session, mut cell) = (session(), 0u64);
    let data = (&raw mut cell).cast();
    let run = |input_bytes, count, output_bytes| {
        let inputs = [Input { data, bytes: input_bytes }];
        let outputs = [Output { data, bytes: output_bytes }];
        // SAFETY: counts and sizes are refused before anybody looks there.
        let status =
            unsafe { cardinal_session_run(session, inputs.as_ptr(), count, outputs.as_ptr(), 1) };
        assert_eq!(status, Status::Argument);
        last_error()
    };
    assert_eq!(run(usize::MAX, 1, 4), "a tensor is longer than memory");
    assert_eq!(run(1 << 63, 1, 4), "a tensor is longer than memory");
    assert_eq!(run(4, usize::MAX / 8, 4), "inputs is longer than memory");
    assert_eq!(run(8, 1, 8), "output 0 overlaps another tensor");
    // SAFETY: freed once.
    unsafe { cardinal_session_free(session) };
}
