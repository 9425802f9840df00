//! Convolutions by Strassen's products: the products of quarters, and the sums of inputs that they read.

use super::blocks::parts_of;
use super::things::{Thing, block_of, channel_at, last_place};
use super::{Check, Goal, Site, Validation, flat, must, position, same};
use crate::ir::expr::Expr;
use crate::kernels::conv::blocked::BlockedConv;
use crate::kernels::conv::micro_kernel::{MicroKernel, Prefetch};
use crate::kernels::conv::strassen::pack::QuarterSums;
use crate::kernels::conv::strassen::{StrassenInput, StrassenOutput};
use crate::machine::{BLOCK, F32_BYTES};
use crate::plan::weights::InBlocks;
use crate::plan::{Loop, Role};
use crate::schedule::ConvSchedule;
use crate::schedule::epilogue::FusedStep;

/// Products of quarters.
const PRODUCTS: usize = 7;
/// Products that are summed one after the other, at most.
const LONGEST_SUM: usize = 256;
/// Pixels of a piece of sums, about.
const PIECE: usize = 256;

impl Validation<'_> {
    pub(super) fn by_strassen(&mut self, site: &Site<'_>, output: &StrassenOutput) -> Check {
        let scheduled = self.scheduled(site)?;
        let (problem, tile) = (&scheduled.problem, &output.tile);
        let order = if tile.pixels_first { "pixels" } else { "weights" };
        let [pixels, blocks] = [tile.micro.pixels, tile.micro.blocks];
        let choice = format!("strassen {pixels}x{blocks} by {order} row {}", tile.columns);
        same("choice", choice.as_str(), scheduled.choice.as_str())?;
        same("next sums", output.next.is_some(), scheduled.prepares)?;
        same("tile", tile, &tile_of(tile))?;
        let [ph, ch, n, block, row, column, lane] =
            <[usize; 7]>::try_from(site.trips).map_err(|_| "its loops are others")?;
        let place = (ch * tile.blocks + block, lane);
        same("channel", place, block_of(&problem.made, site.index[1]))?;
        self.quarters(site, scheduled, output, [ph, n, row, column])?;
        self.input_sums(site, output, problem.taps())?;
        let is_added = output.steps.contains(&FusedStep::AddResidual);
        let unused = !is_added && (output.block[1], output.residual) != Default::default();
        let is_made = output.block[0] == problem.made.block();
        must(!unused && is_made, "its distances are others")?;
        let added = n * tile.images.residual + row * tile.rows.residual + column * BLOCK + lane;
        let added = added + output.residual.at(ph, ch) + block * output.block[1];
        self.sums(site, (&output.steps, &Expr::default()), Default::default(), added)?;
        self.bias(site, output.bias, InBlocks(problem.made.segments))
    }

    /// What of the input is multiplied for a sum, and the weights.
    fn quarters(
        &mut self,
        site: &Site<'_>,
        scheduled: &ConvSchedule,
        output: &StrassenOutput,
        [half, n, row, column]: [usize; 4],
    ) -> Check {
        let (problem, tile) = (&scheduled.problem, &output.tile);
        let segments = self.segments(site, scheduled, |packing| Box::new(QuarterSums(packing)))?;
        let counts: Vec<usize> = tile.micro.reduce.iter().map(|each| each.count).collect();
        let [kh, kw] = problem.window.kernel;
        let depth: usize = counts.iter().product();
        let shape = [depth / (kh * kw * BLOCK), kh, kw, BLOCK];
        let places = problem.channels.div_ceil(segments.max(1)).next_multiple_of(BLOCK) * segments;
        same("depth", 2 * depth, places * kh * kw)?;
        let x = self.operand(site.thing.node, 0)?;
        let [_, _, h, w] = self.four(x)?;
        let from = n * tile.images.input + row * tile.rows.input + column * tile.micro.input_pixel;
        let mut samples = self.some(2 * depth);
        // The last channel, before those that fill a block up.
        let last = last_place(problem.channels, segments);
        let [of, block] = [last / BLOCK / shape[0], last / BLOCK % shape[0]];
        let within = flat(&[block, kh / 2, kw / 2, last % BLOCK], &shape);
        samples.push(of * depth + within);
        for r in samples {
            let (side, r) = (r / depth, r % depth);
            let within = position(r, &counts);
            let inputs =
                tile.micro.reduce.iter().zip(&within).map(|(each, trip)| each.input * trip);
            let at = from + output.from.at(half, side) + inputs.sum::<usize>();
            let [block, ky, kx, lane] =
                <[usize; 4]>::try_from(position(r, &shape)).unwrap_or_default();
            let place = (side * shape[0] + block) * BLOCK + lane;
            let window = &problem.window;
            let inside = |axis: usize, tap: usize, extent: usize| {
                let at = site.index[2 + axis] * window.stride[axis] + tap * window.dilation[axis];
                at.checked_sub(window.pad_before[axis]).filter(|at| *at < extent)
            };
            let pixel = inside(0, ky, h).zip(inside(1, kx, w));
            let goal = match (pixel, channel_at(place, problem.channels, segments)) {
                (_, None) => Goal::Filler,
                (None, Some(_)) => Goal::Number(0.0),
                (Some((y, x_at)), Some(channel)) => {
                    Goal::Element(Thing::whole(x), vec![site.index[0], channel, y, x_at])
                }
            };
            self.read(site.run, Role::In, (at * F32_BYTES) as i64, goal, None)?;
        }
        Ok(())
    }

    /// The sums of inputs are of what is read, from a step of their own or from the step that made it.
    fn input_sums(&self, site: &Site<'_>, output: &StrassenOutput, taps: usize) -> Check {
        let step = &self.plan.steps[site.run.step];
        let [from, sums] = [Role::In, Role::Sums].map(|role| step.place(role));
        let sums = sums.ok_or("it reads no sums")?;
        let byte = sums.offset as i64 + self.memory.moved(site.run, sums);
        let written = self.memory.written(site.run, sums.base, byte);
        let (by, role, _) = written.ok_or("nothing has made its sums")?;
        let by = &self.plan.steps[by.step];
        must(by.place(role) == Some(sums), "sums lie elsewhere")?;
        let tile = &output.tile;
        let blocks = tile.micro.depth() / (taps * BLOCK);
        let apart = tile.micro.reduce.first().map_or(0, |each| each.input);
        if let Some(input) = by.kernel.get::<StrassenInput>() {
            must(by.place(Role::In) == from, "sums are of another value")?;
            same("halves", [input.from, input.to], [output.from, output.sums])?;
            let images = Loop::over(tile.images.count, tile.images.input, output.sums_image);
            same("images", input.images, images)?;
            same("blocks", input.blocks.count, blocks)?;
            must(blocks == 1 || input.blocks.input == apart, "blocks lie elsewhere")?;
            return same("pieces", input.pieces, pieces(read_by(tile, blocks)));
        }
        let made = by.kernel.get::<StrassenOutput>().ok_or("its sums are none")?;
        must(by.place(Role::Out) == from, "sums are of another value")?;
        let next = made.next.ok_or("its sums are none")?;
        same("halves", [made.to, next.to], [output.from, output.sums])?;
        same(
            "images",
            [made.tile.images.output, next.image],
            [tile.images.input, output.sums_image],
        )?;
        same("blocks", made.tile.blocks, blocks)?;
        must(blocks == 1 || made.block[0] == apart, "blocks lie elsewhere")
    }
}

/// Pixels from the first to the last that the first half of the outputs reads of a block.
fn read_by(tile: &BlockedConv, blocks: usize) -> usize {
    let micro = &tile.micro;
    let ends = [usize::from(blocks > 1), micro.reduce.len().saturating_sub(1)];
    let taps = micro.reduce.get(ends[0]..ends[1]).unwrap_or_default().iter();
    let reach = taps.map(|each| (each.count - 1) * each.input).sum::<usize>()
        + (tile.rows.count.saturating_sub(1)) * tile.rows.input
        + (tile.columns.saturating_sub(1)) * micro.input_pixel;
    reach / BLOCK + 1
}

/// How so many pixels are cut into pieces.
fn pieces(read: usize) -> [usize; 2] {
    let fits = |n: &usize| read.is_multiple_of(*n) && read / n <= PIECE;
    let pieces = (1..=read.div_ceil(PIECE) * 4).find(fits).unwrap_or(1);
    [pieces, read / pieces]
}

/// What a tile of products must be, given its sizes and what it reads.
fn tile_of(tile: &BlockedConv) -> BlockedConv {
    let micro = &tile.micro;
    let depth = micro.depth() * BLOCK;
    let prefetch =
        Prefetch { tiles: tile.columns.div_ceil(micro.pixels.max(1)), earlier: 0, distance: depth };
    let micro = MicroKernel {
        pixels: micro.pixels,
        blocks: micro.blocks,
        reduce: micro.reduce.clone(),
        input_pixel: micro.input_pixel,
        weights_block: PRODUCTS * depth,
        output_pixel: BLOCK,
        output_block: tile.columns * BLOCK,
        prefetch,
        ..MicroKernel::default()
    };
    let k_splits = parts_of(&micro, LONGEST_SUM);
    BlockedConv { groups: Loop::ONCE, k_splits, micro, ..tile.clone() }
}
