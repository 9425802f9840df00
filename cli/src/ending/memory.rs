//! What happens when the system gives no more memory.
//!
//! The standard library would print lines of its own and abort, and only a nightly compiler lets a program
//! say otherwise. So the allocator itself ends the process, in one line. It cannot tell who would go on
//! without the memory; those who would, ask within [`fallible`]. There, blocks of less than a page still
//! end the process: nobody goes on without them.
//!
//! What belongs to a thread the standard library and the C library get for themselves. Where there is no memory for
//! that they do print lines of their own and abort, which [`signals`](super::signals) makes an exit code of.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write as _;

use super::signals::{exit, say_once};
use crate::exit::Status;

/// Bytes from which on a block may be refused.
const PAGE: usize = 4096;

thread_local! {
    /// Whether the caller goes on without what it asks for.
    static FALLIBLE: Cell<bool> = const { Cell::new(false) };
}

/// Does something that has an error for want of memory.
pub(crate) fn fallible<T>(work: impl FnOnce() -> T) -> T {
    let before = FALLIBLE.replace(true);
    let done = work();
    FALLIBLE.set(before);
    done
}

/// The system's allocator, which ends the process when it has no more.
struct Ending;

#[global_allocator]
static ALLOCATOR: Ending = Ending;

// SAFETY: all blocks are the system allocator's, asked for and given back as the caller asks.
unsafe impl GlobalAlloc for Ending {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        given(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        given(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        given(unsafe { System.realloc(block, layout, size) }, size)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }
}

fn given(block: *mut u8, size: usize) -> *mut u8 {
    if block.is_null() && !(size >= PAGE && FALLIBLE.get()) {
        end(size);
    }
    block
}

/// Ends the process, without allocating anything.
#[cold]
fn end(size: usize) -> ! {
    let mut line = [0; 100];
    let mut rest = &mut line[..];
    // A number has 20 digits at most.
    let _ = writeln!(rest, "error: not enough memory: {size} more bytes are needed");
    let left = rest.len();
    say_once(&line[..line.len() - left]);
    exit(Status::Failed)
}
