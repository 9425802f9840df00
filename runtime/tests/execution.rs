//! Hand-assembled programs run as the calling convention says.

#![cfg(all(target_arch = "x86_64", unix))]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::Arc;

use cardinal_runtime::{DType, LoadError, MAX_THREADS, Program, Role, RunError, Session, Tensor};
use common::{manifest, simple, tensor};

/// Copies the first float of the input to the output.
#[rustfmt::skip]
const COPY: &[u8] = &[
    0x48, 0x8B, 0x07,             // mov  rax, [rdi]        inputs
    0x48, 0x8B, 0x00,             // mov  rax, [rax]
    0x48, 0x8B, 0x4F, 0x08,       // mov  rcx, [rdi + 8]    outputs
    0x48, 0x8B, 0x09,             // mov  rcx, [rcx]
    0x8B, 0x00,                   // mov  eax, [rax]
    0x89, 0x01,                   // mov  [rcx], eax
    0xC3,                         // ret
];

/// Adds the first weight to the input's first float, by way of the arena's last 4 of 256 bytes.
#[rustfmt::skip]
const ADD_WEIGHT: &[u8] = &[
    0x48, 0x8B, 0x07,                                // mov    rax, [rdi]        inputs
    0x48, 0x8B, 0x00,                                // mov    rax, [rax]
    0xF3, 0x0F, 0x10, 0x00,                          // movss  xmm0, [rax]
    0x48, 0x8B, 0x47, 0x10,                          // mov    rax, [rdi + 16]   weights
    0xF3, 0x0F, 0x58, 0x00,                          // addss  xmm0, [rax]
    0x48, 0x8B, 0x47, 0x18,                          // mov    rax, [rdi + 24]   arena
    0xF3, 0x0F, 0x11, 0x80, 0xFC, 0x00, 0x00, 0x00,  // movss  [rax + 252], xmm0
    0x8B, 0x80, 0xFC, 0x00, 0x00, 0x00,              // mov    eax, [rax + 252]
    0x48, 0x8B, 0x4F, 0x08,                          // mov    rcx, [rdi + 8]    outputs
    0x48, 0x8B, 0x09,                                // mov    rcx, [rcx]
    0x89, 0x01,                                      // mov    [rcx], eax
    0xC3,                                            // ret
];

/// Doubles `items` floats with a kernel at offset 64, called through `parallel_for`.
fn double(items: u32) -> Vec<u8> {
    #[rustfmt::skip]
    const ENTRY: [u8; 36] = [
        0x48, 0x83, 0xEC, 0x18,        // sub  rsp, 24
        0x48, 0x8B, 0x07,              // mov  rax, [rdi]        inputs
        0x48, 0x8B, 0x00,              // mov  rax, [rax]
        0x48, 0x89, 0x04, 0x24,        // mov  [rsp], rax        args[0]
        0x48, 0x8B, 0x47, 0x08,        // mov  rax, [rdi + 8]    outputs
        0x48, 0x8B, 0x00,              // mov  rax, [rax]
        0x48, 0x89, 0x44, 0x24, 0x08,  // mov  [rsp + 8], rax    args[1]
        0x48, 0x8B, 0x77, 0x20,        // mov  rsi, [rdi + 32]   code
        0x48, 0x83, 0xC6, 0x40,        // add  rsi, 64           kernel
        0x90, 0xB9,                    // nop; mov ecx, items
    ];
    #[rustfmt::skip]
    const FORK: [u8; 18] = [
        0x48, 0x89, 0xE2,              // mov  rdx, rsp          args
        0x48, 0x8B, 0x47, 0x28,        // mov  rax, [rdi + 40]   parallel_for
        0x48, 0x8B, 0x7F, 0x30,        // mov  rdi, [rdi + 48]   context
        0xFF, 0xD0,                    // call rax
        0x48, 0x83, 0xC4, 0x18,        // add  rsp, 24
        0xC3,                          // ret
    ];
    #[rustfmt::skip]
    const KERNEL: [u8; 32] = [
        0x48, 0x8B, 0x07,              // mov   rax, [rdi]
        0x48, 0x8B, 0x4F, 0x08,        // mov   rcx, [rdi + 8]
        0x48, 0x39, 0xD6,              // cmp   rsi, rdx         loop
        0x73, 0x13,                    // jae   done
        0xF3, 0x0F, 0x10, 0x04, 0xB0,  // movss xmm0, [rax + 4 rsi]
        0xF3, 0x0F, 0x58, 0xC0,        // addss xmm0, xmm0
        0xF3, 0x0F, 0x11, 0x04, 0xB1,  // movss [rcx + 4 rsi], xmm0
        0x48, 0xFF, 0xC6,              // inc   rsi
        0xEB, 0xE8,                    // jmp   loop
        0xC3,                          // ret                    done
    ];
    let mut code = [&ENTRY[..], &items.to_le_bytes(), &FORK].concat();
    code.resize(64, 0xCC);
    code.extend(KERNEL);
    code
}

/// A program from `x` to `y`, vectors of `length` floats.
fn program(code: &[u8], weights: &[f32], length: u64) -> Arc<Program> {
    let weights: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
    let parts = simple(manifest(&[length]), code, weights);
    Program::load(parts.to_artifact().unwrap()).unwrap()
}

fn session(program: Arc<Program>, threads: usize) -> Session {
    Session::new(program, NonZeroUsize::new(threads).unwrap()).unwrap()
}

fn vector(values: &[f32]) -> Tensor {
    Tensor::from_f32(&[values.len()], values).unwrap()
}

#[test]
fn inputs_reach_outputs() {
    let mut session = session(program(COPY, &[], 1), 1);
    for value in [1.5, -0.0, f32::INFINITY] {
        assert_eq!(session.run(&[vector(&[value])]).unwrap(), [vector(&[value])]);
    }
}

#[test]
fn weights_arena_and_entry_offset_are_where_the_frame_says() {
    let code = [&[0xCC; 48], ADD_WEIGHT].concat();
    let mut parts = simple(manifest(&[1]), &code, 0.25f32.to_le_bytes().to_vec());
    parts.code[0].variant.entry_offset = 48;
    let program = Program::load(parts.to_artifact().unwrap()).unwrap();
    let mut session = session(program, 1);
    assert_eq!(session.run(&[vector(&[2.0])]).unwrap(), [vector(&[2.25])]);
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for length in [1, 2, 3, 5, 64, 1000] {
        let values: Vec<f32> = (0..length).map(|i| (i as f32).sin()).collect();
        let doubled: Vec<f32> = values.iter().map(|x| x + x).collect();
        let program = program(&double(length), &[], u64::from(length));
        for threads in 1..=4 {
            let mut session = session(Arc::clone(&program), threads);
            assert_eq!(session.threads(), threads);
            for _ in 0..200 {
                assert_eq!(session.run(&[vector(&values)]).unwrap(), [vector(&doubled)]);
            }
        }
    }
}

#[test]
fn no_items_touch_nothing() {
    let mut session = session(program(&double(0), &[], 4), 3);
    assert_eq!(session.run(&[vector(&[1.0; 4])]).unwrap(), [vector(&[0.0; 4])]);
}

#[test]
fn sessions_run_at_once_and_move_between_threads() {
    let program = program(&double(100), &[], 100);
    let input = vector(&[1.0; 100]);
    let run = |mut session: Session| {
        for _ in 0..500 {
            let output = session.run(std::slice::from_ref(&input)).unwrap();
            assert_eq!(output[0].as_f32().unwrap(), [2.0; 100]);
        }
        session
    };
    let sessions = std::thread::scope(|scope| {
        let start = || {
            let session = session(Arc::clone(&program), 2);
            scope.spawn(|| run(session))
        };
        let running = [start(), start(), start()];
        running.map(|thread| thread.join().unwrap())
    });
    sessions.into_iter().for_each(|session| drop(run(session)));
}

#[test]
fn denormals_are_zero_in_every_thread_and_not_in_the_callers_code() {
    let denormal = f32::MIN_POSITIVE / 2.0;
    let mut session = session(program(&double(64), &[], 64), 4);
    for _ in 0..50 {
        let output = session.run(&[vector(&[denormal; 64])]).unwrap();
        assert_eq!(output[0].as_f32().unwrap(), [0.0; 64]);
        assert_ne!(black_box(denormal) + black_box(denormal), 0.0);
    }
}

#[test]
fn run_into_takes_references_and_reuses_outputs() {
    let mut session = session(program(&double(3), &[], 3), 2);
    let input = vector(&[1.0, 2.0, 3.0]);
    let mut outputs = session.new_outputs().unwrap();
    let before = outputs[0].as_bytes().as_ptr();
    session.run_into(&[&input], &mut outputs).unwrap();
    session.run_into(std::slice::from_ref(&input), &mut outputs).unwrap();
    assert_eq!(outputs, [vector(&[2.0, 4.0, 6.0])]);
    assert_eq!(outputs[0].as_bytes().as_ptr(), before);
}

/// However many threads took a part, the parts lie within the step, and the results are the same.
#[test]
fn a_trace_has_the_spans_of_every_thread_that_took_part() {
    let items = 4096;
    for threads in 1..=4 {
        let mut session = session(program(&double(items), &[], u64::from(items)), threads);
        let input = vector(&vec![1.5; items as usize]);
        let mut outputs = session.new_outputs().unwrap();
        for _ in 0..50 {
            let steps = session.run_traced(&[&input], &mut outputs).unwrap();
            assert_eq!(outputs[0].as_f32().unwrap(), vec![3.0; items as usize]);
            let [step] = &steps[..] else { panic!("{} steps", steps.len()) };
            assert!(!step.spans.is_empty() && step.begin <= step.end);
            for span in &step.spans {
                assert!(span.thread < threads, "{span:?}");
                let is_within = step.begin <= span.begin && span.end <= step.end;
                assert!(is_within && span.begin <= span.end, "{span:?} of {step:?}");
            }
        }
    }
}

#[test]
fn wrong_tensors_are_refused_by_name() {
    let mut session = session(program(COPY, &[], 1), 1);
    let error = session.run(&[]).unwrap_err();
    assert!(matches!(error, RunError::Count { role: Role::Input, expected: 1, given: 0 }));
    let error = session.run(&[vector(&[1.0, 2.0])]).unwrap_err();
    assert_eq!(error.to_string(), r#"input "x" is f32[1], f32[2] given"#);
    let error = session.run(&[Tensor::zeros(DType::I32, &[1]).unwrap()]).unwrap_err();
    assert_eq!(error.to_string(), r#"input "x" is f32[1], i32[1] given"#);
    assert!(error.remedy().unwrap().starts_with("give f32[1]"));
    let input = vector(&[1.0]);
    let error = session.run_into(&[&input], &mut []).unwrap_err();
    assert!(matches!(error, RunError::Count { role: Role::Output, expected: 1, given: 0 }));
    let error = session.run_into(&[&input], &mut [vector(&[])]).unwrap_err();
    assert_eq!(error.to_string(), r#"output "y" is f32[1], f32[0] given"#);
}

#[test]
fn absurd_numbers_of_threads_are_refused() {
    let threads = NonZeroUsize::new(MAX_THREADS + 1).unwrap();
    let error = Session::new(program(COPY, &[], 1), threads).unwrap_err();
    assert!(matches!(error, RunError::TooManyThreads { .. }));
    assert!(error.remedy().is_some());
}

#[test]
fn huge_outputs_are_errors_or_lazy() {
    let mut parts = simple(manifest(&[1]), COPY, Vec::new());
    parts.manifest.outputs.push(tensor("huge", &[1 << 34]));
    parts.code[0].variant.arena_bytes = 1 << 36;
    let program = Program::load(parts.to_artifact().unwrap()).unwrap();
    // Whether the system promises so much memory is up to it; neither answer may end the process.
    match Session::new(program, NonZeroUsize::MIN) {
        Ok(session) => drop(session.new_outputs()),
        Err(error) => assert!(matches!(error, RunError::Arena { .. })),
    }
}

#[test]
fn a_program_describes_its_model() {
    let program = program(COPY, &[], 1);
    assert_eq!(program.model_name(), "tiny");
    assert_eq!(program.metadata()[0].value, "cat,dog");
    assert_eq!(program.inputs()[0].shape, [1]);
    assert_eq!(program.outputs()[0].dtype, DType::F32);
}

#[test]
fn programs_and_sessions_cross_threads() {
    fn send<T: Send>() {}
    fn sync<T: Sync>() {}
    send::<Program>();
    sync::<Program>();
    send::<Session>();
    send::<LoadError>();
    send::<RunError>();
}

/// W^X: no mapping of the process is writable and executable, and one more is executable.
#[cfg(target_os = "linux")]
#[test]
fn no_memory_is_writable_and_executable() {
    let maps = || std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut session = session(program(&double(1), &[], 1), 2);
    session.run(&[vector(&[1.0])]).unwrap();
    let maps = maps();
    let permissions = |line: &str| line.split_whitespace().nth(1).unwrap().to_owned();
    assert!(maps.lines().any(|line| permissions(line).starts_with("r-x")));
    for line in maps.lines() {
        let permissions = permissions(line);
        assert!(!(permissions.contains('w') && permissions.contains('x')), "{line}");
    }
    // Anonymous executable memory has no name; only generated code is such.
    assert!(
        maps.lines()
            .any(|line| { permissions(line) == "r-xp" && line.split_whitespace().count() == 5 })
    );
}
