use super::{counting, floats};

/// A 4x5 image of 1, 2, … and a 2x3 kernel.
fn image() -> String {
    counting("x", &[1, 1, 4, 5]) + "weight %w f32[1, 1, 2, 3] = [1, 0, -1, 2, 1, -2]\n"
}

#[test]
fn adds_the_bias() {
    floats(
        &(image()
            + "weight %b f32[1] = [0.5]
               %y f32[1, 1, 3, 3] = conv(%x, %w, %b) window 2x3"),
        &[1.5, 2.5, 3.5, 6.5, 7.5, 8.5, 11.5, 12.5, 13.5],
    );
}

#[test]
fn pads_each_side_on_its_own() {
    floats(
        &(image() + "%y f32[1, 1, 3, 6] = conv(%x, %w) window 2x3 stride 2x1 pad 1 0 2 3"),
        &[-2., -1., 0., 13., 10., 0., 6., 7., 8., 52., 40., 0., -2., -2., -2., 19., 20., 0.],
    );
}

#[test]
fn dilates() {
    floats(
        &(image()
            + "%y f32[1, 1, 3, 2] = conv(%x, %w) window 2x3 stride 1x2 dilation 2 pad 0 1 1 1"),
        &[-20., 40., -30., 60., -14., 12.],
    );
}

#[test]
fn groups_see_their_own_channels() {
    floats(
        &(counting("x", &[2, 4, 2, 2])
            + "weight %w f32[4, 2, 2, 2] = [
                 1, 0, 0, 1,   2, -1, 1, 0,
                 1, 1, 1, 1,   0, 0, 0, 3,
                 1, 2, 3, 4,   -1, 0, 0, 1,
                 0, 5, 0, 0,   1, -1, 1, -1]
               weight %b f32[4] = [1, 2, 3, 4]
               %y f32[2, 4, 1, 1] = group_conv(%x, %w, %b) groups 2 window 2x2"),
        &[17., 36., 116., 52., 81., 148., 276., 132.],
    );
}

#[test]
fn depthwise_with_stride() {
    floats(
        &(counting("x", &[1, 2, 3, 3])
            + "weight %w f32[2, 1, 1, 1] = [1, 2]
               %y f32[1, 2, 2, 2] = group_conv(%x, %w) groups 2 window 1x1 stride 2"),
        &[1., 3., 7., 9., 20., 24., 32., 36.],
    );
}

#[test]
fn a_kernel_wider_than_the_image_reads_padding() {
    // One pixel under the centre of 3x3, then only padding around it.
    floats(
        "weight %x f32[1, 1, 1, 1] = [2]
         weight %w f32[1, 1, 3, 3] = [1, 2, 3, 4, 5, 6, 7, 8, 9]
         %y f32[1, 1, 3, 3] = conv(%x, %w) window 3x3 pad 2",
        &[18., 16., 14., 12., 10., 8., 6., 4., 2.],
    );
    floats(
        "weight %x f32[1, 1, 1, 1] = [2]
         weight %w f32[1, 1, 1, 1] = [3]
         %y f32[1, 1, 1, 5] = conv(%x, %w) window 1x1 pad 0 1 0 3",
        &[0., 6., 0., 0., 0.],
    );
}

#[test]
fn the_epilogue_runs_in_order() {
    // The sums are -1, 2, 7; plus r: 0, -1, 8; relu: 0, 0, 8; times s: 0, 0, 4; minus r.
    floats(
        "weight %x f32[1, 1, 1, 3] = [-1, 2, 7]
         weight %w f32[1, 1, 1, 1] = 1
         weight %r f32[1, 1, 1, 3] = [1, -3, 1]
         weight %s f32[1, 1, 1, 3] = [9, 9, 0.5]
         %y f32[1, 1, 1, 3] = conv(%x, %w) window 1x1
           then add %r, relu, mul %s, sub %r at 3",
        &[-1., 3., 3.],
    );
}

#[test]
fn nothing_in_gives_the_bias_and_no_batch_gives_nothing() {
    floats(
        "weight %x f32[1, 0, 2, 1] = []
         weight %w f32[2, 0, 1, 1] = []
         weight %b f32[2] = [1, 2]
         %y f32[1, 2, 2, 1] = conv(%x, %w, %b) window 1x1",
        &[1., 1., 2., 2.],
    );
    floats(
        "weight %x f32[0, 1, 2, 2] = []
         weight %w f32[1, 1, 1, 1] = [1]
         %y f32[0, 1, 2, 2] = conv(%x, %w) window 1x1",
        &[],
    );
}
