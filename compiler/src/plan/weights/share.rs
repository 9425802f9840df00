//! Work that threads share.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::thread;

/// Does `work` on each item, by so many threads with this one: whoever is free takes the next. Each
/// thread makes what it works with, once, with `state`. Where the system gives fewer threads, those do.
pub(super) fn for_each<T: Send, S>(
    threads: NonZeroUsize,
    items: Vec<T>,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, T) + Sync,
) {
    let others = threads.get().min(items.len()).saturating_sub(1);
    let items = Mutex::new(items.into_iter());
    let next = || items.lock().ok()?.next();
    let take_part = || {
        let mut state = state();
        while let Some(item) = next() {
            work(&mut state, item);
        }
    };
    thread::scope(|scope| {
        for _ in 0..others {
            if thread::Builder::new().spawn_scoped(scope, take_part).is_err() {
                break;
            }
        }
        take_part();
    });
}
