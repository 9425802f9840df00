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

use super::{MicroKernel, Prefetch, finish, orders};
use crate::asm::{Address, Assembler, Function, Register, Vector, Words};
use crate::ir::expr::Expr;
use crate::kernels::conv::parameters::{BIAS, FROM, OTHER, SECOND, TILES, TO};
use crate::kernels::conv::rounding::Rounding;
use crate::machine::{BLOCK, Dots, Element, F32_BYTES, Factor, Vectors};
use crate::plan::Loop;
use crate::schedule::byte_scale::ByteScale;
use crate::schedule::epilogue::FusedStep;

/// Bytes ahead of the products at which weights of this call are fetched into the first-level cache,
/// always. ([`Prefetch`] is about the next call's.)
const WEIGHTS_AHEAD: usize = 2048;

/// Bytes of an element of the input and the weights, or of a word of them.
const WORD_BYTES: usize = F32_BYTES;

/// Bytes of a line of weights, which is one of the caches.
const LINE: usize = BLOCK * WORD_BYTES;

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
        block * self.spec.weights_block * WORD_BYTES
    }

    fn function(&mut self) {
        let saved = self.callers();
        for register in &saved {
            self.a.save(*register);
        }
        self.start_ahead();
        // What finishes a tile takes all registers.
        let stays = self.spec.finish == Expr::default();
        if stays {
            self.load_orders();
        }
        self.set_ones();
        let tile = self.a.here();
        if !stays {
            self.load_orders();
        }
        self.start();
        self.a.copy(IN_AT, FROM);
        self.a.copy(WEIGHTS_AT, SECOND);
        self.a.add_immediate(WEIGHTS_AT, (self.spec.header() * LINE) as i64);
        self.start_fetching();
        self.contract(0);
        if self.spec.accumulate {
            self.add_to_sums(TO, self.spec.output_block);
        }
        match self.spec.element {
            Element::F32 | Element::Bf16 => {}
            Element::U8 | Element::I16 => self.scale(),
        }
        self.apply();
        match self.spec.bytes.made {
            None => self.write(),
            Some(made) => self.write_bytes(made),
        }
        finish::assembled(&mut self.a, self.spec);
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
            let bytes = distance * WORD_BYTES + earlier * rounds * self.ahead() * LINE;
            self.a.add_immediate(AHEAD, bytes as i64);
        }
    }

    fn next_tile(&mut self) {
        let MicroKernel { pixels, input_pixel, output_pixel, .. } = *self.spec;
        let [made, added] = [self.spec.made(), self.spec.added()].map(Element::bytes);
        self.a.add_immediate(FROM, (pixels * input_pixel * WORD_BYTES) as i64);
        self.a.add_immediate(TO, (pixels * output_pixel * made) as i64);
        if self.spec.reads_residual() {
            self.a.add_immediate(OTHER, (pixels * output_pixel * added) as i64);
        }
    }

    /// Sets the sums to the bias, or to zero; those of bytes to what is in front of the weights. The bias of
    /// integers is added to what is made of them.
    fn start(&mut self) {
        for pixel in 0..self.spec.pixels {
            for vector in 0..self.row() {
                let sum = self.sum(pixel, vector);
                match (self.spec.element, self.spec.bias) {
                    (Element::U8, _) => self.a.load(sum, self.header(0, vector)),
                    (Element::F32 | Element::Bf16, true) => {
                        self.a.load(sum, BIAS.at(vector * self.lanes() * F32_BYTES));
                    }
                    (Element::F32 | Element::Bf16, false) | (Element::I16, _) => {
                        self.a.zero(sum);
                    }
                }
            }
        }
    }

    /// A vector of a line in front of the weights.
    fn header(&self, line: usize, vector: usize) -> Address {
        let (block, part) = (vector / self.vectors, vector % self.vectors);
        SECOND.at(self.block(block) + line * LINE + part * self.lanes() * WORD_BYTES)
    }

    /// Registers that hold [orders](orders), the last ones.
    fn orders(&self) -> usize {
        orders(self.spec.element, self.spec.narrow, self.a.vectors()) * self.vectors
    }

    /// Registers that hold the same throughout, or that products take, the last ones.
    fn kept(&self) -> usize {
        self.orders() + self.pairs()
    }

    /// Registers that products take, before the orders: ones, and what is to be added.
    fn pairs(&self) -> usize {
        let dots = if self.spec.pairs { Dots::Pairs } else { Dots::Words };
        Factor::of(self.spec.element, dots).registers()
    }

    fn pair(&self, number: usize) -> Vector {
        Vector(self.a.vectors().registers() - self.kept() + number)
    }

    /// Sets both halves of each lane to one.
    fn set_ones(&mut self) {
        const ONES: u32 = 0x0001_0001;
        if self.spec.pairs && self.spec.element == Element::U8 {
            self.a.splat(self.pair(0), f32::from_bits(ONES));
        }
    }

    /// `sum += Σ element * weights` of what a word is of.
    fn multiply(&mut self, sum: Vector, element: Vector, weights: Vector) {
        match (self.spec.element, self.spec.pairs) {
            (Element::F32, _) => self.a.multiply_add(sum, weights, element),
            (Element::Bf16, _) => self.a.add_dot_bfloats(sum, weights, element),
            (Element::U8, false) => self.a.dot_bytes(sum, element, weights),
            (Element::I16, false) => self.a.add_dot_halves(sum, element, weights),
            (Element::U8, true) => {
                let [ones, products] = [0, 1].map(|number| self.pair(number));
                self.a.dot_pairs(products, element, weights);
                self.a.dot_halves(products, products, ones);
                self.a.add_integers(sum, sum, products);
            }
            (Element::I16, true) => {
                let products = self.pair(0);
                self.a.dot_halves(products, element, weights);
                self.a.add_integers(sum, sum, products);
            }
        }
    }

    fn order(&self, word: usize, vector: usize) -> Vector {
        let first = self.a.vectors().registers() - self.orders();
        Vector(first + word * self.vectors + vector)
    }

    /// Sets what says which word of a block each lane reads, for each word of its own group.
    fn load_orders(&mut self) {
        let narrow = self.spec.narrow;
        let of_group = self.orders() / self.vectors;
        for (word, vector) in (0..of_group).flat_map(|w| (0..self.vectors).map(move |v| (w, v))) {
            let first = vector * self.lanes();
            let numbers = std::array::from_fn(|lane| {
                ((first + lane) % BLOCK / narrow * of_group + word) as u8
            });
            self.a.numbers(self.order(word, vector), numbers);
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
        self.a.add_immediate(IN_AT, (outer.input as i64 - moved as i64) * WORD_BYTES as i64);
        if inside.is_none() {
            self.a.add_immediate(WEIGHTS_AT, (self.unrolled_count() * LINE) as i64);
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
        let broadcasts = self.a.vectors().registers() - self.kept() - weights - row;
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
                let at = (pixel * self.spec.input_pixel + i * stride) * WORD_BYTES;
                self.a.broadcast(element, IN_AT.at(at));
                for vector in 0..row {
                    self.multiply(self.sum(pixel, vector), element, Vector(weights + vector));
                }
            }
        }
        self.a.add_immediate(AHEAD, (self.ahead() * LINE) as i64);
    }

    /// Loads a line of each block's weights, into the registers after the sums.
    fn load_weights(&mut self, line: usize) {
        for vector in 0..self.row() {
            let (block, part) = (vector / self.vectors, vector % self.vectors);
            let at = self.block(block) + line * LINE + part * self.lanes() * WORD_BYTES;
            self.a.load(Vector(self.spare() + vector), WEIGHTS_AT.at(at));
        }
    }

    /// The two innermost loops for narrow groups: a word is spread once for all pixels and taps that
    /// read it, because on some machines that takes as long as a product. The order of a sum does not
    /// depend on the tile.
    fn unrolled_taps(&mut self, taps: Loop) {
        let channels = self.unrolled_count() / taps.count.max(1);
        let weights = self.spare();
        let spare = self.a.vectors().registers() - self.kept() - weights;
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
                let part = vector * self.lanes() * WORD_BYTES;
                for tap in 0..count {
                    let line = (first + tap) * channels + i;
                    self.a.load(Vector(weights + tap), WEIGHTS_AT.at(line * LINE + part));
                }
                for (read, users) in self.reads(taps, count) {
                    let element = Vector(weights + count + turn % (spare - count));
                    turn += 1;
                    self.spread(element, (first + read) * taps.input * WORD_BYTES, (i, vector));
                    for (pixel, tap) in users {
                        self.multiply(self.sum(pixel, vector), element, Vector(weights + tap));
                    }
                }
            }
        }
        self.a.add_immediate(AHEAD, (self.ahead() * LINE) as i64);
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
                self.a.prefetch_t1(AHEAD.at(self.block(block) + line * LINE));
            }
        }
    }

    /// Fetches weights of this call, [`WEIGHTS_AHEAD`] of this line.
    fn fetch_weights(&mut self, line: usize) {
        for block in 0..self.spec.blocks {
            self.a.prefetch_t0(WEIGHTS_AT.at(self.block(block) + line * LINE + WEIGHTS_AHEAD));
        }
    }

    /// The loop over blocks of the input, where they are on pages of their own: then the hardware does
    /// not foresee what the next one reads.
    fn distant_blocks(&self) -> Option<Loop> {
        const PAGE: usize = 4096;
        let [blocks, _] = self.spec.reduce[..] else { return None };
        (blocks.input * WORD_BYTES >= PAGE).then_some(blocks)
    }

    /// Fetching begins [`BLOCKS_AHEAD`].
    fn start_fetching(&mut self) {
        let Some(blocks) = self.distant_blocks() else { return };
        let tile = self.spec.pixels * self.spec.input_pixel * WORD_BYTES;
        self.a.copy(NEXT, FROM);
        self.a.add_immediate(NEXT, tile as i64);
        if blocks.count > BLOCKS_AHEAD {
            self.a.copy(FETCHED, FROM);
            self.a.add_immediate(FETCHED, (BLOCKS_AHEAD * blocks.input * WORD_BYTES) as i64);
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
            self.a.prefetch_t0(FETCHED.at(pixel * self.spec.input_pixel * WORD_BYTES));
        }
    }

    /// Goes on to the next block, given how many are left with this one; after the last one it is the
    /// next tile's first. Behind the last block there may be no memory, and each fetch would search
    /// the page tables in vain.
    fn fetch_on(&mut self, left: Register) {
        let Some(blocks) = self.distant_blocks() else { return };
        self.a.add_immediate(FETCHED, (blocks.input * WORD_BYTES) as i64);
        if blocks.count > BLOCKS_AHEAD {
            self.a.copy_if_equal(FETCHED, NEXT, (left, BLOCKS_AHEAD + 1));
        }
    }

    /// Word `i` of each lane's own group, for each pixel.
    fn narrow(&mut self, i: usize, weights: usize, turn: &mut usize, temporaries: usize) {
        for pixel in 0..self.spec.pixels {
            for vector in 0..self.row() {
                let element = Vector(weights + self.row() + *turn % temporaries);
                *turn += 1;
                self.spread(element, pixel * self.spec.input_pixel * WORD_BYTES, (i, vector));
                self.multiply(self.sum(pixel, vector), element, Vector(weights + vector));
            }
        }
    }

    /// Loads word `i` of each lane's own group, for a vector of the block at `at`.
    fn spread(&mut self, to: Vector, at: usize, (i, vector): (usize, usize)) {
        let (lane, word) = (vector * self.lanes(), WORD_BYTES);
        let order = self.order(i, vector);
        match (self.spec.element, self.spec.narrow) {
            (Element::U8, 1) => self.a.load_bytes(to, IN_AT.at(at + lane)),
            (_, 1) => self.a.load(to, IN_AT.at(at + lane * word)),
            (Element::U8, _) => self.a.spread_words(to, IN_AT.at(at), Words::Four, order),
            (Element::I16 | Element::Bf16, _) => {
                self.a.spread_words(to, IN_AT.at(at), Words::Eight, order);
            }
            (Element::F32, 4) => self.a.broadcast_in_quarters(to, IN_AT.at(at + lane * word), i),
            // A register is a group.
            (Element::F32, of_group) if of_group >= self.lanes() => {
                self.a.broadcast(to, IN_AT.at(at + (lane + i) * word));
            }
            (Element::F32, _) => self.a.spread_words(to, IN_AT.at(at), Words::Sixteen, order),
        }
    }

    /// What sums are multiplied by where they become bytes: then all that is added to them is in steps of these.
    fn steps(&self) -> f32 {
        self.spec.bytes.made.map_or(1.0, |made| made.scale.recip())
    }

    /// Makes f32 of sums of products of integers, with the bias.
    fn scale(&mut self) {
        let [scale, bias, steps] = [0, 1, 2].map(|i| Vector(self.spare() + i));
        let is_made = self.spec.bytes.made.is_some();
        if is_made {
            self.a.splat(steps, self.steps());
        }
        let line = if self.spec.element == Element::U8 { 1 } else { 0 };
        for vector in 0..self.row() {
            self.a.load(scale, self.header(line, vector));
            if self.spec.bias {
                self.a.load(bias, BIAS.at(vector * self.lanes() * F32_BYTES));
            }
            for constant in [scale, bias].into_iter().take(1 + usize::from(self.spec.bias)) {
                if is_made {
                    self.a.multiply(constant, constant, steps);
                }
            }
            for pixel in 0..self.spec.pixels {
                let sum = self.sum(pixel, vector);
                self.a.floats_of_integers(sum, sum);
                match self.spec.bias {
                    true => self.a.multiply_by(sum, scale, bias),
                    false => self.a.multiply(sum, sum, scale),
                }
            }
        }
    }

    fn apply(&mut self) {
        for (number, step) in self.spec.steps.iter().enumerate() {
            // What bytes from 0 on are made of is clipped to them anyway.
            let is_last = number + 1 == self.spec.steps.len();
            let clips = is_last && self.spec.bytes.made.is_some_and(|made| made.lowest == 0);
            match step {
                FusedStep::AddResidual => match (self.spec.bytes.residual, self.spec.bytes.made) {
                    (None, None) => self.add_to_sums(OTHER, self.spec.residual_block),
                    (None, Some(_)) => self.add_in_steps(),
                    (Some(bytes), _) => self.add_bytes(bytes),
                },
                FusedStep::Relu if clips => {}
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
            self.a.add_memory(sum, base.at(self.offset(block, pixel, vector)));
        }
    }

    /// Adds the residual operand to sums that become bytes.
    fn add_in_steps(&mut self) {
        let [added, steps] = [0, 1].map(|i| Vector(self.spare() + i));
        self.a.splat(steps, self.steps());
        for (sum, pixel, vector) in self.sums() {
            self.a.load(added, OTHER.at(self.offset(self.spec.residual_block, pixel, vector)));
            self.a.multiply_add(sum, added, steps);
        }
    }

    /// Adds the numbers that bytes of the residual operand stand for.
    fn add_bytes(&mut self, bytes: ByteScale) {
        let [added, scale, lowest] = [0, 1, 2].map(|i| Vector(self.spare() + i));
        let scale_of_bytes = bytes.scale * self.steps();
        self.a.splat(scale, scale_of_bytes);
        self.a.splat(lowest, scale_of_bytes * bytes.lowest as f32);
        for (sum, pixel, vector) in self.sums() {
            let at = self.elements(self.spec.residual_block, pixel, vector);
            self.a.load_bytes(added, OTHER.at(at));
            self.a.floats_of_integers(added, added);
            self.a.multiply_add(sum, added, scale);
            if bytes.lowest != 0 {
                self.a.add(sum, sum, lowest);
            }
        }
    }

    fn write(&mut self) {
        for (sum, pixel, vector) in self.sums() {
            self.a.store(TO.at(self.offset(self.spec.output_block, pixel, vector)), sum);
        }
    }

    /// Rounds sums to multiples, whose numbers from the lowest are stored.
    fn write_bytes(&mut self, made: ByteScale) {
        let spare = self.spare();
        let rounding = Rounding::load(&mut self.a, spare, made, true);
        for (sum, pixel, vector) in self.sums() {
            let at = self.elements(self.spec.output_block, pixel, vector);
            rounding.store(&mut self.a, TO.at(at), sum);
        }
    }

    /// Every sum, with its pixel and its vector.
    fn sums(&self) -> Vec<(Vector, usize, usize)> {
        let each = |pixel| (0..self.row()).map(move |vector| (pixel, vector));
        let all = (0..self.spec.pixels).flat_map(each);
        all.map(|(pixel, vector)| (self.sum(pixel, vector), pixel, vector)).collect()
    }

    /// Elements from the start of the tile to one of its vectors.
    fn elements(&self, block: usize, pixel: usize, vector: usize) -> usize {
        let (whole, part) = (vector / self.vectors, vector % self.vectors);
        pixel * self.spec.output_pixel + whole * block + part * self.lanes()
    }

    /// The same in bytes of f32.
    fn offset(&self, block: usize, pixel: usize, vector: usize) -> usize {
        self.elements(block, pixel, vector) * F32_BYTES
    }
}
