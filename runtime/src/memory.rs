//! Anonymous memory: for artifacts, for the arena and for code.

use std::io;
use std::ops::Range;

use memmap2::{Mmap, MmapMut};

/// From here on, ask for huge pages: a deep layer's weights alone outrun the TLB otherwise.
#[cfg(target_os = "linux")]
const HUGE_PAGE: usize = 2 << 20;

/// Zeroed memory of at least `length` bytes on a page boundary; takes no room until touched.
pub(crate) fn anonymous(length: usize) -> io::Result<MmapMut> {
    let map = MmapMut::map_anon(length)?;
    prefer_huge_pages(&map, 0..length);
    Ok(map)
}

/// The same for what is used in these parts only: between them nothing is touched, and so takes no room.
pub(crate) fn anonymous_in_parts(length: usize, parts: &[Range<usize>]) -> io::Result<MmapMut> {
    let map = MmapMut::map_anon(length)?;
    parts.iter().for_each(|part| prefer_huge_pages(&map, part.clone()));
    Ok(map)
}

#[cfg(target_os = "linux")]
fn prefer_huge_pages(map: &MmapMut, part: Range<usize>) {
    if part.len() >= HUGE_PAGE {
        // Only a hint, which some kernels are built without.
        let _ = map.advise_range(memmap2::Advice::HugePage, part.start, part.len());
    }
}

#[cfg(not(target_os = "linux"))]
fn prefer_huge_pages(_: &MmapMut, _: Range<usize>) {}

/// Makes `code` executable, and no longer writable: the mapping is never both (W^X).
///
/// x86-64 keeps its instruction cache coherent by itself. aarch64 does not, and `mprotect` promises
/// nothing, so the cache is synchronised here.
pub(crate) fn make_executable(code: MmapMut) -> io::Result<Mmap> {
    let code = code.make_exec()?;
    synchronise_instruction_cache(&code);
    Ok(code)
}

#[cfg(not(target_arch = "aarch64"))]
fn synchronise_instruction_cache(_code: &[u8]) {}

#[cfg(all(target_arch = "aarch64", target_vendor = "apple"))]
fn synchronise_instruction_cache(code: &[u8]) {
    use std::ffi::c_void;
    unsafe extern "C" {
        fn sys_icache_invalidate(start: *mut c_void, length: usize);
    }
    // SAFETY: the range is mapped; the system's own function for this purpose.
    unsafe { sys_icache_invalidate(code.as_ptr().cast_mut().cast(), code.len()) }
}

/// Cleans the data cache and invalidates the instruction cache to the point of unification, line by
/// line (Arm ARM, B2.4.4 "Concurrent modification and execution of instructions").
#[cfg(all(target_arch = "aarch64", not(target_vendor = "apple")))]
fn synchronise_instruction_cache(code: &[u8]) {
    use std::arch::asm;
    let cache_type: usize;
    // SAFETY: reads a register that user code may read.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) cache_type, options(nostack, preserves_flags)) };
    let lines = |log2_words: usize| {
        let bytes = 4usize << (log2_words & 0xF);
        let begin = code.as_ptr().addr() & !(bytes - 1);
        (begin..code.as_ptr().addr() + code.len()).step_by(bytes)
    };
    for line in lines(cache_type >> 16) {
        // SAFETY: cleans a line that holds bytes of `code`.
        unsafe { asm!("dc cvau, {}", in(reg) line, options(nostack, preserves_flags)) };
    }
    // SAFETY: a barrier.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
    for line in lines(cache_type) {
        // SAFETY: invalidates a line that holds bytes of `code`.
        unsafe { asm!("ic ivau, {}", in(reg) line, options(nostack, preserves_flags)) };
    }
    // SAFETY: barriers.
    unsafe { asm!("dsb ish", "isb", options(nostack, preserves_flags)) };
}
