//! Pages of this program that little of the time needs: most code and constants are for starting, for reading
//! what is given and for checking it, before the first inference.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the process is a program of this crate, and not one that has it as a library.
static OWN: AtomicBool = AtomicBool::new(false);

/// Says that the process is a program of this crate, whose pages can be given back.
pub(crate) fn own() {
    OWN.store(true, Ordering::Relaxed);
}

/// Gives back pages that the system has anew from files where they are used again, and blocks that are free.
/// Results do not depend on it. Other programs' pages stay.
#[cfg(target_os = "linux")]
pub(crate) fn give_back() {
    if !OWN.load(Ordering::Relaxed) {
        return;
    }
    // A debugger's breakpoints are changes of these pages, which would be gone.
    if !linux::is_traced() {
        linux::give_back_files();
    }
    linux::give_back_free_blocks();
}

/// Elsewhere they stay.
#[cfg(not(target_os = "linux"))]
pub(crate) fn give_back() {}

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::{c_int, c_void};
    use std::{fs, ptr, slice};

    use libc::{PF_R, PF_W, PT_LOAD, dl_phdr_info};

    /// Whether a debugger has attached itself.
    pub(super) fn is_traced() -> bool {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
        tracer.is_none_or(|process| process.trim() != "0")
    }

    /// Code and constants, of the program and of its libraries.
    pub(super) fn give_back_files() {
        // SAFETY: the function has the type that is asked for, and takes no data.
        unsafe { libc::dl_iterate_phdr(Some(give_back_object), ptr::null_mut()) };
    }

    unsafe extern "C" fn give_back_object(
        object: *mut dl_phdr_info,
        _: libc::size_t,
        _: *mut c_void,
    ) -> c_int {
        // SAFETY: the C library's description of an object that is loaded, which lives during this call.
        let (base, headers) = unsafe {
            let object = &*object;
            let count = usize::from(object.dlpi_phnum);
            (object.dlpi_addr as usize, slice::from_raw_parts(object.dlpi_phdr, count))
        };
        // SAFETY: queries without side effects.
        let (kernels_own, page) =
            unsafe { (libc::getauxval(libc::AT_SYSINFO_EHDR), libc::sysconf(libc::_SC_PAGESIZE)) };
        let Ok(page) = usize::try_from(page) else { return 0 };
        let is_of_file = base != kernels_own as usize;
        let is_constant = |kind, flags| kind == PT_LOAD && flags & (PF_R | PF_W) == PF_R;
        for header in headers.iter().filter(|h| is_of_file && is_constant(h.p_type, h.p_flags)) {
            let begin = base + header.p_vaddr as usize;
            let from = begin - begin % page;
            let length = begin + header.p_memsz as usize - from;
            // SAFETY: a segment that is never writable holds what its file does, and is read from it anew. A
            // system that refuses does nothing.
            unsafe { libc::madvise(from as *mut c_void, length, libc::MADV_DONTNEED) };
        }
        0
    }

    #[cfg(target_env = "gnu")]
    pub(super) fn give_back_free_blocks() {
        // SAFETY: the C library's own function for its own memory.
        unsafe { libc::malloc_trim(0) };
    }

    /// Others give back what is free by themselves.
    #[cfg(not(target_env = "gnu"))]
    pub(super) fn give_back_free_blocks() {}
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Kilobytes of this program's first segment that are resident: headers and relocations, and constants.
    fn resident() -> usize {
        let own = fs::read_link("/proc/self/exe").unwrap().display().to_string();
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = maps.lines();
        let is_first = |line: &str| line.ends_with(&own) && line.contains(" r--p 00000000 ");
        assert!(lines.any(is_first), "{maps}");
        let resident = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
        resident.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    #[test]
    fn what_starting_has_read_is_given_back() {
        if linux::is_traced() {
            eprintln!("NOT TESTED: what is given back, as there is a debugger");
            return;
        }
        own();
        let before = resident();
        give_back();
        let after = resident();
        assert!(after < before, "{after} kB of {before}");
    }
}
