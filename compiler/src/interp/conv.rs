//! Convolution.

use std::ops::Range;

use super::Data;
use super::operands::{Operands, ensure, floats, gives};
use crate::error::{Error, Result};
use crate::ir::{Conv, TensorType, Window};

/// Extents of a checked convolution.
struct Sizes {
    /// Channels that a group reads and that it computes.
    group: [usize; 2],
    groups: usize,
    input: [usize; 2],
    output: [usize; 2],
}

/// `y[n, m, i, j] = bias[m] + Σ x[n, c, i·stride + u·dilation - pad, …] · w[m, c, u, v]`, over the
/// channels `c` of the group of `m` and the kernel's taps `u`, `v` that fall inside x.
pub(super) fn conv(conv: &Conv, x: &Operands<'_>, ty: &TensorType) -> Result<Data> {
    let sizes = sizes(conv, x, ty)?;
    if ty.elements() == 0 {
        return Ok(Data::Float(Vec::new()));
    }
    let Sizes { group: [read, made], groups, input, output } = sizes;
    let (image, weights) = (floats(&x.need(0)?.data)?, floats(&x.need(1)?.data)?);
    let bias = match x.get(2) {
        Some(_) => x.floats(2, ty.dtype, &[groups * made])?,
        None => &vec![0.0; groups * made],
    };
    let mut y = vec![0.0; ty.elements()];
    let (plane, filter) = (area(input), area(conv.window.kernel));
    for (i, out) in y.chunks_exact_mut(area(output)).enumerate() {
        let (n, m) = (i / (groups * made), i % (groups * made));
        out.fill(bias[m]);
        for c in 0..read {
            let from = n * groups * read + m / made * read + c;
            let image = &image[from * plane..][..plane];
            let weights = &weights[(m * read + c) * filter..][..filter];
            for (tap, weight) in weights.iter().enumerate() {
                let at = [tap / conv.window.kernel[1], tap % conv.window.kernel[1]];
                add_tap(&conv.window, at, *weight, (image, input), (out, output));
            }
        }
    }
    Ok(Data::Float(y))
}

fn area(size: [usize; 2]) -> usize {
    size[0] * size[1]
}

fn sizes(conv: &Conv, x: &Operands<'_>, ty: &TensorType) -> Result<Sizes> {
    let (image, weights) = (x.of(0, ty.dtype)?, x.of(1, ty.dtype)?);
    let (&[n, c, h, w], &[m, read, kh, kw]) = (&*image.shape, &*weights.shape) else {
        return Err(Error::internal(format!("{} by {}", image.ty(), weights.ty())));
    };
    let groups = conv.groups;
    let window = conv.window;
    let divides = groups > 0 && m.is_multiple_of(groups) && read.checked_mul(groups) == Some(c);
    ensure(divides && window.kernel == [kh, kw], || {
        let kernel = window.kernel;
        format!("{} by {} in {groups} groups, kernel {kernel:?}", image.ty(), weights.ty())
    })?;
    let output = positions(&window, [h, w], false)?;
    gives(image.dtype, &[n, m, output[0], output[1]], ty)?;
    Ok(Sizes { group: [read, m / groups], groups, input: [h, w], output })
}

/// Number of window positions along height and width, for a window whose numbers make sense.
pub(super) fn positions(window: &Window, input: [usize; 2], ceil: bool) -> Result<[usize; 2]> {
    let Window { kernel, stride, dilation, pad_before, pad_after } = *window;
    let bad = || Error::internal(format!("{window:?} over {input:?}"));
    let positive = [kernel, stride, dilation].as_flattened().iter().all(|n| *n > 0);
    // So that no sum or product below overflows.
    let all = [kernel, stride, dilation, pad_before, pad_after, input];
    let small = all.as_flattened().iter().all(|n| u32::try_from(*n).is_ok());
    ensure(positive && small, || bad().to_string())?;
    let along = |axis: usize| window.positions(axis, input[axis], ceil).ok_or_else(bad);
    Ok([along(0)?, along(1)?])
}

/// Adds one tap of a kernel, times its weight, to every element of an output plane.
fn add_tap(
    window: &Window,
    tap: [usize; 2],
    weight: f64,
    (image, input): (&[f64], [usize; 2]),
    (out, output): (&mut [f64], [usize; 2]),
) {
    let columns = inside(window, 1, tap, input, output);
    if columns.is_empty() {
        return;
    }
    let at = |axis: usize, i: usize| {
        i * window.stride[axis] + tap[axis] * window.dilation[axis] - window.pad_before[axis]
    };
    let first = at(1, columns.start);
    for i in inside(window, 0, tap, input, output) {
        let to = &mut out[i * output[1]..][columns.clone()];
        let from = &image[at(0, i) * input[1]..][first..];
        if window.stride[1] == 1 {
            for (y, x) in to.iter_mut().zip(from) {
                *y += weight * x;
            }
        } else {
            for (y, x) in to.iter_mut().zip(from.iter().step_by(window.stride[1])) {
                *y += weight * x;
            }
        }
    }
}

/// The output positions `i` along an axis for which the tap is inside the input:
/// `0 <= i·stride + tap·dilation - pad < input`.
fn inside(
    window: &Window,
    axis: usize,
    tap: [usize; 2],
    input: [usize; 2],
    output: [usize; 2],
) -> Range<usize> {
    let (stride, pad) = (window.stride[axis], window.pad_before[axis]);
    let offset = tap[axis] * window.dilation[axis];
    let first = pad.saturating_sub(offset).div_ceil(stride);
    let end = (input[axis] + pad).saturating_sub(offset).div_ceil(stride);
    first..end.min(output[axis])
}
