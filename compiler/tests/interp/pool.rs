use super::{counting, floats, ints};

fn image() -> String {
    counting("x", &[1, 1, 4, 5])
}

#[test]
fn max_with_a_window_that_hangs_over() {
    floats(
        &(image() + "%y f32[1, 1, 2, 2] = max_pool(%x) window 3x3 stride 2 ceil true"),
        &[13., 15., 18., 20.],
    );
    floats(&(image() + "%y f32[1, 1, 1, 2] = max_pool(%x) window 3x3 stride 2"), &[13., 15.]);
}

#[test]
fn padding_is_never_the_largest() {
    floats(
        &(image()
            + "%n f32[1, 1, 4, 5] = neg(%x)
               %y f32[1, 1, 2, 3] = max_pool(%n) window 3x3 stride 2 pad 1"),
        &[-1., -2., -4., -6., -7., -9.],
    );
}

#[test]
fn max_dilates() {
    floats(
        &(image() + "%y f32[1, 1, 2, 2] = max_pool(%x) window 2x2 dilation 2x3"),
        &[14., 15., 19., 20.],
    );
}

#[test]
fn max_of_nan_and_of_bytes() {
    floats(
        "weight %x f32[1, 1, 1, 4] = [1, nan, 3, 2]
         %y f32[1, 1, 1, 3] = max_pool(%x) window 1x2",
        &[f64::NAN, f64::NAN, 3.],
    );
    ints(
        "weight %x i8[1, 1, 1, 3] = [-3, -2, -128]
         %y i8[1, 1, 1, 4] = max_pool(%x) window 1x2 pad 0 1 0 1",
        &[-3, -2, -2, -128],
    );
}

#[test]
fn average_of_what_is_inside() {
    floats(
        &(image() + "%y f32[1, 1, 3, 3] = average_pool(%x) window 3x3 stride 2 pad 1 ceil true"),
        &[4., 5.5, 7., 11.5, 13., 14.5, 16.5, 18., 19.5],
    );
    floats(
        &(image() + "%y f32[1, 1, 2, 2] = average_pool(%x) window 2x2 stride 3 pad 0 1 1 0"),
        &[3.5, 6., 16., 18.5],
    );
}

#[test]
fn average_with_padding_counted() {
    // The last row of windows hangs one row over the padding, and does not count it.
    floats(
        &(image()
            + "%y f32[1, 1, 3, 3] = average_pool(%x)
                 window 3x3 stride 2 pad 1 ceil true padding counted"),
        &[16. / 9., 33. / 9., 28. / 9., 69. / 9., 13., 87. / 9., 5.5, 9., 6.5],
    );
    floats(
        &(image()
            + "%y f32[1, 1, 2, 2] = average_pool(%x)
                 window 2x2 stride 3 pad 0 1 1 0 padding counted"),
        &[1.75, 6., 4., 9.25],
    );
    floats(
        &(counting("x", &[1, 1, 2, 3])
            + "%y f32[1, 1, 2, 2] = average_pool(%x)
                 window 2x2 stride 2 pad 1 0 0 0 ceil true padding counted"),
        &[0.75, 1.5, 4.5, 6.],
    );
}

#[test]
fn planes_do_not_mix() {
    floats(
        &(counting("x", &[2, 2, 1, 2]) + "%y f32[2, 2, 1, 1] = average_pool(%x) window 1x2"),
        &[1.5, 3.5, 5.5, 7.5],
    );
    floats("weight %x f32[0, 2, 1, 2] = [] %y f32[0, 2, 1, 1] = max_pool(%x) window 1x2", &[]);
}
