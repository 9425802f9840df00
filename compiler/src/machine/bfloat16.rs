//! bfloat16 as machines have it: the upper half of an f32, and no denormal numbers.

use half::bf16;

/// The nearest bfloat16, of two the even one; what is denormal is 0, with its sign.
pub fn nearest(x: f32) -> bf16 {
    bf16::from_f32(normal(x))
}

/// The number itself, or 0 with its sign for what is denormal.
pub fn normal(x: f32) -> f32 {
    if x.is_subnormal() { 0.0_f32.copysign(x) } else { x }
}
