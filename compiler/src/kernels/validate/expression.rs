//! What elementwise operators compute of each element, as expressions, and the maps that do.

use super::moved::{distance, repeated};
use super::things::{Part, Thing};
use super::{Check, Goal, Site, Validation, must, same};
use crate::ir::expr::Expr;
use crate::ir::{Binary, DType, Epilogue, NodeId, Op, ReduceKind, Step, Unary};
use crate::kernels::map::Map;
use crate::plan::Role;
use crate::schedule::byte_scale::ByteScale;

/// An expression of elements, the first of which is `x1`.
pub(super) struct Definition {
    pub(super) expr: Expr,
    pub(super) operands: Vec<(Thing, Vec<usize>)>,
}

impl Validation<'_> {
    /// A map computes an element of something as its operator says.
    pub(super) fn mapped(&mut self, site: &Site<'_>, map: &Map) -> Check {
        let Definition { expr, operands } = self.definition(site)?;
        let made = self.bytes_of(site.thing);
        let mut types = vec![stored(made, self.graph.ty(site.thing.node).dtype)];
        let mut read: Vec<Option<ByteScale>> = vec![made];
        for (i, (thing, _)) in operands.iter().enumerate() {
            // A value in bytes may be read from a copy that is none.
            let is_bytes = map.dtypes.get(i + 1) == Some(&DType::U8);
            let bytes = self.bytes_of(*thing).filter(|_| is_bytes);
            types.push(stored(bytes, self.graph.ty(thing.node).dtype));
            read.push(bytes);
        }
        same("types", &map.dtypes, &types)?;
        let number = |i: usize| {
            let operand = Expr::Operand(i);
            read.get(i).copied().flatten().map_or(operand.clone(), |bytes| bytes.number(operand))
        };
        let numbers = expr.of_operands(&number);
        let wanted = made.map_or(numbers.clone(), |made| made.byte(numbers));
        same("store", &map.expr, &wanted)?;
        for (i, (thing, index)) in operands.into_iter().enumerate() {
            let byte = distance(map, i + 1, site.trips);
            self.read(
                site.run,
                Role::Operand(i + 1),
                byte,
                Goal::Element(thing, index),
                read[i + 1],
            )?;
        }
        Ok(())
    }

    fn definition(&self, site: &Site<'_>) -> Check<Definition> {
        match site.thing.part {
            Part::Whole => {}
            Part::Squeezed | Part::Means | Part::Weights | Part::Weighed(_) => {
                return self.attention_definition(site);
            }
            part => return Err(format!("a map makes {part:?}")),
        }
        let id = site.thing.node;
        let [x, y, z] = [1, 2, 3].map(Expr::Operand);
        let none = Epilogue::none();
        match &self.graph.node(id).op {
            Op::Unary(f, then) => self.of_slots(site, 1, x.unary(*f), then),
            Op::Binary(f, then) => self.of_slots(site, 2, self.binary(id, *f), then),
            Op::Where => {
                let [c, a, b] = [x, y, z].map(Box::new);
                self.of_slots(site, 3, Expr::Select(c, a, b), &none)
            }
            Op::Cast { to } => self.of_slots(site, 1, Expr::Cast(*to, Box::new(x)), &none),
            Op::Quantize => {
                let to = self.graph.ty(id).dtype;
                // Beyond all that is left after the zero point is added and the ends are cut off.
                let whole = Unary::Quantized { scale: 1.0, lowest: -512.0, highest: 512.0 };
                let steps = x.binary(Binary::Div, y).unary(whole);
                let sum = steps.binary(Binary::Add, Expr::Cast(DType::F32, Box::new(z)));
                self.of_slots(site, 3, Expr::Cast(to, Box::new(sum)), &none)
            }
            Op::Dequantize => {
                let [x, z] = [x, z].map(|x| Expr::Cast(DType::I32, Box::new(x)));
                let steps = Expr::Cast(DType::F32, Box::new(x.binary(Binary::Sub, z)));
                self.of_slots(site, 3, steps.binary(Binary::Mul, y), &none)
            }
            Op::BatchNorm { epsilon } => self.batch_norm(site, *epsilon),
            Op::MatMul { epilogue, .. } => self.no_products(site, epilogue),
            Op::Reduce(reduce) => {
                let nothing = match reduce.kind {
                    ReduceKind::Sum | ReduceKind::Mean => 0.0,
                    ReduceKind::Max => f64::NEG_INFINITY,
                    ReduceKind::Min => f64::INFINITY,
                };
                must(self.graph.ty(self.operand(id, 0)?).elements() == 0, "a map reduces nothing")?;
                self.of_slots(site, 0, Expr::number(nothing), &none)
            }
            Op::Conv(conv) => self.rest(site, &conv.epilogue),
            Op::SplitAttention(_) => self.attention_definition(site),
            Op::Input
            | Op::Weight(_)
            | Op::Softmax { .. }
            | Op::Pool(_)
            | Op::Reshape
            | Op::Expand
            | Op::Transpose { .. }
            | Op::Concat { .. }
            | Op::Slice { .. }
            | Op::Gather { .. }
            | Op::Scatter { .. }
            | Op::Pad { .. }
            | Op::ArgMax { .. }
            | Op::Identity => Err(format!("a map does not make `{}`", self.graph.node(id).name)),
        }
    }

    /// An operator of its first operands, so many, and then its epilogue.
    fn of_slots(
        &self,
        site: &Site<'_>,
        own: usize,
        head: Expr,
        then: &Epilogue,
    ) -> Check<Definition> {
        let operands = (0..own).map(|slot| self.repeated(site, slot));
        let mut definition = Definition { expr: head, operands: operands.collect::<Check<_>>()? };
        self.then(site, &mut definition, &then.steps)?;
        Ok(definition)
    }

    /// The element of an operand that is at a position of the result.
    fn repeated(&self, site: &Site<'_>, slot: usize) -> Check<(Thing, Vec<usize>)> {
        let operand = self.operand(site.thing.node, slot)?;
        Ok((Thing::whole(operand), repeated(site.index, &self.graph.ty(operand).shape())))
    }

    /// Steps of an epilogue after what there is.
    pub(super) fn then(
        &self,
        site: &Site<'_>,
        definition: &mut Definition,
        steps: &[Step],
    ) -> Check {
        for step in steps {
            let expr = std::mem::take(&mut definition.expr);
            definition.expr = match step {
                Step::Unary(f) => expr.unary(*f),
                Step::Binary(f, slot) => {
                    definition.operands.push(self.repeated(site, *slot)?);
                    expr.binary(*f, Expr::Operand(definition.operands.len()))
                }
            };
        }
        Ok(())
    }

    /// Squares need no logarithm.
    fn binary(&self, id: NodeId, f: Binary) -> Expr {
        let [x, y] = [1, 2].map(Expr::Operand);
        let is_row_major = self.schedule.layout(id).is_none();
        let exponent =
            self.exponent(id).filter(|_| is_row_major && f.mnemonic() == Binary::Pow.mnemonic());
        match exponent {
            Some(2.0) => x.clone().binary(Binary::Mul, x),
            Some(1.0) => x,
            _ => x.binary(f, y),
        }
    }

    fn batch_norm(&self, site: &Site<'_>, epsilon: f32) -> Check<Definition> {
        let [x, scale, bias, mean, variance] = [1, 2, 3, 4, 5].map(Expr::Operand);
        let variance = variance.binary(Binary::Add, Expr::number(f64::from(epsilon)));
        let expr = x
            .binary(Binary::Sub, mean)
            .binary(Binary::Div, variance.unary(Unary::Sqrt))
            .binary(Binary::Mul, scale)
            .binary(Binary::Add, bias);
        let mut operands =
            vec![(Thing::whole(self.operand(site.thing.node, 0)?), site.index.to_vec())];
        for slot in 1..5 {
            operands
                .push((Thing::whole(self.operand(site.thing.node, slot)?), vec![site.index[1]]));
        }
        Ok(Definition { expr, operands })
    }

    /// A matrix product over an axis without elements.
    fn no_products(&self, site: &Site<'_>, then: &Epilogue) -> Check<Definition> {
        let id = site.thing.node;
        let is_empty = self.graph.ty(self.operand(id, 1)?).elements() == 0;
        must(is_empty, "a map is no matrix product")?;
        let mut definition = match self.graph.operand(id, 2) {
            Some(_) => {
                Definition { expr: Expr::Operand(1), operands: vec![self.repeated(site, 2)?] }
            }
            None => Definition { expr: Expr::number(0.0), operands: Vec::new() },
        };
        self.then(site, &mut definition, &then.steps)?;
        Ok(definition)
    }

    /// What is left of a convolution's epilogue when its sums are stored.
    fn rest(&self, site: &Site<'_>, then: &Epilogue) -> Check<Definition> {
        let id = site.thing.node;
        let left = self.schedule.conv(id).map_or(0, |conv| conv.problem.fused.left);
        let done = then.steps.len().checked_sub(left).filter(|_| left > 0);
        let done = done.ok_or("nothing is left of its epilogue")?;
        let done = done + self.finished_by_tiles(id, &then.steps[done..]);
        let sums = (Thing::of(id, Part::After(done)), site.index.to_vec());
        let mut definition = Definition { expr: Expr::Operand(1), operands: vec![sums] };
        self.then(site, &mut definition, &then.steps[done..])?;
        Ok(definition)
    }
}

/// The type of elements in memory.
fn stored(bytes: Option<ByteScale>, dtype: DType) -> DType {
    if bytes.is_some() { DType::U8 } else { dtype }
}
