//! Sessions that share a pool: their results have the bits of sessions that have threads of their own, and
//! there are no more threads than the pool has.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

use std::fs::{read_dir, read_to_string};
use std::num::NonZeroUsize;
use std::sync::{Arc, Barrier};
use std::thread::sleep;
use std::time::{Duration, Instant};

use cardinal_compiler::{Model, Target};
use cardinal_runtime::{Pool, Program, Session, Tensor, cpu};

/// Threads of the pool: more than most machines that test have, so that some are always late.
const THREADS: NonZeroUsize = NonZeroUsize::new(4).unwrap();

/// Sessions that run at the same time.
const SESSIONS: usize = 8;

const RUNS: usize = 200;

fn program() -> Arc<Program> {
    let model = include_bytes!("../../examples/digits/mnist_resnest.onnx");
    let model = Model::read(model.as_slice()).unwrap();
    let target = Target::new(&cpu::host_triple(), &cpu::host_features()).unwrap();
    Program::load(model.compile(&[target]).unwrap().parts.to_artifact().unwrap()).unwrap()
}

/// An image that no other session has.
fn image(session: usize) -> Tensor {
    let pixel = |i: usize| ((i * 37 + session * 59) % 101) as f32 / 50.0 - 1.0;
    Tensor::from_f32(&[1, 1, 28, 28], &(0..28 * 28).map(pixel).collect::<Vec<_>>()).unwrap()
}

/// Threads of this process that are workers of pools, by their names.
fn workers() -> usize {
    let tasks = read_dir("/proc/self/task").unwrap();
    // One that ends meanwhile has no name.
    let names = tasks.filter_map(|task| read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.starts_with("cardinal-")).count()
}

/// [`workers`] once there are so many, or after a while: a thread takes its name when it first runs, and one that
/// has been joined is listed until the system has cleared it away.
fn workers_once(expected: usize) -> usize {
    const PATIENCE: Duration = Duration::from_secs(20);
    let begin = Instant::now();
    while workers() != expected && begin.elapsed() < PATIENCE {
        sleep(Duration::from_millis(1));
    }
    workers()
}

#[test]
fn sessions_of_one_pool_have_the_same_bits_and_start_no_threads() {
    let program = program();
    let mut alone = Session::new(Arc::clone(&program), NonZeroUsize::MIN).unwrap();
    let expected: Vec<Tensor> =
        (0..SESSIONS).map(|i| alone.run(&[image(i)]).unwrap().remove(0)).collect();
    assert!(expected.windows(2).all(|pair| pair[0] != pair[1]), "results tell sessions apart");
    assert_eq!(workers(), 0);

    let pool = Arc::new(Pool::new(THREADS).unwrap());
    let all = Barrier::new(SESSIONS + 1);
    std::thread::scope(|scope| {
        for (index, expected) in expected.iter().enumerate() {
            let mut session = Session::with_pool(Arc::clone(&program), Arc::clone(&pool)).unwrap();
            assert_eq!(session.threads(), THREADS.get());
            let all = &all;
            scope.spawn(move || {
                all.wait();
                let input = [image(index)];
                let wrong = (0..RUNS).filter(|_| session.run(&input).unwrap()[0] != *expected);
                let wrong = wrong.count();
                all.wait(); // Threads are counted before.
                assert_eq!(wrong, 0, "of {RUNS} results of session {index}");
            });
        }
        all.wait();
        let started = workers_once(THREADS.get() - 1);
        all.wait();
        assert_eq!(started, THREADS.get() - 1, "while {SESSIONS} sessions run");
    });
    drop(pool);
    assert_eq!(workers_once(0), 0, "after the last session has gone");
}
