//! Elementwise loops: arithmetic, copies, broadcasts, fills.

mod blocked;
mod emit;
pub(super) mod lower;

use cranelift_codegen::ir::Function;

use crate::codegen::Linker;
use crate::error::Result;
use crate::ir::DType;
use crate::ir::expr::Expr;
use crate::plan::Nest;
use crate::plan::kernel::{Fields, Kernel, Role};

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

impl Kernel for Map {
    const NAME: &'static str = "map";

    fn arguments(&self) -> Vec<Role> {
        let sources = (1..self.dtypes.len()).map(Role::Operand);
        std::iter::once(Role::Out).chain(sources).collect()
    }

    fn items(&self) -> usize {
        self.nest.dims.first().copied().unwrap_or(1)
    }

    fn fields(&mut self, v: &mut dyn Fields) -> Result<()> {
        v.field("loops", &mut self.nest.dims)?;
        v.field("strides", &mut self.nest.strides)?;
        v.field("types", &mut self.dtypes)?;
        v.field("store", &mut self.expr)
    }

    fn emit(&self, linker: &mut Linker) -> Result<Function> {
        linker.kernel(|e, call| emit::emit(e, self, call))
    }
}
