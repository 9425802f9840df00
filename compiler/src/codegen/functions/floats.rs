//! Functions of floats, on f32, f64 and vectors of four f32.

use cranelift_codegen::ir::condcodes::FloatCC;
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

pub(super) fn reciprocal(e: &mut Emitter<'_, '_>, x: Value) -> Value {
    let one = e.float(e.ty(x), 1.0);
    e.builder.ins().fdiv(one, x)
}

pub(super) fn equal(e: &mut Emitter<'_, '_>, a: Value, b: Value) -> Value {
    e.builder.ins().fcmp(FloatCC::Equal, a, b)
}
