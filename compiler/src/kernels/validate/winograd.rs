//! Convolutions by Winograd's filtering: the products and the way back, with the transform of the input
//! before them.

use super::blocks::header;
use super::memory::Run;
use super::things::{Part, Thing, block_of, channel_at, last_place};
use super::{Check, Goal, Site, Validation, must, same};
use crate::ir::NodeId;
use crate::ir::expr::Expr;
use crate::kernels::conv::micro_kernel::{Bytes, MicroKernel, Prefetch};
use crate::kernels::conv::winograd::pack::{Transformed, TransformedBfloats, TransformedHalves};
use crate::kernels::conv::winograd::{WinogradInput, WinogradOutput};
use crate::machine::{BLOCK, Dots, Element, F32_BYTES};
use crate::plan::weights::InBlocks;
use crate::plan::{Loop, Role};
use crate::schedule::ConvSchedule;
use crate::schedule::epilogue::FusedStep;
use crate::schedule::problem::ConvProblem;

impl Validation<'_> {
    pub(super) fn by_winograd(
        &mut self,
        site: &Site<'_>,
        role: Role,
        output: &WinogradOutput,
    ) -> Check {
        let scheduled = self.scheduled(site)?;
        let (m, [together, chunk]) = (output.grid.outputs, [output.grid.together, output.chunk]);
        let [pixels, blocks] = [output.micro.pixels, output.micro.blocks];
        let end = if output.micro.element == Element::Bf16 { " in bf16" } else { "" };
        let choice = format!("F({m}x{m}) {pixels}x{blocks} rows {chunk} images {together}{end}");
        same("choice", choice.as_str(), scheduled.choice.as_str())?;
        same("totals", output.totals, scheduled.totals)?;
        if role == Role::Totals {
            same("part", site.thing.part, Part::Totals)?;
            must(scheduled.problem.fused.left == 0, "totals are of sums that change")?;
            return same("place", site.trips, &super::local(site.run, site.index));
        }
        let problem = &scheduled.problem;
        let (by, input) = self.transform(site, output, problem)?;
        let plane = [site.trips[3], site.trips[4]];
        same("place", plane, [site.index[2], site.index[3]])?;
        same("size", output.size, problem.made.size)?;
        let [n, group, block, y, x, lane] =
            <[usize; 6]>::try_from(site.trips).map_err(|_| "its loops are others")?;
        same(
            "channel",
            (group * output.blocks + block, lane),
            block_of(&problem.made, site.index[1]),
        )?;
        self.transformed_reads(site, scheduled, output, (by, &input), [n, group])?;
        let is_added = output.steps.contains(&FusedStep::AddResidual);
        let unused = !is_added && [output.block[1], output.rows[1]] != [0; 2];
        let made = [problem.made.block(), problem.made.row()];
        must(!unused && [output.block[0], output.rows[0]] == made, "its distances are others")?;
        let added = n * output.images.residual + group * output.groups.residual;
        let added = added + block * output.block[1] + y * output.rows[1] + x * BLOCK + lane;
        let bytes = Bytes { made: output.made, residual: None };
        self.sums(site, (&output.steps, &Expr::default()), bytes, added)?;
        self.bias(site, output.bias, InBlocks(problem.made.segments))
    }

    /// Rows of tiles of a convolution's planes.
    pub(super) fn rows_of_tiles(&self, id: NodeId) -> Check<usize> {
        let scheduled = self.schedule.conv(id).ok_or("totals of what is no convolution")?;
        let outputs =
            scheduled.choice.algorithm().strip_prefix("F(").and_then(|m| m.split('x').next());
        let outputs: usize = outputs.and_then(|m| m.parse().ok()).ok_or("it makes no totals")?;
        let dilation = scheduled.conv.window.dilation[0].max(1);
        let phase = scheduled.problem.made.size[0] / dilation;
        Ok(dilation * phase.div_ceil(outputs.max(1)))
    }

    /// The step that made what products read, which must have cut planes alike.
    fn transform(
        &self,
        site: &Site<'_>,
        output: &WinogradOutput,
        problem: &ConvProblem,
    ) -> Check<(Run, WinogradInput)> {
        let place = self.plan.steps[site.run.step].place(Role::In).ok_or("it reads nothing")?;
        let byte = place.offset as i64 + self.memory.moved(site.run, place);
        let by = self.memory.written(site.run, place.base, byte).map(|(by, ..)| by);
        let by = by.ok_or("nothing has transformed what it reads")?;
        let step = &self.plan.steps[by.step];
        let input = step.kernel.get::<WinogradInput>().ok_or("what it reads is not transformed")?;
        must(step.place(Role::Out) == Some(place), "it reads from another place than was written")?;
        same("grid", &output.grid, &input.grid)?;
        let bytes = problem.read_bytes();
        same("bytes", input.bytes, bytes)?;
        let rounds = output.micro.element == Element::Bf16;
        must(!rounds || problem.machine.bfloats, "the machine multiplies no bfloat16")?;
        same("rounding", input.rounds, rounds)?;
        // Two i16 are a word, or two bfloat16.
        let word = if bytes.is_some() || rounds { 2 } else { 1 };
        let plane = input.grid.tiles[0] * input.grid.tiles[1] * BLOCK / word;
        let stride = input.images.count * plane;
        let read = input.blocks.count / output.groups.count.max(1);
        let distances = [output.images.input, output.groups.input, output.element];
        same("distances", distances, [plane, read * stride, input.element() / word])?;
        same("images", output.images.count, input.images.count)?;
        let is_paired = bytes.is_some() && problem.machine.dots == Some(Dots::Pairs);
        let element = match (bytes, rounds) {
            (Some(_), _) => Element::I16,
            (None, true) => Element::Bf16,
            (None, false) => Element::F32,
        };
        let of = MicroKernel { element, pairs: is_paired, ..MicroKernel::default() };
        same("products", &output.micro, &products(of, output, read, stride))?;
        Ok((by, input.clone()))
    }

    /// What is transformed for the products of a sum, and their weights.
    fn transformed_reads(
        &mut self,
        site: &Site<'_>,
        scheduled: &ConvSchedule,
        output: &WinogradOutput,
        (by, input): (Run, &WinogradInput),
        [n, group]: [usize; 2],
    ) -> Check {
        let (problem, m) = (&scheduled.problem, output.grid.outputs);
        let window = self.convolution(site)?.window;
        let is_padded = window.kernel == [3, 3] && window.stride == [1, 1];
        let around = [output.grid.dilation; 2];
        let borders = [window.dilation, window.pad_before, window.pad_after];
        must(is_padded && borders == [around; 3], "its window is another")?;
        let x = self.operand(site.thing.node, 0)?;
        let [_, _, h, w] = self.four(x)?;
        same("input", input.size, [h, w])?;
        let segments = self.segments(site, scheduled, |packing| match problem.read_bytes() {
            None if input.rounds => Box::new(TransformedBfloats { packing, outputs: m }),
            None => Box::new(Transformed(packing, m)),
            Some(read) => Box::new(TransformedHalves { packing, outputs: m, read }),
        })?;
        let read = input.blocks.count / output.groups.count.max(1);
        let mut places = self.some(read * BLOCK);
        places.push(last_place(problem.channels, segments / problem.groups.max(1)));
        for place in places {
            let (block, lane) = (group * read + place / BLOCK, place % BLOCK);
            let channel =
                channel_at(block * BLOCK + lane, problem.channels * problem.groups, segments);
            for tap in [0, 4, 8, self.any(9)] {
                let inside = |axis: usize, tap: usize, extent: usize| {
                    let at = site.index[2 + axis] + tap * window.dilation[axis];
                    at.checked_sub(window.pad_before[axis]).filter(|at| *at < extent)
                };
                let Some((y, x_at)) = inside(0, tap / 3, h).zip(inside(1, tap % 3, w)) else {
                    continue;
                };
                let goal = channel.map_or(Goal::Filler, |channel| {
                    Goal::Element(Thing::whole(x), vec![site.index[0], channel, y, x_at])
                });
                let at = n * input.images.input + block * input.blocks.input;
                let size = if input.bytes.is_some() { 1 } else { F32_BYTES };
                let byte = (at + y * input.row + x_at * BLOCK + lane) * size;
                self.read(by, Role::In, byte as i64, goal, input.bytes)?;
            }
        }
        Ok(())
    }
}

/// The register tile of such products over so many blocks of inputs that lie so far apart.
fn products(of: MicroKernel, output: &WinogradOutput, read: usize, stride: usize) -> MicroKernel {
    let MicroKernel { pixels, blocks, .. } = output.micro;
    let columns = output.grid.together * output.chunk * output.grid.tiles[1];
    let words = match of.element {
        Element::I16 | Element::Bf16 => BLOCK / 2,
        Element::F32 | Element::U8 => BLOCK,
    };
    let weights = (header(&of) + read * words) * BLOCK;
    let mut reduce = vec![Loop::reading(read, stride), Loop::reading(words, 1)];
    reduce.retain(|each| each.count != 1);
    MicroKernel {
        pixels,
        blocks,
        weights_block: output.grid.elements() * weights,
        input_pixel: words,
        output_pixel: BLOCK,
        output_block: columns * BLOCK,
        reduce,
        prefetch: Prefetch {
            tiles: columns.div_ceil(pixels.max(1)),
            earlier: 0,
            distance: weights,
        },
        ..of
    }
}
