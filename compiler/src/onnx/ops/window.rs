//! Attributes of sliding windows: strides, dilations, pads and `auto_pad`, in one or two dimensions.

use crate::error::Result;
use crate::ir::Window;
use crate::onnx::context::NodeContext;
use crate::onnx::refusal::{bad, unsupported};

/// Larger kernels, strides, dilations and pads are nonsense, and would make sums overflow.
const MOST: i64 = 1 << 24;

/// The window of a node whose input has the extents `input` after batch and channels, and whose
/// kernel has the extents `kernel`. In one dimension the window is one row high.
pub(super) fn window(
    ctx: &NodeContext<'_, '_>,
    kernel: &[usize],
    input: &[usize],
) -> Result<Window> {
    let dims = input.len();
    if kernel.len() != dims {
        return Err(bad(format!("a kernel of {} dimensions for {dims}", kernel.len())));
    }
    let stride = positive(ctx, "strides", dims)?;
    let dilation = positive(ctx, "dilations", dims)?;
    let extents = kernel.iter().zip(&dilation).map(|(k, d)| (k - 1) * d + 1).collect::<Vec<_>>();
    let given = given_pads(ctx, dims)?;
    let pads = match ctx.attributes.string("auto_pad", "NOTSET")? {
        "NOTSET" | "" => given,
        mode if given.iter().any(|pad| *pad != [0, 0]) => {
            return Err(bad(format!("pads beside `auto_pad` {mode}")));
        }
        "VALID" => vec![[0, 0]; dims],
        mode @ ("SAME_UPPER" | "SAME_LOWER") => {
            let axes = (0..dims).map(|i| same(input[i], extents[i], stride[i], mode));
            axes.collect()
        }
        other => return Err(bad(format!("attribute `auto_pad` is `{other}`"))),
    };
    let two = |values: &[usize], missing| match values {
        [one] => [missing, *one],
        [first, second, ..] => [*first, *second],
        [] => [missing; 2],
    };
    Ok(Window {
        kernel: two(kernel, 1),
        stride: two(&stride, 1),
        dilation: two(&dilation, 1),
        pad_before: two(&pads.iter().map(|p| p[0]).collect::<Vec<_>>(), 0),
        pad_after: two(&pads.iter().map(|p| p[1]).collect::<Vec<_>>(), 0),
    })
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
fn positive(ctx: &NodeContext<'_, '_>, name: &str, dims: usize) -> Result<Vec<usize>> {
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
fn given_pads(ctx: &NodeContext<'_, '_>, dims: usize) -> Result<Vec<[usize; 2]>> {
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

/// The extents of a window's input after batch and channels: of one or two dimensions.
pub(super) fn spatial(shape: &[usize]) -> Result<&[usize]> {
    match shape {
        [_, _, spatial @ ..] if matches!(spatial.len(), 1 | 2) => Ok(spatial),
        [_, _, _, _, _, ..] => Err(unsupported(format!(
            "{} dimensions beside batch and channels; one and two are",
            shape.len() - 2
        ))
        .with_remedy("fold the depth of volumes into their batch or channels")),
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
