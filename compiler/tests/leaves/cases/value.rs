//! A number in f64, with the sum of the magnitudes that it was added up from: rounding errors are
//! relative to these.

use std::iter::Sum;
use std::ops::{Add, Mul, Sub};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Value {
    value: f64,
    magnitude: f64,
}

impl Value {
    pub(crate) const ZERO: Value = Value { value: 0.0, magnitude: 0.0 };

    pub(crate) fn exact(value: f32) -> Value {
        Value { value: value.into(), magnitude: value.abs().into() }
    }

    pub(crate) fn value(self) -> f64 {
        self.value
    }

    /// What a function computes: its rounding errors are relative to the result, and to 1 where arguments
    /// were rounded.
    pub(crate) fn computed(value: f64) -> Value {
        Value { value, magnitude: value.abs().max(1.0) }
    }

    /// What a function makes of it, whose slope is no steeper than so.
    pub(crate) fn applied(self, function: fn(f64) -> f64, slope: f64) -> Value {
        let value = function(self.value);
        Value { value, magnitude: slope * self.magnitude.max(1.0) + value.abs() }
    }

    pub(crate) fn relu(self) -> Value {
        Value { value: self.value.max(0.0), ..self }
    }

    /// Whether it may be what f32 arithmetic makes of it.
    pub(crate) fn is_near(&self, found: f32) -> bool {
        const ROUNDINGS: f64 = 16.0;
        let error = (f64::from(found) - self.value).abs();
        error <= ROUNDINGS * f64::from(f32::EPSILON) * self.magnitude
    }
}

impl Add for Value {
    type Output = Value;

    fn add(self, other: Value) -> Value {
        let (value, magnitude) = (self.value + other.value, self.magnitude + other.magnitude);
        Value { value, magnitude }
    }
}

impl Sub for Value {
    type Output = Value;

    fn sub(self, other: Value) -> Value {
        Value { value: self.value - other.value, magnitude: self.magnitude + other.magnitude }
    }
}

impl Mul for Value {
    type Output = Value;

    fn mul(self, other: Value) -> Value {
        let (value, magnitude) = (self.value * other.value, self.magnitude * other.magnitude);
        Value { value, magnitude }
    }
}

impl Mul<f64> for Value {
    type Output = Value;

    fn mul(self, factor: f64) -> Value {
        Value { value: self.value * factor, magnitude: self.magnitude * factor.abs() }
    }
}

impl Sum for Value {
    fn sum<I: Iterator<Item = Value>>(values: I) -> Value {
        values.fold(Value::ZERO, Value::add)
    }
}
