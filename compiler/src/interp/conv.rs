//! Convolution, matrix products and pooling.

use super::elementwise::max;
use super::layout::{broadcast_strides, walk};
use super::{Data, Operands, Tensor};
use crate::error::{Error, Result};
use crate::ir::{Conv, Pool, PoolKind, TensorType, Window};

/// Where tap `k` of position `o` falls on the input, if inside.
fn coordinate(w: &Window, axis: usize, o: usize, k: usize, extent: usize) -> Option<usize> {
    let at = (o * w.stride[axis] + k * w.dilation[axis]).checked_sub(w.pad_before[axis])?;
    (at < extent).then_some(at)
}

pub(super) fn conv(spec: &Conv, own: &Operands<'_>, ty: &TensorType) -> Result<Data> {
    let (x, weight) = (own.get(0)?, own.get(1)?);
    let (xs, ws) = (x.floats()?, weight.floats()?);
    let (n, m, oh, ow) = four(&ty.shape())?;
    let (_, c, h, width) = four(&x.shape)?;
    let (_, cg, kh, kw) = four(&weight.shape)?;
    let mg = m / spec.groups;
    let mut out = vec![0.0; n * m * oh * ow];
    if let Some(bias) = own.optional(2) {
        let bias = bias.floats()?;
        for (i, plane) in out.chunks_exact_mut((oh * ow).max(1)).enumerate() {
            plane.fill(bias[i % m]);
        }
    }
    for image in 0..n {
        for channel in 0..m {
            let plane = &mut out[(image * m + channel) * oh * ow..][..oh * ow];
            for k in 0..cg {
                let source = channel / mg * cg + k;
                let input = &xs[(image * c + source) * h * width..][..h * width];
                let taps = &ws[(channel * cg + k) * kh * kw..][..kh * kw];
                add_plane(&spec.window, plane, input, taps, [h, width], [oh, ow]);
            }
        }
    }
    Ok(Data::Float(out))
}

/// Adds the correlation of one input plane with one kernel to an output plane.
fn add_plane(
    w: &Window,
    plane: &mut [f64],
    input: &[f64],
    taps: &[f64],
    [h, width]: [usize; 2],
    [oh, ow]: [usize; 2],
) {
    for ky in 0..w.kernel[0] {
        for kx in 0..w.kernel[1] {
            let tap = taps[ky * w.kernel[1] + kx];
            // Output columns whose tap lies inside the input are consecutive.
            let inside = |ox: &usize| coordinate(w, 1, *ox, kx, width).is_some();
            let Some(first) = (0..ow).find(inside) else { continue };
            let count = (first..ow).take_while(inside).count();
            for oy in 0..oh {
                let Some(iy) = coordinate(w, 0, oy, ky, h) else { continue };
                let Some(ix) = coordinate(w, 1, first, kx, width) else { continue };
                let row = &input[iy * width + ix..(iy + 1) * width];
                let to = &mut plane[oy * ow + first..][..count];
                for (to, x) in to.iter_mut().zip(row.iter().step_by(w.stride[1])) {
                    *to += tap * x;
                }
            }
        }
    }
}

pub(super) fn matmul(ta: bool, tb: bool, own: &Operands<'_>, ty: &TensorType) -> Result<Data> {
    let (a, b) = (own.get(0)?, own.get(1)?);
    let (av, bv) = (a.floats()?, b.floats()?);
    let shape = ty.shape();
    let (rows, columns) = (shape[shape.len() - 2], shape[shape.len() - 1]);
    let depth = a.shape[a.shape.len() - if ta { 2 } else { 1 }];
    let bias = own.optional(2).map(Tensor::floats).transpose()?;
    let batch = &shape[..shape.len() - 2];
    let lead = |t: &Tensor| t.shape[..t.shape.len() - 2].to_vec();
    let at = [broadcast_strides(&lead(a), batch), broadcast_strides(&lead(b), batch)];
    let mut out = Vec::with_capacity(ty.elements());
    walk(batch, &at, |[i, j]| {
        let (a, b) = (&av[i * rows * depth..], &bv[j * depth * columns..]);
        for m in 0..rows {
            for n in 0..columns {
                let sum: f64 = (0..depth)
                    .map(|k| {
                        let x = if ta { a[k * rows + m] } else { a[m * depth + k] };
                        let y = if tb { b[n * depth + k] } else { b[k * columns + n] };
                        x * y
                    })
                    .sum();
                out.push(sum + bias.map_or(0.0, |bias| bias[n]));
            }
        }
    });
    Ok(Data::Float(out))
}

pub(super) fn pool(spec: &Pool, x: &Tensor, ty: &TensorType) -> Result<Data> {
    let v = x.floats()?;
    let (n, c, oh, ow) = four(&ty.shape())?;
    let (_, _, h, width) = four(&x.shape)?;
    let mut out = Vec::with_capacity(ty.elements());
    for plane in 0..n * c {
        let input = &v[plane * h * width..][..h * width];
        for oy in 0..oh {
            for ox in 0..ow {
                out.push(pooled(spec, input, [h, width], [oy, ox]));
            }
        }
    }
    Ok(Data::Float(out))
}

fn pooled(spec: &Pool, input: &[f64], size: [usize; 2], [oy, ox]: [usize; 2]) -> f64 {
    let w = &spec.window;
    let mut inside = Vec::new();
    let mut padded = 0usize;
    for ky in 0..w.kernel[0] {
        for kx in 0..w.kernel[1] {
            let y = coordinate(w, 0, oy, ky, size[0]);
            let x = coordinate(w, 1, ox, kx, size[1]);
            if let (Some(y), Some(x)) = (y, x) {
                inside.push(input[y * size[1] + x]);
            }
            padded += usize::from(in_padding(w, [oy, ox], [ky, kx], size));
        }
    }
    match spec.kind {
        PoolKind::Max => inside.iter().fold(f64::NEG_INFINITY, |m, x| max(m, *x)),
        PoolKind::Average { count_padding } => {
            let count = if count_padding { padded } else { inside.len() };
            inside.iter().sum::<f64>() / count as f64
        }
    }
}

/// Whether a tap lies inside the padded input (a ceil window may hang over its end).
fn in_padding(w: &Window, o: [usize; 2], k: [usize; 2], size: [usize; 2]) -> bool {
    (0..2).all(|axis| {
        let at = o[axis] * w.stride[axis] + k[axis] * w.dilation[axis];
        at < size[axis] + w.pad_before[axis] + w.pad_after[axis]
    })
}

fn four(shape: &[usize]) -> Result<(usize, usize, usize, usize)> {
    match *shape {
        [a, b, c, d] => Ok((a, b, c, d)),
        _ => Err(Error::internal("expected four axes")),
    }
}
