//! The transforms of Winograd's filtering, a row of tiles at a time: each is one matrix applied to
//! the columns of a tile, into scratch, and then to the rows.

use std::ops::Range;

use super::points::Points;
use super::spec::stored;
use super::{Elements, Transform};
use crate::asm::{Address, Assembler, Function, Register, Vector};
use crate::codegen::{Leaf, LeafCode};
use crate::error::Result;
use crate::kernels::conv::parameters::{BIAS, FROM, OTHER, SECOND, TILES, TO};
use crate::kernels::conv::rounding::{ROUNDING, Rounding};
use crate::machine::{BLOCK, Element, F32_BYTES as ELEMENT, Vectors};
use crate::schedule::byte_scale::ByteScale;
use crate::schedule::epilogue::FusedStep;

/// Where a column or a row of a tile is, where the results go, and how many there are to go.
const FIRST: Register = Register::Scratch1;
const THEN: Register = Register::Scratch0;
const ROUNDS: Register = Register::Scratch2;

/// Registers for values on the way; constants are in those between the inputs and these.
const TEMPORARIES: [Vector; 3] = [Vector(12), Vector(13), Vector(14)];

/// The register of what a tile's outputs add up to.
const TOTAL: Vector = Vector(15);

/// The register of the lowest number that bytes of pixels stand for.
const LOWEST: Vector = Vector(15);

/// Bytes from what the transform of an input writes to what it fetches to write it later: to the tiles that follow, in
/// each element. Elements are more streams than a CPU foresees.
const AHEAD: usize = 256;

/// Bytes of a block of f32.
const PIXEL: usize = BLOCK * ELEMENT;

impl Leaf for Transform {
    fn name(&self) -> String {
        "transform".into()
    }

    fn code(&self, vectors: Vectors) -> Result<LeafCode<'_>> {
        Ok(LeafCode::Assembled(self.assembled(vectors)))
    }
}

impl Transform {
    /// Its code: `fn(from, scratch, to, bias, tiles, residual)`.
    pub fn assembled(&self, vectors: Vectors) -> Function {
        let (Transform::Input { points, tile, .. } | Transform::Output { points, tile, .. }) = self;
        let mut kernel = Kernel {
            a: Assembler::new("transform", vectors),
            points: *points,
            tile: *tile,
            constants: 0,
            factors: None,
            stored: Element::F32,
        };
        match self {
            Transform::Input { beyond, dilation, row, elements, bytes, rounds, .. } => {
                let [rows, columns] = [0, 1].map(|axis| kernel.there(axis, beyond[axis]));
                let (pixel, row) = (*dilation * BLOCK, *row);
                let (elements, bytes, rounds) = (*elements, *bytes, *rounds);
                kernel.input(&Input { pixel, row, rows, columns, elements, bytes, rounds });
            }
            Transform::Output {
                dilation, size, elements, rows, bias, steps, totals, made, ..
            } => {
                kernel.output(&Output {
                    pixel: *dilation * BLOCK,
                    size: *size,
                    elements: *elements,
                    rows: *rows,
                    bias: *bias,
                    steps,
                    totals: *totals,
                    made: *made,
                });
            }
        }
        kernel.a.finish()
    }
}

struct Kernel {
    a: Assembler,
    /// Those of the filters.
    points: Points,
    /// Rows and columns of outputs of a tile.
    tile: [usize; 2],
    /// The first register of constants.
    constants: usize,
    /// The first register of the points' factors, for input tiles of fewer outputs than the filters'.
    factors: Option<usize>,
    /// What an axis of the input is transformed to.
    stored: Element,
}

struct Input {
    /// Distance between the pixels of a window.
    pixel: usize,
    /// Distance between its rows.
    row: usize,
    /// Rows and columns that are inside the plane.
    rows: Range<usize>,
    columns: Range<usize>,
    elements: Elements,
    bytes: Option<ByteScale>,
    rounds: bool,
}

impl Input {
    /// Bytes of what is read, and what it is transformed to.
    fn stored(&self) -> (usize, Element) {
        let [read, made] = stored(self.bytes.is_some(), self.rounds);
        (read.bytes(), made)
    }
}

struct Output<'s> {
    /// Distance between the pixels of a tile.
    pixel: usize,
    size: [usize; 2],
    elements: Elements,
    rows: [usize; 2],
    bias: bool,
    steps: &'s [FusedStep],
    totals: bool,
    made: Option<ByteScale>,
}

/// The registers from the first one on, as loads fill them.
fn registers<const N: usize>() -> [Vector; N] {
    std::array::from_fn(Vector)
}

impl Kernel {
    /// Elements from a block's start to each of its vectors.
    fn lanes(&self) -> impl Iterator<Item = usize> + use<> {
        let vectors = self.a.vectors();
        (0..vectors.per_block()).map(move |vector| vector * vectors.lanes())
    }

    /// Elements of a tile along each axis.
    fn sides(&self) -> [usize; 2] {
        self.tile.map(|outputs| outputs + 2)
    }

    /// Rows or columns of a window that are inside the plane.
    fn there(&self, axis: usize, [before, behind]: [usize; 2]) -> Range<usize> {
        before..self.sides()[axis] - behind
    }

    /// Whether the matrices for columns and for rows are the same.
    fn is_square(&self) -> bool {
        self.tile[0] == self.tile[1]
    }

    /// Columns of a window are transformed one after the other, and then rows of what comes of them.
    fn input(&mut self, spec: &Input) {
        let [rows, columns] = self.tile;
        let (read, stored) = spec.stored();
        if let Some(bytes) = spec.bytes.filter(|bytes| bytes.lowest != 0) {
            self.a.splat(LOWEST, bytes.lowest as f32);
        }
        if self.is_square() {
            self.input_constants(rows);
        }
        let tile = self.a.here();
        for lane in self.lanes() {
            if !self.is_square() {
                self.input_constants(rows);
            }
            self.input_columns(spec, lane);
            if !self.is_square() {
                self.input_constants(columns);
            }
            self.input_rows(spec, lane);
        }
        self.a.add_immediate(FROM, (columns * spec.pixel * read) as i64);
        self.a.add_immediate(TO, (BLOCK * stored.bytes()) as i64);
        self.a.loop_back(TILES, tile);
    }

    /// From the window to scratch.
    fn input_columns(&mut self, spec: &Input, lane: usize) {
        let ([high, wide], first) = (self.sides(), spec.columns.start);
        let (read, _) = spec.stored();
        self.stored = Element::F32;
        self.a.lea(FIRST, FROM.at((first * spec.pixel + lane) * read));
        self.a.lea(THEN, SECOND.at(first * PIXEL));
        self.repeat(spec.columns.len(), |kernel| {
            kernel.load_window(high, &spec.rows, spec.row * read, spec.bytes);
            kernel.apply_input(kernel.tile[0], |i| THEN.at(i * wide * PIXEL));
            kernel.a.add_immediate(FIRST, (spec.pixel * read) as i64);
            kernel.a.add_immediate(THEN, PIXEL as i64);
        });
    }

    /// From scratch to the transformed domain.
    fn input_rows(&mut self, spec: &Input, lane: usize) {
        let ([high, wide], of) = (self.sides(), self.points.outputs + 2);
        (_, self.stored) = spec.stored();
        let size = self.stored.bytes();
        self.a.lea(FIRST, SECOND.at(0));
        self.a.lea(THEN, TO.at(lane * size));
        self.repeat(high, |kernel| {
            let element = |j: usize| spec.elements.at([0, j], of) * size;
            // What is behind the first lanes is on the same lines.
            if lane == 0 {
                for j in 0..wide {
                    kernel.a.prefetch_write(THEN.at(element(j) + AHEAD));
                }
            }
            kernel.load_window(wide, &spec.columns, PIXEL, None);
            kernel.apply_input(kernel.tile[1], |j| THEN.at(element(j)));
            kernel.a.add_immediate(FIRST, (wide * PIXEL) as i64);
            kernel.a.add_immediate(THEN, (of * spec.elements.distance * size) as i64);
        });
    }

    /// Loads so many vectors, so many bytes apart, of f32 or of bytes that stand for this many times their
    /// scale; those that are not there are zero.
    fn load_window(
        &mut self,
        count: usize,
        there: &Range<usize>,
        apart: usize,
        bytes: Option<ByteScale>,
    ) {
        for i in 0..count {
            let (to, from) = (Vector(i), FIRST.at(i * apart));
            match bytes {
                _ if !there.contains(&i) => self.a.zero(to),
                None => self.a.load(to, from),
                Some(bytes) => {
                    self.a.load_bytes(to, from);
                    self.a.floats_of_integers(to, to);
                    if bytes.lowest != 0 {
                        self.a.add(to, to, LOWEST);
                    }
                }
            }
        }
    }

    /// A loop of so many rounds.
    fn repeat(&mut self, rounds: usize, round: impl Fn(&mut Self)) {
        self.a.set(ROUNDS, rounds);
        let again = self.a.here();
        round(self);
        self.a.loop_back(ROUNDS, again);
    }

    /// What [`apply_input`](Self::apply_input) multiplies by: coefficients, then the factor of each point.
    fn input_constants(&mut self, outputs: usize) {
        let finite = &self.points.finite()[..=outputs];
        let mut constants = match *finite {
            [_, a] => vec![-a],
            [_, a, _] => vec![-a * a, a],
            [_, a, _, b] => vec![-a * a, a, -b],
            [_, a, _, b, _] => vec![-b * b, -a * a, a, b, -(a * a + b * b), a * a * b * b],
            _ => Vec::new(),
        };
        self.factors = (outputs < self.points.outputs).then_some(outputs + 2 + constants.len());
        if self.factors.is_some() {
            constants.extend((0..=outputs).map(|point| self.points.factor(outputs, point)));
        }
        self.load_constants(outputs + 2, &constants);
    }

    /// `Bᵀ` of registers 0 to n-1: rows are the coefficients of the product of (x - q) over all
    /// finite points q but one, and for infinity over all; those of a pair share their even and
    /// their odd part.
    fn apply_input(&mut self, outputs: usize, to: impl Fn(usize) -> Address) {
        match outputs {
            1 => self.apply_input_1(to),
            2 => self.apply_input_2(to),
            3 => self.apply_input_3(to),
            _ => self.apply_input_4(to),
        }
    }

    /// x - a, x, x² - a x
    fn apply_input_1(&mut self, to: impl Fn(usize) -> Address) {
        let ([x0, x1, x2], [_, _, sum]) = (registers(), TEMPORARIES);
        let [minus_a] = self.constants();
        self.a.copy_vector(sum, x1);
        self.a.multiply_add(sum, x0, minus_a);
        self.store(to(0), 0, sum);
        self.a.multiply_add(x2, x1, minus_a);
        self.put(to(1), x2);
        self.store(to(2), 1, x1);
    }

    /// x² - a², x³ - a² x, x² ± a x
    fn apply_input_2(&mut self, to: impl Fn(usize) -> Address) {
        let ([x0, x1, x2, x3], [_, odd, sum]) = (registers(), TEMPORARIES);
        let [square, a] = self.constants();
        self.a.copy_vector(sum, x2);
        self.a.multiply_add(sum, x0, square);
        self.store(to(0), 0, sum);
        self.a.multiply_add(x3, x1, square);
        self.put(to(1), x3);
        self.a.multiply(odd, x1, a);
        self.pair([x2, odd], 1, [to(2), to(3)]);
    }

    /// With q = x² - a²: (x - b) q, x (x - b) q, x (x - b) (x ± a), x q
    fn apply_input_3(&mut self, to: impl Fn(usize) -> Address) {
        let ([x0, x1, x2, x3, x4], [even, odd, sum]) = (registers(), TEMPORARIES);
        let [square, a, minus_b] = self.constants();
        self.a.copy_vector(even, x3);
        self.a.multiply_add(even, x2, minus_b);
        self.a.copy_vector(odd, x2);
        self.a.multiply_add(odd, x1, minus_b);
        self.a.multiply(odd, odd, a);
        // q, x q, x² q
        self.a.multiply_add(x4, x2, square);
        self.a.multiply_add(x3, x1, square);
        self.a.multiply_add(x2, x0, square);
        self.pair([even, odd], 1, [to(2), to(3)]);
        self.a.multiply_add(x4, x3, minus_b);
        self.put(to(1), x4);
        self.a.copy_vector(sum, x3);
        self.a.multiply_add(sum, x2, minus_b);
        self.store(to(0), 0, sum);
        self.store(to(4), 3, x3);
    }

    /// x⁴ - (a² + b²) x² + a² b², x times that, x⁴ - b² x² ± a (x³ - b² x), and the same with a and b
    /// exchanged
    fn apply_input_4(&mut self, to: impl Fn(usize) -> Address) {
        let ([x0, x1, x2, x3, x4, x5], [even, odd, sum]) = (registers(), TEMPORARIES);
        let [minus_b2, minus_a2, a, b, minus_both, product] = self.constants();
        self.a.copy_vector(sum, x4);
        self.a.multiply_add(sum, x2, minus_both);
        self.a.multiply_add(sum, x0, product);
        self.store(to(0), 0, sum);
        for (at, square, scale) in [(2, minus_b2, a), (4, minus_a2, b)] {
            self.a.copy_vector(even, x4);
            self.a.multiply_add(even, x2, square);
            self.a.copy_vector(odd, x3);
            self.a.multiply_add(odd, x1, square);
            self.a.multiply(odd, odd, scale);
            self.pair([even, odd], at - 1, [to(at), to(at + 1)]);
        }
        self.a.multiply_add(x5, x3, minus_both);
        self.a.multiply_add(x5, x1, product);
        self.put(to(1), x5);
    }

    /// Stores even + odd and even - odd, which are of a pair of points, the first of this number.
    fn pair(&mut self, [even, odd]: [Vector; 2], point: usize, to: [Address; 2]) {
        let [_, _, sum] = TEMPORARIES;
        self.a.add(sum, even, odd);
        self.store(to[0], point, sum);
        self.a.subtract(sum, even, odd);
        self.store(to[1], point + 1, sum);
    }

    /// Stores an element, times the factor of its point if this tile has fewer outputs than the filters'.
    fn store(&mut self, to: Address, point: usize, from: Vector) {
        if let Some(first) = self.factors {
            self.a.multiply(from, from, Vector(first + point));
        }
        self.put(to, from);
    }

    /// Stores an element, which is an integer where it is stored as one; the register is overwritten.
    fn put(&mut self, to: Address, from: Vector) {
        match self.stored {
            Element::F32 | Element::U8 => self.a.store(to, from),
            Element::I16 => {
                self.a.integers_of_floats(from, from);
                self.a.store_halves(to, from);
            }
            Element::Bf16 => self.a.store_bfloats(to, from),
        }
    }

    /// Columns of elements are transformed one after the other, and then rows of what comes of them.
    fn output(&mut self, spec: &Output<'_>) {
        let [rows, columns] = self.tile;
        let rounding = spec.made.filter(|_| self.has_room()).map(|made| self.rounding(made));
        if self.is_square() {
            self.output_constants(rows);
        }
        let tile = self.a.here();
        for lane in self.lanes() {
            if !self.is_square() {
                self.output_constants(rows);
            }
            self.output_columns(spec, lane);
            if !self.is_square() {
                self.output_constants(columns);
            }
            self.output_rows(spec, lane, rounding);
        }
        let pixels = columns * spec.pixel;
        let made = if spec.made.is_some() { 1 } else { ELEMENT };
        self.a.add_immediate(FROM, PIXEL as i64);
        self.a.add_immediate(TO, (pixels * made) as i64);
        if spec.steps.contains(&FusedStep::AddResidual) {
            self.a.add_immediate(OTHER, (pixels * ELEMENT) as i64);
        }
        self.a.loop_back(TILES, tile);
    }

    /// From the transformed domain to scratch.
    fn output_columns(&mut self, spec: &Output<'_>, lane: usize) {
        let ([high, wide], of) = (self.sides(), self.points.outputs + 2);
        for column in 0..wide {
            for i in 0..high {
                let at = (spec.elements.at([i, column], of) + lane) * ELEMENT;
                self.a.load(Vector(i), FROM.at(at));
            }
            let results = self.apply_output(self.tile[0]);
            for (i, result) in results.into_iter().enumerate().take(spec.size[0]) {
                self.a.store(SECOND.at((i * wide + column) * PIXEL), result);
            }
        }
    }

    /// Whether there are registers for rounding besides all others.
    fn has_room(&self) -> bool {
        self.a.vectors().registers() > TOTAL.0 + ROUNDING
    }

    /// Loads what rounding takes: into registers of its own, or those that are free between two rows.
    fn rounding(&mut self, made: ByteScale) -> Rounding {
        let first = if self.has_room() { TOTAL.0 + 1 } else { TEMPORARIES[0].0 };
        Rounding::load(&mut self.a, first, made, false)
    }

    /// From scratch to pixels.
    fn output_rows(&mut self, spec: &Output<'_>, lane: usize, rounding: Option<Rounding>) {
        let [_, wide] = self.sides();
        for i in 0..spec.size[0] {
            for column in 0..wide {
                self.a.load(Vector(column), SECOND.at((i * wide + column) * PIXEL));
            }
            let results = self.apply_output(self.tile[1]);
            let pixels = || results.iter().enumerate().take(spec.size[1]);
            let at = |j: usize, row: usize| i * row + j * spec.pixel + lane;
            match spec.made {
                None => {
                    for (j, result) in pixels() {
                        self.output_pixel(spec, at(j, spec.rows[1]), lane, *result);
                        self.a.store(TO.at(at(j, spec.rows[0]) * ELEMENT), *result);
                        self.total(spec, [i, j], *result);
                    }
                }
                Some(made) => {
                    pixels().for_each(|(_, result)| self.output_pixel(spec, 0, lane, *result));
                    let rounding = rounding.unwrap_or_else(|| self.rounding(made));
                    for (j, result) in pixels() {
                        rounding.store(&mut self.a, TO.at(at(j, spec.rows[0])), *result);
                    }
                }
            }
        }
        if spec.totals {
            self.a.add_memory(TOTAL, OTHER.at(lane * ELEMENT));
            self.a.store(OTHER.at(lane * ELEMENT), TOTAL);
        }
    }

    /// The bias and the epilogue of a pixel, whose residual is so many elements from the first.
    fn output_pixel(&mut self, spec: &Output<'_>, residual: usize, lane: usize, result: Vector) {
        if spec.bias {
            self.a.add_memory(result, BIAS.at(lane * ELEMENT));
        }
        for (number, step) in spec.steps.iter().enumerate() {
            // What bytes from 0 on are made of is clipped to them anyway.
            let is_last = number + 1 == spec.steps.len();
            let clips = is_last && spec.made.is_some_and(|made| made.lowest == 0);
            match step {
                FusedStep::AddResidual => self.a.add_memory(result, OTHER.at(residual * ELEMENT)),
                FusedStep::Relu if clips => {}
                FusedStep::Relu => {
                    let [_, _, zero] = TEMPORARIES;
                    self.a.zero(zero);
                    self.a.max(result, zero, result);
                }
            }
        }
    }

    /// Adds a pixel to what the tile adds up to.
    fn total(&mut self, spec: &Output<'_>, [i, j]: [usize; 2], result: Vector) {
        match (spec.totals, [i, j]) {
            (true, [0, 0]) => self.a.copy_vector(TOTAL, result),
            (true, _) => self.a.add(TOTAL, TOTAL, result),
            (false, _) => {}
        }
    }

    /// What [`apply_output`](Self::apply_output) multiplies by.
    fn output_constants(&mut self, outputs: usize) {
        let constants = match self.points.finite()[..=outputs] {
            [_, a, _] => vec![a],
            [_, a, _, b] => vec![a, b, a * a, b * b],
            [_, a, _, b, _] => vec![a, b, a * a, b * b, a * a * a, b * b * b],
            _ => Vec::new(),
        };
        self.load_constants(outputs + 2, &constants);
    }

    /// `Aᵀ` of the registers of elements: row i sums `pⁱ` times the element of each point p, and the
    /// last row the element of infinity besides. The registers of the results.
    fn apply_output(&mut self, outputs: usize) -> Vec<Vector> {
        let ([zero, infinity, m2, m3], [s, _, _]) = (registers(), TEMPORARIES);
        if outputs == 1 {
            self.a.add(zero, zero, m2);
            self.a.add(zero, zero, infinity);
            return vec![zero];
        }
        // s = m₂ + m₃, d = m₂ - m₃
        let d = m2;
        self.a.add(s, m2, m3);
        self.a.subtract(d, m2, m3);
        self.a.add(zero, zero, s);
        match outputs {
            2 => self.apply_output_2(),
            3 => self.apply_output_3(),
            _ => self.apply_output_4(),
        }
    }

    /// m₀ + s, a d + m∞
    fn apply_output_2(&mut self) -> Vec<Vector> {
        let [zero, infinity, d] = registers();
        let [a] = self.constants();
        self.a.multiply_add(infinity, d, a);
        vec![zero, infinity]
    }

    /// m₀ + s + m₄, a d + b m₄, a² s + b² m₄ + m∞
    fn apply_output_3(&mut self) -> Vec<Vector> {
        let ([zero, infinity, d, _, m4], [s, _, _]) = (registers(), TEMPORARIES);
        let [a, b, a2, b2] = self.constants();
        self.a.add(zero, zero, m4);
        self.a.multiply_add(infinity, s, a2);
        self.a.multiply_add(infinity, m4, b2);
        self.a.multiply(d, d, a);
        self.a.multiply_add(d, m4, b);
        vec![zero, d, infinity]
    }

    /// With t = m₄ + m₅ and e = m₄ - m₅: m₀ + s + t, a d + b e, a² s + b² t, a³ d + b³ e + m∞
    fn apply_output_4(&mut self) -> Vec<Vector> {
        let ([zero, infinity, d, squares, m4, m5], [s, t, _]) = (registers(), TEMPORARIES);
        let [a, b, a2, b2, a3, b3] = self.constants();
        let e = m4;
        self.a.add(t, m4, m5);
        self.a.subtract(e, m4, m5);
        self.a.add(zero, zero, t);
        self.a.multiply(squares, s, a2);
        self.a.multiply_add(squares, t, b2);
        self.a.multiply_add(infinity, d, a3);
        self.a.multiply_add(infinity, e, b3);
        self.a.multiply(d, d, a);
        self.a.multiply_add(d, e, b);
        vec![zero, d, squares, infinity]
    }

    /// Loads constants into the registers from this one on.
    fn load_constants(&mut self, first: usize, values: &[f64]) {
        for (i, value) in values.iter().enumerate() {
            self.a.splat(Vector(first + i), *value as f32);
        }
        self.constants = first;
    }

    /// The registers of constants, in their order.
    fn constants<const N: usize>(&self) -> [Vector; N] {
        std::array::from_fn(|i| Vector(self.constants + i))
    }
}
