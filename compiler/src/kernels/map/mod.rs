//! Elementwise loops: arithmetic, copies, broadcasts, fills.

mod blocked;
mod emit;
pub(super) mod lower;
mod row;

use cranelift_codegen::ir::Function as Clif;

use crate::asm::Function;
use crate::codegen::Linker;
use crate::error::Result;
use crate::ir::DType;
use crate::ir::expr::Expr;
use crate::lanes::formula;
use crate::machine::Vectors;
use crate::plan::kernel::{Fields, Kernel, Role};
use crate::plan::{Nest, Walk};
pub(super) use emit::over;
use row::{Row, TRIP};

/// `out[i] = expr(x1[i], x2[i], …)` over a nest. Items are the trips of the outermost loop.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Map {
    /// The loops.
    pub nest: Nest,
    /// Element type of each operand, destination first.
    pub dtypes: Vec<DType>,
    /// What is stored; sources start at `x1`.
    pub expr: Expr,
}

impl Map {
    /// The innermost loop as rows of blocks: with the one around it where that goes from block to block.
    /// Only of bytes, and of functions that take many steps: what code of narrower vectors makes of other f32 is
    /// as fast as memory mostly.
    fn row(&self) -> Option<Row> {
        let (dims, dtypes) = (&self.nest.dims, &self.dtypes);
        let is_near = |strides: &Vec<isize>| matches!(strides.last(), Some(0 | 1));
        let is_worth_it = dtypes.contains(&DType::U8) || self.has_formulas();
        if !is_worth_it || !self.nest.strides.iter().all(is_near) {
            return None;
        }
        let is_block = dims.len() > 1 && dims.last() == Some(&TRIP);
        let is_run = dims.last().is_some_and(|n| *n >= TRIP);
        let elements = |strides: &Vec<isize>| match strides[..] {
            [.., around, _] if is_block => around,
            [.., inner] => inner * TRIP as isize,
            [] => 0,
        };
        let spread = self.nest.strides.iter().map(|s| s.last() == Some(&0)).collect();
        let strides = self.nest.strides.iter().zip(dtypes);
        let strides = strides.map(|(s, dtype)| elements(s) as i64 * dtype.size() as i64).collect();
        let row = Row { dtypes: dtypes.clone(), spread, strides, expr: self.expr.clone() };
        (is_run && row.is_assembled()).then_some(row)
    }

    /// The function of its rows of blocks, where it has one.
    pub(super) fn leaf(&self, linker: &mut Linker) -> Result<Option<usize>> {
        match linker.has_assembler() {
            true => self.row().map(|row| linker.leaf(row)).transpose(),
            false => Ok(None),
        }
    }

    /// Whether functions take many steps.
    fn has_formulas(&self) -> bool {
        let mut any = false;
        self.expr.visit(&mut |expr| {
            any |= matches!(expr, Expr::Unary(function, _) if formula(*function).is_some());
        });
        any
    }

    /// The code of its rows of blocks, `fn(x1, x2, out, x3, blocks, x4)`, for vectors like these; `None` where it
    /// has none.
    pub fn assembled_row(&self, vectors: Vectors) -> Option<Function> {
        self.row()?.assembled(vectors)
    }
}

impl Kernel for Map {
    const NAME: &'static str = "map";

    fn arguments(&self) -> Vec<Role> {
        let sources = (1..self.dtypes.len()).map(Role::Operand);
        std::iter::once(Role::Out).chain(sources).collect()
    }

    fn items(&self) -> usize {
        self.nest.dims.first().copied().unwrap_or(1)
    }

    fn of_first(&self, there: usize, of: usize) -> Option<Map> {
        Some(Map { nest: self.nest.of_first(there, of)?, ..self.clone() })
    }

    fn walks(&self) -> Option<Vec<(Role, Walk)>> {
        let Map { nest, dtypes, expr } = self;
        let mut last = 0;
        expr.visit(&mut |expr| {
            if let Expr::Operand(operand) = expr {
                last = last.max(*operand);
            }
        });
        let is_whole = nest.strides.len() == dtypes.len() && last < dtypes.len();
        let roles = std::iter::once(Role::Out).chain((1..).map(Role::Operand));
        let operands = roles.zip(dtypes.iter().zip(&nest.strides));
        let walk = |(role, (dtype, strides)): (Role, (&DType, &Vec<isize>))| {
            Some((role, Walk::nest(dtype.size(), &nest.dims, strides)?))
        };
        if is_whole { operands.map(walk).collect() } else { None }
    }

    fn fields(&mut self, v: &mut dyn Fields) -> Result<()> {
        v.field("loops", &mut self.nest.dims)?;
        v.field("strides", &mut self.nest.strides)?;
        v.field("types", &mut self.dtypes)?;
        v.field("store", &mut self.expr)
    }

    fn emit(&self, linker: &mut Linker) -> Result<Clif> {
        let row = self.leaf(linker)?;
        linker.kernel(|e, call| emit::emit(e, self, row, call))
    }
}
