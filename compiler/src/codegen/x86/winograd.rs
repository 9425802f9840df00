//! The transforms of Winograd's filtering, a row of tiles at a time: each is one matrix applied to
//! the columns of a tile, into scratch, and then to the rows.

use iced_x86::Register;

use super::{Assembler, BIAS, ELEMENT, FROM, Isa, OTHER, SECOND, TILES, TO};
use crate::error::Result;
use crate::kernels::conv::winograd::points::{factor, points};
use crate::kernels::conv::winograd::{Elements, Transform};
use crate::machine::BLOCK;
use crate::schedule::epilogue::FusedStep;

/// Where a column or a row of a tile is, where the results go, and how many there are to go.
const FIRST: Register = Register::R10;
const THEN: Register = Register::RAX;
const ROUNDS: Register = Register::R11;

/// Registers for values on the way; constants are in those between the inputs and these.
const TEMPORARIES: [usize; 3] = [12, 13, 14];

/// The register of what a tile's outputs add up to.
const TOTAL: usize = 15;

/// The code of a transform: `fn(from, scratch, to, bias, tiles, other)`.
pub(crate) fn transform(isa: &Isa, spec: &Transform) -> Result<Vec<u8>> {
    let (Transform::Input { outputs, tile, .. } | Transform::Output { outputs, tile, .. }) = spec;
    let mut kernel = Kernel {
        a: Assembler::new(isa),
        lanes: isa.vectors.lanes(),
        outputs: *outputs,
        tile: *tile,
        constants: 0,
        factors: None,
    };
    match spec {
        Transform::Input { beyond, dilation, row, elements, .. } => {
            kernel.input(*dilation * BLOCK, *row, *beyond, elements);
        }
        Transform::Output { dilation, size, elements, rows, bias, steps, totals, .. } => {
            let output = Output {
                pixel: *dilation * BLOCK,
                size: *size,
                elements: *elements,
                rows: *rows,
                bias: *bias,
                totals: *totals,
            };
            kernel.output(&output, steps);
        }
    }
    kernel.a.finish("transform")
}

struct Kernel<'k> {
    a: Assembler<'k>,
    lanes: usize,
    /// m of the filters.
    outputs: usize,
    /// Rows and columns of outputs of a tile.
    tile: [usize; 2],
    /// The first register of constants.
    constants: usize,
    /// The first register of the points' factors, for input tiles of fewer outputs than the filters'.
    factors: Option<usize>,
}

struct Output {
    /// Distance between the pixels of a tile.
    pixel: usize,
    size: [usize; 2],
    elements: Elements,
    rows: [usize; 2],
    bias: bool,
    totals: bool,
}

/// An address: base, and bytes from it.
type Address = (Register, usize);

impl Kernel<'_> {
    fn vectors(&self) -> usize {
        BLOCK / self.lanes
    }

    /// Elements of a tile along each axis.
    fn sides(&self) -> [usize; 2] {
        self.tile.map(|outputs| outputs + 2)
    }

    /// Whether the matrices for columns and for rows are the same.
    fn is_square(&self) -> bool {
        self.tile[0] == self.tile[1]
    }

    /// Columns of a window are transformed one after the other, and then rows of what comes of them.
    fn input(&mut self, pixel: usize, row: usize, beyond: [[usize; 2]; 2], elements: &Elements) {
        let ([high, wide], [rows, columns]) = (self.sides(), self.tile);
        let [rows_there, columns_there] =
            [(0, high), (1, wide)].map(|(axis, n)| beyond[axis][0]..n - beyond[axis][1]);
        if self.is_square() {
            self.input_constants(rows);
        }
        let tile = self.a.here();
        for vector in 0..self.vectors() {
            let lane = vector * self.lanes * ELEMENT;
            if !self.is_square() {
                self.input_constants(rows);
            }
            let first = columns_there.start;
            self.a.point(FIRST, FROM, first * pixel * ELEMENT + lane);
            self.a.point(THEN, SECOND, first * BLOCK * ELEMENT);
            self.repeat(columns_there.len(), |kernel| {
                for i in 0..high {
                    match rows_there.contains(&i) {
                        true => kernel.a.load(i, FIRST, i * row * ELEMENT),
                        false => kernel.a.zero(i),
                    }
                }
                kernel.apply_input(rows, |i| (THEN, i * wide * BLOCK * ELEMENT));
                kernel.a.advance(FIRST, (pixel * ELEMENT) as i64);
                kernel.a.advance(THEN, (BLOCK * ELEMENT) as i64);
            });
            if !self.is_square() {
                self.input_constants(columns);
            }
            let of = self.outputs + 2;
            self.a.point(FIRST, SECOND, 0);
            self.a.point(THEN, TO, lane);
            self.repeat(high, |kernel| {
                for column in 0..wide {
                    match columns_there.contains(&column) {
                        true => kernel.a.load(column, FIRST, column * BLOCK * ELEMENT),
                        false => kernel.a.zero(column),
                    }
                }
                kernel.apply_input(columns, |j| (THEN, elements.at([0, j], of) * ELEMENT));
                kernel.a.advance(FIRST, (wide * BLOCK * ELEMENT) as i64);
                kernel.a.advance(THEN, (of * elements.distance * ELEMENT) as i64);
            });
        }
        self.a.advance(FROM, (columns * pixel * ELEMENT) as i64);
        self.a.advance(TO, (BLOCK * ELEMENT) as i64);
        self.a.loop_back(TILES, tile);
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
        let finite = &points(self.outputs)[..=outputs];
        let mut constants = match *finite {
            [_, a] => vec![-a],
            [_, a, _] => vec![-a * a, a],
            [_, a, _, b] => vec![-a * a, a, -b],
            [_, a, _, b, _] => vec![-b * b, -a * a, a, b, -(a * a + b * b), a * a * b * b],
            _ => Vec::new(),
        };
        self.factors = (outputs < self.outputs).then_some(outputs + 2 + constants.len());
        if self.factors.is_some() {
            constants.extend((0..=outputs).map(|point| factor(self.outputs, outputs, point)));
        }
        self.load_constants(outputs + 2, &constants);
    }

    /// `Bᵀ` of registers 0 to n-1: rows are the coefficients of the product of (x - q) over all
    /// finite points q but one, and for infinity over all; those of a pair share their even and
    /// their odd part.
    fn apply_input(&mut self, outputs: usize, to: impl Fn(usize) -> Address) {
        let [even, odd, sum] = TEMPORARIES;
        match outputs {
            1 => {
                // x - a, x, x² - a x
                let [minus_a] = self.constants();
                self.a.copy_vector(sum, 1);
                self.a.multiply_add(sum, 0, minus_a);
                self.store(0, 0, sum, &to);
                self.a.multiply_add(2, 1, minus_a);
                self.put(to(1), 2);
                self.store(2, 1, 1, &to);
            }
            2 => {
                // x² - a², x³ - a² x, x² ± a x
                let [square, a] = self.constants();
                self.a.copy_vector(sum, 2);
                self.a.multiply_add(sum, 0, square);
                self.store(0, 0, sum, &to);
                self.a.multiply_add(3, 1, square);
                self.put(to(1), 3);
                self.a.multiply(odd, 1, a);
                self.pair(2, [2, odd, sum], 1, &to);
            }
            3 => {
                // With q = x² - a²: (x - b) q, x (x - b) q, x (x - b) (x ± a), x q
                let [square, a, minus_b] = self.constants();
                self.a.copy_vector(even, 3);
                self.a.multiply_add(even, 2, minus_b);
                self.a.copy_vector(odd, 2);
                self.a.multiply_add(odd, 1, minus_b);
                self.a.multiply(odd, odd, a);
                // q, x q, x² q
                self.a.multiply_add(4, 2, square);
                self.a.multiply_add(3, 1, square);
                self.a.multiply_add(2, 0, square);
                self.pair(2, [even, odd, sum], 1, &to);
                self.a.multiply_add(4, 3, minus_b);
                self.put(to(1), 4);
                self.a.copy_vector(sum, 3);
                self.a.multiply_add(sum, 2, minus_b);
                self.store(0, 0, sum, &to);
                self.store(4, 3, 3, &to);
            }
            _ => {
                // x⁴ - (a² + b²) x² + a² b²
                let [minus_b2, minus_a2, a, b, minus_both, product] = self.constants();
                self.a.copy_vector(sum, 4);
                self.a.multiply_add(sum, 2, minus_both);
                self.a.multiply_add(sum, 0, product);
                self.store(0, 0, sum, &to);
                // x⁴ - b² x² ± a (x³ - b² x), and the same with a and b exchanged
                for (at, square, scale) in [(2, minus_b2, a), (4, minus_a2, b)] {
                    self.a.copy_vector(even, 4);
                    self.a.multiply_add(even, 2, square);
                    self.a.copy_vector(odd, 3);
                    self.a.multiply_add(odd, 1, square);
                    self.a.multiply(odd, odd, scale);
                    self.pair(at, [even, odd, sum], at - 1, &to);
                }
                // x⁵ - (a² + b²) x³ + a² b² x
                self.a.multiply_add(5, 3, minus_both);
                self.a.multiply_add(5, 1, product);
                self.put(to(1), 5);
            }
        }
    }

    /// Stores even + odd and even - odd, which are of a pair of points, as two elements.
    fn pair(
        &mut self,
        element: usize,
        [even, odd, sum]: [usize; 3],
        point: usize,
        to: &impl Fn(usize) -> Address,
    ) {
        self.a.add(sum, even, odd);
        self.store(element, point, sum, to);
        self.a.subtract(sum, even, odd);
        self.store(element + 1, point + 1, sum, to);
    }

    fn put(&mut self, (base, bytes): Address, from: usize) {
        self.a.store(base, bytes, from);
    }

    /// Stores an element, times the factor of its point if this tile has fewer outputs than the filters'.
    fn store(&mut self, element: usize, point: usize, from: usize, to: &impl Fn(usize) -> Address) {
        if let Some(first) = self.factors {
            self.a.multiply(from, from, first + point);
        }
        self.put(to(element), from);
    }

    fn output(&mut self, spec: &Output, steps: &[FusedStep]) {
        let ([high, wide], [rows, columns]) = (self.sides(), self.tile);
        if self.is_square() {
            self.output_constants(rows);
        }
        let tile = self.a.here();
        for vector in 0..self.vectors() {
            let lane = vector * self.lanes * ELEMENT;
            if !self.is_square() {
                self.output_constants(rows);
            }
            let of = self.outputs + 2;
            for column in 0..wide {
                for i in 0..high {
                    let at = spec.elements.at([i, column], of) * ELEMENT + lane;
                    self.a.load(i, FROM, at);
                }
                let results = self.apply_output(rows);
                for (i, result) in results.into_iter().enumerate().take(spec.size[0]) {
                    self.a.store(SECOND, (i * wide + column) * BLOCK * ELEMENT, result);
                }
            }
            if !self.is_square() {
                self.output_constants(columns);
            }
            for i in 0..spec.size[0] {
                for column in 0..wide {
                    self.a.load(column, SECOND, (i * wide + column) * BLOCK * ELEMENT);
                }
                let results = self.apply_output(columns);
                for (j, result) in results.into_iter().enumerate().take(spec.size[1]) {
                    if spec.bias {
                        self.a.add_memory(result, BIAS, lane);
                    }
                    for step in steps {
                        match step {
                            FusedStep::AddResidual => {
                                let at = (i * spec.rows[1] + j * spec.pixel) * ELEMENT + lane;
                                self.a.add_memory(result, OTHER, at);
                            }
                            FusedStep::Relu => {
                                let zero = TEMPORARIES[2];
                                self.a.zero(zero);
                                self.a.max(result, zero);
                            }
                        }
                    }
                    let at = (i * spec.rows[0] + j * spec.pixel) * ELEMENT + lane;
                    self.a.store(TO, at, result);
                    match (spec.totals, [i, j]) {
                        (true, [0, 0]) => self.a.copy_vector(TOTAL, result),
                        (true, _) => self.a.add(TOTAL, TOTAL, result),
                        (false, _) => {}
                    }
                }
            }
            if spec.totals {
                self.a.add_memory(TOTAL, OTHER, lane);
                self.a.store(OTHER, lane, TOTAL);
            }
        }
        self.a.advance(FROM, (BLOCK * ELEMENT) as i64);
        self.a.advance(TO, (columns * spec.pixel * ELEMENT) as i64);
        if steps.contains(&FusedStep::AddResidual) {
            self.a.advance(OTHER, (columns * spec.pixel * ELEMENT) as i64);
        }
        self.a.loop_back(TILES, tile);
    }

    /// What [`apply_output`](Self::apply_output) multiplies by.
    fn output_constants(&mut self, outputs: usize) {
        let constants = match points(self.outputs)[..=outputs] {
            [_, a, _] => vec![a],
            [_, a, _, b] => vec![a, b, a * a, b * b],
            [_, a, _, b, _] => vec![a, b, a * a, b * b, a * a * a, b * b * b],
            _ => Vec::new(),
        };
        self.load_constants(outputs + 2, &constants);
    }

    /// `Aᵀ` of the registers of elements: row i sums `pⁱ` times the element of each point p, and the
    /// last row the element of infinity besides. The registers of the results.
    fn apply_output(&mut self, outputs: usize) -> Vec<usize> {
        let [first, second, _] = TEMPORARIES;
        let (zero, infinity) = (0, 1);
        if outputs == 1 {
            self.a.add(zero, zero, 2);
            self.a.add(zero, zero, infinity);
            return vec![zero];
        }
        // s = m₂ + m₃, d = m₂ - m₃
        let d = 2;
        self.a.add(first, 2, 3);
        self.a.subtract(d, 2, 3);
        self.a.add(zero, zero, first);
        match outputs {
            2 => {
                // m₀ + s, a d + m∞
                let [a] = self.constants();
                self.a.multiply_add(infinity, d, a);
                vec![zero, infinity]
            }
            3 => {
                // m₀ + s + m₄, a d + b m₄, a² s + b² m₄ + m∞
                let [a, b, a2, b2] = self.constants();
                self.a.add(zero, zero, 4);
                self.a.multiply_add(infinity, first, a2);
                self.a.multiply_add(infinity, 4, b2);
                self.a.multiply(d, d, a);
                self.a.multiply_add(d, 4, b);
                vec![zero, d, infinity]
            }
            _ => {
                // t = m₄ + m₅, e = m₄ - m₅: m₀ + s + t, a d + b e, a² s + b² t, a³ d + b³ e + m∞
                let [a, b, a2, b2, a3, b3] = self.constants();
                let (squares, e) = (3, 4);
                self.a.add(second, 4, 5);
                self.a.subtract(e, 4, 5);
                self.a.add(zero, zero, second);
                self.a.multiply(squares, first, a2);
                self.a.multiply_add(squares, second, b2);
                self.a.multiply_add(infinity, d, a3);
                self.a.multiply_add(infinity, e, b3);
                self.a.multiply(d, d, a);
                self.a.multiply_add(d, e, b);
                vec![zero, d, squares, infinity]
            }
        }
    }

    /// Loads constants into the registers from this one on.
    fn load_constants(&mut self, first: usize, values: &[f64]) {
        for (i, value) in values.iter().enumerate() {
            self.a.constant(first + i, *value as f32);
        }
        self.constants = first;
    }

    /// The registers of constants, in their order.
    fn constants<const N: usize>(&self) -> [usize; N] {
        std::array::from_fn(|i| self.constants + i)
    }
}
