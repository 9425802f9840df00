use super::{compute, counting, floats, ints};

const X: &str = "weight %x f32[8] = [-4, -1, -0.5, 0, 0.5, 1, 2, 4]\n";

#[track_caller]
fn unary(function: &str, wanted: [f64; 8]) {
    let mut parts = function.splitn(2, ' ');
    let (name, parameters) = (parts.next().unwrap(), parts.next().unwrap_or(""));
    floats(&format!("{X} %y f32[8] = {name}(%x) {parameters}"), &wanted);
    // As a step it does the same.
    let values: Vec<&str> = function.split(' ').collect();
    let values: Vec<&str> = values.into_iter().filter(|w| !NAMES.contains(w)).collect();
    floats(&format!("{X} %y f32[8] = neg(%x) then neg, {}", values.join(" ")), &wanted);
}

const NAMES: [&str; 4] = ["alpha", "beta", "low", "high"];

#[test]
fn piecewise_linear() {
    unary("relu", [0., 0., 0., 0., 0.5, 1., 2., 4.]);
    unary("leaky_relu alpha 0.25", [-1., -0.25, -0.125, 0., 0.5, 1., 2., 4.]);
    unary("clip low -0.75 high 1.5", [-0.75, -0.75, -0.5, 0., 0.5, 1., 1.5, 1.5]);
    unary("clip low -inf high 1.5", [-4., -1., -0.5, 0., 0.5, 1., 1.5, 1.5]);
    unary("clip low 3 high 2", [2.; 8]);
    unary("hard_sigmoid alpha 0.25 beta 0.5", [0., 0.25, 0.375, 0.5, 0.625, 0.75, 1., 1.]);
    let third = 1.0 / 3.0;
    let wanted = [0., -third, -5. / 24., 0., 7. / 24., 2. * third, 5. * third, 4.];
    unary("hard_swish", wanted);
    unary("neg", [4., 1., 0.5, 0., -0.5, -1., -2., -4.]);
    unary("abs", [4., 1., 0.5, 0., 0.5, 1., 2., 4.]);
}

#[test]
fn curved() {
    let (a, b, c) = (0.731_058_578_630_004_9, 0.622_459_331_201_854_6, 0.880_797_077_977_882_3);
    let d = 0.982_013_790_037_908_5;
    unary("sigmoid", [1. - d, 1. - a, 1. - b, 0.5, b, a, c, d]);
    let (a, b, c) = (0.761_594_155_955_764_9, 0.462_117_157_260_009_74, 0.964_027_580_075_816_9);
    let d = 0.999_329_299_739_067;
    unary("tanh", [-d, -a, -b, 0., b, a, c, d]);
    let (a, b, c) = (0.842_700_792_949_714_9, 0.520_499_877_813_046_5, 0.995_322_265_018_952_7);
    let d = 0.999_999_984_582_742_1;
    unary("erf", [-d, -a, -b, 0., b, a, c, d]);
    let (a, b, c) = (std::f64::consts::E, 1.648_721_270_700_128_2, 7.389_056_098_930_65);
    let d = 54.598_150_033_144_236;
    unary("exp", [1. / d, 1. / a, 1. / b, 1., b, a, c, d]);
}

#[test]
fn gelu_and_its_approximation() {
    let wanted = [
        -0.000_126_684_967_332_479_91,
        -0.158_655_253_931_457_07,
        -0.154_268_769_362_993_44,
        0.0,
        0.345_731_230_637_006_56,
        0.841_344_746_068_542_9,
        1.954_499_736_103_641_6,
        3.999_873_315_032_667_5,
    ];
    unary("gelu", wanted);
    let wanted = [
        -7.024_594_819_227_126e-5,
        -0.158_808_009_391_723_24,
        -0.154_285_990_174_856_06,
        0.0,
        0.345_714_009_825_143_94,
        0.841_191_990_608_276_8,
        1.954_597_694_087_775,
        3.999_929_754_051_807_5,
    ];
    unary("gelu_tanh", wanted);
}

#[test]
fn partial_functions() {
    let x = "weight %x f32[4] = [-1, 0, 0.25, 4]\n".to_owned();
    let inf = f64::INFINITY;
    let quarter = std::f64::consts::LN_2 * 2.0;
    floats(&(x.clone() + "%y f32[4] = log(%x)"), &[f64::NAN, -inf, -quarter, quarter]);
    floats(&(x.clone() + "%y f32[4] = sqrt(%x)"), &[f64::NAN, 0., 0.5, 2.]);
    floats(&(x + "%y f32[4] = reciprocal(%x)"), &[-1., inf, 4., 0.25]);
}

#[test]
fn nan_passes_through() {
    for f in ["relu", "abs", "hard_swish", "gelu", "sigmoid"] {
        floats(&format!("weight %x f32[1] = [nan] %y f32[1] = {f}(%x)"), &[f64::NAN]);
    }
    floats("weight %x f32[1] = [nan] %y f32[1] = clip(%x) low 0 high 6", &[f64::NAN]);
    let pair = "weight %a f32[3] = [nan, 1, 2] weight %b f32[3] = [1, nan, 3]\n".to_owned();
    floats(&(pair.clone() + "%y f32[3] = max(%a, %b)"), &[f64::NAN, f64::NAN, 3.]);
    floats(&(pair.clone() + "%y f32[3] = min(%a, %b)"), &[f64::NAN, f64::NAN, 2.]);
    ints(&(pair + "%y bool[3] = equal(%a, %a)"), &[0, 1, 1]);
}

#[test]
fn some_functions_are_of_integers_too() {
    let x = "weight %x i8[4] = [-128, -3, 3, 100]\n".to_owned();
    ints(&(x.clone() + "%y i8[4] = relu(%x)"), &[0, 0, 3, 100]);
    ints(&(x.clone() + "%y i8[4] = neg(%x)"), &[-128, 3, -3, -100]);
    ints(&(x.clone() + "%y i8[4] = abs(%x)"), &[-128, 3, 3, 100]);
    ints(&(x.clone() + "%y i8[4] = clip(%x) low -3 high 6"), &[-3, -3, 3, 6]);
    ints(&(x + "%y i8[4] = clip(%x) low -inf high inf"), &[-128, -3, 3, 100]);
}

#[test]
fn two_floats() {
    let pair = "weight %a f32[3] = [1, -6, 9] weight %b f32[3] = [2, 4, 0.5]\n".to_owned();
    let of = |f: &str, wanted: [f64; 3]| {
        floats(&format!("{pair} %y f32[3] = {f}(%a, %b)"), &wanted);
    };
    of("add", [3., -2., 9.5]);
    of("sub", [-1., -10., 8.5]);
    of("mul", [2., -24., 4.5]);
    of("div", [0.5, -1.5, 18.]);
    of("pow", [1., 1296., 3.]);
    of("min", [1., -6., 0.5]);
    of("max", [2., 4., 9.]);
    ints(&(pair + "weight %c f32[1] = [-6] %y bool[3] = equal(%a, %c)"), &[0, 1, 0]);
}

#[test]
fn two_integers_wrap_and_truncate() {
    let of = |dtype: &str, a: i64, f: &str, b: i64, wanted: i64| {
        let text = format!(
            "weight %a {dtype}[1] = [{a}] weight %b {dtype}[1] = [{b}] %y {dtype}[1] = {f}(%a, %b)"
        );
        ints(&text, &[wanted]);
    };
    of("i64", -7, "div", 2, -3);
    of("i64", 7, "div", 0, 0);
    of("i64", i64::MIN, "div", -1, i64::MIN);
    of("i64", i64::MAX, "add", 1, i64::MIN);
    of("i32", i32::MAX.into(), "add", 1, i32::MIN.into());
    of("i32", i32::MIN.into(), "div", -1, i32::MIN.into());
    of("i32", 65536, "mul", 65536, 0);
    of("u8", 3, "sub", 5, 254);
    of("i8", 100, "add", 100, -56);
    of("i64", 3, "pow", 4, 81);
    of("i64", -2, "pow", 63, i64::MIN);
    of("i64", 2, "pow", -1, 0);
    of("i64", -1, "pow", -3, -1);
    of("i32", 7, "pow", 0, 1);
    of("i64", -3, "min", 2, -3);
    of("i64", -3, "max", 2, 2);
    ints("weight %a i64[2] = [1, 2] weight %b i64[] = 2 %y bool[2] = equal(%a, %b)", &[0, 1]);
}

#[test]
fn both_operands_broadcast() {
    floats(
        "weight %a f32[2, 1] = [10, 20] weight %b f32[1, 1, 3] = [1, 2, 3]
         %y f32[1, 2, 3] = add(%a, %b)",
        &[11., 12., 13., 21., 22., 23.],
    );
    floats(
        &(counting("a", &[2, 2, 2])
            + "weight %b f32[2, 1] = [1, -1]
               %y f32[2, 2, 2] = mul(%a, %b) then relu"),
        &[1., 2., 0., 0., 5., 6., 0., 0.],
    );
    floats("weight %a f32[2, 0] = [] weight %b f32[1] = [1] %y f32[2, 0] = add(%a, %b)", &[]);
}

#[test]
fn where_picks() {
    floats(
        "weight %c bool[2, 1] = [true, false] weight %a f32[3] = [1, 2, 3] weight %b f32[] = -1
         %y f32[2, 3] = where(%c, %a, %b)",
        &[1., 2., 3., -1., -1., -1.],
    );
    ints(
        "weight %c bool[2] = [true, false] weight %a i64[2] = [1, 2] weight %b i64[2] = [3, 4]
         %y i64[2] = where(%c, %a, %b)",
        &[1, 4],
    );
}

#[test]
fn casts() {
    let x = "weight %x f32[6] = [-1.9, 1.9, 300, -1e30, nan, 0]\n".to_owned();
    ints(&(x.clone() + "%y i64[6] = cast(%x)"), &[-1, 1, 300, i64::MIN, 0, 0]);
    ints(&(x.clone() + "%y i32[6] = cast(%x)"), &[-1, 1, 300, i32::MIN.into(), 0, 0]);
    ints(&(x.clone() + "%y u8[6] = cast(%x)"), &[0, 1, 255, 0, 0, 0]);
    ints(&(x.clone() + "%y i8[6] = cast(%x)"), &[-1, 1, 127, -128, 0, 0]);
    ints(&(x + "%y bool[6] = cast(%x)"), &[1, 1, 1, 1, 1, 0]);
    let x = "weight %x i64[3] = [-1, 256, 4294967301]\n".to_owned();
    ints(&(x.clone() + "%y i32[3] = cast(%x)"), &[-1, 256, 5]);
    ints(&(x.clone() + "%y u8[3] = cast(%x)"), &[255, 0, 5]);
    ints(&(x.clone() + "%y bool[3] = cast(%x)"), &[1, 1, 1]);
    floats(&(x + "%y f32[3] = cast(%x)"), &[-1., 256., 4294967296.]);
    floats("weight %x bool[2] = [true, false] %y f64[2] = cast(%x)", &[1., 0.]);
}

#[test]
fn casts_round_to_f32() {
    let tenth = f64::from(0.1f32);
    floats("weight %x f64[1] = [0.1] %c f32[1] = cast(%x) %y f64[1] = cast(%c)", &[tenth]);
    let exact = compute("weight %x f64[1] = [0.1] %y f64[1] = cast(%x)").unwrap();
    assert_eq!(exact.to_bytes().as_ref(), 0.1f64.to_le_bytes());
}

#[test]
fn steps_read_their_operands() {
    floats(
        "weight %a f32[2] = [1, 2] weight %b f32[2] = [10, 20] weight %c f32[2] = [100, 200]
         %y f32[2] = add(%a, %b) then sub %c, div %a, abs",
        &[89., 89.],
    );
    floats(
        "weight %a f32[2] = [1, 2] weight %b f32[2] = [10, 20]
         %y f32[2] = neg(%a) then max %b, leaky_relu 0.5, min %a",
        &[1., 2.],
    );
    ints("weight %a u8[1] = [200] %y u8[1] = relu(%a) then add %a, div %a at 1", &[0]);
}
