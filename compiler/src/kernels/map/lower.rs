//! Elementwise operators, and operators that only move elements.

use super::Map;
use crate::error::Result;
use crate::ir::expr::Expr;
use crate::ir::{Binary, DType, Epilogue, NodeId, Op, Step, TensorType, Unary};
use crate::kernels::lowering::{Lowering, broadcast, dense};
use crate::plan::{Nest, Place, Role};

/// An elementwise operator: `head` of the operands in these slots, then the epilogue.
pub(in crate::kernels) fn elementwise(
    l: &mut Lowering<'_, '_>,
    id: NodeId,
    slots: impl IntoIterator<Item = usize>,
    head: Expr,
    then: &Epilogue,
) -> Result<()> {
    let sources = slots.into_iter().map(|slot| l.operand(id, slot));
    let mut sources = sources.collect::<Result<Vec<_>>>()?;
    let expr = l.apply(id, head, then, &mut sources)?;
    let ty = l.ty(id).clone();
    let shape = ty.shape();
    let mut strides = vec![dense(&shape)];
    let mut dtypes = vec![ty.dtype];
    for &source in &sources {
        strides.push(broadcast(&l.ty(source).shape(), &shape));
        dtypes.push(l.ty(source).dtype);
    }
    let places = sources.into_iter().map(|source| l.place(source)).collect::<Result<Vec<_>>>()?;
    let out = l.make(id);
    l.map(Map { nest: Nest::collapsed(&shape, &strides), dtypes, expr }, out, places)
}

/// The expression of a function of two operands. Squares need no logarithm.
pub(in crate::kernels) fn binary(l: &Lowering<'_, '_>, id: NodeId, f: Binary) -> Expr {
    let exponent = || {
        let node = l.graph.node(l.graph.operand(id, 1)?);
        match &node.op {
            Op::Weight(w) if node.ty.elements() == 1 => w.to_f32(&node.ty)?.first().copied(),
            _ => None,
        }
    };
    let x = Expr::Operand(1);
    match f {
        Binary::Pow if exponent() == Some(2.0) => x.clone().binary(Binary::Mul, x),
        Binary::Pow if exponent() == Some(1.0) => x,
        Binary::Add
        | Binary::Sub
        | Binary::Mul
        | Binary::Div
        | Binary::Pow
        | Binary::Min
        | Binary::Max
        | Binary::Equal => x.binary(f, Expr::Operand(2)),
    }
}

/// `round(x1 / x2) + x3` as `to`: a cast takes what is beyond to the nearest.
pub(in crate::kernels) fn quantize(to: DType) -> Expr {
    let [x, scale, zero] = [1, 2, 3].map(Expr::Operand);
    // So wide that with any zero point the ends are beyond those of `to`; it makes a NaN the lowest.
    let steps = Unary::Quantized { scale: 1.0, lowest: -512.0, highest: 512.0 };
    let zero = Expr::Cast(DType::F32, Box::new(zero));
    let sum = x.binary(Binary::Div, scale).unary(steps).binary(Binary::Add, zero);
    Expr::Cast(to, Box::new(sum))
}

/// `(x1 - x3) * x2`
pub(in crate::kernels) fn dequantize() -> Expr {
    let [x, scale, zero] = [1, 2, 3].map(Expr::Operand);
    let wide = |x| Expr::Cast(DType::I32, Box::new(x));
    let steps = wide(x).binary(Binary::Sub, wide(zero));
    Expr::Cast(DType::F32, Box::new(steps)).binary(Binary::Mul, scale)
}

/// BatchNormalization by its definition, where no pass has folded it.
pub(in crate::kernels) fn batch_norm(
    l: &mut Lowering<'_, '_>,
    id: NodeId,
    epsilon: f32,
) -> Result<()> {
    let shape = l.ty(id).shape();
    let along: Vec<isize> = (0..shape.len()).map(|axis| isize::from(axis == 1)).collect();
    let mut strides = vec![dense(&shape), dense(&shape)];
    let mut places = Vec::new();
    for slot in 0..5 {
        let operand = l.operand(id, slot)?;
        places.push(l.place(operand)?);
        if slot > 0 {
            strides.push(along.clone());
        }
    }
    let out = l.make(id);
    let [x, scale, bias, mean, var] = [1, 2, 3, 4, 5].map(Expr::Operand);
    let deviation = var.binary(Binary::Add, Expr::number(f64::from(epsilon))).unary(Unary::Sqrt);
    let expr = x
        .binary(Binary::Sub, mean)
        .binary(Binary::Div, deviation)
        .binary(Binary::Mul, scale)
        .binary(Binary::Add, bias);
    let dtypes = vec![DType::F32; 6];
    l.map(Map { nest: Nest::collapsed(&shape, &strides), dtypes, expr }, out, places)
}

/// Axes in another order.
pub(in crate::kernels) fn transpose(
    l: &mut Lowering<'_, '_>,
    id: NodeId,
    perm: &[usize],
) -> Result<()> {
    let source = l.operand(id, 0)?;
    if *perm == [0, 2, 3, 1] && l.channels_to_back(id, source)? {
        return Ok(());
    }
    let natural = dense(&l.ty(source).shape());
    let (shape, dtype) = (l.ty(id).shape(), l.ty(id).dtype);
    let strides = perm.iter().map(|p| natural[*p]).collect();
    let from = l.place(source)?;
    let out = l.make(id);
    l.copy(Nest::collapsed(&shape, &[dense(&shape), strides]), dtype, out, from)
}

/// Operands side by side along an axis.
pub(in crate::kernels) fn concat(l: &mut Lowering<'_, '_>, id: NodeId, axis: usize) -> Result<()> {
    let ty = l.ty(id).clone();
    let natural = dense(&ty.shape());
    let mut sources = Vec::new();
    for (_, source) in l.graph.operands(id) {
        if !l.is_empty(source) {
            sources.push((source, l.place(source)?));
        }
    }
    let mut out = l.make(id);
    for (source, from) in sources {
        let part = l.ty(source).shape();
        let nest = Nest::collapsed(&part, &[natural.clone(), dense(&part)]);
        l.copy(nest, ty.dtype, out, from)?;
        out.offset += part[axis] * natural[axis] as usize * ty.dtype.size();
    }
    Ok(())
}

/// A slice that is no view.
pub(in crate::kernels) fn slice(
    l: &mut Lowering<'_, '_>,
    id: NodeId,
    starts: &[usize],
    steps: &[isize],
) -> Result<()> {
    let source = l.operand(id, 0)?;
    let (from, to) = (l.ty(source).shape(), l.ty(id).shape());
    let (dtype, elements) = (l.ty(id).dtype, l.ty(id).elements());
    let natural = dense(&from);
    let first: isize = starts.iter().zip(&natural).map(|(s, n)| *s as isize * n).sum();
    let strides: Vec<isize> = steps.iter().zip(&natural).map(|(s, n)| s * n).collect();
    let nest = Nest::collapsed(&to, &[dense(&to), strides]);
    let contiguous = nest.dims.is_empty() || nest.strides[1] == [1];
    if contiguous && elements > 0 {
        return l.view(id, first as usize * dtype.size());
    }
    let place = l.place(source)?.further(first as usize * dtype.size());
    let out = l.make(id);
    l.copy(nest, dtype, out, place)
}

/// A border of one value around the operand.
pub(in crate::kernels) fn pad(
    l: &mut Lowering<'_, '_>,
    id: NodeId,
    before: &[usize],
    value: f64,
) -> Result<()> {
    let source = l.operand(id, 0)?;
    if l.is_empty(source) {
        return elementwise(l, id, [], Expr::number(value), &Epilogue::none());
    }
    let from = l.place(source)?;
    let (inner, outer) = (l.ty(source).clone(), l.ty(id).clone());
    let out = l.make(id);
    l.border(&inner, &outer, before, value, [out, from])
}

impl Lowering<'_, '_> {
    /// A step that is a map of these sources.
    pub(in crate::kernels) fn map(
        &mut self,
        map: Map,
        out: Place,
        sources: Vec<Place>,
    ) -> Result<()> {
        let sources = sources.into_iter().zip(1..).map(|(place, i)| (Role::Operand(i), place));
        self.step(map, std::iter::once((Role::Out, out)).chain(sources))
    }

    pub(in crate::kernels) fn copy(
        &mut self,
        nest: Nest,
        dtype: DType,
        out: Place,
        from: Place,
    ) -> Result<()> {
        self.map(Map { nest, dtypes: vec![dtype; 2], expr: Expr::Operand(1) }, out, vec![from])
    }

    pub(in crate::kernels) fn fill(
        &mut self,
        nest: Nest,
        dtype: DType,
        out: Place,
        value: f64,
    ) -> Result<()> {
        let number = Expr::number(value);
        let expr = match dtype {
            DType::U8 => Expr::Cast(dtype, Box::new(number)),
            _ => number,
        };
        self.map(Map { nest, dtypes: vec![dtype], expr }, out, Vec::new())
    }

    /// `then` around `head`; its operands are appended to `sources`, where `x1` is the first.
    pub(in crate::kernels) fn apply(
        &self,
        id: NodeId,
        head: Expr,
        then: &Epilogue,
        sources: &mut Vec<NodeId>,
    ) -> Result<Expr> {
        let mut expr = head;
        for step in &then.steps {
            expr = match step {
                Step::Unary(f) => expr.unary(*f),
                Step::Binary(f, slot) => {
                    sources.push(self.operand(id, *slot)?);
                    expr.binary(*f, Expr::Operand(sources.len()))
                }
            };
        }
        Ok(expr)
    }

    /// `from`, of type `inner`, inside of a border in `out`, of type `outer`.
    pub(in crate::kernels) fn border(
        &mut self,
        inner: &TensorType,
        outer: &TensorType,
        before: &[usize],
        value: f64,
        [out, from]: [Place; 2],
    ) -> Result<()> {
        let all = Nest::collapsed(&[outer.elements()], &[vec![1]]);
        self.fill(all, outer.dtype, out, value)?;
        let natural = dense(&outer.shape());
        let skip: usize = before.iter().zip(&natural).map(|(b, n)| b * *n as usize).sum();
        let corner = out.further(skip * outer.dtype.size());
        let nest = Nest::collapsed(&inner.shape(), &[natural, dense(&inner.shape())]);
        self.copy(nest, outer.dtype, corner, from)
    }
}
