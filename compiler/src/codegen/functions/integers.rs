//! Functions of integers. Results wrap; nothing traps.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F64, I64};
use cranelift_codegen::ir::{InstBuilder, Value};

use crate::codegen::emitter::{Element, Emitter, register};
use crate::ir::DType;

fn is_signed(dtype: DType) -> bool {
    !matches!(dtype, DType::U8 | DType::Bool)
}

pub(super) fn relu(e: &mut Emitter<'_, '_>, a: Element) -> Value {
    let zero = e.builder.ins().iconst(register(a.dtype), 0);
    larger(e, a, zero)
}

pub(super) fn abs(e: &mut Emitter<'_, '_>, a: Element) -> Value {
    if is_signed(a.dtype) { e.builder.ins().iabs(a.value) } else { a.value }
}

pub(super) fn clip(e: &mut Emitter<'_, '_>, a: Element, low: f32, high: f32) -> Value {
    let [low, high] = [low, high].map(|bound| {
        let value = e.float(F64, f64::from(bound));
        e.cast(Element { value, dtype: DType::F64 }, a.dtype)
    });
    let value = larger(e, a, low.value);
    smaller(e, Element { value, ..a }, high.value)
}

pub(super) fn add(e: &mut Emitter<'_, '_>, a: Element, b: Value) -> Value {
    e.builder.ins().iadd(a.value, b)
}

pub(super) fn subtract(e: &mut Emitter<'_, '_>, a: Element, b: Value) -> Value {
    e.builder.ins().isub(a.value, b)
}

pub(super) fn multiply(e: &mut Emitter<'_, '_>, a: Element, b: Value) -> Value {
    e.builder.ins().imul(a.value, b)
}

pub(super) fn equal(e: &mut Emitter<'_, '_>, a: Element, b: Value) -> Value {
    e.builder.ins().icmp(IntCC::Equal, a.value, b)
}

pub(super) fn smaller(e: &mut Emitter<'_, '_>, a: Element, b: Value) -> Value {
    let signed = is_signed(a.dtype);
    let less = if signed { IntCC::SignedLessThan } else { IntCC::UnsignedLessThan };
    pick(e, less, a.value, b)
}

pub(super) fn larger(e: &mut Emitter<'_, '_>, a: Element, b: Value) -> Value {
    let signed = is_signed(a.dtype);
    let more = if signed { IntCC::SignedGreaterThan } else { IntCC::UnsignedGreaterThan };
    pick(e, more, a.value, b)
}

/// `a` where the condition is true of both, `b` elsewhere.
fn pick(e: &mut Emitter<'_, '_>, condition: IntCC, a: Value, b: Value) -> Value {
    let first = e.builder.ins().icmp(condition, a, b);
    e.builder.ins().select(first, a, b)
}

/// Truncating division: by zero gives 0, the smallest by -1 wraps.
pub(super) fn divide(e: &mut Emitter<'_, '_>, a: Element, b: Value) -> Value {
    let ty = register(a.dtype);
    let zero = e.builder.ins().iconst(ty, 0);
    let one = e.builder.ins().iconst(ty, 1);
    let by_zero = e.builder.ins().icmp(IntCC::Equal, b, zero);
    if !is_signed(a.dtype) {
        let divisor = e.builder.ins().select(by_zero, one, b);
        let quotient = e.builder.ins().udiv(a.value, divisor);
        return e.builder.ins().select(by_zero, zero, quotient);
    }
    let by_minus = e.builder.ins().icmp_imm_s(IntCC::Equal, b, -1);
    let trivial = e.builder.ins().bor(by_zero, by_minus);
    let divisor = e.builder.ins().select(trivial, one, b);
    let quotient = e.builder.ins().sdiv(a.value, divisor);
    let negated = e.builder.ins().ineg(a.value);
    let quotient = e.builder.ins().select(by_minus, negated, quotient);
    e.builder.ins().select(by_zero, zero, quotient)
}

/// Square and multiply, in i64: what wraps there wraps to the same in fewer bits.
///
/// A negative exponent asks for `1 / a^-b`, truncated: for 1 and -1, whose powers are their own
/// reciprocals, its parity is as good an exponent; all else starts at 0, and stays there.
pub(super) fn power(e: &mut Emitter<'_, '_>, a: Element, b: Value) -> Value {
    let (base, exponent) = (e.widen(a), e.widen(Element { value: b, ..a }));
    let negative = e.builder.ins().icmp_imm_s(IntCC::SignedLessThan, exponent, 0);
    let parity = e.builder.ins().band_imm_s(exponent, 1);
    let left = e.builder.ins().select(negative, parity, exponent);

    let is_one = e.builder.ins().icmp_imm_s(IntCC::Equal, base, 1);
    let is_minus_one = e.builder.ins().icmp_imm_s(IntCC::Equal, base, -1);
    let is_unit = e.builder.ins().bor(is_one, is_minus_one);
    let (zero, one) = (e.int(0), e.int(1));
    let reciprocal = e.builder.ins().select(is_unit, one, zero);
    let start = e.builder.ins().select(negative, reciprocal, one);
    let product = multiplied(e, start, base, left);
    e.cast(Element { value: product, dtype: DType::I64 }, a.dtype).value
}

/// `start * base^exponent` in i64, for an exponent that is not negative: a round for each of its bits.
fn multiplied(e: &mut Emitter<'_, '_>, start: Value, base: Value, exponent: Value) -> Value {
    let leading = e.builder.ins().clz(exponent);
    let all = e.int(i64::from(I64.bits()));
    let (begin, end) = (e.int(0), e.builder.ins().isub(all, leading));
    let (_, state) = e.fold(begin, end, 1, &[start, base, exponent], |e, _, state| {
        let (product, base, left) = (state[0], state[1], state[2]);
        let odd = e.builder.ins().band_imm_s(left, 1);
        let next = e.builder.ins().imul(product, base);
        let product = e.builder.ins().select(odd, next, product);
        vec![product, e.builder.ins().imul(base, base), e.builder.ins().ushr_imm_u(left, 1)]
    });
    state[0]
}
