//! The micro-kernel in the portable instructions, for vectors that have an encoder.
//!
//! ```text
//!            blocks × 16 channels
//!            ┌───────────┬───────────┐
//!   pixel 0  │    sum    │    sum    │   sums in registers for the whole depth;
//!   pixel 1  │    sum    │    sum    │   for each contracted element, the weights of all blocks
//!     …      │     …     │     …     │   and one broadcast element of each pixel
//!            └───────────┴───────────┘
//! ```

use std::collections::BTreeMap;

use super::{MicroKernel, Prefetch};
use crate::asm::{Address, Assembler, Function, Register, Vector};
use crate::kernels::conv::parameters::{BIAS, FROM, OTHER, SECOND, TILES, TO};
use crate::machine::{BLOCK, Element, F32_BYTES, Vectors};
use crate::plan::Loop;
use crate::schedule::epilogue::FusedStep;

/// Bytes ahead of the products at which weights of this call are fetched into the first-level cache,
/// always. ([`Prefetch`] is about the next call's.)
const WEIGHTS_AHEAD: usize = 2048;

/// Where the contraction reads.
const IN_AT: Register = Register::Scratch1;
const WEIGHTS_AT: Register = Register::Scratch0;

/// The weights behind those of the call, which are fetched meanwhile.
const AHEAD: Register = Register::Saved2;

/// Blocks that the input is fetched ahead of the products.
const BLOCKS_AHEAD: usize = 2;

/// Where the input is fetched, and the pixels of the next tile.
const FETCHED: Register = Register::Saved3;
const NEXT: Register = Register::Saved4;

/// Counters of the contracted loops that are not unrolled, innermost first; the caller's are saved.
const COUNTERS: [Register; 3] = [Register::Scratch2, Register::Saved0, Register::Saved1];

impl MicroKernel {
    /// Its code: `fn(in, weights, out, bias, tiles, residual)`.
    pub fn assembled(&self, vectors: Vectors) -> Function {
        let a = Assembler::new("micro-kernel", vectors);
        let mut kernel = Kernel { a, spec: self, vectors: vectors.per_block() };
        kernel.function();
        kernel.a.finish()
    }
}

struct Kernel<'k> {
    a: Assembler,
    spec: &'k MicroKernel,
    /// Registers of a block.
    vectors: usize,
}

impl Kernel<'_> {
    fn lanes(&self) -> usize {
        self.a.vectors().lanes()
    }

    /// Bytes of an element of the input, the weights, the output and the residual operand.
    fn element(&self) -> usize {
        self.spec.element.bytes()
    }

    /// Bytes of a block's channels of a pixel: for f32, a line of the caches.
    fn line(&self) -> usize {
        BLOCK * self.element()
    }

    /// Registers that hold a row of weights, or of sums.
    fn row(&self) -> usize {
        self.spec.blocks * self.vectors
    }

    fn sum(&self, pixel: usize, vector: usize) -> Vector {
        Vector(pixel * self.row() + vector)
    }

    /// Registers after the sums.
    fn spare(&self) -> usize {
        self.spec.pixels * self.row()
    }

    /// The contracted loops that are not unrolled.
    fn outer(&self) -> &[Loop] {
        let inner = 1 + usize::from(self.spec.shared_taps().is_some());
        let outer = self.spec.reduce.len().saturating_sub(inner);
        self.spec.reduce.get(..outer).unwrap_or_default()
    }

    /// Lines of each block's weights that the unrolled code reads.
    fn unrolled_count(&self) -> usize {
        self.spec.reduce[self.outer().len()..].iter().map(|r| r.count).product()
    }

    /// Lines of each block's next weights that the unrolled loop fetches.
    fn ahead(&self) -> usize {
        match self.spec.prefetch.tiles {
            0 => 0,
            tiles => self.unrolled_count().div_ceil(tiles),
        }
    }

    /// Bytes from a block's weights to those of another.
    fn block(&self, block: usize) -> usize {
        block * self.spec.weights_block * self.element()
    }

    fn function(&mut self) {
        let saved = self.callers();
        for register in &saved {
            self.a.save(*register);
        }
        self.start_ahead();
        let tile = self.a.here();
        self.start();
        self.a.copy(IN_AT, FROM);
        self.a.copy(WEIGHTS_AT, SECOND);
        self.start_fetching();
        self.contract(0);
        if self.spec.accumulate {
            self.add_to_sums(TO, self.spec.output_block);
        }
        self.apply();
        self.write();
        self.next_tile();
        self.a.loop_back(TILES, tile);
        for register in saved.iter().rev() {
            self.a.restore(*register);
        }
    }

    /// The caller's registers that are used.
    fn callers(&self) -> Vec<Register> {
        let counters = COUNTERS.into_iter().take(self.outer().len());
        let mut used: Vec<Register> = counters.collect();
        if self.spec.prefetch.tiles > 0 {
            used.push(AHEAD);
        }
        if self.distant_blocks().is_some() {
            used.extend([FETCHED, NEXT]);
        }
        used.retain(|register| Register::CALLERS.contains(register));
        used
    }

    /// Points at the next call's weights, behind those that the tiles before have fetched.
    fn start_ahead(&mut self) {
        let Prefetch { tiles, earlier, distance } = self.spec.prefetch;
        if tiles > 0 {
            self.a.copy(AHEAD, SECOND);
            let rounds = self.spec.depth() / self.unrolled_count();
            let bytes = distance * self.element() + earlier * rounds * self.ahead() * self.line();
            self.a.add_immediate(AHEAD, bytes as i64);
        }
    }

    fn next_tile(&mut self) {
        let pixels = self.spec.pixels * self.element();
        self.a.add_immediate(FROM, (pixels * self.spec.input_pixel) as i64);
        self.a.add_immediate(TO, (pixels * self.spec.output_pixel) as i64);
        if self.spec.steps.contains(&FusedStep::AddResidual) {
            self.a.add_immediate(OTHER, (pixels * self.spec.output_pixel) as i64);
        }
    }

    /// Sets the sums to the bias, or to zero.
    fn start(&mut self) {
        for pixel in 0..self.spec.pixels {
            for vector in 0..self.row() {
                let sum = self.sum(pixel, vector);
                if self.spec.bias {
                    self.a.load(sum, BIAS.at(vector * self.lanes() * F32_BYTES));
                } else {
                    self.a.zero(sum);
                }
            }
        }
    }

    /// The contracted loops from `level` inwards.
    fn contract(&mut self, level: usize) {
        let Some(&outer) = self.outer().get(level) else {
            return match self.spec.shared_taps() {
                Some(taps) => self.unrolled_taps(taps),
                None => self.unrolled(),
            };
        };
        let inside = self.outer().get(level + 1).copied();
        let counter = COUNTERS[self.outer().len() - 1 - level];
        self.a.set(counter, outer.count);
        let again = self.a.here();
        self.contract(level + 1);
        // The loop inside has moved the input already.
        let moved = inside.map_or(0, |inside| inside.count * inside.input);
        self.a.add_immediate(IN_AT, (outer.input as i64 - moved as i64) * self.element() as i64);
        if inside.is_none() {
            self.a.add_immediate(WEIGHTS_AT, (self.unrolled_count() * self.line()) as i64);
            self.fetch_on(counter);
        }
        self.a.loop_back(counter, again);
    }

    /// The innermost loop: weights, then a broadcast and its products for each pixel.
    fn unrolled(&mut self) {
        let innermost = self.spec.reduce.last();
        let (count, stride) = innermost.map_or((1, 0), |r| (r.count, r.input));
        let (weights, row) = (self.spare(), self.row());
        // Broadcasts take turns, so that one need not wait for the products of the last.
        let broadcasts = self.a.vectors().registers() - weights - row;
        let mut turn = 0;
        for i in 0..count {
            self.fetch_ahead(i, count);
            self.fetch_input(i, count);
            self.load_weights(i);
            self.fetch_weights(i);
            if self.spec.narrow > 0 {
                self.narrow(i, weights, &mut turn, broadcasts);
                continue;
            }
            for pixel in 0..self.spec.pixels {
                let element = Vector(weights + row + turn % broadcasts);
                turn += 1;
                let at = (pixel * self.spec.input_pixel + i * stride) * self.element();
                self.broadcast(element, IN_AT.at(at));
                for vector in 0..row {
                    let sum = self.sum(pixel, vector);
                    self.a.multiply_add(sum, Vector(weights + vector), element);
                }
            }
        }
        self.a.add_immediate(AHEAD, (self.ahead() * self.line()) as i64);
    }

    /// Loads a line of each block's weights, into the registers after the sums.
    fn load_weights(&mut self, line: usize) {
        for vector in 0..self.row() {
            let (block, part) = (vector / self.vectors, vector % self.vectors);
            let at = self.block(block) + line * self.line() + part * self.lanes() * self.element();
            self.load(Vector(self.spare() + vector), WEIGHTS_AT.at(at));
        }
    }

    /// The two innermost loops for narrow groups: an element is spread once for all pixels and taps that
    /// read it, because on some machines that takes as long as a product. The order of a sum does not
    /// depend on the tile.
    fn unrolled_taps(&mut self, taps: Loop) {
        let channels = self.unrolled_count() / taps.count.max(1);
        let weights = self.spare();
        let spare = self.a.vectors().registers() - weights;
        // As many taps at a time as registers hold weights of, beside an element.
        let most = (spare - 1).min(taps.count).max(1);
        let mut turn = 0;
        for i in 0..channels {
            for tap in 0..taps.count {
                self.fetch_ahead(i * taps.count + tap, self.unrolled_count());
                self.fetch_weights(tap * channels + i);
            }
            let each = |vector| (0..taps.count).step_by(most).map(move |first| (vector, first));
            for (vector, first) in (0..self.row()).flat_map(each) {
                let count = most.min(taps.count - first);
                let part = vector * self.lanes() * self.element();
                for tap in 0..count {
                    let line = (first + tap) * channels + i;
                    self.load(Vector(weights + tap), WEIGHTS_AT.at(line * self.line() + part));
                }
                for (read, users) in self.reads(taps, count) {
                    let element = Vector(weights + count + turn % (spare - count));
                    turn += 1;
                    self.spread(element, (first + read) * taps.input * self.element() + part, i);
                    for (pixel, tap) in users {
                        let sum = self.sum(pixel, vector);
                        self.a.multiply_add(sum, Vector(weights + tap), element);
                    }
                }
            }
        }
        self.a.add_immediate(AHEAD, (self.ahead() * self.line()) as i64);
    }

    /// What the pixels of a tile read in so many taps, in taps from the tile's first, and the pixels and
    /// taps that it is for.
    fn reads(&self, taps: Loop, count: usize) -> BTreeMap<usize, Vec<(usize, usize)>> {
        let apart = self.spec.input_pixel / taps.input.max(1);
        let all = (0..self.spec.pixels).flat_map(|pixel| (0..count).map(move |tap| (pixel, tap)));
        let mut reads = BTreeMap::<_, Vec<_>>::new();
        for (pixel, tap) in all {
            reads.entry(pixel * apart + tap).or_default().push((pixel, tap));
        }
        reads
    }

    /// Fetches the `i`-th share of the next call's weights.
    fn fetch_ahead(&mut self, i: usize, shares: usize) {
        let ahead = self.ahead();
        for line in i * ahead / shares..(i + 1) * ahead / shares {
            for block in 0..self.spec.blocks {
                self.a.prefetch_t1(AHEAD.at(self.block(block) + line * self.line()));
            }
        }
    }

    /// Fetches weights of this call, [`WEIGHTS_AHEAD`] of this line.
    fn fetch_weights(&mut self, line: usize) {
        for block in 0..self.spec.blocks {
            self.a
                .prefetch_t0(WEIGHTS_AT.at(self.block(block) + line * self.line() + WEIGHTS_AHEAD));
        }
    }

    /// The loop over blocks of the input, where they are on pages of their own: then the hardware does
    /// not foresee what the next one reads.
    fn distant_blocks(&self) -> Option<Loop> {
        const PAGE: usize = 4096;
        let [blocks, _] = self.spec.reduce[..] else { return None };
        (blocks.input * self.element() >= PAGE).then_some(blocks)
    }

    /// Fetching begins [`BLOCKS_AHEAD`].
    fn start_fetching(&mut self) {
        let Some(blocks) = self.distant_blocks() else { return };
        let tile = self.spec.pixels * self.spec.input_pixel * self.element();
        self.a.copy(NEXT, FROM);
        self.a.add_immediate(NEXT, tile as i64);
        if blocks.count > BLOCKS_AHEAD {
            self.a.copy(FETCHED, FROM);
            self.a.add_immediate(FETCHED, (BLOCKS_AHEAD * blocks.input * self.element()) as i64);
        } else {
            self.a.copy(FETCHED, NEXT);
        }
    }

    /// Fetches the `i`-th share of a block of the tile.
    fn fetch_input(&mut self, i: usize, shares: usize) {
        if self.distant_blocks().is_none() {
            return;
        }
        let pixels = self.spec.pixels;
        for pixel in i * pixels / shares..(i + 1) * pixels / shares {
            self.a.prefetch_t0(FETCHED.at(pixel * self.spec.input_pixel * self.element()));
        }
    }

    /// Goes on to the next block, given how many are left with this one; after the last one it is the
    /// next tile's first. Behind the last block there may be no memory, and each fetch would search
    /// the page tables in vain.
    fn fetch_on(&mut self, left: Register) {
        let Some(blocks) = self.distant_blocks() else { return };
        self.a.add_immediate(FETCHED, (blocks.input * self.element()) as i64);
        if blocks.count > BLOCKS_AHEAD {
            self.a.copy_if_equal(FETCHED, NEXT, (left, BLOCKS_AHEAD + 1));
        }
    }

    /// Channel `i` of each lane's own group, for each pixel.
    fn narrow(&mut self, i: usize, weights: usize, turn: &mut usize, temporaries: usize) {
        for pixel in 0..self.spec.pixels {
            for vector in 0..self.row() {
                let element = Vector(weights + self.row() + *turn % temporaries);
                *turn += 1;
                let at = (pixel * self.spec.input_pixel + vector * self.lanes()) * self.element();
                self.spread(element, at, i);
                let sum = self.sum(pixel, vector);
                self.a.multiply_add(sum, Vector(weights + vector), element);
            }
        }
    }

    /// Loads channel `i` of each lane's own group.
    fn spread(&mut self, element: Vector, at: usize, i: usize) {
        match self.spec.narrow {
            1 => self.load(element, IN_AT.at(at)),
            // A register is a group.
            8 => self.broadcast(element, IN_AT.at(at + i * self.element())),
            _ => self.broadcast_in_quarters(element, IN_AT.at(at), i),
        }
    }

    fn apply(&mut self) {
        for step in &self.spec.steps {
            match step {
                FusedStep::AddResidual => self.add_to_sums(OTHER, self.spec.residual_block),
                FusedStep::Relu => {
                    let zero = Vector(self.spare());
                    self.a.zero(zero);
                    for (sum, ..) in self.sums() {
                        self.a.max(sum, zero, sum);
                    }
                }
            }
        }
    }

    /// Adds a tile in memory, whose blocks are so far apart.
    fn add_to_sums(&mut self, base: Register, block: usize) {
        for (sum, pixel, vector) in self.sums() {
            self.add_memory(sum, base.at(self.offset(block, pixel, vector)));
        }
    }

    fn write(&mut self) {
        for (sum, pixel, vector) in self.sums() {
            self.store(TO.at(self.offset(self.spec.output_block, pixel, vector)), sum);
        }
    }

    /// Every sum, with its pixel and its vector.
    fn sums(&self) -> Vec<(Vector, usize, usize)> {
        let each = |pixel| (0..self.row()).map(move |vector| (pixel, vector));
        let all = (0..self.spec.pixels).flat_map(each);
        all.map(|(pixel, vector)| (self.sum(pixel, vector), pixel, vector)).collect()
    }

    /// Bytes from the start of the tile to one of its vectors.
    fn offset(&self, block: usize, pixel: usize, vector: usize) -> usize {
        let (whole, part) = (vector / self.vectors, vector % self.vectors);
        (pixel * self.spec.output_pixel + whole * block + part * self.lanes()) * self.element()
    }

    // ---- elements, which are f32 in registers -------------------------------------------------

    fn load(&mut self, to: Vector, from: Address) {
        match self.spec.element {
            Element::F32 => self.a.load(to, from),
        }
    }

    fn broadcast(&mut self, to: Vector, from: Address) {
        match self.spec.element {
            Element::F32 => self.a.broadcast(to, from),
        }
    }

    fn broadcast_in_quarters(&mut self, to: Vector, from: Address, lane: usize) {
        match self.spec.element {
            Element::F32 => self.a.broadcast_in_quarters(to, from, lane),
        }
    }

    fn add_memory(&mut self, to: Vector, from: Address) {
        match self.spec.element {
            Element::F32 => self.a.add_memory(to, from),
        }
    }

    fn store(&mut self, to: Address, from: Vector) {
        match self.spec.element {
            Element::F32 => self.a.store(to, from),
        }
    }
}
