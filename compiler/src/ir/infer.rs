//! The type rule of every operator.

use super::op::{Conv, Op, Pool, Reduce, ReduceKind, Window};
use super::types::{Axis, DType, TensorType};
use crate::error::{Problem, Result};

/// The type of `op`'s result, from the types of its operands given as (slot, type) by ascending
/// slot. Axes that an operator keeps keep their factors.
///
/// # Errors
/// [`Problem::BadNode`] saying which operand or attribute does not fit. Operators whose result
/// type is an attribute (inputs, weights, reshapes, expands, slices) are refused: their node
/// carries the type.
pub fn infer(op: &Op, operands: &[(usize, &TensorType)]) -> Result<TensorType> {
    let own = Operands { all: operands };
    let ty = match op {
        Op::Input | Op::Weight(_) | Op::Reshape | Op::Expand | Op::Slice { .. } => {
            return bad(format!("the type of a {} is not inferred", op.mnemonic()));
        }
        Op::Conv(conv) => infer_conv(conv, &own),
        Op::BatchNorm { .. } => infer_batch_norm(&own),
        Op::MatMul { transpose_a, transpose_b, .. } => {
            infer_matmul(*transpose_a, *transpose_b, &own)
        }
        Op::Unary(f, _) => infer_unary(*f, &own),
        Op::Binary(f, _) => infer_binary(*f, &own),
        Op::Where => infer_where(&own),
        Op::Cast { to } => Ok(TensorType { dtype: *to, axes: own.get(0)?.axes.clone() }),
        Op::Softmax { axis, .. } => infer_softmax(*axis, &own),
        Op::Pool(pool) => infer_pool(pool, &own),
        Op::Reduce(reduce) => infer_reduce(reduce, &own),
        Op::Transpose { perm } => infer_transpose(perm, &own),
        Op::Concat { axis } => infer_concat(*axis, &own),
        Op::Gather { axis } => infer_gather(*axis, &own),
        Op::Pad { before, after, .. } => infer_pad(before, after, &own),
        Op::ArgMax { axis, keep, .. } => infer_argmax(*axis, *keep, &own),
        Op::Identity => own.get(0).cloned(),
    }?;
    check_size(&ty)?;
    check_epilogue(op, operands, &ty)?;
    Ok(ty)
}

/// The shape that the given shapes broadcast to, as in NumPy; `None` when they do not.
pub fn broadcast_shapes(shapes: &[&[usize]]) -> Option<Vec<usize>> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut out = vec![1; rank];
    for shape in shapes {
        let ahead = rank - shape.len();
        for (to, n) in out[ahead..].iter_mut().zip(*shape) {
            match (*to, *n) {
                (_, 1) => {}
                (1, n) => *to = n,
                (to, n) if to == n => {}
                _ => return None,
            }
        }
    }
    Some(out)
}

struct Operands<'a> {
    all: &'a [(usize, &'a TensorType)],
}

impl<'a> Operands<'a> {
    fn optional(&self, slot: usize) -> Option<&'a TensorType> {
        self.all.iter().find(|(s, _)| *s == slot).map(|(_, ty)| *ty)
    }

    fn get(&self, slot: usize) -> Result<&'a TensorType> {
        match self.optional(slot) {
            Some(ty) => Ok(ty),
            None => bad(format!("operand {slot} is missing")),
        }
    }

    fn float(&self, slot: usize) -> Result<&'a TensorType> {
        let ty = self.get(slot)?;
        if !ty.dtype.is_float() {
            return bad(format!("operand {slot} is {}, not a float", ty.dtype));
        }
        Ok(ty)
    }
}

fn bad<T>(what: impl Into<String>) -> Result<T> {
    Err(Problem::BadNode(what.into()).into())
}

fn check_size(ty: &TensorType) -> Result<()> {
    let bytes = ty.axes.iter().try_fold(ty.dtype.size(), |n, a| n.checked_mul(a.size()));
    match bytes {
        Some(bytes) if isize::try_from(bytes).is_ok() => Ok(()),
        _ => bad("the result is too large to address"),
    }
}

fn check_epilogue(op: &Op, operands: &[(usize, &TensorType)], ty: &TensorType) -> Result<()> {
    let Some(first) = op.epilogue_slot() else { return Ok(()) };
    for (slot, operand) in operands.iter().filter(|(slot, _)| *slot >= first) {
        if operand.dtype != ty.dtype || operand.shape() != ty.shape() {
            return bad(format!("epilogue operand {slot} is {operand}, the result {ty}"));
        }
    }
    Ok(())
}

fn axis_in(axis: usize, ty: &TensorType) -> Result<()> {
    if axis >= ty.rank() {
        return bad(format!("axis {axis} of a tensor with {} axes", ty.rank()));
    }
    Ok(())
}

/// Refuses windows that `Window::positions` is not defined on.
fn check_window(w: &Window) -> Result<()> {
    for axis in 0..2 {
        let extent = w.kernel[axis]
            .checked_sub(1)
            .and_then(|k| k.checked_mul(w.dilation[axis]))
            .and_then(|k| k.checked_add(1));
        if extent.is_none_or(|e| e > isize::MAX as usize) {
            return bad(format!("kernel {}x{}", w.kernel[0], w.kernel[1]));
        }
        if w.stride[axis] == 0 || w.dilation[axis] == 0 {
            return bad("stride and dilation must be at least 1");
        }
        let limit = 1usize << 40;
        if [w.pad_before[axis], w.pad_after[axis], w.stride[axis]].iter().any(|p| *p > limit) {
            return bad("padding or stride is absurdly large");
        }
    }
    Ok(())
}

fn window_positions(w: &Window, input: [usize; 2], ceil: bool) -> Result<[usize; 2]> {
    check_window(w)?;
    let mut out = [0; 2];
    for axis in 0..2 {
        let padded = input[axis] + w.pad_before[axis] + w.pad_after[axis];
        match w.positions(axis, input[axis], ceil) {
            Some(n) if n > 0 => out[axis] = n,
            _ => {
                return bad(format!(
                    "the kernel spans {} elements, the padded input has {padded}",
                    w.extent(axis)
                ));
            }
        }
    }
    Ok(out)
}

fn infer_conv(conv: &Conv, own: &Operands<'_>) -> Result<TensorType> {
    let (x, w) = (own.float(0)?, own.float(1)?);
    if x.rank() != 4 || w.rank() != 4 {
        return bad(format!("x is {x} and the weight {w}; both need four axes"));
    }
    if x.dtype != w.dtype {
        return bad(format!("x is {} and the weight {}", x.dtype, w.dtype));
    }
    let (c, m, groups) = (x.axes[1].size(), w.axes[0].size(), conv.groups);
    if groups == 0 || c % groups != 0 || m % groups != 0 {
        return bad(format!("{groups} groups do not divide {c} input and {m} output channels"));
    }
    if w.axes[1].size() != c / groups {
        return bad(format!(
            "the weight has {} input channels per group, but x has {c} channels in {groups} groups",
            w.axes[1].size()
        ));
    }
    let kernel = [w.axes[2].size(), w.axes[3].size()];
    if kernel != conv.window.kernel {
        return bad(format!(
            "the weight is {}x{}, the kernel_shape {}x{}",
            kernel[0], kernel[1], conv.window.kernel[0], conv.window.kernel[1]
        ));
    }
    check_vector(own.optional(2), m, "bias")?;
    let [h, width] = window_positions(&conv.window, [x.axes[2].size(), x.axes[3].size()], false)?;
    let axes = vec![x.axes[0].clone(), w.axes[0].clone(), Axis::plain(h), Axis::plain(width)];
    Ok(TensorType { dtype: x.dtype, axes })
}

fn check_vector(ty: Option<&TensorType>, n: usize, what: &str) -> Result<()> {
    match ty {
        Some(ty) if !ty.dtype.is_float() || ty.shape() != [n] => {
            bad(format!("the {what} is {ty}, expected {n} floats"))
        }
        _ => Ok(()),
    }
}

fn infer_batch_norm(own: &Operands<'_>) -> Result<TensorType> {
    let x = own.float(0)?;
    if x.rank() < 2 {
        return bad(format!("x is {x}; it needs a channel axis"));
    }
    for (slot, what) in [(1, "scale"), (2, "bias"), (3, "mean"), (4, "variance")] {
        check_vector(Some(own.get(slot)?), x.axes[1].size(), what)?;
    }
    Ok(x.clone())
}

fn infer_matmul(turn_a: bool, turn_b: bool, own: &Operands<'_>) -> Result<TensorType> {
    let (a, b) = (own.float(0)?, own.float(1)?);
    if a.rank() < 2 || b.rank() < 2 || a.dtype != b.dtype {
        return bad(format!("cannot multiply {a} by {b}"));
    }
    let (ra, rb) = (a.rank(), b.rank());
    let (rows, depth) = if turn_a { (ra - 1, ra - 2) } else { (ra - 2, ra - 1) };
    let (deep, columns) = if turn_b { (rb - 1, rb - 2) } else { (rb - 2, rb - 1) };
    if a.axes[depth].size() != b.axes[deep].size() {
        return bad(format!(
            "a has {} columns but b has {} rows",
            a.axes[depth].size(),
            b.axes[deep].size()
        ));
    }
    let (sa, sb) = (a.shape(), b.shape());
    let Some(batch) = broadcast_shapes(&[&sa[..ra - 2], &sb[..rb - 2]]) else {
        return bad(format!("the leading axes of {a} and {b} do not broadcast"));
    };
    check_vector(own.optional(2), b.axes[columns].size(), "bias")?;
    let mut axes: Vec<Axis> = batch.into_iter().map(Axis::plain).collect();
    axes.extend([a.axes[rows].clone(), b.axes[columns].clone()]);
    Ok(TensorType { dtype: a.dtype, axes })
}

fn infer_unary(f: super::op::Unary, own: &Operands<'_>) -> Result<TensorType> {
    use super::op::Unary;
    let x = own.get(0)?;
    let any = matches!(f, Unary::Relu | Unary::Clip { .. } | Unary::Neg | Unary::Abs);
    if !x.dtype.is_float() && (!any || x.dtype == DType::Bool) {
        return bad(format!("{} of {} is not defined", f.mnemonic(), x.dtype));
    }
    Ok(x.clone())
}

fn infer_binary(f: super::op::Binary, own: &Operands<'_>) -> Result<TensorType> {
    let (a, b) = (own.get(0)?, own.get(1)?);
    if a.dtype != b.dtype {
        return bad(format!("{} of {} and {}", f.mnemonic(), a.dtype, b.dtype));
    }
    let equal = f == super::op::Binary::Equal;
    if a.dtype == DType::Bool && !equal {
        return bad(format!("{} of bool is not defined", f.mnemonic()));
    }
    let dtype = if equal { DType::Bool } else { a.dtype };
    Ok(TensorType { dtype, axes: broadcast_axes(&[a, b])? })
}

fn infer_where(own: &Operands<'_>) -> Result<TensorType> {
    let (c, a, b) = (own.get(0)?, own.get(1)?, own.get(2)?);
    if c.dtype != DType::Bool || a.dtype != b.dtype {
        return bad(format!("the condition is {c}, the choices are {a} and {b}"));
    }
    Ok(TensorType { dtype: a.dtype, axes: broadcast_axes(&[c, a, b])? })
}

/// The broadcast axes; of equal extents the one with factors wins.
fn broadcast_axes(types: &[&TensorType]) -> Result<Vec<Axis>> {
    let shapes: Vec<Vec<usize>> = types.iter().map(|t| t.shape()).collect();
    let slices: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
    let Some(shape) = broadcast_shapes(&slices) else {
        let list: Vec<String> = types.iter().map(ToString::to_string).collect();
        return bad(format!("the shapes of {} do not broadcast", list.join(" and ")));
    };
    let axis = |at: usize| {
        let aligned = types.iter().filter_map(|t| {
            let ahead = shape.len() - t.rank();
            t.axes.get(at.checked_sub(ahead)?)
        });
        let fits = aligned.filter(|a| a.size() == shape[at]);
        let best = fits.max_by_key(|a| a.factors().len());
        best.cloned().unwrap_or_else(|| Axis::plain(shape[at]))
    };
    Ok((0..shape.len()).map(axis).collect())
}

fn infer_softmax(axis: usize, own: &Operands<'_>) -> Result<TensorType> {
    let x = own.float(0)?;
    axis_in(axis, x)?;
    Ok(x.clone())
}

fn infer_pool(pool: &Pool, own: &Operands<'_>) -> Result<TensorType> {
    let x = own.float(0)?;
    if x.rank() != 4 {
        return bad(format!("x is {x}; pooling needs four axes"));
    }
    let w = &pool.window;
    for axis in 0..2 {
        if w.pad_before[axis] >= w.kernel[axis].saturating_mul(w.dilation[axis]).max(1)
            || w.pad_after[axis] >= w.kernel[axis].saturating_mul(w.dilation[axis]).max(1)
        {
            return bad("padding must be smaller than the kernel");
        }
    }
    let [h, width] = window_positions(w, [x.axes[2].size(), x.axes[3].size()], pool.ceil)?;
    let axes = vec![x.axes[0].clone(), x.axes[1].clone(), Axis::plain(h), Axis::plain(width)];
    Ok(TensorType { dtype: x.dtype, axes })
}

fn infer_reduce(reduce: &Reduce, own: &Operands<'_>) -> Result<TensorType> {
    let x = own.get(0)?;
    let ascending = reduce.axes.windows(2).all(|w| w[0] < w[1]);
    if reduce.axes.is_empty() || !ascending || reduce.axes.iter().any(|a| *a >= x.rank()) {
        return bad(format!("axes {:?} of a tensor with {} axes", reduce.axes, x.rank()));
    }
    if matches!(x.dtype, DType::Bool | DType::U8 | DType::I8) {
        return bad(format!("reduction of {}", x.dtype));
    }
    let empty = reduce.axes.iter().any(|a| x.axes[*a].size() == 0);
    if empty && reduce.kind != ReduceKind::Sum {
        return bad("a mean or extreme of nothing");
    }
    Ok(TensorType { dtype: x.dtype, axes: drop_axes(x, &reduce.axes, reduce.keep) })
}

fn drop_axes(x: &TensorType, dropped: &[usize], keep: bool) -> Vec<Axis> {
    let axis = |(i, axis): (usize, &Axis)| match (dropped.contains(&i), keep) {
        (false, _) => Some(axis.clone()),
        (true, true) => Some(Axis::plain(1)),
        (true, false) => None,
    };
    x.axes.iter().enumerate().filter_map(axis).collect()
}

fn infer_transpose(perm: &[usize], own: &Operands<'_>) -> Result<TensorType> {
    let x = own.get(0)?;
    let mut sorted = perm.to_vec();
    sorted.sort_unstable();
    if sorted.iter().copied().ne(0..x.rank()) {
        return bad(format!("{perm:?} is not a permutation of {} axes", x.rank()));
    }
    Ok(TensorType { dtype: x.dtype, axes: perm.iter().map(|p| x.axes[*p].clone()).collect() })
}

fn infer_concat(axis: usize, own: &Operands<'_>) -> Result<TensorType> {
    let first = own.get(0)?;
    axis_in(axis, first)?;
    let mut size = 0usize;
    for (_, ty) in own.all {
        let fits = ty.dtype == first.dtype
            && ty.rank() == first.rank()
            && (0..ty.rank()).all(|i| i == axis || ty.axes[i].size() == first.axes[i].size());
        if !fits {
            return bad(format!("{ty} and {first} cannot be joined along axis {axis}"));
        }
        size = size.saturating_add(ty.axes[axis].size());
    }
    let mut axes = first.axes.clone();
    if own.all.len() > 1 {
        axes[axis] = Axis::plain(size);
    }
    Ok(TensorType { dtype: first.dtype, axes })
}

fn infer_gather(axis: usize, own: &Operands<'_>) -> Result<TensorType> {
    let (x, index) = (own.get(0)?, own.get(1)?);
    axis_in(axis, x)?;
    if !matches!(index.dtype, DType::I64 | DType::I32) {
        return bad(format!("the indices are {}", index.dtype));
    }
    if x.axes[axis].size() == 0 && index.elements() > 0 {
        return bad("picks from an empty axis");
    }
    let axes = [&x.axes[..axis], &index.axes, &x.axes[axis + 1..]].concat();
    Ok(TensorType { dtype: x.dtype, axes })
}

fn infer_pad(before: &[usize], after: &[usize], own: &Operands<'_>) -> Result<TensorType> {
    let x = own.get(0)?;
    if before.len() != x.rank() || after.len() != x.rank() {
        return bad(format!("pads for {} axes, x has {}", before.len(), x.rank()));
    }
    let mut axes = Vec::with_capacity(x.rank());
    for ((axis, before), after) in x.axes.iter().zip(before).zip(after) {
        let size = axis.size().checked_add(*before).and_then(|n| n.checked_add(*after));
        match size {
            Some(size) if size == axis.size() => axes.push(axis.clone()),
            Some(size) => axes.push(Axis::plain(size)),
            None => return bad("the padded shape overflows"),
        }
    }
    Ok(TensorType { dtype: x.dtype, axes })
}

fn infer_argmax(axis: usize, keep: bool, own: &Operands<'_>) -> Result<TensorType> {
    let x = own.get(0)?;
    axis_in(axis, x)?;
    if x.axes[axis].size() == 0 {
        return bad("the largest of nothing");
    }
    Ok(TensorType { dtype: DType::I64, axes: drop_axes(x, &[axis], keep) })
}
