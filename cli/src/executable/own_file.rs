//! The file that this process was started from.
#![allow(unsafe_code)]

use std::path::{Path, PathBuf};

use crate::exit::{Failure, Outcome};
use crate::mapped::{self, Mapped};

/// The kernel's link to it.
const LINK: &str = "/proc/self/exe";

/// Maps the file that this process was started from. Where /proc is not mounted, it is looked for
/// under the name that it was started by.
///
/// # Errors
/// [`Failure::Io`].
pub(super) fn open() -> Outcome<Mapped> {
    let failure = match mapped::open(Path::new(LINK)) {
        Ok(file) => return Ok(file),
        Err(error) => Failure::reading(Path::new(LINK), error),
    };
    match started_as() {
        Some(path) => mapped::open(&path).map_err(|error| Failure::reading(&path, error)),
        None => Err(failure),
    }
}

/// The path given to `execve`, which is relative to the directory that the process was started in.
#[cfg(target_os = "linux")]
fn started_as() -> Option<PathBuf> {
    use std::ffi::{CStr, OsStr};
    use std::os::unix::ffi::OsStrExt as _;

    // SAFETY: a query without side effects.
    let name = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const libc::c_char;
    if name.is_null() {
        return None;
    }
    // SAFETY: the kernel put a string at this address, which stays for the life of the process.
    let name = unsafe { CStr::from_ptr(name) };
    Some(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
}

#[cfg(not(target_os = "linux"))]
fn started_as() -> Option<PathBuf> {
    std::env::current_exe().ok()
}
