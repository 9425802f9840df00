//! What ends this process from outside, and what it does before: signals, a mapped file that is cut
//! short, want of memory.
//!
//! Files and folders that are not finished are known here by name ([`Unfinished`]), and so is the one
//! program that may run for us ([`output`]). [`discard`] removes the ones and stops the other. It runs in
//! signal handlers, at any moment and on any thread, so it is made of atomics and of calls that
//! signal-safety(7) allows: nothing locks or allocates.
//!
//! Only the programs of this crate [`install`] handlers: a library has none of its own.
#![allow(unsafe_code)]

mod memory;
mod signals;

use std::ffi::{CString, c_char};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
#[cfg(feature = "compiler")]
use std::process::{Command, Output, Stdio};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering::SeqCst};

pub(crate) use memory::fallible;
#[cfg(feature = "serving")]
pub(crate) use signals::signals;
pub(crate) use signals::{install, uninterrupted};

/// More than any command has unfinished at once.
const MOST: usize = 16;

/// Names of what is not finished; null where there is none.
static UNFINISHED: [AtomicPtr<c_char>; MOST] = [const { AtomicPtr::new(ptr::null_mut()) }; MOST];

/// The process group of the program that runs for us; 0 without one.
static GROUP: AtomicI32 = AtomicI32::new(0);

/// How often and how long to wait for a stopped program's own programs: 0.1 s in all.
const WAITS: usize = 100;
const WAIT: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// A file or an empty folder that whatever ends this process removes, until this is dropped.
#[derive(Debug)]
pub(crate) struct Unfinished(&'static AtomicPtr<c_char>);

impl Unfinished {
    /// Names it. What is named later is removed earlier, so a folder comes before what is in it.
    ///
    /// # Errors
    /// One for a path that no system call takes.
    pub(crate) fn new(path: &Path) -> io::Result<Unfinished> {
        // Never freed, as a handler may be reading it: a few bytes for each file that is written.
        let name = CString::new(path.as_os_str().as_bytes())?.into_raw();
        let free = |slot: &&AtomicPtr<c_char>| {
            slot.compare_exchange(ptr::null_mut(), name, SeqCst, SeqCst).is_ok()
        };
        let slot = UNFINISHED.iter().find(free);
        slot.map(Unfinished).ok_or_else(|| io::Error::other("too many files are unfinished"))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.0.store(ptr::null_mut(), SeqCst);
    }
}

/// Stops the program that runs for us, and removes what is not finished.
pub(crate) fn discard() {
    stop(GROUP.swap(0, SeqCst));
    for slot in UNFINISHED.iter().rev() {
        remove(slot.swap(ptr::null_mut(), SeqCst));
    }
}

fn remove(name: *const c_char) {
    if name.is_null() {
        return;
    }
    // SAFETY: the name is a C string that is never freed. A folder cannot be unlinked.
    unsafe {
        if libc::unlink(name) != 0 {
            libc::rmdir(name);
        }
    }
}

/// Asks a group of processes to end, and waits until nothing of it can make files any more.
fn stop(group: i32) {
    if group == 0 {
        return;
    }
    // SAFETY: calls that take no memory but a constant. The leader is our own child.
    unsafe {
        libc::kill(-group, libc::SIGTERM);
        libc::waitpid(group, ptr::null_mut(), 0);
        for _ in 0..WAITS {
            if libc::kill(-group, 0) != 0 {
                return;
            }
            libc::nanosleep(&WAIT, ptr::null_mut());
        }
    }
}

/// Runs a program to its end, as [`Command::output`] does, which ends with this process: it and all that
/// it starts are a process group of their own.
///
/// # Errors
/// Those of starting it.
#[cfg(feature = "compiler")]
pub(crate) fn output(command: &mut Command) -> io::Result<Output> {
    use std::os::unix::process::CommandExt as _;
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = uninterrupted(|| {
        let child = command.spawn()?;
        GROUP.store(child.id() as i32, SeqCst);
        Ok::<_, io::Error>(child)
    })?;
    let output = child.wait_with_output();
    GROUP.store(0, SeqCst);
    output
}
