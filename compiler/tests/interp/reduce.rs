use super::{counting, floats, ints};

fn cube() -> String {
    counting("x", &[2, 2, 3])
}

#[test]
fn sum_over_one_and_several_axes() {
    floats(&(cube() + "%y f32[2, 3] = reduce_sum(%x) axes [1]"), &[5., 7., 9., 17., 19., 21.]);
    floats(&(cube() + "%y f32[2] = reduce_sum(%x) axes [0, 2]"), &[30., 48.]);
    floats(&(cube() + "%y f32[] = reduce_sum(%x) axes [0, 1, 2]"), &[78.]);
}

#[test]
fn mean_keeps_axes() {
    floats(&(cube() + "%y f32[2, 1, 1] = reduce_mean(%x) axes [1, 2] keep true"), &[3.5, 9.5]);
}

#[test]
fn extremes_and_nan() {
    floats(&(cube() + "%y f32[3] = reduce_max(%x) axes [0, 1]"), &[10., 11., 12.]);
    floats(&(cube() + "%y f32[2, 2] = reduce_min(%x) axes [2]"), &[1., 4., 7., 10.]);
    let odd = "weight %x f32[3, 2] = [1, nan, nan, 2, -1, 3]\n".to_owned();
    floats(&(odd.clone() + "%y f32[2] = reduce_max(%x) axes [0]"), &[f64::NAN; 2]);
    floats(&(odd + "%y f32[2] = reduce_min(%x) axes [0]"), &[f64::NAN; 2]);
}

#[test]
fn of_nothing() {
    let none = "weight %x f32[2, 0] = []\n".to_owned();
    floats(&(none.clone() + "%y f32[2] = reduce_sum(%x) axes [1]"), &[0., 0.]);
    floats(&(none.clone() + "%y f32[2] = reduce_mean(%x) axes [1]"), &[f64::NAN; 2]);
    floats(&(none.clone() + "%y f32[2] = reduce_max(%x) axes [1]"), &[f64::NEG_INFINITY; 2]);
    floats(&(none.clone() + "%y f32[2] = reduce_min(%x) axes [1]"), &[f64::INFINITY; 2]);
    floats(&(none + "%y f32[0] = reduce_sum(%x) axes [0]"), &[]);
}

#[test]
fn of_integers() {
    let x = "weight %x i32[2, 2] = [2147483647, 1, -7, -2]\n".to_owned();
    ints(&(x.clone() + "%y i32[2] = reduce_sum(%x) axes [1]"), &[i32::MIN.into(), -9]);
    ints(&(x.clone() + "%y i32[2] = reduce_mean(%x) axes [1]"), &[1 << 30, -4]);
    ints(&(x.clone() + "%y i32[2] = reduce_max(%x) axes [0]"), &[i32::MAX.into(), 1]);
    ints(&(x + "%y i32[2] = reduce_min(%x) axes [0]"), &[-7, -2]);
}

#[test]
fn argmax_of_equal_elements() {
    let x = "weight %x f32[2, 4] = [1, 3, 3, 2, 5, 5, 0, 5]\n".to_owned();
    ints(&(x.clone() + "%y i64[2] = argmax(%x) axis 1"), &[1, 0]);
    ints(&(x.clone() + "%y i64[2, 1] = argmax(%x) axis 1 keep true last true"), &[2, 3]);
    ints(&(x + "%y i64[4] = argmax(%x) axis 0"), &[1, 1, 0, 1]);
    ints("weight %x i32[3] = [-3, -1, -2] %y i64[] = argmax(%x) axis 0", &[1]);
}

#[test]
fn a_nan_is_the_largest() {
    let x = "weight %x f32[4] = [1, nan, inf, nan]\n".to_owned();
    ints(&(x.clone() + "%y i64[] = argmax(%x) axis 0"), &[1]);
    ints(&(x + "%y i64[] = argmax(%x) axis 0 last true"), &[3]);
}
