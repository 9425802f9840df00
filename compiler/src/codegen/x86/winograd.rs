//! The transforms of Winograd's filtering, a row of tiles at a time: each is one matrix applied to
//! the columns of a tile, into scratch, and then to the rows.

use iced_x86::Register;

use super::{Assembler, BIAS, ELEMENT, FROM, Isa, OTHER, SECOND, TILES, TO};
use crate::error::Result;
use crate::plan::tile::{BLOCK, TileStep};
use crate::plan::winograd::{Transform, pairs};

/// Most inputs of one application of a matrix; constants are in the registers after them.
const INPUTS: usize = 6;
/// Registers for values on the way.
const TEMPORARIES: [usize; 3] = [12, 13, 14];

/// The code of a transform: `fn(from, scratch, to, bias, tiles, other)`.
pub(in crate::codegen) fn transform(isa: &Isa, spec: &Transform) -> Result<Vec<u8>> {
    let mut kernel = Kernel { a: Assembler::new(isa), lanes: isa.vectors.lanes() };
    match spec {
        Transform::Input { outputs, dilation, row, element } => {
            kernel.input(*outputs, *dilation * BLOCK, *row, *element);
        }
        Transform::Output { outputs, dilation, size, element, rows, bias, steps } => {
            let output = Output {
                outputs: *outputs,
                pixel: *dilation * BLOCK,
                size: *size,
                element: *element,
                rows: *rows,
                bias: *bias,
            };
            kernel.output(&output, steps);
        }
    }
    kernel.a.finish("transform")
}

struct Kernel<'k> {
    a: Assembler<'k>,
    lanes: usize,
}

struct Output {
    outputs: usize,
    /// Distance between the pixels of a tile.
    pixel: usize,
    size: [usize; 2],
    element: usize,
    rows: [usize; 2],
    bias: bool,
}

/// An address: base, and bytes from it.
type Address = (Register, usize);

impl Kernel<'_> {
    fn vectors(&self) -> usize {
        BLOCK / self.lanes
    }

    fn input(&mut self, outputs: usize, pixel: usize, row: usize, element: usize) {
        let n = outputs + 2;
        let p = pairs(outputs);
        let constants: Vec<f64> = match *p {
            [a, b] => vec![-b * b, -a * a, a, b, -(a * a + b * b), a * a * b * b],
            [a, ..] => vec![-a * a, a],
            [] => Vec::new(),
        };
        self.constants(&constants);
        let tile = self.a.here();
        for vector in 0..self.vectors() {
            let lane = vector * self.lanes * ELEMENT;
            for column in 0..n {
                for i in 0..n {
                    let at = (i * row + column * pixel) * ELEMENT + lane;
                    self.a.load(i, FROM, at);
                }
                self.apply_input(n, |i| (SECOND, (i * n + column) * BLOCK * ELEMENT));
            }
            for i in 0..n {
                for column in 0..n {
                    self.a.load(column, SECOND, (i * n + column) * BLOCK * ELEMENT);
                }
                self.apply_input(n, |j| (TO, (i * n + j) * element * ELEMENT + lane));
            }
        }
        self.a.advance(FROM, (outputs * pixel * ELEMENT) as i64);
        self.a.advance(TO, (BLOCK * ELEMENT) as i64);
        self.a.loop_back(TILES, tile);
    }

    /// `Bᵀ` of registers 0 to n-1: rows are the coefficients of the product of (x - q) over all
    /// points q but one; those of a pair share their even and their odd part.
    fn apply_input(&mut self, n: usize, to: impl Fn(usize) -> Address) {
        let [even, odd, sum] = TEMPORARIES;
        let constant = |i: usize| INPUTS + i;
        let pair = |k: &mut Self, at: usize, scale: usize| {
            k.a.multiply(odd, odd, constant(scale));
            k.a.add(sum, even, odd);
            k.store(to(at), sum);
            k.a.subtract(sum, even, odd);
            k.store(to(at + 1), sum);
        };
        if n == 4 {
            // x² - a², x² ± a x, x³ - a² x
            self.a.copy_vector(sum, 2);
            self.a.multiply_add(sum, 0, constant(0));
            self.store(to(0), sum);
            self.a.copy_vector(even, 2);
            self.a.copy_vector(odd, 1);
            pair(self, 1, 1);
            self.a.multiply_add(3, 1, constant(0));
            self.store(to(3), 3);
            return;
        }
        // x⁴ - (a² + b²) x² + a² b²
        self.a.copy_vector(sum, 4);
        self.a.multiply_add(sum, 2, constant(4));
        self.a.multiply_add(sum, 0, constant(5));
        self.store(to(0), sum);
        // x⁴ - b² x² ± a (x³ - b² x), and the same with a and b exchanged
        for (at, square, scale) in [(1, 0, 2), (3, 1, 3)] {
            self.a.copy_vector(even, 4);
            self.a.multiply_add(even, 2, constant(square));
            self.a.copy_vector(odd, 3);
            self.a.multiply_add(odd, 1, constant(square));
            pair(self, at, scale);
        }
        // x⁵ - (a² + b²) x³ + a² b² x
        self.a.multiply_add(5, 3, constant(4));
        self.a.multiply_add(5, 1, constant(5));
        self.store(to(5), 5);
    }

    fn output(&mut self, spec: &Output, steps: &[TileStep]) {
        let (m, n) = (spec.outputs, spec.outputs + 2);
        let constants: Vec<f64> = match *pairs(m) {
            [a, b] => vec![a, b, a * a, b * b, a * a * a, b * b * b],
            [a, ..] => vec![a],
            [] => Vec::new(),
        };
        self.constants(&constants);
        let tile = self.a.here();
        for vector in 0..self.vectors() {
            let lane = vector * self.lanes * ELEMENT;
            for column in 0..n {
                for i in 0..n {
                    let at = (i * n + column) * spec.element * ELEMENT + lane;
                    self.a.load(i, FROM, at);
                }
                for (i, result) in self.apply_output(m).into_iter().enumerate() {
                    if i < spec.size[0] {
                        self.a.store(SECOND, (i * n + column) * BLOCK * ELEMENT, result);
                    }
                }
            }
            for i in 0..spec.size[0] {
                for column in 0..n {
                    self.a.load(column, SECOND, (i * n + column) * BLOCK * ELEMENT);
                }
                let results = self.apply_output(m);
                for (j, result) in results.into_iter().enumerate().take(spec.size[1]) {
                    if spec.bias {
                        self.a.add_memory(result, BIAS, lane);
                    }
                    for step in steps {
                        match step {
                            TileStep::AddOther => {
                                let at = (i * spec.rows[1] + j * spec.pixel) * ELEMENT + lane;
                                self.a.add_memory(result, OTHER, at);
                            }
                            TileStep::Relu => {
                                let zero = TEMPORARIES[2];
                                self.a.zero(zero);
                                self.a.max(result, zero);
                            }
                        }
                    }
                    let at = (i * spec.rows[0] + j * spec.pixel) * ELEMENT + lane;
                    self.a.store(TO, at, result);
                }
            }
        }
        self.a.advance(FROM, (BLOCK * ELEMENT) as i64);
        self.a.advance(TO, (m * spec.pixel * ELEMENT) as i64);
        if steps.contains(&TileStep::AddOther) {
            self.a.advance(OTHER, (m * spec.pixel * ELEMENT) as i64);
        }
        self.a.loop_back(TILES, tile);
    }

    /// `Aᵀ` of registers 0 to m+1: row i sums `pⁱ` times the element of each point p, and the last
    /// row the element of infinity besides. The registers of the results.
    fn apply_output(&mut self, m: usize) -> Vec<usize> {
        let [first, second, _] = TEMPORARIES;
        let constant = |i: usize| INPUTS + i;
        if m == 2 {
            // m0 + (m1 + m2), a (m1 - m2) + m3
            self.a.add(first, 1, 2);
            self.a.subtract(1, 1, 2);
            self.a.add(0, 0, first);
            self.a.multiply_add(3, 1, constant(0));
            return vec![0, 3];
        }
        self.a.add(first, 1, 2);
        self.a.subtract(1, 1, 2);
        self.a.add(second, 3, 4);
        self.a.subtract(3, 3, 4);
        self.a.add(0, 0, first);
        self.a.add(0, 0, second);
        // a² s + b² t, a³ d + b³ e + m5, a d + b e
        self.a.multiply(2, first, constant(2));
        self.a.multiply_add(2, second, constant(3));
        self.a.multiply_add(5, 1, constant(4));
        self.a.multiply_add(5, 3, constant(5));
        self.a.multiply(1, 1, constant(0));
        self.a.multiply_add(1, 3, constant(1));
        vec![0, 1, 2, 5]
    }

    fn store(&mut self, (base, bytes): Address, from: usize) {
        self.a.store(base, bytes, from);
    }

    /// Loads constants into the registers after the inputs.
    fn constants(&mut self, values: &[f64]) {
        for (i, value) in values.iter().enumerate() {
            self.a.constant(INPUTS + i, *value as f32);
        }
    }
}
