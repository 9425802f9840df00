//! Winograd's transforms, with matrices from their definition: Toom-Cook's evaluation of polynomials.

use cardinal_compiler::asm::Vectors;
use cardinal_compiler::kernels::conv::winograd::points::Points;
use cardinal_compiler::kernels::conv::winograd::{Elements, Transform};
use cardinal_compiler::schedule::epilogue::FusedStep;

use super::random::Random;
use super::{Argument, BLOCK, Case, Place, Value, apply, used};

type Matrix = Vec<Vec<f64>>;

/// The coefficients of the product of (x - q), lowest first, to so many.
fn product(roots: &[f64], length: usize) -> Vec<f64> {
    let mut coefficients = vec![0.0; length];
    coefficients[0] = 1.0;
    for q in roots {
        for i in (0..length).rev() {
            let lower = if i > 0 { coefficients[i - 1] } else { 0.0 };
            coefficients[i] = lower - q * coefficients[i];
        }
    }
    coefficients
}

/// `Bᵀ` for tiles of `fewer` outputs and filters for tiles of `outputs`: a row is the product over all
/// finite points but the element's own; infinity's is over all of the tile's.
fn input_matrix(points: Points, fewer: usize) -> Matrix {
    let (mine, beyond) = points.finite().split_at(fewer + 1);
    let row = |own: usize| {
        let others: Vec<f64> = (0..mine.len()).filter(|i| *i != own).map(|i| mine[i]).collect();
        let factor: f64 = beyond.iter().map(|q| mine[own] - q).product();
        product(&others, fewer + 2).iter().map(|c| c * factor).collect()
    };
    let mut rows: Matrix = (0..mine.len()).map(row).collect();
    rows.insert(1, product(mine, fewer + 2));
    rows
}

/// `Aᵀ`: row i is each point to the power of i, and infinity has the last row alone.
fn output_matrix(points: Points, fewer: usize) -> Matrix {
    let row = |power: usize| {
        let finite = &points.finite()[..=fewer];
        let mut row: Vec<f64> = finite.iter().map(|p| p.powi(power as i32)).collect();
        row.insert(1, if power + 1 == fewer { 1.0 } else { 0.0 });
        row
    };
    (0..fewer).map(row).collect()
}

/// `left · values · rightᵀ`
fn both_sides(left: &Matrix, values: &[Vec<Value>], right: &Matrix) -> Vec<Vec<Value>> {
    let entry = |l: &[f64], r: &[f64]| {
        let row = |values: &Vec<Value>| values.iter().zip(r).map(|(v, c)| *v * *c).sum::<Value>();
        values.iter().zip(l).map(|(values, c)| row(values) * *c).sum()
    };
    left.iter().map(|l| right.iter().map(|r| entry(l, r)).collect()).collect()
}

/// A size of filters, and of a tile.
fn sizes(random: &mut Random) -> (usize, [usize; 2]) {
    let outputs = random.between(2, 4);
    let fewer = [random.between(1, outputs), random.between(1, outputs)];
    (outputs, random.one_of(&[fewer, [outputs; 2], [fewer[0]; 2]]))
}

/// Elements of so many tiles, not one into another.
fn elements(random: &mut Random, outputs: usize, tiles: usize) -> Elements {
    let spare = random.below(4);
    Elements {
        distance: (tiles + spare) * BLOCK,
        few: random.between(1, outputs + 2),
        nearer: random.between(0, spare) * BLOCK,
    }
}

/// A window's rows or columns that are beyond the plane, but not all of them.
fn beyond(random: &mut Random, side: usize) -> [usize; 2] {
    let before = random.below(2);
    let behind = random.below(side - before);
    [before, random.one_of(&[0, 0, behind])]
}

/// What a tile is transformed to, given what reads its elements.
fn transformed(
    matrices: &[Matrix; 2],
    [high, wide]: [usize; 2],
    mut read: impl FnMut(usize, usize) -> Value,
) -> Vec<Vec<Value>> {
    let values: Vec<Vec<Value>> =
        (0..high).map(|i| (0..wide).map(|j| read(i, j)).collect()).collect();
    both_sides(&matrices[0], &values, &matrices[1])
}

/// Rows and columns of a matrix with these extents.
fn each([rows, columns]: [usize; 2]) -> impl Iterator<Item = [usize; 2]> {
    (0..rows).flat_map(move |i| (0..columns).map(move |j| [i, j]))
}

pub(crate) fn input(random: &mut Random, vectors: Vectors) -> Case {
    let (outputs, tile) = sizes(random);
    let points = Points::of_floats(outputs);
    let sides = tile.map(|n| n + 2);
    let (tiles, dilation) = (random.between(1, 3), random.between(1, 3));
    let beyond = sides.map(|side| beyond(random, side));
    let row = (tiles * tile[1] + 2) * dilation * BLOCK + random.below(3) * BLOCK;
    let elements = elements(random, outputs, tiles);
    let (mut from, mut to) = (Place::new("input"), Place::new("output"));
    let matrices = tile.map(|fewer| input_matrix(points, fewer));
    let is_there =
        |at: usize, axis: usize| (beyond[axis][0]..sides[axis] - beyond[axis][1]).contains(&at);
    for [number, lane] in each([tiles, BLOCK]) {
        let first = number * tile[1] * dilation * BLOCK + lane;
        let made = transformed(&matrices, sides, |i, j| {
            let at = first + i * row + j * dilation * BLOCK;
            if is_there(i, 0) && is_there(j, 1) { from.read(at, random) } else { Value::ZERO }
        });
        for [i, j] in each(sides) {
            to.write(elements.at([i, j], outputs + 2) + number * BLOCK + lane, made[i][j]);
        }
    }
    let bytes = None;
    let spec =
        Transform::Input { points, tile, beyond, dilation, row, elements, bytes, rounds: false };
    let scratch = Place::scratch("scratch", sides[0] * sides[1] * BLOCK);
    case(vectors, &spec, tiles, [from, scratch, to, Place::default(), Place::default()])
}

/// The same to bfloat16, of integers that are so small that all digits of what they are transformed to are there.
pub(crate) fn input_to_bfloats(random: &mut Random, _: Vectors) -> Case {
    // With the points of other tiles there are more.
    let (outputs, tile) = (2, [(); 2].map(|()| random.between(1, 2)));
    let points = Points::of_floats(outputs);
    let sides = tile.map(|n| n + 2);
    let (tiles, dilation) = (random.between(1, 3), random.between(1, 3));
    let beyond = sides.map(|side| beyond(random, side));
    let row = (tiles * tile[1] + 2) * dilation * BLOCK + random.below(3) * BLOCK;
    let elements = elements(random, outputs, tiles);
    let (mut from, mut to) = (Place::new("input"), Place::new("output"));
    let matrices = tile.map(|fewer| input_matrix(points, fewer));
    let is_there =
        |at: usize, axis: usize| (beyond[axis][0]..sides[axis] - beyond[axis][1]).contains(&at);
    for [number, pair] in each([tiles, BLOCK / 2]) {
        let made = [2 * pair, 2 * pair + 1].map(|lane| {
            let first = number * tile[1] * dilation * BLOCK + lane;
            transformed(&matrices, sides, |i, j| {
                if !(is_there(i, 0) && is_there(j, 1)) {
                    return Value::ZERO;
                }
                let at = first + i * row + j * dilation * BLOCK;
                let word = from.word_of(at, || (random.below(5) as f32 - 2.0).to_le_bytes());
                Value::exact(f32::from_le_bytes(word))
            })
        });
        for [i, j] in each(sides) {
            let halves =
                made.each_ref().map(|made| super::bfloats::rounded(made[i][j].value() as f32));
            let at = elements.at([i, j], outputs + 2) + number * BLOCK;
            to.write_word(at / 2 + pair, [halves[0], halves[1]].concat().try_into().unwrap());
        }
    }
    let (bytes, rounds) = (None, true);
    let spec = Transform::Input { points, tile, beyond, dilation, row, elements, bytes, rounds };
    let scratch = Place::scratch("scratch", sides[0] * sides[1] * BLOCK);
    case(Vectors::Avx512, &spec, tiles, [from, scratch, to, Place::default(), Place::default()])
}

/// The same from bytes to i16, to the bit: integers are not rounded.
pub(crate) fn input_of_bytes(random: &mut Random, vectors: Vectors) -> Case {
    let (outputs, tile) = sizes(random);
    let points = Points::of_integers(outputs);
    let sides = tile.map(|n| n + 2);
    let (tiles, dilation) = (random.between(1, 3), random.between(1, 3));
    let beyond = sides.map(|side| beyond(random, side));
    let row = (tiles * tile[1] + 2) * dilation * BLOCK + random.below(3) * BLOCK;
    let elements = elements(random, outputs, tiles);
    let (mut from, mut to) = (Place::new("input"), Place::new("output"));
    let matrices = tile.map(|fewer| input_matrix(points, fewer));
    let bytes = super::bytes::scale(random);
    let is_there =
        |at: usize, axis: usize| (beyond[axis][0]..sides[axis] - beyond[axis][1]).contains(&at);
    for [number, pair] in each([tiles, BLOCK / 2]) {
        let made = [2 * pair, 2 * pair + 1].map(|lane| {
            let first = number * tile[1] * dilation * BLOCK + lane;
            transformed(&matrices, sides, |i, j| {
                if !(is_there(i, 0) && is_there(j, 1)) {
                    return Value::ZERO;
                }
                let at = first + i * row + j * dilation * BLOCK;
                let byte = from.word_of(at / 4, || random.bytes())[at % 4];
                Value::exact((i32::from(byte) + bytes.lowest) as f32)
            })
        });
        for [i, j] in each(sides) {
            let halves = made.each_ref().map(|made| (made[i][j].value() as i16).to_le_bytes());
            let at = elements.at([i, j], outputs + 2) + number * BLOCK;
            to.write_word(at / 2 + pair, [halves[0], halves[1]].concat().try_into().unwrap());
        }
    }
    let bytes = Some(bytes);
    let spec =
        Transform::Input { points, tile, beyond, dilation, row, elements, bytes, rounds: false };
    let scratch = Place::scratch("scratch", sides[0] * sides[1] * BLOCK);
    case(vectors, &spec, tiles, [from, scratch, to, Place::default(), Place::default()])
}

/// To bytes. Elements have few enough digits that nothing but the last step rounds.
pub(crate) fn output_of_bytes(random: &mut Random, vectors: Vectors) -> Case {
    let (outputs, tile) = sizes(random);
    let points = Points::of_integers(outputs);
    let sides = tile.map(|n| n + 2);
    let (tiles, dilation) = (random.between(1, 3), random.between(1, 3));
    let part = tile.map(|n| random.between(1, n));
    let size = random.one_of(&[tile, part]);
    let row = tiles * tile[1] * dilation * BLOCK + random.below(3) * BLOCK;
    let elements = elements(random, outputs, tiles);
    let bias = random.is();
    let steps = random.one_of(&[vec![], vec![FusedStep::Relu]]);
    let [mut from, mut to, mut biases] = ["input", "output", "bias"].map(Place::new);
    let matrices = tile.map(|fewer| output_matrix(points, fewer));
    let made_of = super::bytes::scale(random);
    for [number, word] in each([tiles, BLOCK / 4]) {
        let results: [_; 4] = std::array::from_fn(|i| {
            let lane = 4 * word + i;
            let of_tile = transformed(&matrices, sides, |i, j| {
                let at = elements.at([i, j], outputs + 2) + number * BLOCK + lane;
                Value::exact(f32::from_le_bytes(from.word_of(at, || eighths(random))))
            });
            let bias = bias.then(|| biases.word_of(lane, || eighths(random)));
            let bias = bias.map_or(Value::ZERO, |word| Value::exact(f32::from_le_bytes(word)));
            (of_tile, bias)
        });
        for [i, j] in each(size) {
            let column = (number * tile[1] + j) * dilation * BLOCK + 4 * word;
            let bytes = results.each_ref().map(|(of_tile, bias)| {
                let sum = of_tile[i][j] + *bias;
                let result = if steps.is_empty() { sum } else { sum.relu() };
                super::bytes::byte(made_of, result.value())
            });
            to.write_word((i * row + column) / 4, bytes);
        }
    }
    let (rows, totals, made) = ([row, 0], false, Some(made_of));
    let spec = Transform::Output {
        points,
        tile,
        dilation,
        size,
        elements,
        rows,
        bias,
        steps,
        totals,
        made,
    };
    let scratch = Place::scratch("scratch", sides[0] * sides[1] * BLOCK);
    case(vectors, &spec, tiles, [from, scratch, to, biases, Place::default()])
}

/// A number of eighths.
fn eighths(random: &mut Random) -> [u8; 4] {
    ((random.below(2001) as f32 - 1000.0) / 8.0).to_le_bytes()
}

pub(crate) fn output(random: &mut Random, vectors: Vectors) -> Case {
    let (outputs, tile) = sizes(random);
    let points = Points::of_floats(outputs);
    let sides = tile.map(|n| n + 2);
    let (tiles, dilation) = (random.between(1, 3), random.between(1, 3));
    let part = tile.map(|n| random.between(1, n));
    let size = random.one_of(&[tile, part]);
    let row = tiles * tile[1] * dilation * BLOCK;
    let rows = [row + random.below(3) * BLOCK, row + random.below(3) * BLOCK];
    let elements = elements(random, outputs, tiles);
    let (bias, totals) = (random.is(), random.is());
    let mut steps = random.one_of(&[vec![], vec![FusedStep::Relu]]);
    if !totals && random.is() {
        steps.insert(random.between(0, steps.len()), FusedStep::AddResidual);
    }
    let [mut from, mut to, mut biases, mut other] =
        ["input", "output", "bias", "other"].map(Place::new);
    let matrices = tile.map(|fewer| output_matrix(points, fewer));
    let mut sums = [Value::ZERO; BLOCK];
    for [number, lane] in each([tiles, BLOCK]) {
        let made = transformed(&matrices, sides, |i, j| {
            from.read(elements.at([i, j], outputs + 2) + number * BLOCK + lane, random)
        });
        for [i, j] in each(size) {
            let column = (number * tile[1] + j) * dilation * BLOCK + lane;
            let bias = if bias { biases.read(lane, random) } else { Value::ZERO };
            let operand = (&mut other, i * rows[1] + column);
            let value = apply(&steps, made[i][j] + bias, operand, random);
            to.write(i * rows[0] + column, value);
            sums[lane] = sums[lane] + value;
        }
    }
    for (lane, sum) in sums.into_iter().enumerate().filter(|_| totals) {
        let before = other.read(lane, random);
        other.write(lane, before + sum);
    }
    let made = None;
    let spec = Transform::Output {
        points,
        tile,
        dilation,
        size,
        elements,
        rows,
        bias,
        steps,
        totals,
        made,
    };
    let scratch = Place::scratch("scratch", sides[0] * sides[1] * BLOCK);
    case(vectors, &spec, tiles, [from, scratch, to, biases, other])
}

/// A transform whose arguments are these places, as far as anything is in them.
fn case(vectors: Vectors, spec: &Transform, tiles: usize, places: [Place; 5]) -> Case {
    let is_used = |place: usize| used(!places[place].is_empty(), place);
    Case {
        spec: format!("{tiles} tiles of {spec:?}"),
        function: spec.assembled(vectors),
        arguments: [
            is_used(0),
            is_used(1),
            is_used(2),
            is_used(3),
            Argument::Count(tiles),
            is_used(4),
        ],
        places: places.into(),
    }
}
