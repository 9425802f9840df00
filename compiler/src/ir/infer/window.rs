//! Sliding windows: pooling, and the positions of a convolution's kernel.

use super::elementwise::check_dtype;
use super::{Operands, bad};
use crate::error::{Problem, Result};
use crate::ir::op::{Pool, PoolKind, Window};
use crate::ir::types::{Axis, TensorType};

pub(super) fn pool(pool: &Pool, given: &Operands<'_>) -> Result<TensorType> {
    let x = given.required(0, "x")?;
    let name = match pool.kind {
        PoolKind::Max => "max_pool",
        PoolKind::Average { .. } => "average_pool",
    };
    check_dtype(x.dtype.is_float(), name, x.dtype)?;
    let ([n, c], input) = image(x)?;
    let output = positions(&pool.window, input, pool.ceil)?;
    check_windows_see_input(&pool.window, input, output)?;
    let axes = vec![n.clone(), c.clone(), Axis::plain(output[0]), Axis::plain(output[1])];
    Ok(TensorType { dtype: x.dtype, axes })
}

/// The batch and channel axes, and height and width, of an `[n, c, h, w]`. The batch may be empty,
/// nothing else.
pub(super) fn image(x: &TensorType) -> Result<([&Axis; 2], [usize; 2])> {
    let [n, c, h, w] = x.axes.as_slice() else {
        return bad(format!("x is {x}, which has {} axes instead of 4 (n, c, h, w)", x.rank()));
    };
    if [c, h, w].iter().any(|axis| axis.size() == 0) {
        return bad(format!("x is {x}, which has no elements to slide a window over"));
    }
    Ok(([n, c], [h.size(), w.size()]))
}

/// How many positions the window has along height and width.
pub(super) fn positions(window: &Window, input: [usize; 2], ceil: bool) -> Result<[usize; 2]> {
    let Window { kernel, stride, dilation, .. } = window;
    for (what, [h, w]) in [("kernel", kernel), ("stride", stride), ("dilation", dilation)] {
        if *h == 0 || *w == 0 {
            return bad(format!("{what} {h}x{w} has a 0"));
        }
    }
    let fits = |axis| extent(window, axis).zip(padded(window, axis, input));
    let (Some((eh, ph)), Some((ew, pw))) = (fits(0), fits(1)) else {
        return bad("kernel, dilation or padding is too large for this machine");
    };
    let both = window.positions(0, input[0], ceil).zip(window.positions(1, input[1], ceil));
    both.map(|(h, w)| [h, w]).ok_or_else(|| {
        let dilated = if *dilation == [1, 1] { "" } else { "dilated " };
        let what = format!("{dilated}kernel {eh}x{ew} is larger than the padded input {ph}x{pw}");
        Problem::BadNode(what).into()
    })
}

/// [`Window::extent`], unless it is more than `isize` holds.
fn extent(window: &Window, axis: usize) -> Option<usize> {
    window.extent(axis).filter(|elements| isize::try_from(*elements).is_ok())
}

fn padded(window: &Window, axis: usize, input: [usize; 2]) -> Option<usize> {
    let n = input[axis].checked_add(window.pad_before[axis])?;
    let n = n.checked_add(window.pad_after[axis])?;
    isize::try_from(n).ok().map(|_| n)
}

/// Refuses a pool some of whose windows lie in the padding altogether: they have no maximum and no
/// mean.
fn check_windows_see_input(window: &Window, input: [usize; 2], output: [usize; 2]) -> Result<()> {
    for axis in [0, 1] {
        let (before, after) = (window.pad_before[axis], window.pad_after[axis]);
        let last = (output[axis] - 1) * window.stride[axis];
        let first_misses = window.extent(axis).is_none_or(|extent| before >= extent);
        let last_misses = last >= input[axis] + before;
        // Taps closer than the input is wide cannot step over it.
        let steps_over = before + after > 0 && window.dilation[axis] > input[axis];
        if first_misses || last_misses || steps_over {
            let [h, w] = window.kernel;
            return bad(format!(
                "padding {before} before and {after} after {} elements leaves windows of kernel \
                 {h}x{w} with nothing but padding",
                input[axis]
            ));
        }
    }
    Ok(())
}
