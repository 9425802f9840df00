//! What this process holds of the system: memory, descriptors and threads.

use std::fs;

/// What is held at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Holdings {
    /// Bytes of the process that are in memory (VmRSS).
    pub resident: u64,
    /// Bytes that were allocated and not freed.
    pub heap: u64,
    /// Open descriptors, one of which is that of the folder that lists them.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
}

impl Holdings {
    /// What is held now.
    pub fn now() -> Holdings {
        Holdings {
            resident: resident(),
            heap: heap(),
            descriptors: entries("/proc/self/fd"),
            threads: entries("/proc/self/task"),
        }
    }
}

fn entries(folder: &str) -> usize {
    fs::read_dir(folder).expect("Linux lists what a process has").count()
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells of a process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    let kib = line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok());
    kib.expect("a number of KiB") * 1024
}

/// What the C library's allocator has given out, in all of its arenas and in maps of their own.
#[cfg(target_env = "gnu")]
fn heap() -> u64 {
    // SAFETY: takes nothing, and returns a plain structure.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd) as u64
}

/// Other C libraries do not say.
#[cfg(not(target_env = "gnu"))]
fn heap() -> u64 {
    0
}
