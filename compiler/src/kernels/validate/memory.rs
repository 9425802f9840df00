//! Who wrote an address last: the loops by which kernels write, from bytes back to trips.

use std::collections::BTreeMap;

use crate::kernels::argmax::ArgMax;
use crate::kernels::block_mean::BlockMean;
use crate::kernels::block_pool::BlockPool;
use crate::kernels::conv::blocked::BlockedConv;
use crate::kernels::conv::strassen::{StrassenInput, StrassenOutput};
use crate::kernels::conv::winograd::{WinogradInput, WinogradOutput};
use crate::kernels::gather::Gather;
use crate::kernels::gemm::RowMajorGemm;
use crate::kernels::map::Map;
use crate::kernels::pool::Pooling;
use crate::kernels::reduce::Reduction;
use crate::kernels::scatter::Scatter;
use crate::kernels::softmax::Softmax;
use crate::kernels::to_bfloat16::ToBfloat16;
use crate::machine::{BLOCK, F32_BYTES};
use crate::plan::{Base, KernelRef, Loop, Nest, Place, Plan, Role};

/// A run of a step, for one group of images of its stage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Run {
    pub(super) step: usize,
    pub(super) stage: usize,
    /// Images of a group; 0 for what runs once.
    pub(super) together: usize,
    /// The group's first image.
    pub(super) first: usize,
}

impl Run {
    /// The first run of a step.
    pub(super) fn of(plan: &Plan, step: usize) -> Run {
        let stage = plan.steps[step].stage;
        Run { step, stage, together: plan.stages.get(stage).copied().unwrap_or(0), first: 0 }
    }

    /// After everything.
    pub(super) fn end(plan: &Plan) -> Run {
        Run { step: plan.steps.len(), stage: plan.stages.len(), together: 0, first: 0 }
    }
}

/// What a step writes through an argument.
struct Writer {
    step: usize,
    role: Role,
}

/// What a kernel writes: elements of so many bytes in loops of so many trips, so many elements apart.
pub(super) struct Written {
    pub(super) element: usize,
    pub(super) loops: Vec<(usize, usize)>,
    /// The loops of several trips by distance, the farthest first.
    pub(super) order: Vec<usize>,
}

/// Who writes what in a plan.
pub(super) struct Memory<'p> {
    plan: &'p Plan,
    writers: BTreeMap<Base, Vec<Writer>>,
    written: BTreeMap<(usize, Role), Written>,
    /// The same where of a group only the first so many images are there, as far as that was asked for.
    fewer: BTreeMap<(usize, Role, usize), Option<Written>>,
}

impl<'p> Memory<'p> {
    pub(super) fn of(plan: &'p Plan) -> Memory<'p> {
        let mut memory = Memory {
            plan,
            writers: BTreeMap::new(),
            written: BTreeMap::new(),
            fewer: BTreeMap::new(),
        };
        for (at, step) in plan.steps.iter().enumerate() {
            for (role, place) in step.arguments().filter(|(role, _)| role.is_written()) {
                let Some(written) = Written::by(&step.kernel, role) else { continue };
                memory.written.insert((at, role), written);
                let writer = Writer { step: at, role };
                memory.writers.entry(place.base).or_default().push(writer);
            }
        }
        memory
    }

    /// Who wrote this byte last before a run, and in which trips of its loops.
    pub(super) fn written(
        &self,
        run: Run,
        base: Base,
        byte: i64,
    ) -> Option<(Run, Role, Vec<usize>)> {
        let before = |writer: &&Writer| writer.step < run.step;
        let writers = self.writers.get(&base)?.iter().rev().filter(before);
        writers.into_iter().find_map(|writer| {
            self.runs(run, writer, byte).into_iter().find_map(|by| {
                let trips = self.trips(by, writer.role, byte)?;
                Some((by, writer.role, trips))
            })
        })
    }

    /// Whether a run writes this byte also where of its group only so many images are there.
    pub(super) fn is_done(&mut self, run: Run, role: Role, byte: i64, there: usize) -> bool {
        let step = &self.plan.steps[run.step];
        if self.plan.runs(step).is_none() {
            return true;
        }
        let Some(place) = step.place(role) else { return false };
        let byte = byte - place.offset as i64 - self.moved(run, place);
        let fewer = self.fewer.entry((run.step, role, there)).or_insert_with(|| {
            let fewer = step.kernel.of_first(there, run.together)?;
            Written::by(&fewer, role)
        });
        let byte = usize::try_from(byte).ok();
        fewer.as_ref().zip(byte).is_some_and(|(written, byte)| written.trips(byte).is_some())
    }

    /// The steps that write to a base, with where and in which loops.
    pub(super) fn writers(&self, base: Base) -> impl Iterator<Item = (usize, Place, &Written)> {
        self.writers.get(&base).into_iter().flatten().filter_map(|writer| {
            let place = self.plan.steps[writer.step].place(writer.role)?;
            Some((writer.step, place, self.written.get(&(writer.step, writer.role))?))
        })
    }

    /// The runs of a step that come before a run and may have written a byte for some of its images.
    fn runs(&self, run: Run, writer: &Writer, byte: i64) -> Vec<Run> {
        let of = Run::of(self.plan, writer.step);
        let place = self.plan.steps[writer.step].place(writer.role);
        let Some(place) = place.filter(|place| place.image > 0 && of.stage != run.stage) else {
            return vec![Run { first: if of.together == 0 { 0 } else { run.first }, ..of }];
        };
        let images = usize::try_from(byte - place.offset as i64).unwrap_or(0) / place.image;
        let from = if let Base::Buffer(_) = place.base { run.first } else { 0 };
        let group = images / of.together.max(1) * of.together;
        // What lies before its place may be of the group before.
        let firsts = [Some(group), group.checked_sub(of.together)].into_iter().flatten();
        firsts.map(|first| Run { first: from + first, ..of }).collect()
    }

    /// Bytes that a place has moved by for a run.
    pub(super) fn moved(&self, run: Run, place: Place) -> i64 {
        if run.together == 0 {
            return 0;
        }
        let images = match place.base {
            Base::Input(_) | Base::Output(_) => run.first,
            Base::Constant(_) | Base::Buffer(_) | Base::Worker => {
                let next = self.plan.stages.get(run.stage + 1).copied();
                run.first % next.or(self.plan.images()).unwrap_or(1).max(1)
            }
        };
        (place.image * images) as i64
    }

    /// The same for what it writes as this.
    pub(super) fn moved_by(&self, run: Run, role: Role) -> i64 {
        let place = self.plan.steps[run.step].place(role);
        place.map_or(0, |place| self.moved(run, place))
    }

    /// The trips of a run's loops in which it writes this byte.
    pub(super) fn trips(&self, run: Run, role: Role, byte: i64) -> Option<Vec<usize>> {
        let place = self.plan.steps[run.step].place(role)?;
        let byte = byte - place.offset as i64 - self.moved(run, place);
        self.written.get(&(run.step, role))?.trips(usize::try_from(byte).ok()?)
    }
}

impl Written {
    fn new(element: usize, loops: impl IntoIterator<Item = (usize, usize)>) -> Written {
        let loops: Vec<(usize, usize)> = loops.into_iter().collect();
        let mut order: Vec<usize> = (0..loops.len()).filter(|at| loops[*at].0 != 1).collect();
        order.sort_by_key(|at| std::cmp::Reverse(loops[*at].1));
        Written { element, loops, order }
    }

    /// The trips in which a byte is the first of an element.
    fn trips(&self, byte: usize) -> Option<Vec<usize>> {
        if !byte.is_multiple_of(self.element.max(1)) {
            return None;
        }
        let mut trips = vec![0; self.loops.len()];
        self.descend(byte / self.element.max(1), &self.order, &mut trips).then_some(trips)
    }

    /// Loops may reach into each other: then a trip less may do.
    fn descend(&self, rest: usize, order: &[usize], trips: &mut [usize]) -> bool {
        let Some((at, order)) = order.split_first() else { return rest == 0 };
        let (count, distance) = self.loops[*at];
        let Some(last) = count.checked_sub(1) else { return false };
        let most = rest.checked_div(distance).unwrap_or(0).min(last);
        (most.saturating_sub(1)..=most).rev().any(|trip| {
            trips[*at] = trip;
            self.descend(rest - trip * distance, order, trips)
        })
    }

    /// What a kernel writes as such an argument, in the order of its loops.
    fn by(kernel: &KernelRef, role: Role) -> Option<Written> {
        of_moves(kernel).or_else(|| of_planes(kernel)).or_else(|| of_convolutions(kernel, role))
    }
}

fn nest(nest: &Nest, operand: usize) -> Option<Vec<(usize, usize)>> {
    let strides = nest.strides.get(operand)?;
    let distances = strides.iter().map(|s| usize::try_from(*s).ok());
    nest.dims.iter().copied().zip(distances).map(|(n, s)| Some((n, s?))).collect()
}

fn written(all: impl IntoIterator<Item = Loop>) -> Vec<(usize, usize)> {
    all.into_iter().map(|each| (each.count, each.output)).collect()
}

fn of_moves(kernel: &KernelRef) -> Option<Written> {
    if let Some(map) = kernel.get::<Map>() {
        return Some(Written::new(map.dtypes.first()?.size(), nest(&map.nest, 0)?));
    }
    if let Some(copy) = kernel.get::<ToBfloat16>() {
        let mut loops = nest(&copy.nest, 0)?;
        loops.push((BLOCK, 1));
        return Some(Written::new(2, loops));
    }
    if let Some(Gather { outer, inner, count, dtype, .. }) = kernel.get::<Gather>() {
        let loops = [(*outer, count * inner), (*count, *inner), (*inner, 1)];
        return Some(Written::new(dtype.size(), loops));
    }
    if let Some(Scatter { extent, inner, dtype, .. }) = kernel.get::<Scatter>() {
        return Some(Written::new(dtype.size(), [(*extent, *inner), (*inner, 1)]));
    }
    let gemm = kernel.get::<RowMajorGemm>()?;
    let around = [gemm.channels, gemm.rows, gemm.columns];
    Some(Written::new(F32_BYTES, written(gemm.outer.iter().copied().chain(around))))
}

fn of_planes(kernel: &KernelRef) -> Option<Written> {
    let floats = |loops: Vec<(usize, usize)>| Some(Written::new(F32_BYTES, loops));
    if let Some(mean) = kernel.get::<BlockMean>() {
        let mut loops = nest(&mean.kept, 0)?;
        loops.push((BLOCK, 1));
        return floats(loops);
    }
    if let Some(pool) = kernel.get::<BlockPool>() {
        let mut loops = written([pool.images, pool.blocks, pool.rows]);
        loops.extend([(pool.columns, BLOCK), (BLOCK, 1)]);
        let is_max = pool.kind == crate::ir::PoolKind::Max;
        let element = if is_max && pool.bytes.is_some() { 1 } else { F32_BYTES };
        return Some(Written::new(element, loops));
    }
    if let Some(reduction) = kernel.get::<Reduction>() {
        return Some(Written::new(reduction.dtype.size(), nest(&reduction.kept, 0)?));
    }
    if let Some(Softmax { outer, extent, inner, .. }) = kernel.get::<Softmax>() {
        return floats(vec![(*outer, extent * inner), (*extent, *inner), (*inner, 1)]);
    }
    if let Some(Pooling { planes, output: [h, w], .. }) = kernel.get::<Pooling>() {
        return floats(vec![(*planes, h * w), (*h, *w), (*w, 1)]);
    }
    let ArgMax { outer, inner, .. } = kernel.get::<ArgMax>()?;
    Some(Written::new(size_of::<i64>(), [(*outer, *inner), (*inner, 1)]))
}

fn of_convolutions(kernel: &KernelRef, role: Role) -> Option<Written> {
    if let Some(conv) = kernel.get::<BlockedConv>() {
        let micro = &conv.micro;
        let mut loops = written([conv.images, conv.groups, conv.rows]);
        loops.extend([(conv.blocks, micro.output_block), (conv.columns, micro.output_pixel)]);
        loops.push((BLOCK, 1));
        let element = if micro.bytes.made.is_some() { 1 } else { F32_BYTES };
        return Some(Written::new(element, loops));
    }
    if let Some(input) = kernel.get::<WinogradInput>() {
        let elements = input.grid.elements().saturating_mul(input.element());
        let element = if input.bytes.is_some() || input.rounds { 2 } else { F32_BYTES };
        return Some(Written::new(element, [(elements, 1)]));
    }
    if let Some(output) = kernel.get::<WinogradOutput>() {
        let is_bytes = output.made.is_some() && role != Role::Totals;
        let element = if is_bytes { 1 } else { F32_BYTES };
        return Some(Written::new(element, of_winograd(output, role)));
    }
    if let Some(input) = kernel.get::<StrassenInput>() {
        return Some(Written::new(F32_BYTES, [(input.images.count * input.images.output, 1)]));
    }
    let output = kernel.get::<StrassenOutput>()?;
    Some(Written::new(F32_BYTES, of_strassen(output, role)))
}

fn of_winograd(output: &WinogradOutput, role: Role) -> Vec<(usize, usize)> {
    if role == Role::Totals {
        let blocks = output.groups.count * output.blocks;
        let images = (output.images.count, output.totals_image());
        return vec![
            images,
            (blocks, output.totals_block()),
            (output.grid.tiles[0], BLOCK),
            (BLOCK, 1),
        ];
    }
    let mut loops = written([output.images, output.groups]);
    loops.extend([(output.blocks, output.block[0]), (output.size[0], output.rows[0])]);
    loops.extend([(output.size[1], BLOCK), (BLOCK, 1)]);
    loops
}

fn of_strassen(output: &StrassenOutput, role: Role) -> Vec<(usize, usize)> {
    let tile = &output.tile;
    if role == Role::NextSums {
        // What lies between sums is nobody's.
        let image = output.next.map_or(0, |next| next.image);
        return vec![(tile.images.count * image, 1)];
    }
    vec![
        (2, output.to.pixels),
        (2, output.to.channels),
        (tile.images.count, tile.images.output),
        (tile.blocks, output.block[0]),
        (tile.rows.count, tile.rows.output),
        (tile.columns, BLOCK),
        (BLOCK, 1),
    ]
}
