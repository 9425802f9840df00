//! Batches: stages written out for groups of images compute what the whole batch does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

mod running;

use std::collections::BTreeSet;

use cardinal_compiler::ir::{Graph, text};
use cardinal_compiler::plan::lower;
use running::{RelativeTo, avx2, check_graph};

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

/// The groups of images that steps are for, as their names say.
fn groups(graph: &Graph) -> BTreeSet<String> {
    let plan = lower(graph, &avx2()).unwrap();
    let group = |name: &str| name.split_once(':').map(|(_, images)| images.to_owned());
    plan.steps.iter().filter_map(|step| group(&step.name)).collect()
}

#[test]
fn batches_compute_what_their_images_do() {
    for images in [1, 2, 3, 9] {
        check_graph(&network(images, "output %y"), RelativeTo::Output);
        // A value that stays alive ends the stages.
        check_graph(&network(images, "output %y output %sum"), RelativeTo::Output);
    }
}

#[test]
fn large_planes_run_image_by_image_and_deep_layers_together() {
    assert!(groups(&network(1, "output %y")).is_empty());
    let each: BTreeSet<String> = (0..9).map(|image| image.to_string()).collect();
    let of = |name: &str| {
        let plan = lower(&network(9, "output %y"), &avx2()).unwrap();
        let steps = plan.steps.iter().filter_map(|step| step.name.strip_prefix(name));
        steps.map(|rest| rest.trim_start_matches(':').to_owned()).collect::<BTreeSet<_>>()
    };
    assert_eq!(of("stem"), each);
    assert_eq!(of("sum"), each);
    // Pairs, and the one that is left.
    assert_eq!(of("deep"), ["0-1", "2-3", "4-5", "6-7", "8"].map(str::to_owned).into());
    assert_eq!(of("y"), ["".to_owned()].into());
}
