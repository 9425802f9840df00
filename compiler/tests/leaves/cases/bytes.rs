//! Micro-kernels of bytes. Scales are powers of two, and numbers few enough digits, that nothing but the
//! last step rounds: so bytes are expected to the bit, those that lie in the middle too.

use cardinal_compiler::asm::Vectors;
use cardinal_compiler::kernels::conv::micro_kernel::{Bytes, MicroKernel, orders};
use cardinal_compiler::machine::Element;
use cardinal_compiler::plan::Loop;
use cardinal_compiler::schedule::byte_scale::ByteScale;
use cardinal_compiler::schedule::epilogue::FusedStep;

use super::random::Random;
use super::{Argument, BLOCK, Case, Place, Value, used};

/// Bytes of a word.
const WORD: usize = 4;

/// Lines before the weights of a block.
const HEADER: usize = 2;

/// Registers that sums leave.
const SPARE: usize = 4;

/// The largest sum of two weights of a pair on either side of 0, where bytes are multiplied in pairs.
const LARGEST_PAIR: i32 = 128;

/// Groups of whole blocks.
pub(crate) fn tile(random: &mut Random, vectors: Vectors) -> Case {
    case(random, vectors, 0, false)
}

/// The same, with bytes multiplied in pairs.
pub(crate) fn pairs(random: &mut Random, vectors: Vectors) -> Case {
    case(random, vectors, 0, true)
}

/// Narrow groups, with bytes multiplied in pairs.
pub(crate) fn narrow_pairs(random: &mut Random, vectors: Vectors) -> Case {
    let narrow = random.one_of(&[1, 4, 8]);
    case(random, vectors, narrow, true)
}

/// Groups of fewer channels than a block.
pub(crate) fn narrow(random: &mut Random, vectors: Vectors) -> Case {
    let narrow = random.one_of(&[1, 4, 8]);
    case(random, vectors, narrow, false)
}

fn case(random: &mut Random, vectors: Vectors, narrow: usize, pairs: bool) -> Case {
    let most = |blocks: usize| {
        let row = blocks * vectors.per_block();
        // A row of weights and an element, and later what rounds; ones, and products of pairs.
        let found = orders(Element::U8, narrow, vectors) * vectors.per_block();
        let spare = SPARE.max(row + 1) + found;
        let spare = spare + if pairs { 2 } else { 0 };
        vectors.registers().saturating_sub(spare) / row
    };
    let fits = |blocks: &usize| most(*blocks) > 0;
    let widest = if narrow > 0 { 1 } else { 4 };
    let blocks = random.one_of(&(1..=widest).filter(fits).collect::<Vec<_>>());
    let mut reduce: Vec<Loop> = (0..random.below(3))
        .map(|_| Loop::reading(random.between(1, 3), random.one_of(&[0, 4, 20, 1024])))
        .collect();
    reduce.push(match narrow {
        0 => Loop::reading(random.between(1, BLOCK / WORD), 1),
        _ => Loop::reading(narrow.div_ceil(WORD), 0),
    });
    let lines = HEADER + reduce.iter().map(|span| span.count).product::<usize>();
    let (tiles, pixels) = (random.between(1, 3), random.between(1, most(blocks)));
    let output_block = tiles * pixels * BLOCK + random.below(3) * BLOCK;
    let both = [FusedStep::AddResidual, FusedStep::Relu];
    let steps =
        [&[], &both[..1], &both[1..], &both[..], &[FusedStep::Relu, FusedStep::AddResidual]];
    let [made, residual] = [(); 2].map(|()| random.is().then(|| scale(random)));
    let spec = MicroKernel {
        element: Element::U8,
        pairs,
        bytes: Bytes { made, residual },
        pixels,
        blocks,
        weights_block: if blocks > 1 { lines * BLOCK + random.below(3) * BLOCK } else { 0 },
        input_pixel: random.one_of(&[4, 8, 20]),
        output_pixel: BLOCK,
        output_block,
        residual_block: output_block + random.below(2) * BLOCK,
        reduce,
        narrow,
        bias: random.is(),
        steps: random.one_of(&steps).to_vec(),
        ..MicroKernel::default()
    };
    let mut places = ["input", "weights", "output", "bias", "residual"].map(Place::new);
    for at in 0..tiles * pixels * blocks * BLOCK / WORD {
        word(random, &spec, at * WORD, &mut places);
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
            used(spec.steps.contains(&both[0]), 4),
        ],
        places: places.into(),
    }
}

pub(super) fn scale(random: &mut Random) -> ByteScale {
    let lowest = -(random.one_of(&[0, 0, 3, 128, 255]));
    let highest = lowest + random.one_of(&[255, 255, 200]).max(-lowest);
    ByteScale { scale: random.one_of(&[0.125, 1.0, 8.0]), lowest, highest }
}

/// Four outputs of a pixel by their definition, of which the first is the one of this number.
fn word(random: &mut Random, spec: &MicroKernel, number: usize, places: &mut [Place; 5]) {
    let (pixel, channel) = (number / BLOCK / spec.blocks, number % (BLOCK * spec.blocks));
    let (block, lane) = (channel / BLOCK, channel % BLOCK);
    let to = pixel * spec.output_pixel + lane;
    let results: [f64; WORD] = std::array::from_fn(|i| {
        let of = [pixel, block, lane + i];
        let sum = sum(random, spec, of, places);
        let added = (to + block * spec.residual_block, i);
        spec.steps.iter().fold(sum, |x, step| match step {
            FusedStep::AddResidual => x + residual(random, spec, added, &mut places[4]),
            FusedStep::Relu => x.max(0.0),
        })
    });
    let (at, output) = (to + block * spec.output_block, &mut places[2]);
    match spec.bytes.made {
        None => {
            for (i, result) in results.into_iter().enumerate() {
                output.write(at + i, Value::exact(result as f32));
            }
        }
        Some(made) => output.write_word(at / WORD, results.map(|x| byte(made, x))),
    }
}

fn sum(
    random: &mut Random,
    spec: &MicroKernel,
    [pixel, block, lane]: [usize; 3],
    [input, weights, _, bias, _]: &mut [Place; 5],
) -> f64 {
    let line = |line: usize| block * spec.weights_block + line * BLOCK + lane;
    let start = weights.word_of(line(0), || (random.below(20001) as i32 - 10000).to_le_bytes());
    let mut sum = i64::from(i32::from_le_bytes(start));
    let words = spec.narrow.div_ceil(WORD);
    // Which word of its block a lane reads, for a word of its group.
    let of_group = |word: usize| lane / spec.narrow.max(1) * words + word;
    for (number, from) in super::tile::offsets(&spec.reduce).into_iter().enumerate() {
        let at = pixel * spec.input_pixel + from;
        let bytes = match spec.narrow {
            0 => input.word_of(at, || random.bytes()),
            // A channel of its own.
            1 => {
                let word = input.word_of(at + lane / WORD, || random.bytes());
                [word[lane % WORD], 0, 0, 0]
            }
            _ => {
                // All four words are read.
                let block = [0, 1, 2, 3].map(|word| input.word_of(at + word, || random.bytes()));
                block[of_group(number % words)]
            }
        };
        let weights = weights.word_of(line(HEADER + number), || weights_of(random, spec.pairs));
        let products = bytes.into_iter().zip(weights.map(u8::cast_signed));
        sum += products.map(|(a, b)| i64::from(a) * i64::from(b)).sum::<i64>();
    }
    let scale =
        weights.word_of(line(1), || random.one_of(&[1f32 / 64.0, 1.0 / 16.0]).to_le_bytes());
    let scaled = sum as f64 * f64::from(f32::from_le_bytes(scale));
    if !spec.bias {
        return scaled;
    }
    let mut eighths = || (random.below(2001) as f32 - 1000.0) / 8.0;
    let word = bias.word_of(block * BLOCK + lane, || eighths().to_le_bytes());
    scaled + f64::from(f32::from_le_bytes(word))
}

/// Four weights; of pairs that are too large, what is too much is taken from the second.
fn weights_of(random: &mut Random, pairs: bool) -> [u8; WORD] {
    let mut word = random.bytes();
    for pair in word.chunks_mut(2).filter(|_| pairs) {
        let [a, b] = [pair[0], pair[1]].map(|weight| i32::from(weight.cast_signed()));
        if (a < 0) == (b < 0) && (a + b).abs() > LARGEST_PAIR {
            let second = (LARGEST_PAIR - a.abs()) * b.signum();
            pair[1] = (second as i8).cast_unsigned();
        }
    }
    word
}

/// An element of the residual operand, the `i`-th behind one at the start of a word.
fn residual(
    random: &mut Random,
    spec: &MicroKernel,
    (at, i): (usize, usize),
    place: &mut Place,
) -> f64 {
    let Some(ByteScale { scale, lowest, .. }) = spec.bytes.residual else {
        let mut eighths = || (random.below(2001) as f32 - 1000.0) / 8.0;
        let word = place.word_of(at + i, || eighths().to_le_bytes());
        return f64::from(f32::from_le_bytes(word));
    };
    let byte = place.word_of(at / WORD, || random.bytes())[i];
    f64::from(i32::from(byte) + lowest) * f64::from(scale)
}

/// The byte of the nearest multiple.
pub(super) fn byte(made: ByteScale, x: f64) -> u8 {
    let steps = (x / f64::from(made.scale)).round_ties_even();
    (steps.clamp(made.lowest.into(), made.highest.into()) - f64::from(made.lowest)) as u8
}
