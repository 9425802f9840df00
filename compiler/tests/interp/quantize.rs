use super::{floats, ints};

/// 0.5, 1.5 and 2.5 steps lie between two integers: the even one.
#[test]
fn quantize_rounds_to_even_and_saturates() {
    ints(
        "weight %x f32[7] = [1, 3, 5, -1, -3, 1000, -1000] weight %s f32[] = 2 weight %z u8[] = 3
         %y u8[7] = quantize(%x, %s, %z)",
        &[3, 5, 5, 3, 1, 255, 0],
    );
    ints(
        "weight %x f32[5] = [1, 3, 5, 300, -300] weight %s f32[] = 2 weight %z i8[] = -1
         %y i8[5] = quantize(%x, %s, %z)",
        &[-1, 1, 1, 127, -128],
    );
    ints(
        "weight %x f32[3] = [nan, inf, -inf] weight %s f32[] = 1 weight %z u8[] = 7
         %y u8[3] = quantize(%x, %s, %z)",
        &[0, 255, 0],
    );
}

/// 0.1 in f32 is more than a tenth, so 0.25 is less than 2.5 of it; but the quotient, as an f32, is 2.5.
#[test]
fn quantize_divides_in_f32() {
    ints(
        "weight %x f32[] = 0.25 weight %s f32[] = 0.1 weight %z u8[] = 0
         %y u8[] = quantize(%x, %s, %z)",
        &[2],
    );
    ints(
        "weight %x f32[] = 0.35 weight %s f32[] = 0.1 weight %z u8[] = 0
         %y u8[] = quantize(%x, %s, %z)",
        &[4],
    );
}

#[test]
fn quantize_has_grids_along_axes() {
    ints(
        "weight %x f32[2, 2] = [10, 10, 10, 10] weight %s f32[2, 1] = [1, 5]
         weight %z u8[2, 1] = [0, 100] %y u8[2, 2] = quantize(%x, %s, %z)",
        &[10, 10, 102, 102],
    );
}

#[test]
fn dequantize_is_the_difference_times_the_scale() {
    floats(
        "weight %x u8[3] = [0, 128, 255] weight %s f32[] = 0.5 weight %z u8[] = 128
         %y f32[3] = dequantize(%x, %s, %z)",
        &[-64., 0., 63.5],
    );
    floats(
        "weight %x i8[2] = [-128, 127] weight %s f32[2] = [2, 4] weight %z i8[2] = [127, -128]
         %y f32[2] = dequantize(%x, %s, %z)",
        &[-510., 1020.],
    );
    floats(
        "weight %x i32[2] = [-2147483648, 16777217] weight %s f32[] = 1 weight %z i32[] = 0
         %y f32[2] = dequantize(%x, %s, %z)",
        &[-2147483648., 16777216.],
    );
}

#[test]
fn rounding_takes_the_even_of_two() {
    floats(
        "weight %x f32[5] = [0.5, 1.5, -2.5, -0.3, inf] %y f32[5] = round(%x)",
        &[0., 2., -2., 0., f64::INFINITY],
    );
}
