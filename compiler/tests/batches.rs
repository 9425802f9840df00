//! Batches: stages that run for groups of images compute what the whole batch does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod running;

use std::num::NonZeroUsize;

use cardinal_compiler::ir::{Graph, text};
use cardinal_compiler::kernels::gemm::RowMajorGemm;
use cardinal_compiler::plan::Plan;
use cardinal_compiler::plan::kernel::Kernel as _;
use cardinal_runtime::cpu::{host_features, missing_features};
use cardinal_runtime::{DType, RunError, Session, Tensor};
use running::{RelativeTo, avx2, check_graph, compile_for, host, planned, rows};

/// A network whose weights grow while its planes shrink: with a residual sum that is joined between
/// stages, a pool, Split-Attention and a dense layer.
fn network(images: usize, outputs: &str) -> Graph {
    let n = images;
    let source = format!(
        "graph @batch {{
  input %x f32[{n}, 3, 32, 32]
  weight %w1 f32[16, 3, 3, 3] rand(1)
  weight %b1 f32[16] rand(2)
  weight %w2 f32[16, 16, 3, 3] rand(3)
  weight %w3 f32[64, 16, 1, 1] rand(4)
  weight %a1 f32[8, 32] rand(5)
  weight %a2 f32[64, 8] rand(6)
  weight %w4 f32[160, 32, 3, 3] rand(7)
  weight %scale f32[1, 160, 1, 1] rand(8)
  weight %w5 f32[160, 10] rand(9)
  %stem f32[{n}, 16, 32, 32] = conv(%x, %w1, %b1)
    window 3x3 pad 1
    then relu
  %sum f32[{n}, 16, 32, 32] = conv(%stem, %w2, %b1)
    window 3x3 pad 1
    then add %stem, relu
  %u f32[{n}, 64, 32, 32] = conv(%sum, %w3)
    window 1x1
    then relu
  %att f32[{n}, 32, 32, 32] = split_attention(%u, %a1, _, %a2)
    radix 2
    squeeze mean h w, sum r
    excite i8 then relu
    weigh softmax r
  %pool f32[{n}, 32, 8, 8] = average_pool(%att)
    window 4x4 stride 4
  %deep f32[{n}, 160, 8, 8] = conv(%pool, %w4)
    window 3x3 pad 1
    then relu
  %scaled f32[{n}, 160, 8, 8] = mul(%deep, %scale)
  %mean f32[{n}, 160] = reduce_mean(%scaled)
    axes [2, 3]
  %y f32[{n}, 10] = matmul(%mean, %w5)
  {outputs}
}}"
    );
    text::parse(&source).unwrap()
}

#[test]
fn batches_compute_what_their_images_do() {
    for images in [1, 2, 3, 9] {
        check_graph(&network(images, "output %y"), RelativeTo::Output);
        // A value that stays alive ends the stages.
        check_graph(&network(images, "output %y output %sum"), RelativeTo::Output);
    }
}

/// Any number of images up to that gives what each of them gives alone.
#[test]
fn fewer_images_give_the_rows_of_each_alone() {
    for images in [2, 3, 5, 8, 9, 11] {
        let graph = network(images, "output %y output %sum output %mean");
        for target in [host(), avx2()] {
            if !missing_features(target.features(), &host_features()).is_empty() {
                continue;
            }
            rows::check(&compile_for(&graph, &target), &format!("{images} for {target:?}"));
        }
    }
}

/// A node that takes images together is named, and then all of them are wanted.
#[test]
fn what_stands_in_the_way_is_named() {
    let output = "%z f32[4, 10] = softmax(%y)
    axis 0
  output %z";
    let program = compile_for(&network(4, output), &host());
    assert!(!program.takes_fewer());
    let by = program.fixed_by().unwrap();
    assert!(by.contains("\"z\"") && by.contains("softmax"), "{by}");
    let mut session = Session::new(program.clone(), NonZeroUsize::MIN).unwrap();
    let inputs = rows::inputs(&program);
    session.run(&inputs).unwrap();
    let fewer = [rows::rows(&inputs[0], 0, 3)];
    let error = session.run(&fewer).unwrap_err();
    assert!(matches!(error, RunError::Fixed { given: 3, .. }), "{error}");
    assert!(error.to_string().contains("exactly 4") && error.remedy().is_some(), "{error}");
}

/// More images than the model was compiled for, none, and tensors of different numbers are errors.
#[test]
fn wrong_numbers_of_images_are_errors() {
    let program = compile_for(&network(3, "output %y"), &host());
    let mut session = Session::new(program.clone(), NonZeroUsize::MIN).unwrap();
    for images in [0, 4] {
        let input = Tensor::zeros(DType::F32, &[images, 3, 32, 32]).unwrap();
        let error = session.run(&[input]).unwrap_err();
        assert!(matches!(error, RunError::Images { given, .. } if given == images), "{error}");
        assert!(error.to_string().contains("takes 1 to 3"), "{error}");
    }
    let input = Tensor::zeros(DType::F32, &[2, 3, 32, 32]).unwrap();
    let mut outputs = session.new_outputs_for(3).unwrap();
    let error = session.run_into(&[&input], &mut outputs).unwrap_err();
    assert!(matches!(error, RunError::Mismatch { .. }), "{error}");
    // Bytes that are no whole images, and those of a larger image.
    let bytes = [0u8; 3 * 32 * 32 * 4 + 4];
    let none: [&mut [u8]; 0] = [];
    let error = session.run_slices([&bytes[..]], none).unwrap_err();
    assert!(matches!(error, RunError::Bytes { .. }), "{error}");
    let other = Tensor::zeros(DType::F32, &[2, 3, 32, 31]).unwrap();
    assert!(matches!(session.run(&[other]), Err(RunError::Mismatch { .. })));
}

/// What groups of images have made may be a group longer than the batch: whoever reads it behind all stages
/// takes the images that there are, and an output of an earlier stage is not made again.
#[test]
fn images_beyond_the_batch_stay_within_their_stage() {
    for outputs in ["output %z", "output %z output %y", "output %y output %z"] {
        let source = format!(
            "graph @beyond {{
  input %x f32[3, 8, 4, 1]
  weight %w1 f32[2, 8, 1, 1] rand(2)
  weight %w2 f32[4, 2, 1, 3] rand(5)
  weight %w3 f32[12, 1, 1, 1] rand(10)
  %a f32[3, 2, 2, 1] = conv(%x, %w1)
    window 1x1 stride 2
  %y f32[3, 4, 4, 1] = conv(%a, %w2)
    window 1x3 pad 1
  %t f32[1, 3, 4, 4] = transpose(%y)
    perm [3, 0, 1, 2]
  %z f32[1, 12, 4, 4] = group_conv(%t, %w3)
    groups 3
    window 1x1
  {outputs}
}}"
        );
        let graph = text::parse(&source).unwrap();
        assert_eq!(planned(&graph, &avx2()).stages, [2], "the case that this is about");
        check_graph(&graph, RelativeTo::Output);
    }
}

/// A view of some channels of what single images made is of the images that its own stage takes together.
#[test]
fn slices_of_a_stage_before_are_of_their_own_stage() {
    for images in [2, 3, 5] {
        let n = images;
        let source = format!(
            "graph @sliced {{
  input %x f32[{n}, 3, 32, 32]
  weight %w1 f32[64, 3, 3, 3] rand(1)
  weight %w2 f32[128, 32, 3, 3] rand(2)
  weight %w3 f32[128, 32, 3, 3] rand(3)
  %stem f32[{n}, 64, 8, 8] = conv(%x, %w1)
    window 3x3 stride 4 pad 1
    then relu
  %low f32[{n}, 32, 8, 8] = slice(%stem)
    starts [0, 0, 0, 0]
    steps [1, 1, 1, 1]
  %high f32[{n}, 32, 8, 8] = slice(%stem)
    starts [0, 32, 0, 0]
    steps [1, 1, 1, 1]
  %a f32[{n}, 128, 4, 4] = conv(%low, %w2)
    window 3x3 stride 2 pad 1
  %y f32[{n}, 128, 4, 4] = conv(%high, %w3)
    window 3x3 stride 2 pad 1
    then add %a
  output %y
}}"
        );
        let graph = text::parse(&source).unwrap();
        let plan = planned(&graph, &avx2());
        assert_eq!(images_of(&plan, "stem"), 1, "what this is about");
        assert!(images_of(&plan, "a") > 1, "what this is about");
        check_graph(&graph, RelativeTo::Output);
    }
}

/// What runs once may read each image from where the images of another element lie: of values that are only
/// moved, and of borders, that image is the one which was copied, not the position of the result.
#[test]
fn moved_images_are_read_once_all_are_there() {
    for images in [2, 5, 8] {
        let n = images;
        for step in [
            "%b f32[N, 6, 4] = slice(%a)\n    starts [0, 0, 3]\n    steps [1, 1, -1]",
            "%b f32[N, 6, 4] = pad(%a)\n    before [0, 2, 0]\n    after [0, 0, 0]",
        ] {
            let rows = if step.contains("pad") { 4 } else { 6 };
            let source = format!(
                "graph @moved {{
  input %x f32[{n}, {rows}, 4]
  %a f32[{n}, {rows}, 4] = slice(%x)
    starts [0, {last}, 0]
    steps [1, -1, 1]
  {step}
  %y f32[6, {n}, 4] = transpose(%b)
    perm [1, 0, 2]
  output %y
}}",
                last = rows - 1,
                step = step.replace('N', &n.to_string()),
            );
            check_graph(&text::parse(&source).unwrap(), RelativeTo::Output);
        }
    }
}

/// How many images the step of this name is for.
fn images_of(plan: &Plan, name: &str) -> usize {
    let step = plan.steps.iter().find(|step| step.name == name).unwrap();
    plan.stages[step.stage]
}

#[test]
fn large_planes_run_image_by_image_and_deep_layers_together() {
    assert!(planned(&network(1, "output %y"), &avx2()).stages.is_empty());
    let plan = planned(&network(9, "output %y"), &avx2());
    for (name, together) in [("stem", 1), ("sum", 1), ("deep", 2), ("y", 8)] {
        assert_eq!(images_of(&plan, name), together, "{name}");
    }
    // Of eight and of seven images, whatever the number.
    assert_eq!(images_of(&planned(&network(8, "output %y"), &avx2()), "deep"), 2);
}

/// The plan and its code do not grow with the number of images.
#[test]
fn ten_thousand_images_take_the_code_of_ten() {
    let of = |images: usize| planned(&network(images, "output %y"), &avx2());
    let (ten, many) = (of(10), of(10_000));
    let shape = |plan: &Plan| (plan.stages.clone(), plan.steps.len(), plan.constants.len());
    assert_eq!(shape(&ten), shape(&many));
    let kernels = |plan: &Plan| plan.steps.iter().map(|s| s.kernel.clone()).collect::<Vec<_>>();
    assert_eq!(kernels(&ten), kernels(&many));
}

/// The products of matrices of a plan.
fn products(body: &str) -> Vec<RowMajorGemm> {
    let graph = text::parse(&format!("graph @g {{\n{body}\noutput %y\n}}")).unwrap();
    let plan = planned(&graph, &avx2());
    plan.steps.iter().filter_map(|step| step.kernel.get::<RowMajorGemm>()).cloned().collect()
}

/// Layers of few columns fall into more chunks of rows, and those of few images into blocks of fewer channels.
#[test]
fn products_have_items_for_many_threads() {
    for ([rows, read, made], least) in
        [([197, 768, 192], 15), ([197, 192, 768], 15), ([3136, 96, 384], 15), ([50, 768, 192], 9)]
    {
        let body = format!(
            "input %x f32[1, {rows}, {read}]\nweight %w f32[{read}, {made}] rand(1)\n\
             %y f32[1, {rows}, {made}] = matmul(%x, %w)"
        );
        let [gemm] = &products(&body)[..] else { panic!("{body}") };
        assert!(gemm.wide && gemm.items() >= least, "{rows}x{read}-{made}: {}", gemm.items());
    }
}

/// Their sums are made as those of any batch.
#[test]
fn few_images_are_not_in_register_tiles() {
    for images in [1, 7, 8, 13, 15] {
        let body = format!(
            "input %x f32[{images}, 2048]\nweight %w f32[2048, 1000] rand(1)\n\
             %y f32[{images}, 1000] = matmul(%x, %w)"
        );
        let [gemm] = &products(&body)[..] else { panic!("{body}") };
        assert!(!gemm.wide && gemm.items() >= 16, "{images}: {}", gemm.items());
    }
}
