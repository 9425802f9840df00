//! Expressions of elements.

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::types::{F32, F32X4, F64};

use super::emitter::{Element, Emitter, register};
use super::functions;
use crate::ir::expr::Expr;
use crate::ir::function::truncate;
use crate::ir::{Binary, DType, Unary};

impl Emitter<'_, '_> {
    /// The value of an expression whose operands are `operands` (operand `i` is `x{i}` in texts).
    pub(crate) fn expression(
        &mut self,
        expr: &Expr,
        operands: &[Element],
        context: DType,
    ) -> Element {
        match expr {
            Expr::Operand(i) => operands[*i],
            Expr::Constant(number) => self.constant(number.0, context, operands),
            Expr::Unary(f, a) => {
                let value = self.expression(a, operands, context);
                let result = functions::unary(self, *f, value);
                self.computed(f.chooses() && is_as_stored(a), result)
            }
            Expr::Binary(f, a, b) => {
                let result = self.binary_expression(*f, a, b, operands, context);
                self.computed(f.chooses() && (is_as_stored(a) || is_as_stored(b)), result)
            }
            Expr::Select(c, a, b) => {
                let c = self.expression(c, operands, DType::Bool);
                let a = self.expression(a, operands, context);
                let b = self.expression(b, operands, context);
                let value = self.builder.ins().select(c.value, a.value, b.value);
                Element { value, dtype: a.dtype }
            }
            Expr::Cast(to, a) => {
                let a = self.expression(a, operands, context);
                self.cast(a, *to)
            }
        }
    }

    /// The value; if it may be an element of memory as it is, without denormals.
    fn computed(&mut self, as_stored: bool, x: Element) -> Element {
        match x.dtype {
            DType::F32 if as_stored => Element { value: self.without_denormals(x.value), ..x },
            DType::F32
            | DType::F64
            | DType::I64
            | DType::I32
            | DType::U8
            | DType::I8
            | DType::Bool => x,
        }
    }

    fn binary_expression(
        &mut self,
        f: Binary,
        a: &Expr,
        b: &Expr,
        operands: &[Element],
        context: DType,
    ) -> Element {
        // A constant takes the type of the other side.
        let (a, b) = match (a, b) {
            (Expr::Constant(_), _) => {
                let b = self.expression(b, operands, context);
                (self.expression(a, operands, b.dtype), b)
            }
            _ => {
                let a = self.expression(a, operands, context);
                (a, self.expression(b, operands, a.dtype))
            }
        };
        functions::binary(self, f, a, b.value)
    }

    fn constant(&mut self, value: f64, dtype: DType, operands: &[Element]) -> Element {
        let vector = operands.iter().any(|o| self.ty(o.value) == F32X4);
        let value = match dtype {
            DType::F32 if vector => self.float(F32X4, value),
            DType::F32 => self.float(F32, value),
            DType::F64 => self.float(F64, value),
            DType::I64 | DType::I32 | DType::U8 | DType::I8 | DType::Bool => {
                let ty = register(dtype);
                let bits = truncate(dtype, value) & (u64::MAX >> (64 - ty.bits())) as i64;
                self.builder.ins().iconst(ty, bits)
            }
        };
        Element { value, dtype }
    }
}

/// Whether the value may be an element of memory as it is, at most with another sign. The sum of a
/// contraction, `x0`, was computed.
fn is_as_stored(expr: &Expr) -> bool {
    match expr {
        Expr::Operand(i) => *i > 0,
        Expr::Select(_, a, b) => is_as_stored(a) || is_as_stored(b),
        Expr::Unary(Unary::Neg | Unary::Abs, a) => is_as_stored(a),
        Expr::Constant(_) | Expr::Unary(..) | Expr::Binary(..) | Expr::Cast(..) => false,
    }
}
