//! Micro-kernels of i16, whose sums are exact: what is scaled of them is expected to the bit.

use cardinal_compiler::asm::Vectors;
use cardinal_compiler::kernels::conv::micro_kernel::MicroKernel;
use cardinal_compiler::machine::Element;
use cardinal_compiler::plan::Loop;

use super::random::Random;
use super::{Argument, BLOCK, Case, Place};

/// Lines before the weights of a block: what sums are scaled by.
const HEADER: usize = 1;

/// With products and their sums by one instruction.
pub(crate) fn tile(random: &mut Random, vectors: Vectors) -> Case {
    case(random, vectors, false)
}

/// The same by two.
pub(crate) fn pairs(random: &mut Random, vectors: Vectors) -> Case {
    case(random, vectors, true)
}

fn case(random: &mut Random, vectors: Vectors, pairs: bool) -> Case {
    let most = |blocks: usize| {
        let row = blocks * vectors.per_block();
        // A row of weights, an element, and products.
        let spare = row + 1 + usize::from(pairs);
        vectors.registers().saturating_sub(spare) / row
    };
    let fits = |blocks: &usize| most(*blocks) > 0;
    let blocks = random.one_of(&(1..=4).filter(fits).collect::<Vec<_>>());
    let mut reduce: Vec<Loop> = (0..random.below(3))
        .map(|_| Loop::reading(random.between(1, 3), random.one_of(&[0, 8, 24, 1024])))
        .collect();
    reduce.push(Loop::reading(random.between(1, BLOCK / 2), 1));
    let lines = HEADER + reduce.iter().map(|span| span.count).product::<usize>();
    let (tiles, pixels) = (random.between(1, 3), random.between(1, most(blocks)));
    let output_block = tiles * pixels * BLOCK + random.below(3) * BLOCK;
    let spec = MicroKernel {
        element: Element::I16,
        pairs,
        pixels,
        blocks,
        weights_block: if blocks > 1 { lines * BLOCK + random.below(3) * BLOCK } else { 0 },
        input_pixel: random.one_of(&[8, 16, 24]),
        output_pixel: BLOCK,
        output_block,
        reduce,
        ..MicroKernel::default()
    };
    let mut places = ["input", "weights", "output"].map(Place::new);
    for number in 0..tiles * pixels * blocks * BLOCK {
        let (pixel, channel) = (number / BLOCK / blocks, number % (BLOCK * blocks));
        let (block, lane) = (channel / BLOCK, channel % BLOCK);
        let result = scaled(random, &spec, [pixel, block, lane], &mut places);
        let at = pixel * spec.output_pixel + block * output_block + lane;
        places[2].write_word(at, result.to_le_bytes());
    }
    let arguments = [
        Argument::Place(0),
        Argument::Place(1),
        Argument::Place(2),
        Argument::Nothing,
        Argument::Count(tiles),
        Argument::Nothing,
    ];
    let function = spec.assembled(vectors);
    Case { spec: format!("{tiles} tiles of {spec:?}"), function, arguments, places: places.into() }
}

/// The sum of all products of an output, which is an i32, times its scale.
fn scaled(
    random: &mut Random,
    spec: &MicroKernel,
    [pixel, block, lane]: [usize; 3],
    [input, weights, _]: &mut [Place; 3],
) -> f32 {
    let line = |line: usize| block * spec.weights_block + line * BLOCK + lane;
    let mut sum = 0i64;
    for (number, from) in super::tile::offsets(&spec.reduce).into_iter().enumerate() {
        let read = input.word_of(pixel * spec.input_pixel + from, || random.bytes());
        // Few enough that sums stay an i32.
        let weight = weights.word_of(line(HEADER + number), || {
            let [a, b] = [(); 2].map(|()| (random.below(801) as i16 - 400).to_le_bytes());
            [a[0], a[1], b[0], b[1]]
        });
        let halves = |word: [u8; 4]| {
            [[word[0], word[1]], [word[2], word[3]]].map(|half| i64::from(i16::from_le_bytes(half)))
        };
        let products = halves(read).into_iter().zip(halves(weight));
        sum += products.map(|(a, b)| a * b).sum::<i64>();
    }
    let sum = i32::try_from(sum).unwrap();
    let scale = weights.word_of(line(0), || random.float().to_le_bytes());
    sum as f32 * f32::from_le_bytes(scale)
}
