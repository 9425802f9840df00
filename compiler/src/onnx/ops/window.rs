//! Attributes of sliding windows: strides, dilations, pads and `auto_pad`.

use crate::error::Result;
use crate::ir::Window;
use crate::onnx::context::NodeContext;
use crate::onnx::refusal::{bad, unsupported};

/// Larger kernels, strides, dilations and pads are nonsense, and would make sums overflow.
const MOST: i64 = 1 << 24;

/// A window along one axis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Along {
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) dilation: usize,
    /// Elements before and after the axis.
    pub(super) pads: [usize; 2],
}

impl Along {
    /// How many elements it spans.
    pub(super) fn extent(&self) -> usize {
        (self.kernel - 1) * self.dilation + 1
    }

    /// The window over height that slides along an axis alone, and over width not at all.
    pub(super) fn alone(&self) -> Window {
        flat(&[*self, Along { kernel: 1, stride: 1, dilation: 1, pads: [0, 0] }])
    }
}

/// The window along each of one or two axes as one over height and width; one axis is of rows one high.
pub(super) fn flat(axes: &[Along]) -> Window {
    let two = |of: fn(&Along) -> usize, missing| match axes {
        [one] => [missing, of(one)],
        [first, second, ..] => [of(first), of(second)],
        [] => [missing; 2],
    };
    Window {
        kernel: two(|a| a.kernel, 1),
        stride: two(|a| a.stride, 1),
        dilation: two(|a| a.dilation, 1),
        pad_before: two(|a| a.pads[0], 0),
        pad_after: two(|a| a.pads[1], 0),
    }
}

/// The window along each axis of a node whose input has the extents `input` after batch and channels, and
/// whose kernel has the extents `kernel`.
pub(super) fn windows(
    ctx: &NodeContext<'_, '_>,
    kernel: &[usize],
    input: &[usize],
) -> Result<Vec<Along>> {
    let dims = input.len();
    if kernel.len() != dims {
        return Err(bad(format!("a kernel of {} dimensions for {dims}", kernel.len())));
    }
    let stride = positive(ctx, "strides", dims)?;
    let dilation = positive(ctx, "dilations", dims)?;
    let along = |i: usize| Along {
        kernel: kernel[i],
        stride: stride[i],
        dilation: dilation[i],
        pads: [0, 0],
    };
    let mut axes: Vec<Along> = (0..dims).map(along).collect();
    let given = given_pads(ctx, dims)?;
    match ctx.attributes.string("auto_pad", "NOTSET")? {
        "NOTSET" | "" => axes.iter_mut().zip(given).for_each(|(axis, pads)| axis.pads = pads),
        mode if given.iter().any(|pad| *pad != [0, 0]) => {
            return Err(bad(format!("pads beside `auto_pad` {mode}")));
        }
        "VALID" => {}
        mode @ ("SAME_UPPER" | "SAME_LOWER") => {
            for (axis, &input) in axes.iter_mut().zip(input) {
                axis.pads = same(input, axis.extent(), axis.stride, mode);
            }
        }
        other => return Err(bad(format!("attribute `auto_pad` is `{other}`"))),
    }
    Ok(axes)
}

/// Pads such that there are `input / stride` positions, rounded up.
fn same(input: usize, extent: usize, stride: usize, mode: &str) -> [usize; 2] {
    let positions = input.div_ceil(stride);
    let covered = (positions.max(1) - 1) * stride + extent;
    let total = covered.saturating_sub(input);
    let (less, more) = (total / 2, total - total / 2);
    if mode == "SAME_UPPER" { [less, more] } else { [more, less] }
}

/// An attribute of one positive number per dimension; 1 where it is absent.
pub(super) fn positive(ctx: &NodeContext<'_, '_>, name: &str, dims: usize) -> Result<Vec<usize>> {
    match ctx.attributes.ints(name)? {
        Some(values) => extents(name, values, dims),
        None => Ok(vec![1; dims]),
    }
}

/// `values` as positive numbers, one per dimension.
pub(super) fn extents(name: &str, values: &[i64], dims: usize) -> Result<Vec<usize>> {
    if values.len() != dims {
        return Err(bad(format!("attribute `{name}` has {} values for {dims}", values.len())));
    }
    let checked = values.iter().map(|&v| match usize::try_from(v) {
        Ok(n) if (1..=MOST).contains(&v) => Ok(n),
        _ => Err(bad(format!("attribute `{name}` holds {v}"))),
    });
    checked.collect()
}

/// Attribute `pads` as before and after for each dimension.
pub(super) fn given_pads(ctx: &NodeContext<'_, '_>, dims: usize) -> Result<Vec<[usize; 2]>> {
    let Some(values) = ctx.attributes.ints("pads")? else {
        return Ok(vec![[0, 0]; dims]);
    };
    if values.len() != 2 * dims {
        return Err(bad(format!(
            "attribute `pads` has {} values for {dims} dimensions",
            values.len()
        )));
    }
    let checked = values.iter().map(|&v| match usize::try_from(v) {
        Ok(n) if v <= MOST => Ok(n),
        _ => Err(bad(format!("attribute `pads` holds {v}"))),
    });
    let pads = checked.collect::<Result<Vec<_>>>()?;
    Ok((0..dims).map(|i| [pads[i], pads[i + dims]]).collect())
}

/// The extents of a window's input after batch and channels: of one to three dimensions.
pub(super) fn spatial(shape: &[usize]) -> Result<&[usize]> {
    match shape {
        [_, _, spatial @ ..] if matches!(spatial.len(), 1..=3) => Ok(spatial),
        [_, _, _, _, _, ..] => {
            let found = shape.len() - 2;
            let what = format!("{found} dimensions beside batch and channels; up to three are");
            Err(unsupported(what).with_remedy("fold some of them into the batch or the channels"))
        }
        _ => Err(bad(format!("{shape:?} has no dimensions beside batch and channels"))),
    }
}

/// `[n, c, w]` as `[n, c, 1, w]`; others as they are.
pub(super) fn with_height(shape: &[usize]) -> Vec<usize> {
    match shape {
        [n, c, w] => vec![*n, *c, 1, *w],
        other => other.to_vec(),
    }
}

/// The reverse of [`with_height`], for a result of an input of `rank` axes.
pub(super) fn without_height(shape: &[usize], rank: usize) -> Vec<usize> {
    match shape {
        [n, c, 1, w] if rank == 3 => vec![*n, *c, *w],
        other => other.to_vec(),
    }
}
