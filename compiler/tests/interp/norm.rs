use super::{counting, floats};

#[test]
fn batch_norm_along_axis_one() {
    floats(
        &(counting("x", &[1, 2, 2])
            + "weight %scale f32[2] = [2, 1] weight %bias f32[2] = [0, 1]
               weight %mean f32[2] = [1.5, 3] weight %var f32[2] = [0.25, 4]
               %y f32[1, 2, 2] = batch_norm(%x, %scale, %bias, %mean, %var) epsilon 0"),
        &[-2., 2., 1., 1.5],
    );
}

#[test]
fn batch_norm_adds_epsilon_to_the_variance() {
    floats(
        "weight %x f32[2, 1] = [4, 8] weight %one f32[1] = [1] weight %zero f32[1] = [0]
         weight %var f32[1] = [3.5]
         %y f32[2, 1] = batch_norm(%x, %one, %zero, %zero, %var) epsilon 0.5",
        &[2., 4.],
    );
}

#[test]
fn softmax_sums_to_one_along_its_axis() {
    let (e1, e2) = ((-1f64).exp(), (-2f64).exp());
    let sum = 1.0 + e1 + e2;
    floats(
        "weight %x f32[2, 3] = [1, 2, 3, 1000, 1000, -1000] %y f32[2, 3] = softmax(%x) axis 1",
        &[e2 / sum, e1 / sum, 1.0 / sum, 0.5, 0.5, 0.0],
    );
    floats(
        "weight %x f32[1, 2, 2] = [5, 0, 5, 700] %y f32[1, 2, 2] = softmax(%x) axis 1",
        &[0.5, (-700f64).exp(), 0.5, 1.0],
    );
}

#[test]
fn log_softmax() {
    let near = -(1.0 + (-2f64).exp()).ln();
    floats(
        "weight %x f32[2, 2] = [0, 1, 2, 3] %y f32[2, 2] = log_softmax(%x) axis 0",
        &[near - 2.0, near - 2.0, near, near],
    );
    floats("weight %x f32[2] = [0, -1000] %y f32[2] = log_softmax(%x) axis 0", &[0.0, -1000.0]);
}

#[test]
fn softmax_of_nothing_and_of_nan() {
    floats("weight %x f32[2, 0] = [] %y f32[2, 0] = softmax(%x) axis 1", &[]);
    floats(
        "weight %x f32[2, 2] = [1, nan, 1, 1] %y f32[2, 2] = softmax(%x) axis 1",
        &[f64::NAN, f64::NAN, 0.5, 0.5],
    );
}
