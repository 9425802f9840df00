use super::*;
use std::sync::atomic::AtomicU32;

/// How often each item was done, and by how many ranges.
struct Tally {
    items: Vec<AtomicU32>,
    ranges: AtomicUsize,
}

impl Tally {
    fn new(items: usize) -> Tally {
        let items = std::iter::repeat_with(AtomicU32::default).take(items).collect();
        Tally { items, ranges: AtomicUsize::new(0) }
    }

    fn fork(&self, pool: &Pool) {
        let args = std::ptr::from_ref(self).cast();
        // SAFETY: `count` takes a tally, counts in atomics and does not unwind.
        unsafe { pool.parallel_for(count, args, self.items.len()) }
    }

    fn assert_each_done(&self, times: u32) {
        assert!(self.items.iter().all(|n| n.load(Ordering::Relaxed) == times));
    }
}

unsafe extern "C" fn count(args: *const c_void, begin: usize, end: usize, _: usize) {
    // SAFETY: `Tally::fork` passes a tally.
    let tally = unsafe { &*args.cast::<Tally>() };
    tally.ranges.fetch_add(1, Ordering::Relaxed);
    for item in &tally.items[begin..end] {
        item.fetch_add(1, Ordering::Relaxed);
    }
}

fn pool(threads: usize) -> Pool {
    Pool::new(NonZeroUsize::new(threads).unwrap()).unwrap()
}

#[test]
fn parts_are_a_balanced_partition() {
    for items in [1, 2, 3, 7, 64, 1000, usize::MAX] {
        for parts in 1..=9 {
            let ranges: Vec<_> = (0..parts).map(|p| part_of(items, p, parts)).collect();
            assert_eq!(ranges[0].start, 0);
            assert_eq!(ranges[parts - 1].end, items);
            assert!(ranges.windows(2).all(|w| w[0].end == w[1].start));
            let lengths = ranges.iter().map(|r| r.len());
            assert!(lengths.clone().max().unwrap() - lengths.min().unwrap() <= 1);
        }
    }
}

#[test]
fn many_forks_do_each_item_once() {
    for threads in 1..=5 {
        let pool = pool(threads);
        let tally = Tally::new(37);
        for _ in 0..20_000 / threads as u32 {
            tally.fork(&pool);
        }
        tally.assert_each_done(20_000 / threads as u32);
    }
}

#[test]
fn forks_of_every_size_interleave() {
    let pool = pool(4);
    for round in 0..2_000 {
        let tally = Tally::new(round % 7);
        tally.fork(&pool);
        tally.assert_each_done(1);
        assert!(tally.ranges.load(Ordering::Relaxed) <= round % 7);
    }
}

/// One participant, no matter which, stands still in its first call until all else is done.
#[test]
fn shares_of_the_slow_are_taken() {
    struct Held {
        tally: Tally,
        done: AtomicUsize,
        is_held: AtomicBool,
        longest: AtomicUsize,
        in_time: AtomicBool,
    }
    unsafe extern "C" fn hold(args: *const c_void, begin: usize, end: usize, worker: usize) {
        // SAFETY: the caller below passes this type.
        let held = unsafe { &*args.cast::<Held>() };
        // SAFETY: a tally is what it takes.
        unsafe { count(std::ptr::from_ref(&held.tally).cast(), begin, end, worker) }
        held.longest.fetch_max(end - begin, Ordering::SeqCst);
        let others = held.tally.items.len() - (end - begin);
        if !held.is_held.swap(true, Ordering::SeqCst) {
            let start = Instant::now();
            while held.done.load(Ordering::SeqCst) < others {
                if start.elapsed() > Duration::from_secs(10) {
                    return held.in_time.store(false, Ordering::SeqCst);
                }
                thread::yield_now();
            }
        } else {
            held.done.fetch_add(end - begin, Ordering::SeqCst);
        }
    }
    for threads in 2..=5 {
        let pool = pool(threads);
        for items in [threads + 1, 20, 64, 1000] {
            let held = Held {
                tally: Tally::new(items),
                done: 0.into(),
                is_held: false.into(),
                longest: 0.into(),
                in_time: true.into(),
            };
            // SAFETY: `hold` counts in atomics and does not unwind.
            unsafe { pool.parallel_for(hold, std::ptr::from_ref(&held).cast(), items) };
            assert!(held.in_time.load(Ordering::SeqCst), "{threads} threads, {items} items");
            held.tally.assert_each_done(1);
            let share = items.div_ceil(threads);
            assert!(held.longest.load(Ordering::SeqCst) < share, "a share went in one call");
        }
    }
}

#[test]
fn halves_are_taken_from_both_ends() {
    let share = Share::default();
    share.write(7, 3..11);
    assert_eq!(share.take(6, End::Front), None);
    assert_eq!(share.take(7, End::Front), Some(3..7));
    assert_eq!(share.take(7, End::Rear), Some(9..11));
    assert_eq!(share.take(7, End::Rear), Some(8..9));
    assert_eq!(share.take(8, End::Rear), None);
    assert_eq!(share.take(7, End::Front), Some(7..8));
    assert_eq!(share.take(7, End::Front), None);
}

#[test]
fn every_worker_is_its_own() {
    struct Busy {
        workers: Vec<AtomicBool>,
        clashes: AtomicUsize,
    }
    unsafe extern "C" fn occupy(args: *const c_void, begin: usize, end: usize, worker: usize) {
        // SAFETY: the caller below passes this type.
        let busy = unsafe { &*args.cast::<Busy>() };
        for _ in begin..end {
            if busy.workers[worker].swap(true, Ordering::SeqCst) {
                busy.clashes.fetch_add(1, Ordering::SeqCst);
            }
            thread::yield_now();
            busy.workers[worker].store(false, Ordering::SeqCst);
        }
    }
    let pool = pool(4);
    let workers = std::iter::repeat_with(AtomicBool::default).take(4).collect();
    let busy = Busy { workers, clashes: 0.into() };
    for _ in 0..500 {
        // SAFETY: `occupy` works with atomics and does not unwind.
        unsafe { pool.parallel_for(occupy, std::ptr::from_ref(&busy).cast(), 100) };
    }
    assert_eq!(busy.clashes.load(Ordering::SeqCst), 0);
}

#[test]
fn ranges_make_up_the_items() {
    for (threads, items) in [(1, 7), (2, 1), (3, 1000), (5, 0)] {
        let tally = Tally::new(items);
        pool(threads).for_ranges(items, &|range| {
            tally.items[range].iter().for_each(|n| _ = n.fetch_add(1, Ordering::Relaxed));
        });
        tally.assert_each_done(1);
    }
}

#[test]
fn no_items_call_no_kernel() {
    let tally = Tally::new(0);
    tally.fork(&pool(3));
    tally.fork(&pool(1));
    assert_eq!(tally.ranges.load(Ordering::Relaxed), 0);
}

#[test]
fn parked_workers_wake() {
    let pool = pool(3);
    let tally = Tally::new(8);
    for round in 1..=20 {
        wait_until_parked(&pool);
        tally.fork(&pool);
        tally.assert_each_done(round);
    }
}

#[test]
fn dropping_stops_workers_in_every_state() {
    for round in 0..200 {
        let pool = pool(3);
        if round % 2 == 0 {
            Tally::new(3).fork(&pool);
        }
        if round % 20 == 0 {
            wait_until_parked(&pool);
        }
        let shared = Arc::downgrade(&pool.shared);
        drop(pool);
        assert_eq!(shared.strong_count(), 0, "a worker outlived its pool");
    }
}

fn wait_until_parked(pool: &Pool) {
    while !pool.shared.parked.iter().all(|parked| parked.0.load(Ordering::Relaxed)) {
        thread::yield_now();
    }
}

#[test]
fn slow_workers_are_waited_for() {
    unsafe extern "C" fn slow(args: *const c_void, begin: usize, end: usize, _: usize) {
        if begin == 0 {
            thread::sleep(SPIN * 20);
        }
        // SAFETY: the caller passes what `count` takes.
        unsafe { count(args, begin, end, 0) }
    }
    let pool = pool(2);
    let tally = Tally::new(2);
    for round in 1..=20 {
        // SAFETY: as in `Tally::fork`.
        unsafe { pool.parallel_for(slow, std::ptr::from_ref(&tally).cast(), 2) };
        tally.assert_each_done(round);
    }
}

#[test]
fn nested_forks_run_inline() {
    struct Nested<'a>(&'a Pool, &'a Tally);
    unsafe extern "C" fn nested(args: *const c_void, begin: usize, end: usize, _: usize) {
        // SAFETY: the caller below passes this type.
        let Nested(pool, tally) = unsafe { &*args.cast::<Nested<'_>>() };
        for _ in begin..end {
            tally.fork(pool);
        }
    }
    let (pool, tally) = (pool(3), Tally::new(5));
    let args = Nested(&pool, &tally);
    // SAFETY: `nested` shares what may be shared and does not unwind.
    unsafe { pool.parallel_for(nested, std::ptr::from_ref(&args).cast(), 6) };
    tally.assert_each_done(6);
    assert_eq!(tally.ranges.load(Ordering::Relaxed), 6);
}

#[test]
fn callers_take_the_places_of_workers() {
    let pool = pool(4);
    let mut callers = Vec::new();
    for expected in [4, 3, 2, 1, 1, 1] {
        callers.push(pool.enter());
        assert_eq!(pool.available(), expected, "{} callers", callers.len());
        let tally = Tally::new(100);
        tally.fork(&pool);
        tally.assert_each_done(1);
    }
    drop(callers);
    assert_eq!(pool.available(), 4);
}

#[test]
fn a_pool_can_move_between_threads() {
    let pool = pool(3);
    let pool = thread::spawn(move || {
        Tally::new(9).fork(&pool);
        pool
    })
    .join()
    .unwrap();
    let tally = Tally::new(9);
    tally.fork(&pool);
    tally.assert_each_done(1);
}
