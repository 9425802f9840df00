//! Sums of products: convolution and matrix product.

use super::elementwise::{broadcast, check_dtype, check_per_channel, check_same_dtype};
use super::window::{image, positions};
use super::{Operands, bad};
use crate::error::Result;
use crate::ir::op::Conv;
use crate::ir::types::{Axis, TensorType};

pub(super) fn conv(conv: &Conv, given: &Operands<'_>) -> Result<TensorType> {
    let (x, weight) = (given.required(0, "x")?, given.required(1, "weight")?);
    check_dtype(x.dtype.is_float(), "conv", x.dtype)?;
    check_same_dtype(("x", x), ("weight", weight))?;
    let ([n, c], input) = image(x)?;
    let m = conv_channels(conv, c.size(), weight)?;
    if let Some(bias) = given.optional(2) {
        check_per_channel("bias", bias, m.size(), x)?;
    }
    let [h, w] = positions(&conv.window, input, false)?;
    let axes = vec![n.clone(), m.clone(), Axis::plain(h), Axis::plain(w)];
    Ok(TensorType { dtype: x.dtype, axes })
}

/// Checks the weight `[m, c/groups, kh, kw]` against the attributes and the `c` channels of x;
/// gives its first axis.
fn conv_channels<'a>(conv: &Conv, c: usize, weight: &'a TensorType) -> Result<&'a Axis> {
    let groups = conv.groups;
    let [m, per_group, kh, kw] = weight.axes.as_slice() else {
        return bad(format!("weight is {weight}, which has {} axes instead of 4", weight.rank()));
    };
    let kernel = [kh.size(), kw.size()];
    if kernel != conv.window.kernel {
        let ([h, w], [kh, kw]) = (conv.window.kernel, kernel);
        return bad(format!("the kernel is {h}x{w}, but the weight's is {kh}x{kw}"));
    }
    if groups == 0 {
        return bad("there are 0 groups");
    }
    if !c.is_multiple_of(groups) {
        return bad(format!("groups {groups} does not divide {c} channels"));
    }
    if per_group.size() != c / groups {
        return bad(format!(
            "weight has {} input channels per group, but x has {c} channels in {groups} groups",
            per_group.size()
        ));
    }
    if m.size() == 0 || !m.size().is_multiple_of(groups) {
        return bad(format!("groups {groups} does not divide {} output channels", m.size()));
    }
    Ok(m)
}

pub(super) fn matmul(
    transpose_a: bool,
    transpose_b: bool,
    given: &Operands<'_>,
) -> Result<TensorType> {
    let (a, b) = (given.required(0, "a")?, given.required(1, "b")?);
    check_dtype(a.dtype.is_float(), "matmul", a.dtype)?;
    check_same_dtype(("a", a), ("b", b))?;
    let (a_batch, m, k) = matrix("a", a, transpose_a)?;
    let (b_batch, rows, n) = matrix("b", b, transpose_b)?;
    if k.size() != rows.size() {
        return bad(format!(
            "a has {} columns, but b has {} rows (a is {a}, b is {b})",
            k.size(),
            rows.size()
        ));
    }
    if let Some(bias) = given.optional(2) {
        check_bias(bias, n, a)?;
    }
    let mut axes = broadcast(&[&a_batch, &b_batch])?;
    axes.extend([m.clone(), n.clone()]);
    Ok(TensorType { dtype: a.dtype, axes })
}

fn check_bias(bias: &TensorType, n: &Axis, a: &TensorType) -> Result<()> {
    check_same_dtype(("a", a), ("bias", bias))?;
    if bias.shape() != [n.size()] {
        let shape = bias.shape();
        return bad(format!("bias has shape {shape:?}, but the product has {} columns", n.size()));
    }
    Ok(())
}

/// The leading axes, rows and columns of an operand, after its transposition.
fn matrix<'a>(
    name: &str,
    ty: &'a TensorType,
    transpose: bool,
) -> Result<(TensorType, &'a Axis, &'a Axis)> {
    let [leading @ .., rows, columns] = ty.axes.as_slice() else {
        return bad(format!("{name} is {ty}, which is no matrix"));
    };
    let batch = TensorType { dtype: ty.dtype, axes: leading.to_vec() };
    Ok(if transpose { (batch, columns, rows) } else { (batch, rows, columns) })
}
