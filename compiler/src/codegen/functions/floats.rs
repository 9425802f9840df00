//! Functions of floats, on f32, f64 and vectors of four f32.

use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::types::{F32, F64};
use cranelift_codegen::ir::{InstBuilder, Value};

use crate::codegen::emitter::Emitter;

pub(super) fn relu(e: &mut Emitter<'_, '_>, x: Value) -> Value {
    let zero = e.float(e.ty(x), 0.0);
    e.float_max(zero, x)
}

pub(super) fn leaky_relu(e: &mut Emitter<'_, '_>, x: Value, alpha: f32) -> Value {
    let ty = e.ty(x);
    let (zero, alpha) = (e.float(ty, 0.0), e.float(ty, f64::from(alpha)));
    let scaled = e.builder.ins().fmul(alpha, x);
    e.select_less(x, zero, scaled, x)
}

pub(super) fn clip(e: &mut Emitter<'_, '_>, x: Value, low: f32, high: f32) -> Value {
    let ty = e.ty(x);
    let low = e.float(ty, f64::from(low));
    let clipped = e.float_max(low, x);
    let high = e.float(ty, f64::from(high));
    e.float_min(high, clipped)
}

pub(super) fn hard_sigmoid(e: &mut Emitter<'_, '_>, x: Value, alpha: f64, beta: f64) -> Value {
    let ty = e.ty(x);
    let (alpha, beta) = (e.float(ty, alpha), e.float(ty, beta));
    let line = e.multiply_add(alpha, x, beta);
    clip(e, line, 0.0, 1.0)
}

pub(super) fn hard_swish(e: &mut Emitter<'_, '_>, x: Value) -> Value {
    let gate = hard_sigmoid(e, x, 1.0 / 6.0, 0.5);
    e.builder.ins().fmul(x, gate)
}

/// Bounds are clipped to before rounding, which whole numbers allow: a float of few digits is rounded by
/// adding a number that has no digits for its fraction.
pub(super) fn quantized(
    e: &mut Emitter<'_, '_>,
    x: Value,
    scale: f32,
    [low, high]: [f32; 2],
) -> Value {
    let ty = e.ty(x);
    let scale = e.float(ty, f64::from(scale));
    let mut quotient = e.builder.ins().fdiv(x, scale);
    if ty == F64 {
        let rounded = e.builder.ins().fdemote(F32, quotient);
        quotient = e.builder.ins().fpromote(F64, rounded);
    }
    let (low, high) = (e.float(ty, f64::from(low)), e.float(ty, f64::from(high)));
    let clipped = e.select_not_less(quotient, low);
    let clipped = e.float_min(high, clipped);
    // 1.5 times the first number whose neighbours are 1 apart.
    let whole = e.float(ty, if ty == F64 { 6_755_399_441_055_744.0 } else { 12_582_912.0 });
    let shifted = e.builder.ins().fadd(clipped, whole);
    let rounded = e.builder.ins().fsub(shifted, whole);
    e.builder.ins().fmul(rounded, scale)
}

/// On f64. A number below 2^52 loses its fraction where it is added to that, which has none.
pub(super) fn round(e: &mut Emitter<'_, '_>, x: Value) -> Value {
    let whole = e.float(F64, 4_503_599_627_370_496.0);
    let size = e.builder.ins().fabs(x);
    let shifted = e.builder.ins().fadd(size, whole);
    let rounded = e.builder.ins().fsub(shifted, whole);
    let rounded = e.select_less(size, whole, rounded, size);
    e.builder.ins().fcopysign(rounded, x)
}

pub(super) fn reciprocal(e: &mut Emitter<'_, '_>, x: Value) -> Value {
    let one = e.float(e.ty(x), 1.0);
    e.builder.ins().fdiv(one, x)
}

pub(super) fn equal(e: &mut Emitter<'_, '_>, a: Value, b: Value) -> Value {
    e.builder.ins().fcmp(FloatCC::Equal, a, b)
}
