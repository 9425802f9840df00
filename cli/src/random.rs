//! Seeded random tensors: the same on every machine.

use cardinal_runtime::DType;

use crate::exit::Outcome;
use crate::tensors::{self, Array, Spec};

/// A random tensor for each spec: floats uniform in [-1, 1), integers 0 or 1.
///
/// # Errors
/// [`Failure::Failed`](crate::exit::Failure::Failed) for want of memory.
pub(crate) fn arrays(specs: &[Spec], seed: u64) -> Outcome<Vec<Array>> {
    let mut state = seed;
    specs.iter().map(|spec| array(spec, &mut state)).collect()
}

fn array(spec: &Spec, state: &mut u64) -> Outcome<Array> {
    let mut bytes = tensors::room(spec.elements() * spec.dtype.size())?;
    for _ in 0..spec.elements() {
        let word = splitmix64(state);
        // 24 bits are exact in f32.
        let float = (word >> 40) as f32 / (1u32 << 23) as f32 - 1.0;
        match spec.dtype {
            DType::F32 => bytes.extend(float.to_le_bytes()),
            DType::F64 => bytes.extend(f64::from(float).to_le_bytes()),
            DType::I64 => bytes.extend(((word >> 63) as i64).to_le_bytes()),
            DType::I32 => bytes.extend(((word >> 63) as i32).to_le_bytes()),
            DType::U8 | DType::I8 | DType::Bool => bytes.push((word >> 63) as u8),
        }
    }
    Ok(Array { dtype: spec.dtype, shape: spec.shape.clone(), bytes })
}

/// Steele, Lea, Flood: Fast splittable pseudorandom number generators (2014).
fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_splitmix64() {
        let mut state = 0;
        assert_eq!(splitmix64(&mut state), 0xe220_a839_7b1d_cdaf);
        assert_eq!(splitmix64(&mut state), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn floats_fill_the_unit_interval_on_both_sides() {
        let spec = Spec { name: "x".into(), dtype: DType::F32, shape: vec![1000] };
        let values = arrays(&[spec], 1).unwrap()[0].to_f32().unwrap();
        let (low, high) = values.iter().fold((0f32, 0f32), |(a, b), x| (a.min(*x), b.max(*x)));
        assert!((-1.0..-0.99).contains(&low) && (0.99..1.0).contains(&high), "{low} {high}");
    }
}
