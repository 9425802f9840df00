//! The sums around Strassen's products, as `kernels::conv::strassen` has them.

use cardinal_compiler::asm::Vectors;
use cardinal_compiler::kernels::conv::strassen::{Halves, Sums};
use cardinal_compiler::schedule::epilogue::FusedStep;

use super::random::Random;
use super::{Argument, BLOCK, Case, Place, Value, apply, used};

/// Halves that have so many elements, one of pixels inside one of channels or the other way round.
fn halves(random: &mut Random, elements: usize) -> Halves {
    let near = elements + random.below(3) * BLOCK;
    let far = near + elements + random.below(3) * BLOCK;
    match random.is() {
        true => Halves { pixels: near, channels: far },
        false => Halves { pixels: far, channels: near },
    }
}

const QUARTERS: [[usize; 2]; 4] = [[0, 0], [0, 1], [1, 0], [1, 1]];

/// Where a quarter begins.
fn quarter(halves: Halves, [pixels, channels]: [usize; 2]) -> usize {
    pixels * halves.pixels + channels * halves.channels
}

/// s1 to s4 of `a b c d`, with the quarters where they go.
fn sums_of([a, b, c, d]: [Value; 4]) -> [([usize; 2], Value); 4] {
    let s1 = c + d;
    let s2 = s1 - a;
    [([0, 0], s1), ([1, 0], s2), ([0, 1], a - c), ([1, 1], b - s2)]
}

pub(crate) fn inputs(random: &mut Random, vectors: Vectors) -> Case {
    let pixels = random.between(1, 4);
    let [from, to] = [halves(random, pixels * BLOCK), halves(random, pixels * BLOCK)];
    let (mut input, mut output) = (Place::new("input"), Place::new("output"));
    for at in 0..pixels * BLOCK {
        let quarters = QUARTERS.map(|q| input.read(quarter(from, q) + at, random));
        for (q, sum) in sums_of(quarters) {
            output.write(quarter(to, q) + at, sum);
        }
    }
    let spec = Sums::Inputs { from, to };
    Case {
        spec: format!("{pixels} pixels of {spec:?}"),
        function: spec.assembled(vectors),
        arguments: [
            Argument::Place(0),
            Argument::Nothing,
            Argument::Place(1),
            Argument::Nothing,
            Argument::Count(pixels),
            Argument::Nothing,
        ],
        places: vec![input, output],
    }
}

/// The quarters of the output.
fn outputs_of(p: [Value; 7]) -> [Value; 4] {
    [p[0] + p[1], p[0] + p[5] + p[4] + p[2], p[0] + p[5] + p[6] + p[3], p[0] + p[5] + p[6] + p[4]]
}

pub(crate) fn products(random: &mut Random, vectors: Vectors) -> Case {
    let pixels = random.between(1, 4);
    let elements = pixels * BLOCK;
    let product = elements + random.below(3) * BLOCK;
    let [to, residual, next] = [(); 3].map(|()| halves(random, elements));
    let bias = random.is().then(|| random.between(1, 3) * BLOCK);
    let next = random.is().then_some(next);
    let both = [FusedStep::AddResidual, FusedStep::Relu];
    let steps = random.one_of(&[&[], &both[..1], &both[1..], &both[..]]).to_vec();
    let reads_residual = steps.contains(&FusedStep::AddResidual);
    let mut places = ["products", "next", "output", "bias", "residual"].map(Place::new);
    for at in 0..elements {
        let [from, into, output, biases, added] = &mut places;
        let p = [0, 1, 2, 3, 4, 5, 6].map(|number| from.read(number * product + at, random));
        let mut quarters = outputs_of(p);
        for (value, q) in quarters.iter_mut().zip(QUARTERS) {
            if let Some(distance) = bias {
                *value = *value + biases.read(q[1] * distance + at % BLOCK, random);
            }
            *value = apply(&steps, *value, (added, quarter(residual, q) + at), random);
            output.write(quarter(to, q) + at, *value);
        }
        if let Some(next) = next {
            for (q, sum) in sums_of(quarters) {
                into.write(quarter(next, q) + at, sum);
            }
        }
    }
    let spec = Sums::Products { product, to, residual, bias, steps, next };
    Case {
        spec: format!("{pixels} pixels of {spec:?}"),
        function: spec.assembled(vectors),
        arguments: [
            Argument::Place(0),
            used(next.is_some(), 1),
            Argument::Place(2),
            used(bias.is_some(), 3),
            Argument::Count(pixels),
            used(reads_residual, 4),
        ],
        places: places.into(),
    }
}
