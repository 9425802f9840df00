//! The type rule of every operator: the type written for `%y` is what `infer` finds, factors of
//! axes included, and what contradicts itself is refused in words that a model's author knows.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

use cardinal_compiler::error::{Problem, Result};
use cardinal_compiler::ir::text::parse;
use cardinal_compiler::ir::{
    Conv, DType, Epilogue, Op, Pool, PoolKind, Reduce, ReduceKind, TensorType, Window,
    broadcast_shapes, infer,
};

/// What is inferred for `%y`, and the type written there.
#[track_caller]
fn inferred(body: &str) -> (Result<TensorType>, TensorType) {
    let text = format!("graph @test {{\n{body}\noutput %y\n}}");
    let graph = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let y = graph.find("y").unwrap();
    let operands: Vec<_> = graph.operands(y).into_iter().map(|(s, x)| (s, graph.ty(x))).collect();
    (infer(&graph.node(y).op, &operands), graph.ty(y).clone())
}

#[track_caller]
fn gives(body: &str) {
    let (found, written) = inferred(body);
    let found = found.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(found, written, "found {found}, written {written}");
}

#[track_caller]
fn refused(body: &str, what: &str) {
    let (found, _) = inferred(body);
    refuses(found, what);
}

#[track_caller]
fn refuses(found: Result<TensorType>, what: &str) {
    match found.unwrap_err().problem {
        Problem::BadNode(found) => assert_eq!(found, what),
        other => panic!("{other}"),
    }
}

fn f32s(shape: &[usize]) -> TensorType {
    TensorType::new(DType::F32, shape)
}

const IMAGE: &str = "input %x f32[2, 4, 5, 6]\n";

fn on_image(rest: &str) -> String {
    format!("{IMAGE}{rest}")
}

#[test]
fn shapes_broadcast_as_in_numpy() {
    let of = broadcast_shapes;
    assert_eq!(of(&[]), Some(vec![]));
    assert_eq!(of(&[&[], &[3]]), Some(vec![3]));
    assert_eq!(of(&[&[8, 1, 6, 1], &[7, 1, 5]]), Some(vec![8, 7, 6, 5]));
    assert_eq!(of(&[&[2, 1], &[1, 3], &[3]]), Some(vec![2, 3]));
    assert_eq!(of(&[&[1], &[0]]), Some(vec![0]));
    assert_eq!(of(&[&[2], &[0]]), None);
    assert_eq!(of(&[&[2, 3], &[2]]), None);
}

#[test]
fn elementwise_operators_keep_axes_and_prefer_factors() {
    gives("input %x f32[1, (k2 c3), 4] %y f32[1, (k2 c3), 4] = sigmoid(%x)");
    gives("input %a f32[6, 4] input %b f32[(k2 c3), 1] %y f32[(k2 c3), 4] = add(%a, %b)");
    gives("input %a f32[(r2 c3), 4] input %b f32[6, 1] %y f32[(r2 c3), 4] = mul(%a, %b)");
    gives("input %a f32[(k1)] input %b f32[3] %y f32[3] = sub(%a, %b)");
    gives("input %a f32[0, 1] input %b f32[5] %y f32[0, 5] = div(%a, %b)");
    gives("input %a i64[2] input %b i64[] %y bool[2] = equal(%a, %b)");
    gives("input %a bool[2] input %c bool[2, 1] %y bool[2, 2] = equal(%a, %c)");
    gives("input %x i8[3] %y i8[3] = relu(%x)");
    gives("input %x f32[(k2 c3)] %y i32[(k2 c3)] = cast(%x) to i32");
    gives(
        "input %c bool[2, 1] input %a f32[3] input %b f32[]
         %y f32[2, 3] = where(%c, %a, %b)",
    );
}

#[test]
fn elementwise_operators_refuse() {
    refused(
        "input %a f32[2, 3] input %b f32[4] %y f32[2, 3] = add(%a, %b)",
        "shapes [2, 3] and [4] do not broadcast",
    );
    refused("input %a f32[2] input %b i64[2] %y f32[2] = pow(%a, %b)", "a is f32, but b is i64");
    refused(
        "input %a bool[2] input %b bool[2] %y bool[2] = max(%a, %b)",
        "max is not defined for bool",
    );
    refused("input %x i64[2] %y i64[2] = exp(%x)", "exp is not defined for i64");
    refused("input %x bool[2] %y bool[2] = neg(%x)", "neg is not defined for bool");
    refused("input %a f32[2] %y f32[2] = add(%a)", "operand 1 (b) is missing");
    refused(
        "input %c f32[2] input %a f32[2] %y f32[2] = where(%c, %a, %a)",
        "the condition is f32, not bool",
    );
    refused(
        "input %c bool[2] input %a f32[2] input %b f64[2] %y f32[2] = where(%c, %a, %b)",
        "a is f32, but b is f64",
    );
}

#[test]
fn epilogues() {
    gives("input %x f32[2] input %b f32[2] %y f32[2] = add(%x, %x) then mul %b, relu");
    refused(
        "input %x f32[2] input %b f32[1] %y f32[2] = relu(%x) then mul %b",
        "the epilogue's operand is f32[1], but the result is f32[2]",
    );
    refused(
        "input %x f32[2] %y f32[2] = relu(%x) then equal %x",
        "an epilogue cannot compare: its result keeps its type",
    );
    refused("input %x i32[2] %y i32[2] = neg(%x) then exp", "exp is not defined for i32");
    refused(
        "input %x f32[2] %y f32[2] = neg(%x) then add _",
        "operand 1 (of the epilogue) is missing",
    );
    refused(
        "input %x f32[2] %y f32[2] = neg(%x) then add %x at 0",
        "the epilogue reads operand 0, which is not its own",
    );
    refused("input %x f32[2] %y f32[2] = neg(%x, %x)", "neg has no operand 1");
}

#[test]
fn convolutions() {
    gives(&on_image(
        "input %w f32[(k2 c3), 2, 3, 2] input %b f32[6]
         %y f32[2, (k2 c3), 3, 4] = group_conv(%x, %w, %b)
             groups 2 window 3x2 stride 2x1 dilation 1x3 pad 1 0 1 1",
    ));
    gives(
        "input %x f32[0, 1, 1, 1] input %w f32[1, 1, 1, 1] %y f32[0, 1, 1, 1] = conv(%x, %w) window 1x1",
    );
    refused(
        "input %x f32[1, 64, 9, 9] input %w f32[8, 20, 1, 1]
         %y f32[1, 8, 9, 9] = group_conv(%x, %w) groups 2 window 1x1",
        "weight has 20 input channels per group, but x has 64 channels in 2 groups",
    );
    refused(
        "input %x f32[1, 64, 9, 9] input %w f32[9, 21, 1, 1]
         %y f32[1, 9, 9, 9] = group_conv(%x, %w) groups 3 window 1x1",
        "groups 3 does not divide 64 channels",
    );
    refused(
        "input %x f32[1, 64, 9, 9] input %w f32[9, 32, 1, 1]
         %y f32[1, 9, 9, 9] = group_conv(%x, %w) groups 2 window 1x1",
        "groups 2 does not divide 9 output channels",
    );
    refused(
        "input %x f32[1, 1, 3, 4] input %w f32[1, 1, 7, 7]
         %y f32[1, 1, 1, 1] = conv(%x, %w) window 7x7 pad 1 0 1 1",
        "kernel 7x7 is larger than the padded input 5x5",
    );
}

#[test]
fn convolutions_refuse() {
    refused(
        "input %x f32[1, 1, 4, 4] input %w f32[1, 1, 3, 3]
         %y f32[1, 1, 1, 1] = conv(%x, %w) window 3x3 dilation 2",
        "dilated kernel 5x5 is larger than the padded input 4x4",
    );
    refused(
        &on_image("input %w f32[1, 4, 3, 3] %y f32[2, 1, 5, 6] = conv(%x, %w) window 1x3"),
        "the kernel is 1x3, but the weight's is 3x3",
    );
    refused(
        &on_image(
            "input %w f32[3, 4, 1, 1] input %b f32[4]
             %y f32[2, 3, 5, 6] = conv(%x, %w, %b) window 1x1",
        ),
        "bias has shape [4], but there are 3 channels",
    );
    refused(
        &on_image("input %w f64[3, 4, 1, 1] %y f32[2, 3, 5, 6] = conv(%x, %w) window 1x1"),
        "x is f32, but weight is f64",
    );
    refused(
        "input %x f32[4, 5, 6] input %w f32[3, 4, 1, 1] %y f32[3] = conv(%x, %w) window 1x1",
        "x is f32[4, 5, 6], which has 3 axes instead of 4 (n, c, h, w)",
    );
    refused(
        "input %x f32[1, 4, 0, 6] input %w f32[3, 4, 1, 1] %y f32[3] = conv(%x, %w) window 1x1",
        "x is f32[1, 4, 0, 6], which has no elements to slide a window over",
    );
    refused(
        "input %x i32[1, 4, 5, 6] input %w i32[3, 4, 1, 1] %y i32[3] = conv(%x, %w) window 1x1",
        "conv is not defined for i32",
    );
}

#[test]
fn batch_norm() {
    gives(
        "input %x f32[2, (k2 c2), 3] input %c f32[4] %y f32[2, (k2 c2), 3] = batch_norm(%x, %c, %c, %c, %c) epsilon 0.001",
    );
    refused(
        "input %x f32[2, 4] input %c f32[4] input %d f32[3]
         %y f32[2, 4] = batch_norm(%x, %c, %c, %c, %d) epsilon 0.001",
        "variance has shape [3], but there are 4 channels",
    );
    refused(
        "input %x f32[2] input %c f32[2]
         %y f32[2] = batch_norm(%x, %c, %c, %c, %c) epsilon 0.001",
        "x is f32[2], which has no channel axis",
    );
}

#[test]
fn matrix_products() {
    gives(
        "input %a f32[(r2 c2), 3] input %b f32[3, (k2 c4)] %y f32[(r2 c2), (k2 c4)] = matmul(%a, %b)",
    );
    gives(
        "input %a f32[5, 1, 3, 4] input %b f32[(k2 r3), 6, 3] input %c f32[6] %y f32[5, (k2 r3), 4, 6] = matmul(%a, %b, %c) trans_a true trans_b true",
    );
    gives("input %a f32[2, 0] input %b f32[0, 3] %y f32[2, 3] = matmul(%a, %b)");
    refused(
        "input %a f32[2, 3] input %b f32[4, 3] %y f32[2, 3] = matmul(%a, %b)",
        "a has 3 columns, but b has 4 rows (a is f32[2, 3], b is f32[4, 3])",
    );
    refused(
        "input %a f32[3] input %b f32[3, 3] %y f32[3] = matmul(%a, %b)",
        "a is f32[3], which is no matrix",
    );
    refused(
        "input %a f32[2, 3, 3] input %b f32[4, 3, 3] %y f32[2, 3, 3] = matmul(%a, %b)",
        "shapes [2] and [4] do not broadcast",
    );
    refused(
        "input %a f32[2, 3] input %b f32[3, 5] input %c f32[2] %y f32[2, 5] = matmul(%a, %b, %c)",
        "bias has shape [2], but the product has 5 columns",
    );
}

#[test]
fn pools() {
    gives(
        "input %x f32[2, (k2 c2), 5, 6] %y f32[2, (k2 c2), 2, 2] = max_pool(%x) window 3x3 stride 2",
    );
    gives(&on_image("%y f32[2, 4, 2, 3] = max_pool(%x) window 3x3 stride 2 ceil true"));
    gives(&on_image("%y f32[2, 4, 3, 4] = average_pool(%x) window 2x2 stride 2 pad 1 ceil true"));
    // A third window along the width would start in the padding.
    gives(
        "input %x f32[1, 1, 4, 4] %y f32[1, 1, 2, 2] = max_pool(%x) window 2x2 stride 3 pad 0 0 1 1 ceil true",
    );
    refused(
        &on_image("%y f32[2, 4, 9, 6] = max_pool(%x) window 1x1 pad 2 0 2 0"),
        "padding 2 before and 2 after 5 elements leaves windows of kernel 1x1 with nothing but \
         padding",
    );
    refused(
        "input %x f32[1, 1, 1, 1] %y f32[1, 1, 1, 1] = average_pool(%x) window 2x2 dilation 2 pad 1",
        "padding 1 before and 1 after 1 elements leaves windows of kernel 2x2 with nothing but \
         padding",
    );
    refused(
        "input %x i8[1, 1, 1, 1] %y i8[1, 1, 1, 1] = max_pool(%x) window 1x1",
        "max_pool is not defined for i8",
    );
}

#[test]
fn bounds_are_numbers() {
    gives("input %x f32[2] %y f32[2] = clip(%x) low -inf high inf");
    let nan = "clip's bound `low` is NaN";
    refused("input %x f32[2] %y f32[2] = clip(%x) low nan high 1", nan);
    refused("input %x f32[2] %y f32[2] = relu(%x) then clip 0 nan", "clip's bound `high` is NaN");
}

#[test]
fn reductions() {
    gives(
        "input %x f32[2, (k2 c3), 4] %y f32[1, (k2 c3), 1] = reduce_mean(%x) axes [0, 2] keep true",
    );
    gives("input %x f32[2, (k2 c3), 4] %y f32[(k2 c3), 4] = reduce_max(%x) axes [0]");
    gives("input %x i64[2, 0] %y i64[2] = reduce_sum(%x) axes [1]");
    gives("input %x f32[2, (k2 c3)] %y i64[(k2 c3)] = argmax(%x) axis 0");
    gives("input %x i32[2, 3] %y i64[2, 1] = argmax(%x) axis 1 keep true");
    gives("input %x f32[2, (k2 c3)] %y f32[2, (k2 c3)] = log_softmax(%x) axis 1");
    refused(
        "input %x f32[2, 0] %y f32[2] = reduce_mean(%x) axes [1]",
        "reduce_mean of nothing: f32[2, 0] over the axes [1]",
    );
    gives("input %x f32[2, 0] %y f32[0] = reduce_mean(%x) axes [0]");
    gives("input %x f32[0, 0] %y f32[0] = reduce_mean(%x) axes [1]");
    gives("input %x f32[2, 0] %y f32[2] = reduce_max(%x) axes [1]");
    refused(
        "input %x f32[0] %y i64[] = argmax(%x) axis 0",
        "argmax over the empty axis 0 of f32[0]",
    );
    gives("input %x f32[2, 0] %y f32[2, 0] = softmax(%x) axis 1");
    gives("input %x f32[2, 0] %y f32[2, 0] = softmax(%x) axis 0");
    refused("input %x f32[2] %y f32[2] = softmax(%x) axis 1", "x is f32[2], which has no axis 1");
    refused("input %x i64[2] %y i64[2] = softmax(%x) axis 0", "softmax is not defined for i64");
    refused(
        "input %x bool[2] %y bool[] = reduce_max(%x) axes [0]",
        "reduce_max is not defined for bool",
    );
}

#[test]
fn moves() {
    gives("input %x f32[2, (k2 c3), 4] %y f32[4, 2, (k2 c3)] = transpose(%x) perm [2, 0, 1]");
    gives("input %a f32[2, 6] input %b f32[1, (k2 c3)] %y f32[3, (k2 c3)] = concat(%a, %b) axis 0");
    gives("input %a f32[(k2 c3)] %y f32[(k2 c3)] = concat(%a) axis 0");
    gives("input %x f32[2, 6, 4] input %i i64[3, 0] %y f32[2, 3, 0, 4] = gather(%x, %i) axis 1");
    gives("input %x f32[2, 6, 4] input %i i32[] %y f32[2, 4] = gather(%x, %i) axis 1");
    gives("input %x f32[0, 2] input %i i64[0] %y f32[0, 2] = gather(%x, %i) axis 0");
    gives("input %x f32[2, (k2 c3)] %y f32[5, (k2 c3)] = pad(%x) before [1, 0] after [2, 0]");
    gives("input %x u8[(k2 c3)] %y u8[(k2 c3)] = identity(%x)");
}

#[test]
fn moves_refuse() {
    refused(
        "input %a f32[2, 3] input %b f32[2, 4] %y f32[4, 3] = concat(%a, %b) axis 0",
        "part 1 is f32[2, 4], which does not continue f32[2, 3] along axis 0",
    );
    refused(
        "input %a f32[2] input %b i8[2] %y f32[4] = concat(%a, %b) axis 0",
        "part 0 is f32, but part 1 is i8",
    );
    refused("input %a f32[2] %y f32[4] = concat(%a, _, %a) axis 0", "operand 1 is missing");
    refused(
        "input %x f32[2] input %i f32[1] %y f32[1] = gather(%x, %i) axis 0",
        "indices are f32, not i64 or i32",
    );
    refused(
        "input %x f32[0, 2] input %i i64[1] %y f32[1, 2] = gather(%x, %i) axis 0",
        "x is f32[0, 2], which has nothing to pick along axis 0",
    );
    refused(
        "input %x f32[2] %y f32[2] = pad(%x) before [1, 0] after [2]",
        "2 and 1 paddings for the 1 axes of f32[2]",
    );
    refused(
        "input %x f32[2, 3] %y f32[2, 3] = transpose(%x) perm [0, 0]",
        "[0, 0] is not a permutation of the 2 axes of f32[2, 3]",
    );
}

#[test]
fn types_that_are_attributes_are_not_inferred() {
    for (body, name) in [
        ("input %y f32[2]", "input"),
        ("weight %y f32[2] rand(1)", "weight"),
        ("input %x f32[2] %y f32[2, 1] = reshape(%x)", "reshape"),
        ("input %x f32[2] %y f32[2, 2] = expand(%x)", "expand"),
        ("input %x f32[2] %y f32[1] = slice(%x) starts [1]", "slice"),
    ] {
        refused(body, &format!("the result type of {name} is an attribute of it"));
    }
}

#[test]
fn sizes_that_overflow() {
    let huge = f32s(&[usize::MAX, 1]);
    let wide = f32s(&[1, usize::MAX]);
    let add = Op::Binary(cardinal_compiler::ir::Binary::Add, Epilogue::none());
    refuses(
        infer(&add, &[(0, &huge), (1, &wide)]),
        "the result f32[18446744073709551615, 18446744073709551615] is too large for this machine",
    );
    let concat = Op::Concat { axis: 0 };
    refuses(infer(&concat, &[(0, &huge), (1, &huge)]), "the result is too large");
    let pad = Op::Pad { before: vec![usize::MAX, 0], after: vec![1, 0], value: 0.0 };
    refuses(infer(&pad, &[(0, &f32s(&[1, 1]))]), "padding 18446744073709551615 and 1 is too large");
    // Strides of an empty tensor are bounded too.
    let empty = f32s(&[0, usize::MAX, 2]);
    assert!(infer(&Op::Identity, &[(0, &empty)]).is_err());
}

/// Windows with a 0, or so large that sums and products of their numbers overflow.
fn windows() -> Vec<Window> {
    let point = Window::POINT;
    let numbers = [0, 1, 2, usize::MAX / 2, usize::MAX - 1, usize::MAX];
    let mut all = Vec::new();
    for n in numbers {
        for m in numbers {
            all.push(Window { kernel: [n, 1], dilation: [m, 1], ..point });
            all.push(Window { kernel: [1, n], stride: [1, m], pad_after: [0, m], ..point });
            all.push(Window { pad_before: [n, n], stride: [m, 1], kernel: [m, m], ..point });
            all.push(Window { pad_before: [n, 1], pad_after: [m, 1], ..point });
        }
    }
    all
}

#[test]
fn windows_that_make_no_sense_have_no_extent_and_no_positions() {
    for window in windows() {
        for axis in [0, 1] {
            for input in [0, 3, usize::MAX] {
                for ceil in [false, true] {
                    let _ = (window.extent(axis), window.positions(axis, input, ceil));
                }
            }
        }
    }
    let point = Window::POINT;
    assert_eq!(Window { kernel: [3, 1], dilation: [2, 1], ..point }.extent(0), Some(5));
    assert_eq!(Window { kernel: [0, 1], ..point }.extent(0), None);
    assert_eq!(Window { dilation: [0, 1], ..point }.extent(0), None);
    assert_eq!(Window { kernel: [2, 1], dilation: [usize::MAX, 1], ..point }.extent(0), None);
    assert_eq!(Window { stride: [0, 1], ..point }.positions(0, 3, false), None);
    assert_eq!(Window { pad_after: [usize::MAX, 0], ..point }.positions(0, 3, false), None);
    assert_eq!(Window { kernel: [4, 1], ..point }.positions(0, 3, true), None);
    let stride = Window { kernel: [3, 1], stride: [2, 1], ..point };
    assert_eq!(stride.positions(0, 6, false), Some(2));
    assert_eq!(stride.positions(0, 6, true), Some(3));
    // The third window would start in the padding after the input.
    let late = Window { kernel: [2, 1], stride: [3, 1], pad_after: [1, 0], ..point };
    assert_eq!(late.positions(0, 6, true), Some(2));
    let only_padding = Window { pad_after: [1, 0], ..point };
    assert_eq!(only_padding.positions(0, 0, true), None);
}

#[test]
fn garbage_in_attributes_is_refused_without_a_panic() {
    let x = f32s(&[1, 2, 3, 3]);
    for window in windows() {
        for ceil in [false, true] {
            let kind = PoolKind::Average { count_padding: true };
            let _ = infer(&Op::Pool(Pool { kind, window, ceil }), &[(0, &x)]);
        }
        let weight = f32s(&[2, 2, window.kernel[0], window.kernel[1]]);
        let conv = Op::Conv(Conv { groups: 1, window, epilogue: Epilogue::none() });
        let _ = infer(&conv, &[(0, &x), (1, &weight)]);
    }
    let zero = Window { stride: [0, 1], ..Window::POINT };
    let pool = Op::Pool(Pool { kind: PoolKind::Max, window: zero, ceil: false });
    refuses(infer(&pool, &[(0, &x)]), "stride 0x1 has a 0");
    let groups = Op::Conv(Conv { groups: 0, window: Window::POINT, epilogue: Epilogue::none() });
    let weight = f32s(&[2, 2, 1, 1]);
    refuses(infer(&groups, &[(0, &x), (1, &weight)]), "there are 0 groups");
}

#[test]
fn garbage_in_operands_and_axes_is_refused() {
    let x = f32s(&[2, 3]);
    let sum = |axes| Op::Reduce(Reduce { kind: ReduceKind::Sum, axes, keep: false });
    refuses(infer(&sum(vec![]), &[(0, &x)]), "axes [] are not ascending, at least one");
    refuses(infer(&sum(vec![1, 0]), &[(0, &x)]), "axes [1, 0] are not ascending, at least one");
    refuses(infer(&sum(vec![9]), &[(0, &x)]), "x is f32[2, 3], which has no axis 9");
    let concat = Op::Concat { axis: usize::MAX };
    let none = "x is f32[2, 3], which has no axis 18446744073709551615";
    refuses(infer(&concat, &[(0, &x)]), none);
    refuses(
        infer(&Op::Gather { axis: usize::MAX }, &[(0, &x), (1, &x)]),
        "indices are f32, not i64 or i32",
    );
    scatters_are_of_as_many_slices_as_places();
    refuses(infer(&Op::Identity, &[(0, &x), (0, &x)]), "operand 0 is given twice");
    refuses(
        infer(&Op::Identity, &[(usize::MAX, &x)]),
        "identity has no operand 18446744073709551615",
    );
    refuses(infer(&concat, &[]), "operand 0 (the first part) is missing");
}

fn scatters_are_of_as_many_slices_as_places() {
    let (x, data) = (TensorType::new(DType::F32, &[2, 3]), TensorType::new(DType::F32, &[5, 3]));
    let [two, three] = [2, 3].map(|n| TensorType::new(DType::I64, &[n]));
    let scatter = |extent| Op::Scatter { extent };
    assert_eq!(infer(&scatter(5), &[(0, &x), (1, &two)]).unwrap(), data);
    assert_eq!(infer(&scatter(5), &[(0, &x), (1, &two), (2, &data)]).unwrap(), data);
    refuses(infer(&scatter(5), &[(0, &x), (1, &three)]), "x is f32[2, 3], for indices i64[3]");
    let floats = infer(&scatter(5), &[(0, &x), (1, &x)]);
    refuses(floats, "indices are f32[2, 3], not i64 or i32 along one axis");
    let other = infer(&scatter(4), &[(0, &x), (1, &two), (2, &data)]);
    refuses(other, "the data are f32[5, 3], not f32[4, 3]");
}

/// The result has the type of the zero point, or is f32; grids broadcast to what they are of.
#[test]
fn quantizing_has_a_grid_that_broadcasts() {
    gives("input %x f32[2, 3]\ninput %s f32[3]\ninput %z i8[]\n%y i8[2, 3] = quantize(%x, %s, %z)");
    gives(
        "input %x i32[2, 3]\ninput %s f32[]\ninput %z i32[2, 1]\n\
         %y f32[2, 3] = dequantize(%x, %s, %z)",
    );
    let quantize = |x, s, z| {
        format!("input %x {x}\ninput %s {s}\ninput %z {z}\n%y u8[3] = quantize(%x, %s, %z)")
    };
    refused(&quantize("i32[3]", "f32[]", "u8[]"), "quantize is not defined for i32");
    refused(&quantize("f32[3]", "f64[]", "u8[]"), "the scale is f64, not f32");
    refused(&quantize("f32[3]", "f32[]", "i32[]"), "the zero point is i32, not u8 or i8");
    refused(
        &quantize("f32[3]", "f32[2, 3]", "u8[]"),
        "the scale f32[2, 3] does not broadcast to f32[3]",
    );
    refused(
        &quantize("f32[3]", "f32[]", "u8[2]"),
        "the zero point u8[2] does not broadcast to f32[3]",
    );
    let dequantize = |x, z| {
        format!("input %x {x}\ninput %s f32[]\ninput %z {z}\n%y f32[3] = dequantize(%x, %s, %z)")
    };
    refused(&dequantize("i64[3]", "i64[]"), "x is i64, not u8, i8 or i32");
    refused(&dequantize("u8[3]", "i8[]"), "x is u8, but the zero point is i8");
}
