use super::{counting, floats, ints};

fn matrix() -> String {
    counting("x", &[2, 3])
}

#[test]
fn identity_and_reshape_keep_elements() {
    floats(&(matrix() + "%y f32[2, 3] = identity(%x)"), &[1., 2., 3., 4., 5., 6.]);
    floats(&(matrix() + "%y f32[3, 1, 2] = reshape(%x)"), &[1., 2., 3., 4., 5., 6.]);
    ints("weight %x i64[1] = [7] %y i64[] = reshape(%x)", &[7]);
}

#[test]
fn expand_repeats() {
    floats(
        "weight %x f32[2, 1] = [1, 2] %y f32[2, 2, 3] = expand(%x)",
        &[1., 1., 1., 2., 2., 2., 1., 1., 1., 2., 2., 2.],
    );
    floats("weight %x f32[] = 5 %y f32[2] = expand(%x)", &[5., 5.]);
    floats("weight %x f32[1] = [5] %y f32[0] = expand(%x)", &[]);
}

#[test]
fn transpose_permutes_axes() {
    floats(&(matrix() + "%y f32[3, 2] = transpose(%x) perm [1, 0]"), &[1., 4., 2., 5., 3., 6.]);
    floats(
        &(counting("x", &[2, 2, 3]) + "%y f32[3, 2, 2] = transpose(%x) perm [2, 0, 1]"),
        &[1., 4., 7., 10., 2., 5., 8., 11., 3., 6., 9., 12.],
    );
}

#[test]
fn concat_joins_along_an_axis() {
    floats(
        &(matrix()
            + "weight %z f32[2, 1] = [-1, -2] weight %e f32[2, 0] = []
               %y f32[2, 5] = concat(%z, %x, %e, %z) axis 1"),
        &[-1., 1., 2., 3., -1., -2., 4., 5., 6., -2.],
    );
    ints(
        "weight %x i64[1, 2] = [1, 2] weight %z i64[2, 2] = [3, 4, 5, 6]
         %y i64[3, 2] = concat(%x, %z) axis 0",
        &[1, 2, 3, 4, 5, 6],
    );
}

#[test]
fn slice_forwards_and_backwards() {
    floats(&(matrix() + "%y f32[1, 2] = slice(%x) starts [1, 1]"), &[5., 6.]);
    floats(
        &(matrix() + "%y f32[2, 2] = slice(%x) starts [1, 2] steps [-1, -2]"),
        &[6., 4., 3., 1.],
    );
    floats(&(matrix() + "%y f32[1, 1] = slice(%x) starts [0, 2] steps [99, -99]"), &[3.]);
    floats(&(matrix() + "%y f32[2, 0] = slice(%x) starts [0, 3] steps [1, 7]"), &[]);
}

#[test]
fn gather_takes_slices_and_clamps() {
    floats(
        &(matrix() + "weight %i i64[2] = [2, 0] %y f32[2, 2] = gather(%x, %i) axis 1"),
        &[3., 1., 6., 4.],
    );
    floats(
        &(matrix() + "weight %i i32[2, 2] = [1, 9, -1, 0] %y f32[2, 2, 3] = gather(%x, %i) axis 0"),
        &[4., 5., 6., 4., 5., 6., 1., 2., 3., 1., 2., 3.],
    );
    floats(&(matrix() + "weight %i i64[] = 1 %y f32[2] = gather(%x, %i) axis 1"), &[2., 5.]);
    floats(&(matrix() + "weight %i i64[0] = [] %y f32[2, 0] = gather(%x, %i) axis 1"), &[]);
}

#[test]
fn scatter_puts_slices_at_places_and_leaves_others_out() {
    floats(
        &(matrix() + "weight %i i64[2] = [3, 0] %y f32[4, 3] = scatter(%x, %i) extent 4"),
        &[4., 5., 6., 0., 0., 0., 0., 0., 0., 1., 2., 3.],
    );
    // The last of two, and neither before the axis nor behind it.
    let data = matrix() + "weight %d f32[1, 3] = [7, 8, 9] weight %e f32[5] = [1, 2, 3, 4, 5] ";
    let twice = "weight %i i32[2] = [0, 0] %y f32[1, 3] = scatter(%x, %i, %d) extent 1";
    floats(&(data.clone() + twice), &[4., 5., 6.]);
    let outside = "weight %i i64[2] = [-1, 1] %y f32[1, 3] = scatter(%x, %i, %d) extent 1";
    floats(&(data.clone() + outside), &[7., 8., 9.]);
    let far = "weight %i i64[5] = [9223372036854775807, 1, -9223372036854775808, 0, 2] ";
    floats(&(data + far + "%y f32[2] = scatter(%e, %i) extent 2"), &[4., 2.]);
    floats(
        "weight %x f32[0] = [] weight %i i64[0] = [] %y f32[2] = scatter(%x, %i) extent 2",
        &[0., 0.],
    );
    floats(
        "weight %x f32[1] = [1] weight %i i64[1] = [0] %y f32[0] = scatter(%x, %i) extent 0",
        &[],
    );
}

#[test]
fn pad_puts_a_border_around() {
    floats(
        &(matrix() + "%y f32[3, 5] = pad(%x) before [1, 0] after [0, 2] value -0.5"),
        &[-0.5, -0.5, -0.5, -0.5, -0.5, 1., 2., 3., -0.5, -0.5, 4., 5., 6., -0.5, -0.5],
    );
    floats("weight %x f32[0] = [] %y f32[2] = pad(%x) before [1] after [1] value 3", &[3., 3.]);
    ints("weight %x u8[1] = [7] %y u8[2] = pad(%x) before [1] after [0] value 255", &[255, 7]);
}
