//! Sixteen threads, each with a session of one program, for thousands of inferences: every result
//! has the right bits, and memory does not grow. No page can ever be both written and executed.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};

use cardinal_compiler::codegen::Target;
use cardinal_compiler::onnx::{NoExternalData, import};
use cardinal_compiler::options::{CompileOptions, ImportOptions};
use cardinal_runtime::{Program, Session, Tensor, cpu};

const THREADS: usize = 16;

/// The test comes in so many parts. Memory grows in the first ones, until the allocator's arenas have
/// seen every mixture of threads and sessions, and must not in every one.
const PARTS: usize = 12;

/// Inferences of each thread in each part.
const RUNS: usize = 250;

/// A session does this many, then another takes its place.
const RUNS_OF_A_SESSION: usize = 10;

/// Growth that is not ours, in KiB. A part has 4,000 inferences, so 64 bytes lost in each would be
/// 250, and 400 sessions.
const SLACK: u64 = 128;

fn program() -> Arc<Program> {
    let model = include_bytes!("../../examples/digits/mnist_resnest.onnx");
    let model = import(model.as_slice().into(), &NoExternalData, &ImportOptions::default());
    let target = Target::new(&cpu::host_triple(), &cpu::host_features()).unwrap();
    let options = CompileOptions::default();
    let compiled = cardinal_compiler::compile(&model.unwrap(), &[target], &options).unwrap();
    Program::load(compiled.parts.to_artifact().unwrap()).unwrap()
}

/// An image that no other thread has.
fn image(thread: usize) -> Tensor {
    let pixel = |i: usize| ((i * 37 + thread * 59) % 101) as f32 / 50.0 - 1.0;
    Tensor::from_f32(&[1, 1, 28, 28], &(0..28 * 28).map(pixel).collect::<Vec<_>>()).unwrap()
}

fn session(program: &Arc<Program>, threads: usize) -> Session {
    Session::new(Arc::clone(program), NonZeroUsize::new(threads).unwrap()).unwrap()
}

/// The process's memory that is in use, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Runs one part of what a thread does, in each of the three ways to run. How often it was wrong.
fn part(program: &Arc<Program>, threads: usize, input: &Tensor, expected: &Tensor) -> usize {
    let mut wrong = 0;
    for _ in 0..RUNS / RUNS_OF_A_SESSION {
        let mut session = session(program, threads);
        let mut outputs = session.new_outputs().unwrap();
        for run in 0..RUNS_OF_A_SESSION {
            outputs[0].as_bytes_mut().fill(0xFF);
            match run % 3 {
                0 => outputs = session.run(std::slice::from_ref(input)).unwrap(),
                1 => session.run_into(&[input], &mut outputs).unwrap(),
                _ => {
                    let outputs = outputs.iter_mut().map(Tensor::as_bytes_mut);
                    session.run_slices([input.as_bytes()], outputs).unwrap();
                }
            }
            wrong += usize::from(outputs[0] != *expected);
        }
    }
    wrong
}

#[test]
fn sixteen_threads_share_a_program_in_flat_memory() {
    let program = program();
    let images: Vec<Tensor> = (0..THREADS).map(image).collect();
    let mut alone = session(&program, 1);
    let expected: Vec<Tensor> =
        images.iter().map(|x| alone.run(std::slice::from_ref(x)).unwrap().remove(0)).collect();
    assert!(expected.windows(2).all(|pair| pair[0] != pair[1]), "results tell threads apart");

    let all = Barrier::new(THREADS + 1);
    let (wrong, memory) = std::thread::scope(|scope| {
        let start = |thread: usize| {
            let (program, all, x, y) = (&program, &all, &images[thread], &expected[thread]);
            // A few have a worker.
            let threads = 1 + usize::from(thread.is_multiple_of(8));
            scope.spawn(move || {
                let mut wrong = 0;
                for _ in 0..PARTS {
                    wrong += part(program, threads, x, y);
                    all.wait();
                    all.wait(); // Memory is measured meanwhile.
                }
                wrong
            })
        };
        let running: Vec<_> = (0..THREADS).map(start).collect();
        let memory = [(); PARTS].map(|()| {
            all.wait();
            let memory = resident();
            all.wait();
            memory
        });
        (running.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>(), memory)
    });
    assert_eq!(wrong, 0, "of {} results", PARTS * THREADS * RUNS);
    // Allocators fill their pools for a while; what leaks, leaks in every part.
    let growth = memory.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).min();
    println!("resident, in KiB: {memory:?}");
    assert!(growth.unwrap() <= SLACK, "memory grew in every part, in KiB: {memory:?}");
}

/// Lines of the process's map of memory with pages that can be both written and executed.
fn writable_and_executable() -> Vec<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(maps.contains(" r-xp "), "no page can be executed: {maps}");
    let is_both = |line: &&str| {
        let rights = line.split(' ').nth(1).unwrap();
        rights.contains('w') && rights.contains('x')
    };
    maps.lines().filter(is_both).map(str::to_owned).collect()
}

#[test]
fn no_page_can_be_both_written_and_executed() {
    let is_done = AtomicBool::new(false);
    let looks = std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut looks = 0;
            while !is_done.load(Ordering::Relaxed) {
                assert_eq!(writable_and_executable(), [""; 0], "while models compile and run");
                looks += 1;
            }
            looks
        });
        for _ in 0..3 {
            // Compiles, and maps the code.
            let program = program();
            let mut session = session(&program, 2);
            for thread in 0..20 {
                session.run(&[image(thread)]).unwrap();
            }
            assert_eq!(writable_and_executable(), [""; 0], "with a session");
        }
        is_done.store(true, Ordering::Relaxed);
        looking.join().unwrap()
    });
    assert!(looks > 0, "nobody looked meanwhile");
    assert_eq!(writable_and_executable(), [""; 0], "afterwards");
}
