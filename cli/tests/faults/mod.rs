//! Makes one system call of a program fail: the n-th of those that read files.
//!
//! The program is traced. Before a call is made, its number is overwritten by one that does not exist, and
//! afterwards its result by `EIO`. So the whole program is as it is, and every layer of it is reached.

#![allow(unsafe_code, reason = "ptrace")]

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::ptr::null_mut;

/// Registers of a system call: its number, and its arguments in `rdi`, `rsi`, `rdx`, `r10`, `r8`, `r9`.
type Registers = libc::user_regs_struct;

/// How a traced program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code, or what else ended it, as the system says it.
    pub(crate) code: Result<i32, i32>,
    /// The call that failed; `None` where the program made no more calls than it was allowed.
    pub(crate) failed: Option<String>,
}

/// Runs `command`, and lets all but the n-th reading call succeed. Calls are counted from the first one
/// on that is about what `begins` says of its path, or about standard input.
pub(crate) fn run(
    command: &mut Command,
    n: usize,
    begins: impl Fn(&str) -> bool,
) -> io::Result<Ended> {
    // SAFETY: only a system call between `fork` and `exec`, which allocates nothing.
    unsafe {
        command.pre_exec(|| check(libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0)).map(drop));
    }
    let child = command.spawn()?;
    let mut tracer = Tracer::of(&child)?;
    let mut seen = None;
    let mut failed = None;
    loop {
        match tracer.next_call()? {
            Stop::Ended(code) => return Ok(Ended { code, failed }),
            Stop::Call(registers) => {
                let Some(call) = tracer.reading_call(&registers) else { continue };
                if seen.is_none() && !begins(&call.path) && !call.is_of_stdin {
                    continue;
                }
                let count = seen.get_or_insert(0);
                if *count == n {
                    tracer.fail(*registers)?;
                    failed = Some(format!("{} {}", call.name, call.path));
                }
                *count += 1;
            }
        }
    }
}

/// A system call that reads a file or asks about one.
struct Call {
    name: &'static str,
    /// Empty where it takes a descriptor.
    path: String,
    is_of_stdin: bool,
}

enum Stop {
    /// A system call is about to be made.
    Call(Box<Registers>),
    Ended(Result<i32, i32>),
}

struct Tracer {
    child: libc::pid_t,
    memory: File,
}

impl Tracer {
    /// Takes over a child that has begun with `PTRACE_TRACEME`, and now waits at its first instruction.
    fn of(child: &Child) -> io::Result<Tracer> {
        let child_id = child.id() as libc::pid_t;
        let memory = File::open(format!("/proc/{child_id}/mem"))?;
        let tracer = Tracer { child: child_id, memory };
        tracer.wait()?;
        let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
        tracer.request(libc::PTRACE_SETOPTIONS, options as usize as *mut c_void)?;
        Ok(tracer)
    }

    /// Goes on to the next system call of the main thread; others are not traced.
    fn next_call(&mut self) -> io::Result<Stop> {
        loop {
            if let Err(code) = self.step()? {
                return Ok(Stop::Ended(code));
            }
            let registers = self.registers()?;
            // Before a call, the register of the result says that there is none.
            if registers.rax as i64 == -i64::from(libc::ENOSYS) {
                return Ok(Stop::Call(registers.into()));
            }
        }
    }

    /// Goes on to the next begin or end of a system call, or to the end of the program.
    fn step(&self) -> io::Result<Result<(), Result<i32, i32>>> {
        let mut signal = 0;
        loop {
            self.request(libc::PTRACE_SYSCALL, signal as usize as *mut c_void)?;
            let status = self.wait()?;
            if libc::WIFEXITED(status) {
                return Ok(Err(Ok(libc::WEXITSTATUS(status))));
            }
            if libc::WIFSIGNALED(status) {
                return Ok(Err(Err(libc::WTERMSIG(status))));
            }
            match libc::WSTOPSIG(status) {
                stop if stop == libc::SIGTRAP | 0x80 => return Ok(Ok(())),
                other => signal = other,
            }
        }
    }

    /// Lets the call that is about to be made fail.
    fn fail(&self, mut registers: Registers) -> io::Result<()> {
        registers.orig_rax = u64::MAX;
        self.set_registers(&registers)?;
        if self.step()?.is_err() {
            return Err(io::Error::other("the program ended in a call that was not made"));
        }
        let mut registers = self.registers()?;
        registers.rax = -i64::from(libc::EIO) as u64;
        self.set_registers(&registers)
    }

    /// What a call reads, if it does.
    fn reading_call(&self, call: &Registers) -> Option<Call> {
        let at = |name, address| Some(Call { name, path: self.text(address), is_of_stdin: false });
        let of = |name, file: u64| Some(Call { name, path: String::new(), is_of_stdin: file == 0 });
        let is_of_file = call.r10 & libc::MAP_ANONYMOUS as u64 == 0;
        match call.orig_rax as libc::c_long {
            libc::SYS_open => at("open", call.rdi),
            libc::SYS_openat => at("openat", call.rsi),
            libc::SYS_stat => at("stat", call.rdi),
            libc::SYS_lstat => at("lstat", call.rdi),
            libc::SYS_newfstatat => at("newfstatat", call.rsi),
            libc::SYS_statx => at("statx", call.rsi),
            libc::SYS_readlink => at("readlink", call.rdi),
            libc::SYS_readlinkat => at("readlinkat", call.rsi),
            libc::SYS_getcwd => of("getcwd", u64::MAX),
            libc::SYS_fstat => of("fstat", call.rdi),
            libc::SYS_read => of("read", call.rdi),
            libc::SYS_pread64 => of("pread64", call.rdi),
            libc::SYS_lseek => of("lseek", call.rdi),
            libc::SYS_mmap if is_of_file => of("mmap", call.r8),
            _ => None,
        }
    }

    /// The text at an address of the program's, which ends with a zero; empty where there is none.
    fn text(&self, address: u64) -> String {
        let mut bytes = [0; 512];
        let length = self.memory.read_at(&mut bytes, address).unwrap_or(0);
        let text = bytes[..length].split(|byte| *byte == 0).next();
        String::from_utf8_lossy(text.unwrap_or_default()).into_owned()
    }

    fn registers(&self) -> io::Result<Registers> {
        // SAFETY: all zeros are a value of this plain structure.
        let mut registers: Registers = unsafe { std::mem::zeroed() };
        self.request(libc::PTRACE_GETREGS, (&raw mut registers).cast())?;
        Ok(registers)
    }

    fn set_registers(&self, registers: &Registers) -> io::Result<()> {
        self.request(libc::PTRACE_SETREGS, std::ptr::from_ref(registers).cast_mut().cast())
    }

    fn request(&self, request: libc::c_uint, data: *mut c_void) -> io::Result<()> {
        // SAFETY: the child is ours and has stopped; `data` is what each request takes.
        check(unsafe { libc::ptrace(request, self.child, null_mut::<c_void>(), data) }).map(drop)
    }

    fn wait(&self) -> io::Result<i32> {
        let mut status = 0;
        // SAFETY: the child is ours, and the status can be written to.
        let waited = unsafe { libc::waitpid(self.child, &mut status, libc::__WALL) };
        check(waited.into()).map(|_| status)
    }
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
