//! Memory whose ends are where they should be.

use std::arch::x86_64::{_mm_clflush, _mm_mfence};
use std::ops::Range;

use memmap2::MmapMut;
use rustix::mm::{MprotectFlags, mprotect};

/// Where in its pages a range of memory lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// At the start, right behind a page that may not be touched.
    BehindGuard,
    /// At the end, right before a page that may not be touched.
    BeforeGuard,
    /// At the start, with huge pages where the system has them, as the runtime's own.
    Free,
}

/// A range of memory of its own. Between guards it is full of NaNs at first, else of zeros.
pub struct Memory {
    map: MmapMut,
    range: Range<usize>,
}

impl Memory {
    /// So many bytes.
    pub fn new(bytes: usize, placement: Placement) -> Memory {
        let page = rustix::param::page_size();
        if placement == Placement::Free {
            let map = MmapMut::map_anon(bytes.max(1)).expect("memory");
            #[cfg(target_os = "linux")]
            let _ = map.advise(memmap2::Advice::HugePage); // Only a hint.
            return Memory { map, range: 0..bytes };
        }
        let inside = bytes.next_multiple_of(page);
        let mut map = MmapMut::map_anon(inside + 2 * page).expect("memory");
        for guard in [0, page + inside] {
            let start = map[guard..].as_mut_ptr();
            // SAFETY: the page is inside the map, which is ours alone and private here: no slice
            // that this module makes has a byte of it.
            unsafe { mprotect(start.cast(), page, MprotectFlags::empty()).expect("mprotect") };
        }
        let begin = if placement == Placement::BehindGuard { page } else { page + inside - bytes };
        let mut memory = Memory { map, range: begin..begin + bytes };
        memory.bytes_mut().fill(0xFF);
        memory
    }

    /// Memory with these contents.
    pub fn holding(contents: &[u8], placement: Placement) -> Memory {
        let mut memory = Memory::new(contents.len(), placement);
        memory.bytes_mut().copy_from_slice(contents);
        memory
    }

    /// The range.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the range is inside the map and outside its guards. (Indexing the map would make
        // a slice of the guards too.)
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.range.len()) }
    }

    /// The range.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`.
        unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr(), self.range.len()) }
    }

    /// Its first byte.
    pub fn as_ptr(&self) -> *const u8 {
        // SAFETY: inside the map, or right behind it.
        unsafe { self.map.as_ptr().add(self.range.start) }
    }

    /// Its first byte.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        // SAFETY: inside the map, or right behind it.
        unsafe { self.map.as_mut_ptr().add(self.range.start) }
    }

    /// Takes it out of every cache.
    pub fn evict(&self) {
        const LINE: usize = 64;
        for line in self.bytes().chunks(LINE) {
            // SAFETY: flushes a line that holds bytes of ours.
            unsafe { _mm_clflush(line.as_ptr()) };
        }
        // SAFETY: waits until they are flushed.
        unsafe { _mm_mfence() };
    }
}
