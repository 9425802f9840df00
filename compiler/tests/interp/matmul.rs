use super::{counting, floats, ints};

const A: &str = "weight %a f32[2, 3] = [1, 2, 3, 4, 5, 6]\n";
const B: &str = "weight %b f32[3, 2] = [1, 0, 2, -1, 3, 1]\n";

fn operands() -> String {
    [A, B].concat()
}

#[test]
fn plain_and_with_a_bias() {
    floats(&(operands() + "%y f32[2, 2] = matmul(%a, %b)"), &[14., 1., 32., 1.]);
    floats(
        &(operands() + "weight %c f32[2] = [100, 200] %y f32[2, 2] = matmul(%a, %b, %c)"),
        &[114., 201., 132., 201.],
    );
}

#[test]
fn transposed() {
    // [1 4; 2 5; 3 6] · [1 2 3; 0 -1 1]
    floats(
        &(operands() + "%y f32[3, 3] = matmul(%a, %b) trans_a true trans_b true"),
        &[1., -2., 7., 2., -1., 11., 3., 0., 15.],
    );
    // a · transpose of a
    floats(&(operands() + "%y f32[2, 2] = matmul(%a, %a) trans_b true"), &[14., 32., 32., 77.]);
}

#[test]
fn batches_broadcast() {
    floats(
        &(counting("a", &[2, 1, 2, 3])
            + "weight %b f32[2, 3, 2] = [1, 0, 2, -1, 3, 1, 0, 1, 1, 1, 2, 2]
               %y f32[2, 2, 2, 2] = matmul(%a, %b)"),
        &[14., 1., 32., 1., 8., 9., 17., 21., 50., 1., 68., 1., 26., 33., 35., 45.],
    );
}

#[test]
fn the_epilogue_has_slots_from_three() {
    floats(
        &(operands()
            + "weight %r f32[2, 2] = [-15, 0, 1, 1]
               %y f32[2, 2] = matmul(%a, %b) then add %r, relu"),
        &[0., 1., 33., 2.],
    );
}

#[test]
fn nothing_to_sum_and_nothing_at_all() {
    floats(
        "weight %a f32[1, 0] = [] weight %b f32[0, 2] = [] weight %c f32[2] = [1, 2]
         %y f32[1, 2] = matmul(%a, %b, %c)",
        &[1., 2.],
    );
    floats(
        "weight %a f32[0, 1] = [] weight %b f32[1, 2] = [1, 2] %y f32[0, 2] = matmul(%a, %b)",
        &[],
    );
}

#[test]
fn integers_wrap() {
    ints(
        "weight %a i32[1, 2] = [2147483647, 1] weight %b i32[2, 1] = [1, 1]
         %y i32[1, 1] = matmul(%a, %b)",
        &[i64::from(i32::MIN)],
    );
}
