//! Micro-kernels.

use cardinal_compiler::asm::Vectors;
use cardinal_compiler::ir::expr::Expr;
use cardinal_compiler::ir::{Binary, Unary};
use cardinal_compiler::kernels::conv::micro_kernel::{MicroKernel, Prefetch, orders};
use cardinal_compiler::machine::{Element, Factor};
use cardinal_compiler::plan::Loop;
use cardinal_compiler::schedule::epilogue::FusedStep;

use super::random::Random;
use super::{Argument, BLOCK, Case, Place, Value, apply, used};

/// A function, its definition, and how steep that is at most.
type Function = (Unary, fn(f64) -> f64, f64);

/// Functions of many steps, and of few.
const FUNCTIONS: [Function; 4] = [
    (Unary::Swish, |x| x / (1.0 + (-x).exp()), 1.1),
    (Unary::Tanh, f64::tanh, 1.0),
    (Unary::HardSwish, |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0), 1.5),
    (Unary::Clip { low: -1.0, high: 2.0 }, |x| x.clamp(-1.0, 2.0), 1.0),
];

/// What a sum becomes: the function, its slope, and whether the residual operand is added.
type Finished = (fn(f64) -> f64, f64, bool);

/// A function of the sum, with the residual operand added where that is asked for.
fn finish(function: Unary, adds: bool) -> Expr {
    let of_sum = Expr::Operand(0).unary(function);
    if adds { of_sum.binary(Binary::Add, Expr::Operand(1)) } else { of_sum }
}

/// Groups of whole blocks.
pub(crate) fn whole(random: &mut Random, vectors: Vectors) -> Case {
    let fits = |blocks: &usize| vectors.most_pixels(Factor::F32, *blocks) > 0;
    let blocks = random.one_of(&(1..=4).filter(fits).collect::<Vec<_>>());
    let outer = random.below(4);
    let mut reduce: Vec<Loop> = (0..outer).map(|_| outer_loop(random)).collect();
    reduce.push(Loop::reading(random.between(1, BLOCK), random.one_of(&[1, 1, 3, BLOCK])));
    let micro = MicroKernel {
        pixels: random.between(1, vectors.most_pixels(Factor::F32, blocks)),
        blocks,
        input_pixel: random.one_of(&[1, 5, BLOCK, 2 * BLOCK]),
        reduce,
        ..MicroKernel::default()
    };
    case(random, vectors, micro)
}

/// Some blocks are on pages of their own.
fn outer_loop(random: &mut Random) -> Loop {
    Loop::reading(random.between(1, 4), random.one_of(&[0, 7, BLOCK, 512, 1024, 2048]))
}

/// Groups of fewer channels than a block.
pub(crate) fn narrow(random: &mut Random, vectors: Vectors) -> Case {
    let narrow = random.one_of(&[1, 4, 8]);
    let mut reduce: Vec<Loop> = (0..random.below(3)).map(|_| outer_loop(random)).collect();
    // Windows overlap, or pixels are no whole number of taps apart.
    let taps = Loop::reading(random.between(1, 7), random.between(1, 2) * BLOCK);
    reduce.extend([taps, Loop::reading(narrow, 1)]);
    let micro = MicroKernel {
        pixels: random.between(1, most_pixels(narrow, vectors)),
        blocks: 1,
        input_pixel: random.between(1, 3) * BLOCK,
        reduce,
        narrow,
        ..MicroKernel::default()
    };
    case(random, vectors, micro)
}

/// Most pixels of a tile of f32 in groups of so many channels.
fn most_pixels(narrow: usize, vectors: Vectors) -> usize {
    // A vector for each of a block, as a pixel has.
    vectors.most_pixels(Factor::F32, 1) - orders(Element::F32, narrow, vectors)
}

/// The rest is alike for both.
fn case(random: &mut Random, vectors: Vectors, micro: MicroKernel) -> Case {
    let tiles = random.between(1, 3);
    let depth: usize = micro.reduce.iter().map(|span| span.count).product();
    let next_to_each_other = random.is();
    let (output_pixel, output_block) = match next_to_each_other {
        true => (micro.blocks * BLOCK, BLOCK),
        false => (BLOCK, tiles * micro.pixels * BLOCK + random.below(3) * BLOCK),
    };
    let both = [FusedStep::AddResidual, FusedStep::Relu];
    let steps =
        [&[], &both[..1], &both[1..], &both[..], &[FusedStep::Relu, FusedStep::AddResidual]];
    // Functions of many steps, of sums or of these with the residual operand.
    let (is_finished, adds) = (random.is(), random.is());
    let (function, definition, slope) = random.one_of(&FUNCTIONS);
    let spec = MicroKernel {
        output_pixel,
        output_block,
        residual_block: output_block + random.below(2) * BLOCK,
        weights_block: if micro.blocks > 1 { depth * BLOCK + random.below(40) } else { 0 },
        prefetch: if random.is() { prefetch(random) } else { Prefetch::default() },
        bias: random.is(),
        accumulate: random.is(),
        steps: random.one_of(&steps).to_vec(),
        finish: if is_finished { finish(function, adds) } else { Expr::default() },
        ..micro
    };
    let mut places = ["input", "weights", "output", "bias", "residual"].map(Place::new);
    let finished = is_finished.then_some((definition, slope, adds));
    for at in 0..tiles * spec.pixels * spec.blocks * BLOCK {
        define(random, (&spec, finished), at, &mut places);
    }
    Case {
        spec: format!("{tiles} tiles of {spec:?}"),
        function: spec.assembled(vectors),
        arguments: [
            Argument::Place(0),
            Argument::Place(1),
            Argument::Place(2),
            used(spec.bias, 3),
            Argument::Count(tiles),
            used(spec.steps.contains(&both[0]) || (is_finished && adds), 4),
        ],
        places: places.into(),
    }
}

fn prefetch(random: &mut Random) -> Prefetch {
    let (tiles, earlier) = (random.between(1, 5), random.below(4));
    Prefetch { tiles, earlier, distance: random.below(5000) }
}

/// An output element by its definition.
fn define(
    random: &mut Random,
    (spec, finished): (&MicroKernel, Option<Finished>),
    number: usize,
    places: &mut [Place; 5],
) {
    let [input, weights, output, bias, residual] = places;
    let (pixel, channel) = (number / BLOCK / spec.blocks, number % (BLOCK * spec.blocks));
    let (block, lane) = (channel / BLOCK, channel % BLOCK);
    let group = lane.checked_div(spec.narrow).unwrap_or(0) * spec.narrow;
    let mut sum = Value::ZERO;
    for (line, from) in offsets(&spec.reduce).into_iter().enumerate() {
        let weight = weights.read(block * spec.weights_block + line * BLOCK + lane, random);
        sum = sum + input.read(pixel * spec.input_pixel + from + group, random) * weight;
    }
    if spec.bias {
        sum = sum + bias.read(channel, random);
    }
    let to = pixel * spec.output_pixel + lane;
    if spec.accumulate {
        sum = sum + output.read(to + block * spec.output_block, random);
    }
    let at = to + block * spec.residual_block;
    let mut sum = apply(&spec.steps, sum, (&mut *residual, at), random);
    if let Some((definition, slope, adds)) = finished {
        sum = sum.applied(definition, slope);
        sum = if adds { sum + residual.read(at, random) } else { sum };
    }
    output.write(to + block * spec.output_block, sum);
}

/// Where the contracted elements are, in the order of the loops.
pub(super) fn offsets(reduce: &[Loop]) -> Vec<usize> {
    let Some((outermost, inner)) = reduce.split_first() else { return vec![0] };
    let inner = offsets(inner);
    (0..outermost.count)
        .flat_map(|i| inner.iter().map(move |at| i * outermost.input + at))
        .collect()
}
