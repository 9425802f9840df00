//! Functions of bfloat16, which AVX-512 alone has instructions for: so they are made for that, whatever vectors
//! are asked for. Operands have so few digits that no sum is rounded, and results are expected to the bit.

use cardinal_compiler::asm::Vectors;
use cardinal_compiler::kernels::conv::micro_kernel::{MicroKernel, orders};
use cardinal_compiler::kernels::to_bfloat16::Rounded;
use cardinal_compiler::machine::{Element, Factor};
use cardinal_compiler::plan::Loop;
use cardinal_compiler::schedule::epilogue::FusedStep;

use super::random::Random;
use super::{Argument, BLOCK, Case, Place, used};

const VECTORS: Vectors = Vectors::Avx512;

/// The upper half of the nearest f32 whose lower half is zero, of two the even one.
pub(super) fn rounded(x: f32) -> [u8; 2] {
    let bits = if x.is_subnormal() { x.to_bits() & 0x8000_0000 } else { x.to_bits() };
    let [_, _, a, b] = (bits + 0x7FFF + (bits >> 16 & 1)).to_le_bytes();
    [a, b]
}

/// Two multiples of an eighth, from -4 to 4.
fn pair(random: &mut Random) -> [u8; 4] {
    let [a, b] = [(); 2].map(|()| rounded(eighth(random)));
    [a[0], a[1], b[0], b[1]]
}

fn eighth(random: &mut Random) -> f32 {
    (random.below(65) as f32 - 32.0) / 8.0
}

fn halves(word: [u8; 4]) -> [f64; 2] {
    [[0, 0, word[0], word[1]], [0, 0, word[2], word[3]]].map(|half| f32::from_le_bytes(half).into())
}

/// Micro-kernels of groups of whole blocks.
pub(crate) fn tile(random: &mut Random, _: Vectors) -> Case {
    case(random, 0)
}

/// Of groups of fewer channels than a block.
pub(crate) fn narrow(random: &mut Random, _: Vectors) -> Case {
    let narrow = random.one_of(&[4, 8]);
    case(random, narrow)
}

fn case(random: &mut Random, narrow: usize) -> Case {
    let found = orders(Element::Bf16, narrow, VECTORS);
    let most = |blocks: usize| VECTORS.most_pixels(Factor::Bf16, blocks).saturating_sub(found);
    let widest = if narrow > 0 { 1 } else { 4 };
    let fits = |blocks: &usize| most(*blocks) > 0;
    let blocks = random.one_of(&(1..=widest).filter(fits).collect::<Vec<_>>());
    let mut reduce: Vec<Loop> = (0..random.below(3))
        .map(|_| Loop::reading(random.between(1, 3), random.one_of(&[0, 8, 24, 1024])))
        .collect();
    reduce.push(match narrow {
        0 => Loop::reading(random.between(1, BLOCK / 2), 1),
        _ => Loop::reading(narrow / 2, 0),
    });
    let lines: usize = reduce.iter().map(|span| span.count).product();
    let (tiles, pixels) = (random.between(1, 3), random.between(1, most(blocks)));
    let output_block = tiles * pixels * BLOCK + random.below(3) * BLOCK;
    let spec = MicroKernel {
        element: Element::Bf16,
        pixels,
        blocks,
        weights_block: if blocks > 1 { lines * BLOCK + random.below(3) * BLOCK } else { 0 },
        input_pixel: random.one_of(&[8, 16, 24]),
        output_pixel: BLOCK,
        output_block,
        residual_block: output_block,
        reduce,
        narrow,
        bias: random.is(),
        accumulate: random.is(),
        steps: random.one_of(&[vec![], vec![FusedStep::Relu], vec![FusedStep::AddResidual]]),
        ..MicroKernel::default()
    };
    let mut places = ["input", "weights", "output", "bias", "residual"].map(Place::new);
    for number in 0..tiles * pixels * blocks * BLOCK {
        let (pixel, channel) = (number / BLOCK / blocks, number % (BLOCK * blocks));
        define(random, &spec, [pixel, channel], &mut places);
    }
    let adds = spec.steps.contains(&FusedStep::AddResidual);
    let arguments = [
        Argument::Place(0),
        Argument::Place(1),
        Argument::Place(2),
        used(spec.bias, 3),
        Argument::Count(tiles),
        used(adds, 4),
    ];
    let function = spec.assembled(VECTORS);
    Case { spec: format!("{tiles} tiles of {spec:?}"), function, arguments, places: places.into() }
}

/// An output element by its definition.
fn define(
    random: &mut Random,
    spec: &MicroKernel,
    [pixel, channel]: [usize; 2],
    [input, weights, output, bias, residual]: &mut [Place; 5],
) {
    let (block, lane) = (channel / BLOCK, channel % BLOCK);
    let words = spec.narrow / 2;
    let mut sum = 0.0;
    for (line, from) in super::tile::offsets(&spec.reduce).into_iter().enumerate() {
        let from = pixel * spec.input_pixel + from;
        let read = match lane.checked_div(spec.narrow) {
            None => input.word_of(from, || pair(random)),
            // All words of the block are read, and a lane takes those of its own group.
            Some(group) => {
                let all: [_; BLOCK / 2] =
                    std::array::from_fn(|word| input.word_of(from + word, || pair(random)));
                all[group * words + line % words]
            }
        };
        let at = block * spec.weights_block + line * BLOCK + lane;
        let weight = weights.word_of(at, || pair(random));
        sum += halves(read).iter().zip(halves(weight)).map(|(a, b)| a * b).sum::<f64>();
    }
    let mut added = |place: &mut Place, at: usize| {
        f64::from(f32::from_le_bytes(place.word_of(at, || eighth(random).to_le_bytes())))
    };
    let at = pixel * spec.output_pixel + block * spec.output_block + lane;
    if spec.bias {
        sum += added(bias, channel);
    }
    if spec.accumulate {
        sum += added(output, at);
    }
    for step in &spec.steps {
        sum = match step {
            FusedStep::AddResidual => sum + added(residual, at),
            FusedStep::Relu => sum.max(0.0),
        };
    }
    output.write_word(at, (sum as f32).to_le_bytes());
}

/// Copies.
pub(crate) fn copies(random: &mut Random, _: Vectors) -> Case {
    let blocks = random.between(1, 5);
    let (mut from, mut to) = (Place::new("input"), Place::new("output"));
    for word in 0..blocks * BLOCK / 2 {
        let [a, b] = [0, 1].map(|half| {
            // Of all sizes, some of them denormal, infinite or halfway between two.
            let made = f32::from_le_bytes(random.bytes());
            let made = if random.is() { f32::from_bits(made.to_bits() & !0x7FFF) } else { made };
            let made = if made.is_nan() { f32::INFINITY } else { made };
            let word = from.word_of(2 * word + half, || made.to_le_bytes());
            rounded(f32::from_le_bytes(word))
        });
        to.write_word(word, [a[0], a[1], b[0], b[1]]);
    }
    let arguments = [
        Argument::Place(0),
        Argument::Nothing,
        Argument::Place(1),
        Argument::Nothing,
        Argument::Count(blocks),
        Argument::Nothing,
    ];
    let function = Rounded.assembled(VECTORS);
    Case { spec: format!("{blocks} blocks"), function, arguments, places: vec![from, to] }
}
