//! How near results must be to the interpreter's, which computes in f64.

use cardinal_compiler::interp::Data;

use crate::families::{STEP, STEP_OF_SUMS, Way};

/// Largest error, relative to the largest magnitude of the output.
pub const TOLERANCE: f64 = 2e-6;

/// The same where factors of products are rounded to bfloat16, and Winograd's then added up.
const OF_BFLOATS: f64 = 5e-2;

/// Checks an output of a graph whose convolutions are computed in some way.
///
/// # Errors
/// Which element is too far from what is expected, as text.
pub fn check(way: Way, found: &Data, expected: &Data) -> Result<(), String> {
    match (found, expected) {
        (Data::Float(found), Data::Float(expected)) => match way {
            Way::Bytes => check_rounded(found, expected, (STEP, 200)),
            // Filters are rounded besides.
            Way::BytesBy(_) => check_rounded(found, expected, (STEP_OF_SUMS, 10)),
            Way::Exact | Way::Estimated | Way::By(_) => check_floats(found, expected, TOLERANCE),
            Way::RoundedBy(_) => check_floats(found, expected, OF_BFLOATS),
        },
        (found, expected) if found == expected => Ok(()),
        (found, expected) => Err(format!("{found:?} for {expected:?}")),
    }
}

/// Checks floats, to such a part of the largest magnitude.
///
/// # Errors
/// Which element is too far from what is expected, as text.
pub fn check_floats(found: &[f64], expected: &[f64], tolerance: f64) -> Result<(), String> {
    same_length(found, expected)?;
    let largest = expected.iter().fold(1e-30, |m: f64, x| m.max(x.abs()));
    let is_near =
        |(found, expected): &(&f64, &f64)| (*found - *expected).abs() <= tolerance * largest;
    let mut far = found.iter().zip(expected).enumerate().filter(|(_, both)| !is_near(both));
    far.next().map_or(Ok(()), |(i, (found, expected))| Err(differs(i, *found, *expected)))
}

/// Of results that lie in the middle of two multiples of a step, some are rounded to the other: no more than
/// one of so many.
fn check_rounded(
    found: &[f64],
    expected: &[f64],
    (step, one_of): (f32, usize),
) -> Result<(), String> {
    same_length(found, expected)?;
    let mut others = 0;
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let apart = (found - expected).abs() / f64::from(step);
        if apart.is_nan() || apart >= 1.01 {
            return Err(differs(i, *found, *expected));
        }
        others += usize::from(apart > 0.01);
    }
    match others <= 1 + found.len() / one_of {
        true => Ok(()),
        false => Err(format!("{others} of {} are others", found.len())),
    }
}

fn same_length(found: &[f64], expected: &[f64]) -> Result<(), String> {
    match found.len() == expected.len() {
        true => Ok(()),
        false => Err(format!("{} elements, not {}", found.len(), expected.len())),
    }
}

fn differs(i: usize, found: f64, expected: f64) -> String {
    format!("element {i} is {found}, not {expected}")
}
