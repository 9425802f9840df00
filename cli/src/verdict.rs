//! Whether outputs are what they should be, in words.

use std::io::{self, Write};

use cardinal_runtime::{DType, text};
#[cfg(feature = "compiler")]
use serde_json::{Value, json};

use crate::columns;
#[cfg(feature = "compiler")]
use crate::compare::Comparison;
use crate::compare::compare;
use crate::exit::{Failure, Outcome};
use crate::tensors::{Array, Spec};

/// How much an element may differ: by `atol + rtol * M`, where M is the largest magnitude in the
/// expected output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Tolerance {
    /// Relative to the largest magnitude.
    pub(crate) rtol: f64,
    /// Besides that.
    pub(crate) atol: f64,
}

impl Tolerance {
    /// What is allowed unless somebody says otherwise.
    pub(crate) const DEFAULT: Tolerance = Tolerance { rtol: 1e-3, atol: 1e-6 };
}

impl Tolerance {
    /// What is allowed for elements of this type: integers are not rounded, and none is near another
    /// because both are large.
    fn of(self, dtype: DType) -> Tolerance {
        if dtype.is_float() { self } else { Tolerance { rtol: 0., ..self } }
    }

    /// Whether an array is what it should be.
    #[cfg(feature = "compiler")]
    pub(crate) fn allows(self, actual: &Array, expected: &Array) -> bool {
        let Tolerance { rtol, atol } = self.of(expected.dtype);
        let of_type = (actual.dtype, &actual.shape) == (expected.dtype, &expected.shape);
        of_type && compare(actual, expected).within(rtol, atol)
    }
}

/// What became of one output.
pub(crate) struct Verdict {
    /// Whether it is what it should be.
    pub(crate) same: bool,
    /// How close it is.
    clauses: Vec<String>,
    /// The output, and how it should be.
    #[cfg(feature = "compiler")]
    details: Details,
}

/// What is said of an output to programs.
#[cfg(feature = "compiler")]
struct Details {
    name: String,
    ty: String,
    /// None where it is of another type than is expected.
    comparison: Option<Comparison>,
    allowed: Tolerance,
}

/// Compares each output with what is expected of it.
pub(crate) fn judge(
    specs: &[Spec],
    actual: &[Array],
    expected: &[Array],
    tolerance: Tolerance,
) -> Vec<Verdict> {
    let pairs = actual.iter().zip(expected);
    let verdict = |(spec, (a, e)): (&Spec, (&Array, &Array))| Verdict::of(spec, a, e, tolerance);
    specs.iter().zip(pairs).map(verdict).collect()
}

/// The outcome of a comparison, once its verdicts are printed.
///
/// # Errors
/// [`Failure::Mismatch`] when an output differs.
pub(crate) fn conclude(verdicts: &[Verdict]) -> Outcome {
    match verdicts.iter().filter(|v| !v.same).count() {
        0 => Ok(()),
        bad => Err(Failure::Mismatch(format!("{bad} of {} outputs differ", verdicts.len()))),
    }
}

impl Verdict {
    fn of(spec: &Spec, actual: &Array, expected: &Array, tolerance: Tolerance) -> Verdict {
        let allowed = tolerance.of(expected.dtype);
        #[cfg(feature = "compiler")]
        let details =
            |comparison| Details { name: spec.name.clone(), ty: actual.ty(), comparison, allowed };
        let name = text::line(&spec.name);
        if (actual.dtype, &actual.shape) != (expected.dtype, &expected.shape) {
            return Verdict {
                same: false,
                clauses: vec![
                    format!("{name}: {},", actual.ty()),
                    format!("but {} is expected", expected.ty()),
                ],
                #[cfg(feature = "compiler")]
                details: details(None),
            };
        }
        let c = compare(actual, expected);
        let Tolerance { rtol, atol } = allowed;
        let same = c.within(rtol, atol);
        let mut clauses = vec![
            format!("{name} {}:", actual.ty()),
            format!("max abs error {:.3e},", c.max_abs),
            format!("{:.3e} of the largest magnitude {:.4}", c.max_rel, c.scale),
        ];
        let mut add = |clause: String| {
            clauses.last_mut().into_iter().for_each(|last| last.push(','));
            clauses.push(clause);
        };
        if let Some((agree, rows)) = c.argmax {
            add(format!("argmax agrees in {agree} of {rows}"));
        }
        if c.not_finite > 0 {
            add(format!("{} elements are infinite or NaN", c.not_finite));
        }
        if !same {
            add(format!("worst at element {};", c.worst));
            clauses.push(format!("allowed {atol:e} + {rtol:e} of it"));
        }
        Verdict {
            same,
            clauses,
            #[cfg(feature = "compiler")]
            details: details(Some(c)),
        }
    }

    /// It as an object.
    #[cfg(feature = "compiler")]
    pub(crate) fn to_json(&self) -> Value {
        let Details { name, ty, comparison, allowed } = &self.details;
        let compared = comparison.as_ref();
        json!({
            "name": name,
            "type": ty,
            "same": self.same,
            // Infinity is no number of JSON's, and becomes null.
            "max_abs_error": compared.map(|c| c.max_abs),
            "max_rel_error": compared.map(|c| c.max_rel),
            "largest_magnitude": compared.map(|c| c.scale),
            "worst_element": compared.map(|c| c.worst),
            "not_finite": compared.map(|c| c.not_finite),
            "argmax": compared.and_then(|c| c.argmax).map(|(agree, of)| json!({ "agree": agree, "of": of })),
            "allowed": { "rtol": allowed.rtol, "atol": allowed.atol },
        })
    }

    /// How close it is, in a line.
    pub(crate) fn text(&self) -> String {
        self.clauses.join(" ")
    }

    /// It as lines for people.
    pub(crate) fn lines(&self) -> String {
        let first = if self.same { "same      " } else { "DIFFERENT " };
        columns::clauses(self.clauses.iter().map(String::as_str), first, "          ")
    }

    /// Prints these.
    pub(crate) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(self.lines().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_must_be_equal_however_large() {
        let array =
            |v: i64| Array { dtype: DType::I64, shape: vec![1], bytes: v.to_le_bytes().into() };
        let spec = Spec { name: "y".into(), dtype: DType::I64, shape: vec![1] };
        let same = |a, e| Verdict::of(&spec, &array(a), &array(e), Tolerance::DEFAULT).same;
        assert!(same(729_000, 729_000) && !same(729_000, 729_001) && !same(i64::MAX, i64::MAX - 1));
    }
}
