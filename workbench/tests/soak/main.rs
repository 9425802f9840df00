//! Eight sessions in one process for a long time, some of one program: whatever callers do, results
//! have the bits of the first run, and the process holds no more than it did at first.
//!
//! `CARDINAL_SOAK_SECONDS` says for how long; 60 by default. With `--nocapture`, the figures are shown.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod misuse;
mod random;
mod source;
mod stream;

use std::process::Command;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use cardinal_workbench::holdings::Holdings;
use source::{MODELS, Source};
use stream::{Counts, Stream};

/// The model and the number of threads of each stream.
const STREAMS: [(usize, usize); 8] =
    [(0, 1), (0, 2), (0, 4), (1, 2), (1, 1), (2, 3), (3, 1), (4, 2)];

/// The time is divided into so many parts, and what the process holds is looked at after each.
const PARTS: usize = 32;

/// So many of them fill the allocator's pools and the stacks that are kept for new threads.
const WARM_UP: usize = 8;

/// After that memory may grow by one in so many bytes. Of the heap every allocation is counted, so hardly
/// any of it comes by itself.
const RESIDENT_GROWTH: u64 = 100;
const HEAP_GROWTH: u64 = 500;

/// The C library's allocator in its plainest form, so that what it keeps for later does not look like
/// growth: no caches of freed memory in threads, one arena, and large allocations mapped alone. It is told
/// when a process starts: hence a child.
const TUNABLES: &str = "GLIBC_TUNABLES";
const PLAIN_MALLOC: &str =
    "glibc.malloc.tcache_count=0:glibc.malloc.arena_max=1:glibc.malloc.mmap_threshold=65536";

/// How long a thread that has ended may still be listed by the system.
const PATIENCE: Duration = Duration::from_secs(10);

fn seconds() -> u64 {
    let given = std::env::var("CARDINAL_SOAK_SECONDS").ok();
    given.map_or(60, |text| text.parse().expect("CARDINAL_SOAK_SECONDS is a number of seconds"))
}

/// Threads that all streams and the workers of their sessions are.
fn threads() -> usize {
    STREAMS.iter().map(|(_, threads)| threads).sum()
}

/// What is held once the threads of sessions that were dropped are gone, of which so many stay.
fn holdings(threads: usize) -> Holdings {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = Holdings::now();
        if now.threads <= threads || Instant::now() > deadline {
            return now;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Runs all streams in parts; what they did, and what the process held after each part.
fn soak(sources: &[Source], part: Duration, threads: usize) -> (Counts, Vec<Holdings>) {
    let all = Barrier::new(STREAMS.len() + 1);
    let work = |seed: u64, model: usize, threads: usize| {
        let mut stream = Stream::new(&sources[model], threads, seed);
        for _ in 0..PARTS {
            stream.run(part);
            all.wait(); // Nobody loads any more.
            stream.settle();
            all.wait();
            all.wait(); // The process is looked at meanwhile.
        }
        stream.counts
    };
    std::thread::scope(|scope| {
        let streams = (0..).zip(STREAMS); // Their seeds are their numbers.
        let start = |(seed, (model, threads))| scope.spawn(move || work(seed, model, threads));
        let running: Vec<_> = streams.map(start).collect();
        let look = |_| {
            all.wait();
            all.wait();
            let holdings = holdings(threads);
            all.wait();
            holdings
        };
        let held = (0..PARTS).map(look).collect();
        let mut counts = Counts::default();
        running.into_iter().for_each(|stream| counts.add(stream.join().expect("no panic")));
        (counts, held)
    })
}

/// The middle of some numbers, which a page more or less does not move.
fn median(numbers: impl Iterator<Item = u64>) -> u64 {
    let mut numbers: Vec<u64> = numbers.collect();
    numbers.sort_unstable();
    numbers[numbers.len() / 2]
}

/// The medians of a quarter of the parts right after the warm-up, and of the last quarter.
fn ends(held: &[Holdings], of: impl Fn(&Holdings) -> u64) -> [u64; 2] {
    let quarter = PARTS / 4;
    let first = &held[WARM_UP..WARM_UP + quarter];
    [first, &held[PARTS - quarter..]].map(|parts| median(parts.iter().map(&of)))
}

fn check_memory(name: &str, [before, after]: [u64; 2], growth: u64) {
    let percent = (after as f64 / before.max(1) as f64 - 1.0) * 100.0;
    println!(
        "trust: soak, {name} | {before} bytes after the warm-up, {after} at the end ({percent:+.3} %)"
    );
    assert!(after <= before + before / growth, "{name} grew from {before} to {after} bytes");
}

#[test]
fn eight_sessions_keep_their_bits_and_hold_no_more_than_at_first() {
    if std::env::var_os(TUNABLES).is_some_and(|tunables| tunables == PLAIN_MALLOC) {
        return soak_and_check();
    }
    let mut child = Command::new(std::env::current_exe().expect("this program"));
    let status = child.arg("--nocapture").env(TUNABLES, PLAIN_MALLOC).status();
    assert!(status.expect("the child runs").success(), "the child failed, see above");
}

fn soak_and_check() {
    let folder = tempfile::tempdir().expect("a folder");
    let sources: Vec<Source> = (0..MODELS.len()).map(|i| Source::new(i, folder.path())).collect();
    let seconds = seconds();
    println!("seeds 0 to {}, for {seconds} s", STREAMS.len() - 1);
    let threads = Holdings::now().threads + threads();
    let (counts, held) =
        soak(&sources, Duration::from_millis(seconds * 1000 / PARTS as u64), threads);
    held.iter().for_each(|held| println!("{held:?}"));

    let Counts { inferences, wrong, misuses, unrefused, sessions, loads } = counts;
    println!("trust: soak, time | {seconds} s");
    println!("trust: soak, inferences | {inferences}, of which {wrong} have a wrong bit");
    println!("trust: soak, wrong calls | {misuses}, of which {unrefused} were not refused");
    println!("trust: soak, new sessions and loads | {sessions} and {loads}");
    assert_eq!((wrong, unrefused), (0, 0), "{counts:?}");
    check_memory("resident memory", ends(&held, |held| held.resident), RESIDENT_GROWTH);
    check_memory("heap in use", ends(&held, |held| held.heap), HEAP_GROWTH);
    let descriptors = held[0].descriptors;
    println!("trust: soak, descriptors and threads | {descriptors} and {threads} after every part");
    for held in &held {
        assert_eq!((held.descriptors, held.threads), (descriptors, threads), "they are constant");
    }
}
