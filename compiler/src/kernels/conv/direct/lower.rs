//! The definition as a step.

use super::{LONGEST_SUM, Way};
use crate::error::{Error, Result};
use crate::ir::expr::Expr;
use crate::ir::{Epilogue, NodeId, Step};
use crate::kernels::conv::blocked::BlockedConv;
use crate::kernels::conv::micro_kernel::{Bytes, MicroKernel, Prefetch, can_finish};
use crate::kernels::conv::pack::{self, ChannelPacking, DirectBytes, NarrowBytes, NarrowGroups};
use crate::kernels::conv::pack_bfloats::BfloatPairs;
use crate::kernels::conv::source::Source;
use crate::kernels::conv::{Extras, result, with_rest};
use crate::kernels::lowering::Lowering;
use crate::machine::{BLOCK, Dots, Element, F32_BYTES, Factor};
use crate::plan::{Loop, Place, Role};
use crate::schedule::ConvSchedule;
use crate::schedule::problem::ConvProblem;

/// Weights of a group that are more bytes are fetched ahead of their use, even if all of them stay in a
/// second-level cache.
const FETCHED: usize = 256 << 10;

pub(super) fn lower(
    l: &mut Lowering<'_, '_>,
    id: NodeId,
    conv: &ConvSchedule,
    way: Way,
) -> Result<()> {
    let computed = if way.rounds { conv.problem.in_bfloats() } else { Some(conv.problem.clone()) };
    let problem = &computed.ok_or_else(|| Error::internal("there are no bfloat16"))?;
    let layout = problem.made;
    let (x, w) = (l.operand(id, 0)?, l.operand(id, 1)?);
    let source = Source::of(l, x, problem, problem.is_flat())?;
    let residual = Extras::residual(l, id, conv, &layout, problem.is_flat())?;
    let weights = packed(l, w, (problem, conv.joined), &source)?;
    let extras = Extras::with_bias(l, id, &layout, residual)?;
    let (finish, left) = finished(problem, &conv.conv.epilogue, layout == l.layout(id)?);
    let (groups, blocks) = (problem.tile_groups(), problem.blocks());
    let (joined, [rows, columns]) = (problem.joined_rows(), problem.rows());
    let k_splits = match problem.reads {
        Element::F32 => BlockedConv::k_splits_for(&source.reduce, LONGEST_SUM),
        // Sums of integers are exact, and bytes hold none of them; factors that are rounded change more than sums.
        Element::U8 | Element::I16 | Element::Bf16 => 1,
    };
    let kernel = BlockedConv {
        images: Loop {
            residual: extras.distance(|l| l.image),
            ..Loop::over(layout.images, source.image, layout.image)
        },
        groups: Loop {
            residual: extras.distance(|l| blocks * l.block()),
            ..Loop::over(groups, source.group, blocks * layout.block())
        },
        blocks,
        rows: Loop {
            residual: extras.distance(|l| joined * l.row()),
            ..Loop::over(rows, joined * source.row, joined * layout.row())
        },
        columns,
        pixels_first: way.pixels_first,
        k_splits,
        micro: MicroKernel {
            residual_block: extras.distance(|l| l.block()),
            output_block: layout.block(),
            finish,
            ..micro_kernel(problem, way, &source)
        },
    };
    let out = result(l, id, conv)?;
    let args = [(Role::Out, out.at), (Role::In, source.at), (Role::Weights, weights)];
    l.step(kernel, args.into_iter().chain(extras.arguments()))?;
    with_rest(l, id, conv, out, left)
}

/// What tiles make of their sums besides, where these are stored as the result: functions of nothing else, as many of
/// the steps that are left as come first. And how many are left then.
fn finished(problem: &ConvProblem, then: &Epilogue, is_result: bool) -> (Expr, usize) {
    let left = problem.fused.left;
    let is_float = problem.reads != Element::U8 && problem.made.bytes.is_none();
    let steps = then.steps.len().checked_sub(left).and_then(|done| then.steps.get(done..));
    let functions = steps.filter(|_| is_float && is_result).unwrap_or_default().iter();
    let functions = functions.map_while(|step| match step {
        Step::Unary(function) => Some(*function),
        Step::Binary(..) => None,
    });
    let mut all = (Expr::default(), left);
    for function in functions {
        let next = all.0.clone().unary(function);
        if !can_finish(&next) {
            break;
        }
        all = (next, all.1 - 1);
    }
    all
}

/// The register tile, over all contracted elements.
fn micro_kernel(problem: &ConvProblem, way: Way, source: &Source) -> MicroKernel {
    let tile = way.tile;
    let [_, columns] = problem.rows();
    let lines = source.reduce.iter().map(|r| r.count).product::<usize>();
    let narrow = problem.narrow.unwrap_or(0);
    let elements = MicroKernel { element: problem.reads, narrow, ..MicroKernel::default() };
    let weights_block = (elements.header() + lines) * BLOCK;
    // Few weights that are run through again and again do not come from afar.
    let bytes = problem.blocks() * weights_block * F32_BYTES;
    let stays = way.pixels_first && bytes <= FETCHED;
    let prefetch = match stays {
        true => Prefetch::default(),
        false => Prefetch {
            tiles: columns.div_ceil(tile.pixels),
            earlier: 0,
            distance: tile.blocks * weights_block,
        },
    };
    MicroKernel {
        element: problem.reads,
        pairs: problem.factor() == Factor::U8(Dots::Pairs),
        bytes: made_of(problem),
        pixels: tile.pixels,
        blocks: tile.blocks,
        weights_block,
        input_pixel: source.pixel,
        output_pixel: BLOCK,
        reduce: source.reduce.clone(),
        narrow,
        prefetch,
        bias: problem.bias,
        steps: problem.fused.steps.clone(),
        ..MicroKernel::default()
    }
}

/// What its bytes stand for, where sums are of bytes.
fn made_of(problem: &ConvProblem) -> Bytes {
    Bytes { made: problem.made.bytes, residual: problem.residual_bytes }
}

fn packed(
    l: &mut Lowering<'_, '_>,
    weight: NodeId,
    (problem, joined): (&ConvProblem, usize),
    source: &Source,
) -> Result<Place> {
    if problem.narrow.is_some() {
        return match (problem.reads, problem.read_bytes()) {
            (Element::Bf16, _) => l.packed(weight, BfloatPairs::Narrow),
            (_, Some(read)) => l.packed(weight, NarrowBytes { read }),
            (_, None) => l.packed(weight, NarrowGroups),
        };
    }
    let packing = ChannelPacking {
        groups: problem.groups,
        joined,
        out_segments: problem.made.segments,
        in_segments: source.segments,
    };
    let words = problem.read_words();
    match (problem.reads, problem.read_bytes()) {
        (Element::Bf16, _) if problem.is_row_major() => l.packed(weight, BfloatPairs::Row(packing)),
        (Element::Bf16, _) => l.packed(weight, BfloatPairs::Channels { packing, words }),
        (_, Some(read)) => l.packed(weight, DirectBytes { packing, read, words }),
        (_, None) => l.packed(weight, pack::Direct(packing)),
    }
}
