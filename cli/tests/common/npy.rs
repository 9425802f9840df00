//! Inputs.

/// A `.npy` of f32 values in [-1, 1) that the shape decides.
pub(crate) fn made_up(shape: &[usize]) -> Vec<u8> {
    let extents: String = shape.iter().map(|extent| format!("{extent}, ")).collect();
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({extents})}}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    file.extend(header.as_bytes());
    let elements: usize = shape.iter().product();
    let mut state = elements as u32;
    for _ in 0..elements {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        file.extend((state as i32 as f32 / 2f32.powi(31)).to_le_bytes());
    }
    file
}
