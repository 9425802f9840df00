//! Winograd's transforms, with matrices from their definition: Toom-Cook's evaluation of polynomials.

use cardinal_compiler::asm::Vectors;
use cardinal_compiler::kernels::conv::winograd::points::points;
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
fn input_matrix(outputs: usize, fewer: usize) -> Matrix {
    let all = points(outputs);
    let (mine, beyond) = all[..outputs + 1].split_at(fewer + 1);
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
fn output_matrix(outputs: usize, fewer: usize) -> Matrix {
    let row = |power: usize| {
        let mut row: Vec<f64> =
            points(outputs)[..=fewer].iter().map(|p| p.powi(power as i32)).collect();
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
    let sides = tile.map(|n| n + 2);
    let (tiles, dilation) = (random.between(1, 3), random.between(1, 3));
    let beyond = sides.map(|side| beyond(random, side));
    let row = (tiles * tile[1] + 2) * dilation * BLOCK + random.below(3) * BLOCK;
    let elements = elements(random, outputs, tiles);
    let (mut from, mut to) = (Place::new("input"), Place::new("output"));
    let matrices = tile.map(|fewer| input_matrix(outputs, fewer));
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
    let spec = Transform::Input { outputs, tile, beyond, dilation, row, elements };
    let scratch = Place::scratch("scratch", sides[0] * sides[1] * BLOCK);
    case(vectors, &spec, tiles, [from, scratch, to, Place::default(), Place::default()])
}

pub(crate) fn output(random: &mut Random, vectors: Vectors) -> Case {
    let (outputs, tile) = sizes(random);
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
    let matrices = tile.map(|fewer| output_matrix(outputs, fewer));
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
    let spec =
        Transform::Output { outputs, tile, dilation, size, elements, rows, bias, steps, totals };
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
