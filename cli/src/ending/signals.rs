//! Which signals are handled, and how.
//!
//! | signal | what happens |
//! |---|---|
//! | INT, TERM, HUP | what is not finished is removed; then the signal ends the process, as it would have. One that is ignored when the process starts stays so, as `nohup` wants it |
//! | XFSZ | nothing: the write that went beyond the limit fails, and says so |
//! | BUS, of a mapped file | a line and exit code 5: the file was cut short, or its disk failed |
//! | ABRT, of this process | what is not finished is removed, and exit code 1: a library can go no further, as when a thread that starts finds no memory for what belongs to it, and has said so |
//!
//! Others of BUS and ABRT end the process as they would have.

use std::ffi::{c_int, c_void};
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};

use super::discard;
use crate::exit::Status;

/// What a user ends programs with.
const ENDING: [c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

const CUT_SHORT: &[u8] =
    b"error: cannot read a mapped file: it was cut short while it was in use, \
                           or its disk failed\n";

/// Whether an ending signal has to wait, and the one that does; 0 for none.
static HELD: AtomicBool = AtomicBool::new(false);
static PENDING: AtomicI32 = AtomicI32::new(0);

type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// Installs the handlers of this process.
pub(crate) fn install() {
    for signal in ENDING.into_iter().filter(|signal| !is_ignored(*signal)) {
        handle(signal, on_end);
    }
    handle(libc::SIGXFSZ, on_limit);
    handle(libc::SIGBUS, on_fault);
    handle(libc::SIGABRT, on_abort);
}

/// Does something that ending signals wait for: all of it is done, or the process was ended before.
pub(crate) fn uninterrupted<T>(work: impl FnOnce() -> T) -> T {
    HELD.store(true, SeqCst);
    let done = work();
    HELD.store(false, SeqCst);
    match PENDING.load(SeqCst) {
        0 => done,
        signal => end_by(signal),
    }
}

/// The signals that end this process. Whoever handles them besides is to go on to the handlers of this module.
#[cfg(feature = "serving")]
pub(crate) fn signals() -> impl Iterator<Item = c_int> {
    ENDING.into_iter().filter(|signal| !is_ignored(*signal))
}

fn is_ignored(signal: c_int) -> bool {
    // SAFETY: all zeros are a value of this plain structure, and a null asks without setting.
    unsafe {
        let mut old: libc::sigaction = mem::zeroed();
        libc::sigaction(signal, ptr::null(), &mut old) == 0 && old.sa_sigaction == libc::SIG_IGN
    }
}

fn handle(signal: c_int, handler: Handler) {
    // SAFETY: the structure is plain and complete; the handlers do what a handler may.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = handler as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK | libc::SA_NODEFER;
        libc::sigemptyset(&mut action.sa_mask);
        libc::sigaction(signal, &action, ptr::null_mut());
    }
}

extern "C" fn on_end(signal: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    match HELD.load(SeqCst) {
        true => PENDING.store(signal, SeqCst),
        false => end_by(signal),
    }
}

extern "C" fn on_limit(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {}

extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    if code(info) == libc::BUS_ADRERR {
        say_once(CUT_SHORT);
        exit(Status::Io);
    }
    end_by(signal)
}

extern "C" fn on_abort(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: as in `code`; whoever raises this signal is a process, and named.
    if unsafe { (*info).si_pid() == libc::getpid() } {
        exit(Status::Failed);
    }
    end_by(signal)
}

/// Writes a line to stderr. Whichever threads come later, as when several read the same file, wait for
/// the first to end the process.
pub(super) fn say_once(line: &[u8]) {
    static SAID: AtomicBool = AtomicBool::new(false);
    while SAID.swap(true, SeqCst) {
        // SAFETY: only waits.
        unsafe { libc::pause() };
    }
    // SAFETY: reads a slice. Nothing is left to do where writing fails.
    unsafe { libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len()) };
}

fn code(info: *const libc::siginfo_t) -> c_int {
    // SAFETY: the kernel gives every handler of this kind a description of its signal.
    unsafe { (*info).si_code }
}

/// Ends the process in a handler, or where nothing can be allocated.
pub(super) fn exit(status: Status) -> ! {
    discard();
    // SAFETY: ends the process without running anything of ours.
    unsafe { libc::_exit(status as c_int) }
}

/// Ends the process as the signal would have without a handler.
fn end_by(signal: c_int) -> ! {
    discard();
    // SAFETY: the signal is a valid one, and not blocked: handlers are entered with it let through.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
        libc::_exit(128 + signal)
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::fs;
    use std::path::Path;
    use std::process::{Command, abort};

    use super::*;
    use crate::staging::StagedFile;

    /// Where the test below aborts, once it has been started by itself.
    const FOLDER: &str = "CARDINAL_TEST_ABORT_IN";
    const NAME: &str = "ending::signals::tests::an_abort_leaves_nothing_and_is_an_exit_code";

    #[test]
    fn an_abort_leaves_nothing_and_is_an_exit_code() {
        if let Some(folder) = env::var_os(FOLDER) {
            install();
            let _staged = StagedFile::new(Path::new(&folder), 0o600).unwrap();
            assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
            abort();
        }
        let folder = tempfile::tempdir().unwrap();
        let mut again = Command::new(env::current_exe().unwrap());
        again.args(["--exact", NAME]).env(FOLDER, folder.path());
        let status = again.output().unwrap().status;
        assert_eq!(status.code(), Some(1), "{status}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
