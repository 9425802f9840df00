//! Convolutions of values in blocks by their definition, and what those by other algorithms share with them.

use super::things::{Part, Thing, block_of, channel_at, last_place};
use super::{Check, Goal, Site, Validation, flat, must, position, same};
use crate::ir::expr::Expr;
use crate::ir::{Binary, Conv, NodeId, Op, Step, Unary};
use crate::kernels::conv::blocked::BlockedConv;
use crate::kernels::conv::micro_kernel::{Bytes, MicroKernel, Prefetch, can_finish};
use crate::kernels::conv::pack::{ChannelPacking, Direct, DirectBytes, NarrowBytes, NarrowGroups};
use crate::kernels::conv::pack_bfloats::BfloatPairs;
use crate::machine::{BLOCK, Element, F32_BYTES};
use crate::plan::weights::{InBlocks, Packing};
use crate::plan::{Loop, Role};
use crate::schedule::ConvSchedule;
use crate::schedule::byte_scale::ByteScale;
use crate::schedule::epilogue::FusedStep;
use crate::schedule::problem::ConvProblem;

/// Products that are summed one after the other, at most.
const LONGEST_SUM: usize = 512;
/// Bytes of weights of a group that stay in a cache.
const STAYING: usize = 256 << 10;

impl<'a> Validation<'a> {
    pub(super) fn in_blocks_by_definition(
        &mut self,
        site: &Site<'_>,
        kernel: &BlockedConv,
    ) -> Check {
        let scheduled = self.scheduled(site)?;
        let micro = &kernel.micro;
        let rounds = micro.element == Element::Bf16;
        let problem = &computed(&scheduled.problem, rounds)?;
        let order = if kernel.pixels_first { "pixels" } else { "weights" };
        let end = if rounds { " in bf16" } else { "" };
        let choice = format!("direct {}x{} by {order}{end}", micro.pixels, micro.blocks);
        same("choice", choice.as_str(), scheduled.choice.as_str())?;
        let elements = (micro.element, micro.narrow, micro.accumulate);
        same("elements", elements, (problem.reads, problem.narrow.unwrap_or(0), false))?;
        same("parts", kernel.k_splits, self::parts(micro, problem.reads))?;
        same("prefetch", micro.prefetch, self.prefetch(kernel))?;
        let distances =
            [micro.output_pixel, micro.output_block, micro.weights_block, micro.input_pixel];
        same("distances", distances, distances_of(problem, micro))?;
        let is_added = micro.steps.contains(&FusedStep::AddResidual);
        must(is_added || micro.residual_block == 0, "its residual has blocks, and is none")?;
        let [n, group, row, block, column, lane] =
            <[usize; 6]>::try_from(site.trips).map_err(|_| "its loops are others")?;
        let place = (group * kernel.blocks + block, lane);
        same("channel", place, block_of(&problem.made, site.index[1]))?;
        let around = |of: fn(&Loop) -> usize| {
            n * of(&kernel.images) + group * of(&kernel.groups) + row * of(&kernel.rows)
        };
        let from = around(|each| each.input) + column * micro.input_pixel;
        self.direct_reads(site, kernel, (scheduled, problem), [from, group, lane])?;
        let finishes = micro.finish == Expr::default() || micro.finishes();
        must(finishes, "it finishes sums that are no f32")?;
        let added = around(|each| each.residual) + block * micro.residual_block;
        let added = added + column * micro.output_pixel + lane;
        self.sums(site, (&micro.steps, &micro.finish), micro.bytes, added)?;
        self.bias(site, micro.bias, InBlocks(problem.made.segments))
    }

    /// How a convolution is scheduled.
    pub(super) fn scheduled(&self, site: &Site<'_>) -> Check<&'a ConvSchedule> {
        self.schedule.conv(site.thing.node).ok_or_else(|| "it is no convolution in blocks".into())
    }

    pub(super) fn convolution(&self, site: &Site<'_>) -> Check<&'a Conv> {
        match &self.graph.node(site.thing.node).op {
            Op::Conv(conv) => Ok(conv),
            _ => Err("it is no convolution".into()),
        }
    }

    /// What is multiplied for a sum, and with which weights.
    fn direct_reads(
        &mut self,
        site: &Site<'_>,
        kernel: &BlockedConv,
        (scheduled, problem): (&ConvSchedule, &ConvProblem),
        [from, group, lane]: [usize; 3],
    ) -> Check {
        let micro = &kernel.micro;
        let counts: Vec<usize> = micro.reduce.iter().map(|each| each.count).collect();
        let in_segments = self.direct_weights(site, scheduled, problem)?;
        let [kh, kw] = problem.window.kernel;
        let each = match problem.reads {
            Element::F32 => 1,
            Element::I16 | Element::Bf16 => 2,
            Element::U8 => 4,
        };
        let in_words = each > 1;
        let blocks = |segments: usize| {
            let of_segment = (problem.channels * problem.groups / segments.max(1)).div_ceil(BLOCK);
            of_segment * segments / problem.groups.max(1)
        };
        let of_block = if in_words { problem.read_words().min(BLOCK / each) } else { BLOCK };
        let shape = match (problem.narrow, in_segments) {
            (Some(narrow), _) => [1, kh, kw, narrow.div_ceil(each)],
            (None, Some(segments)) => [blocks(segments), kh, kw, of_block],
            (None, None) => [problem.channels, kh, problem.row_words(), 1],
        };
        let depth = shape.iter().product();
        same("depth", counts.iter().product(), depth)?;
        let mut samples = self.some(depth);
        // The middle of the window, which is in the plane where its ends are not.
        let by_row = problem.is_row_major();
        let of_column = if by_row { each } else { 1 };
        let middle = [self.any(shape[0]), kh / 2, kw / 2 / of_column, self.any(shape[3])];
        samples.push(flat(&middle, &shape));
        if let Some(segments) = in_segments {
            // The last channel, before those that fill a block up.
            let last = last_place(problem.channels, segments / problem.groups.max(1));
            samples.push(flat(&[last / BLOCK, kh / 2, kw / 2, last % BLOCK / each], &shape));
        }
        for r in samples {
            let within = position(r, &counts);
            let inputs = micro.reduce.iter().zip(&within).map(|(each, trip)| each.input * trip);
            let at = from + inputs.sum::<usize>();
            let [block, ky, kx, word] =
                <[usize; 4]>::try_from(position(r, &shape)).unwrap_or_default();
            let byte = self.any(if by_row { each } else { each.min(problem.channels) });
            let kx = kx * of_column + if by_row { byte } else { 0 };
            if kx >= kw {
                // A word's second half, for which the window has no tap.
                continue;
            }
            let (channel, offset) = match problem.narrow {
                Some(narrow) => {
                    let own = lane / narrow * narrow + word * each + byte.min(narrow - 1);
                    (Some(group * BLOCK + own), own)
                }
                None => {
                    let place = (group * shape[0] + block) * BLOCK + word * each + byte;
                    match in_segments {
                        Some(segments) => {
                            let all = problem.channels * problem.groups;
                            (channel_at(place, all, segments), if in_words { byte } else { 0 })
                        }
                        None => (
                            Some(group * problem.channels + block),
                            if in_words { byte } else { 0 },
                        ),
                    }
                }
            };
            let bytes = match in_words {
                true => at * 4 + offset * (4 / each),
                false => (at + offset) * F32_BYTES,
            };
            self.tap(site, bytes, channel, [ky, kx], problem)?;
        }
        Ok(())
    }

    /// What lies where a tap of a window reads a channel of the input.
    pub(super) fn tap(
        &mut self,
        site: &Site<'_>,
        byte: usize,
        channel: Option<usize>,
        tap: [usize; 2],
        problem: &ConvProblem,
    ) -> Check {
        let (x, window) = (self.operand(site.thing.node, 0)?, self.convolution(site)?.window);
        let [_, _, h, w] = self.four(x)?;
        let inside = |axis: usize, extent: usize| {
            let at = site.index[2 + axis] * window.stride[axis] + tap[axis] * window.dilation[axis];
            at.checked_sub(window.pad_before[axis]).filter(|at| *at < extent)
        };
        let goal = match (inside(0, h).zip(inside(1, w)), channel) {
            (_, None) => Goal::Filler,
            (None, Some(_)) => Goal::Number(0.0),
            (Some((y, x_at)), Some(channel)) => {
                Goal::Element(Thing::whole(x), vec![site.index[0], channel, y, x_at])
            }
        };
        match problem.reads {
            Element::Bf16 => self.read_rounded(site.run, Role::In, byte as i64, goal),
            Element::F32 | Element::U8 | Element::I16 => {
                self.read(site.run, Role::In, byte as i64, goal, problem.read_bytes())
            }
        }
    }

    /// The weights are the convolution's, packed for how its input lies: in so many segments, or row-major.
    fn direct_weights(
        &self,
        site: &Site<'_>,
        scheduled: &ConvSchedule,
        problem: &ConvProblem,
    ) -> Check<Option<usize>> {
        let (base, w) = (self.place_of(site, Role::Weights)?, self.operand(site.thing.node, 1)?);
        if problem.narrow.is_some() {
            let is_packed = match (problem.reads, problem.read_bytes()) {
                (Element::Bf16, _) => self.is_packed(base, w, BfloatPairs::Narrow)?,
                (_, Some(read)) => self.is_packed(base, w, NarrowBytes { read })?,
                (_, None) => self.is_packed(base, w, NarrowGroups)?,
            };
            must(is_packed, "weights are not its own")?;
            return Ok(None);
        }
        if problem.source.is_none() {
            let packing = self.channels(scheduled, None);
            let is_packed = match problem.reads {
                Element::Bf16 => self.is_packed(base, w, BfloatPairs::Row(packing))?,
                Element::F32 | Element::U8 | Element::I16 => {
                    self.is_packed(base, w, Direct(packing))?
                }
            };
            must(is_packed, "weights are not its own")?;
            return Ok(None);
        }
        let words = problem.read_words();
        let rounds = problem.reads == Element::Bf16;
        self.segments(site, scheduled, |packing| match problem.read_bytes() {
            None if rounds => Box::new(BfloatPairs::Channels { packing, words }),
            None => Box::new(Direct(packing)),
            Some(read) => Box::new(DirectBytes { packing, read, words }),
        })
        .map(Some)
    }

    /// The segments of the input that weights are packed for: those of the input's maker, or of a copy.
    pub(super) fn segments(
        &self,
        site: &Site<'_>,
        scheduled: &ConvSchedule,
        packed: impl Fn(ChannelPacking) -> Box<dyn Packing>,
    ) -> Check<usize> {
        let base = self.place_of(site, Role::Weights)?;
        let w = self.operand(site.thing.node, 1)?;
        let made = self.schedule.layout(self.operand(site.thing.node, 0)?).map(|l| l.segments);
        let of_source = scheduled.problem.source.map(|source| source.segments);
        let likely = of_source.into_iter().chain(made).chain([1, scheduled.problem.groups]);
        // A copy that was made for another of the input's users may serve this one too.
        let channels = scheduled.problem.channels * scheduled.problem.groups;
        let others = (1..=channels).filter(|segments| channels.is_multiple_of(*segments));
        for segments in likely.chain(others) {
            if self.is_packed_as(base, w, &*packed(self.channels(scheduled, Some(segments))))? {
                return Ok(segments);
            }
        }
        Err("weights are not its own".into())
    }

    fn channels(&self, scheduled: &ConvSchedule, in_segments: Option<usize>) -> ChannelPacking {
        ChannelPacking {
            groups: scheduled.problem.groups,
            joined: scheduled.joined,
            out_segments: scheduled.problem.made.segments,
            in_segments,
        }
    }

    /// What is done to sums in registers: the first steps of the epilogue, with the residual so many
    /// elements from its place, and rounding where sums are made bytes. And to sums that are stored: functions
    /// of the next steps.
    pub(super) fn sums(
        &mut self,
        site: &Site<'_>,
        (steps, finish): (&[FusedStep], &Expr),
        bytes: Bytes,
        added: usize,
    ) -> Check {
        let then = &self.convolution(site)?.epilogue.steps;
        let mut residual = None;
        for (fused, step) in steps.iter().zip(then) {
            match (fused, step) {
                (FusedStep::Relu, Step::Unary(Unary::Relu)) => {}
                (FusedStep::AddResidual, Step::Binary(Binary::Add, slot)) => residual = Some(*slot),
                _ => return Err("its epilogue is another".into()),
            }
        }
        same("rounding", bytes.made, self.bytes_of(site.thing))?;
        let left = then.get(steps.len()..).ok_or("its epilogue is longer than the operator's")?;
        let finished = finished(left, finish).ok_or("it finishes with other functions")?;
        let left = &left[finished..];
        let wanted = match (left, bytes.made) {
            ([], _) => Part::Whole,
            ([Step::Unary(last)], Some(made)) if ByteScale::of(last) == Some(made) => Part::Whole,
            (_, None) => Part::After(steps.len() + finished),
            (_, Some(_)) => return Err("it rounds what is not rounded next".into()),
        };
        same("epilogue", site.thing.part, wanted)?;
        let Some(slot) = residual else { return same("residual", bytes.residual, None) };
        let size = if bytes.residual.is_some() { 1 } else { F32_BYTES };
        let goal =
            Goal::Element(Thing::whole(self.operand(site.thing.node, slot)?), site.index.to_vec());
        self.read(site.run, Role::Residual, (added * size) as i64, goal, bytes.residual)
    }

    /// How many of the steps that are left of an epilogue register tiles apply to sums that they have stored: functions
    /// that come first, of f32 that lie as the result does, by the definition.
    pub(super) fn finished_by_tiles(&self, id: NodeId, left: &[Step]) -> usize {
        let Some(conv) = self.schedule.conv(id) else { return 0 };
        let (problem, layout) = (&conv.problem, self.schedule.layout(id));
        let is_float = problem.reads != Element::U8 && problem.made.bytes.is_none();
        if conv.choice.algorithm() != "direct" || !is_float || layout != Some(problem.made) {
            return 0;
        }
        let mut expr = Expr::Operand(0);
        let is_finished = |step: &&Step| {
            let Step::Unary(function) = step else { return false };
            expr = std::mem::take(&mut expr).unary(*function);
            can_finish(&expr)
        };
        left.iter().take_while(is_finished).count()
    }

    /// What is fetched ahead: the next weights, unless few stay where they are.
    fn prefetch(&self, kernel: &BlockedConv) -> Prefetch {
        let micro = &kernel.micro;
        let block = (header(micro) + micro.depth()) * BLOCK;
        match kernel.pixels_first && kernel.blocks * block * F32_BYTES <= STAYING {
            true => Prefetch::default(),
            false => Prefetch {
                tiles: kernel.columns.div_ceil(micro.pixels.max(1)),
                earlier: 0,
                distance: micro.blocks * block,
            },
        }
    }
}

/// How many of these steps, one after the other, are what is done to sums that are stored.
fn finished(steps: &[Step], finish: &Expr) -> Option<usize> {
    let mut expr = Expr::Operand(0);
    for (done, step) in steps.iter().enumerate() {
        if expr == *finish {
            return Some(done);
        }
        let Step::Unary(function) = step else { return None };
        expr = expr.unary(*function);
    }
    (expr == *finish).then_some(steps.len())
}

/// The convolution as scheduled, or of a copy of its input in bfloat16.
fn computed(problem: &ConvProblem, rounds: bool) -> Check<ConvProblem> {
    if !rounds {
        return Ok(problem.clone());
    }
    problem.in_bfloats().ok_or_else(|| "the machine multiplies no bfloat16".into())
}

/// Distances between pixels and blocks of the output, blocks of weights, and pixels of the input.
fn distances_of(problem: &ConvProblem, micro: &MicroKernel) -> [usize; 4] {
    let pixel = if problem.is_row_major() { 1 } else { BLOCK };
    let of_word = match problem.reads {
        Element::F32 => 1,
        Element::U8 => 4,
        Element::I16 | Element::Bf16 => 2,
    };
    let weights = (header(micro) + micro.depth()) * BLOCK;
    [BLOCK, problem.made.block(), weights, problem.window.stride[1] * pixel / of_word]
}

/// Lines before the weights of a block.
pub(super) fn header(micro: &MicroKernel) -> usize {
    match micro.element {
        Element::F32 | Element::Bf16 => 0,
        Element::I16 => 1,
        Element::U8 => 2,
    }
}

/// In how many parts a contraction is summed.
pub(super) fn parts(micro: &MicroKernel, reads: Element) -> usize {
    parts_of(micro, if reads == Element::F32 { LONGEST_SUM } else { usize::MAX })
}

/// As few as make none longer than so many products, where the outermost loop can be cut.
pub(super) fn parts_of(micro: &MicroKernel, longest: usize) -> usize {
    let outermost = micro.reduce.first().map_or(1, |each| each.count).max(1);
    let most = if micro.reduce.len() > 1 { outermost } else { 1 };
    let fits = |parts: &usize| outermost.is_multiple_of(*parts) && micro.depth() / parts <= longest;
    (1..=most).find(fits).unwrap_or(1)
}
