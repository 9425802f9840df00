//! Runs a leaf function by itself, as machine code, on memory between guards.

use cardinal_compiler::asm::Function;
use memmap2::{Mmap, MmapMut};

use crate::call::call;
use crate::machine;
use crate::memory::{Memory, Placement};

/// An argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument {
    /// A number.
    Number(usize),
    /// The address so many bytes from the start of the memory of this number, which may be outside.
    Address(usize, isize),
}

/// What the function leaves in memories that hold this at first. One that strays faults.
///
/// # Panics
/// If this machine does not have the instructions, or the function cannot be encoded.
pub fn run(
    function: &Function,
    arguments: [Argument; 6],
    contents: &[&[u8]],
    placement: Placement,
) -> Vec<Vec<u8>> {
    assert!(machine::has(function.vectors), "this machine has no {:?}", function.vectors);
    let code = mapped(&function.encode().expect("code"));
    let mut memories: Vec<Memory> =
        contents.iter().map(|bytes| Memory::holding(bytes, placement)).collect();
    let [from, second, to, bias, tiles, other] = arguments.map(|argument| match argument {
        Argument::Number(number) => number,
        Argument::Address(memory, bytes) => {
            (memories[memory].as_mut_ptr() as usize).wrapping_add_signed(bytes)
        }
    });
    // SAFETY: the code is a whole function of this convention, in instructions that this machine has,
    // and the memories live on. A function that does not keep to them is what this is for: between
    // guards it faults.
    unsafe { call(code.as_ptr(), [from, second, to, bias, tiles, other]) };
    memories.iter().map(|memory| memory.bytes().to_vec()).collect()
}

fn mapped(code: &[u8]) -> Mmap {
    let mut map = MmapMut::map_anon(code.len()).expect("memory");
    map.copy_from_slice(code);
    map.make_exec().expect("executable memory")
}
