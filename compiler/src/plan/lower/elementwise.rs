//! Elementwise operators, and operators that only move elements.

use super::{Lowering, broadcast, dense};
use crate::error::Result;
use crate::ir::{Binary, DType, Epilogue, NodeId, Op, Step as EpilogueStep, TensorType, Unary};
use crate::plan::Place;
use crate::plan::expr::Expr;
use crate::plan::kernel::{Kernel, Map, Nest};

impl Lowering<'_, '_> {
    pub(super) fn copy(&mut self, nest: Nest, dtype: DType, out: Place, from: Place) {
        let map = Map { nest, dtypes: vec![dtype; 2], expr: Expr::Operand(1) };
        self.step(Kernel::Map(map), vec![out, from]);
    }

    pub(super) fn fill(&mut self, ty: &TensorType, out: Place, value: f64) {
        let nest = Nest::collapsed(&[ty.elements()], &[vec![1]]);
        let map = Map { nest, dtypes: vec![ty.dtype], expr: Expr::Constant(value) };
        self.step(Kernel::Map(map), vec![out]);
    }

    /// Squares and square roots need no logarithm.
    pub(super) fn binary_head(&self, id: NodeId, f: Binary) -> Expr {
        let exponent = || {
            let node = self.graph.node(self.graph.operand(id, 1)?);
            match &node.op {
                Op::Weight(w) if node.ty.elements() == 1 => w.to_f32(&node.ty)?.first().copied(),
                _ => None,
            }
        };
        let x = Expr::Operand(1);
        match f {
            Binary::Pow if exponent() == Some(2.0) => x.clone().binary(Binary::Mul, x),
            Binary::Pow if exponent() == Some(1.0) => x,
            _ => x.binary(f, Expr::Operand(2)),
        }
    }

    pub(super) fn elementwise(
        &mut self,
        id: NodeId,
        own: usize,
        head: Expr,
        then: &Epilogue,
    ) -> Result<()> {
        let graph = self.graph;
        let ty = graph.ty(id);
        let mut sources = Vec::new();
        for slot in 0..own {
            sources.push(self.operand(id, slot)?);
        }
        let expr = self.apply(id, head, then, &mut sources)?;
        let shape = ty.shape();
        let mut strides = vec![dense(&shape)];
        let mut dtypes = vec![ty.dtype];
        for &source in &sources {
            strides.push(broadcast(&graph.ty(source).shape(), &shape));
            dtypes.push(graph.ty(source).dtype);
        }
        let mut args = Vec::new();
        for &source in &sources {
            args.push(self.place(source)?);
        }
        args.insert(0, self.make(id));
        let nest = Nest::collapsed(&shape, &strides);
        self.step(Kernel::Map(Map { nest, dtypes, expr }), args);
        Ok(())
    }

    /// `then` around `head`; its operands are appended to `sources`, where `$1` is the first.
    pub(super) fn apply(
        &self,
        id: NodeId,
        head: Expr,
        then: &Epilogue,
        sources: &mut Vec<NodeId>,
    ) -> Result<Expr> {
        let mut expr = head;
        for step in &then.steps {
            expr = match step {
                EpilogueStep::Unary(f) => expr.unary(*f),
                EpilogueStep::Binary(f, slot) => {
                    sources.push(self.operand(id, *slot)?);
                    expr.binary(*f, Expr::Operand(sources.len()))
                }
            };
        }
        Ok(expr)
    }

    pub(super) fn batch_norm(&mut self, id: NodeId, epsilon: f32) -> Result<()> {
        let graph = self.graph;
        let shape = graph.ty(id).shape();
        let along: Vec<isize> = (0..shape.len()).map(|axis| isize::from(axis == 1)).collect();
        let mut strides = vec![dense(&shape), dense(&shape)];
        let mut args = Vec::new();
        for slot in 0..5 {
            let operand = self.operand(id, slot)?;
            args.push(self.place(operand)?);
            if slot > 0 {
                strides.push(along.clone());
            }
        }
        args.insert(0, self.make(id));
        let [x, scale, bias, mean, var] = [1, 2, 3, 4, 5].map(Expr::Operand);
        let deviation =
            var.binary(Binary::Add, Expr::Constant(f64::from(epsilon))).unary(Unary::Sqrt);
        let expr = x
            .binary(Binary::Sub, mean)
            .binary(Binary::Div, deviation)
            .binary(Binary::Mul, scale)
            .binary(Binary::Add, bias);
        let dtypes = vec![DType::F32; 6];
        let nest = Nest::collapsed(&shape, &strides);
        self.step(Kernel::Map(Map { nest, dtypes, expr }), args);
        Ok(())
    }

    pub(super) fn transpose(&mut self, id: NodeId, perm: &[usize]) -> Result<()> {
        let source = self.operand(id, 0)?;
        let natural = dense(&self.graph.ty(source).shape());
        let shape = self.graph.ty(id).shape();
        let strides = perm.iter().map(|p| natural[*p]).collect();
        let from = self.place(source)?;
        let out = self.make(id);
        let nest = Nest::collapsed(&shape, &[dense(&shape), strides]);
        self.copy(nest, self.graph.ty(id).dtype, out, from);
        Ok(())
    }

    pub(super) fn concat(&mut self, id: NodeId, axis: usize) -> Result<()> {
        let graph = self.graph;
        let ty = graph.ty(id);
        let natural = dense(&ty.shape());
        let mut sources = Vec::new();
        for (_, source) in graph.operands(id) {
            sources.push((source, self.place(source)?));
        }
        let mut out = self.make(id);
        for (source, from) in sources {
            let part = graph.ty(source).shape();
            let nest = Nest::collapsed(&part, &[natural.clone(), dense(&part)]);
            self.copy(nest, ty.dtype, out, from);
            out.offset += part[axis] * natural[axis] as usize * ty.dtype.size();
        }
        Ok(())
    }

    pub(super) fn pad(&mut self, id: NodeId, before: &[usize], value: f64) -> Result<()> {
        let graph = self.graph;
        let source = self.operand(id, 0)?;
        let from = self.place(source)?;
        let out = self.make(id);
        self.border(graph.ty(source), graph.ty(id), before, value, out, from);
        Ok(())
    }

    pub(super) fn border(
        &mut self,
        inner: &TensorType,
        outer: &TensorType,
        before: &[usize],
        value: f64,
        out: Place,
        from: Place,
    ) {
        self.fill(outer, out, value);
        let natural = dense(&outer.shape());
        let skip: usize = before.iter().zip(&natural).map(|(b, n)| b * *n as usize).sum();
        let corner = Place { base: out.base, offset: out.offset + skip * outer.dtype.size() };
        let nest = Nest::collapsed(&inner.shape(), &[natural, dense(&inner.shape())]);
        self.copy(nest, outer.dtype, corner, from);
    }
}
