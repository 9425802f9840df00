//! Calls between functions of the code section. All of it moves as one, so a distance within it is
//! a constant, and nothing is left to relocate.

use cranelift_codegen::binemit::Reloc;

/// Writes a call's distance into the code of a function that will be at offset `at`: `place` and
/// `addend` are the relocation's, `callee` is the offset of the function called. `None` for a kind
/// of relocation that is no call.
pub(super) fn resolve(
    code: &mut [u8],
    at: usize,
    (kind, place, addend): (Reloc, usize, i64),
    callee: usize,
) -> Option<()> {
    let distance = callee as i64 + addend - (at + place) as i64;
    let field = code.get_mut(place..place + 4)?;
    match kind {
        Reloc::X86CallPCRel4 => {
            field.copy_from_slice(&i32::try_from(distance).ok()?.to_le_bytes());
        }
        Reloc::Arm64Call => {
            let word = u32::from_le_bytes(field.try_into().ok()?);
            let reach = -(1 << 25)..(1 << 25);
            let words = i32::try_from(distance / 4).ok().filter(|words| reach.contains(words))?;
            let word = (word & 0xFC00_0000) | (words as u32 & 0x03FF_FFFF);
            field.copy_from_slice(&word.to_le_bytes());
        }
        _ => return None,
    }
    Some(())
}
