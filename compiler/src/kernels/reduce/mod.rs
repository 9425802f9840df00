//! Sums, means and extremes over axes.

mod emit;
pub(super) mod lower;

use cranelift_codegen::ir::Function;

use crate::codegen::Linker;
use crate::error::Result;
use crate::ir::{DType, ReduceKind};
use crate::plan::kernel::{Fields, Kernel, Role};
use crate::plan::{Nest, Walk};

/// A reduction. Items are output elements.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reduction {
    /// How elements combine.
    pub kind: ReduceKind,
    /// Element type.
    pub dtype: DType,
    /// Loops over the kept axes: out, in.
    pub kept: Nest,
    /// Loops over the reduced axes: in only.
    pub reduced: Nest,
}

impl Kernel for Reduction {
    const NAME: &'static str = "reduce";

    fn arguments(&self) -> Vec<Role> {
        vec![Role::Out, Role::In]
    }

    fn items(&self) -> usize {
        self.kept.trips()
    }

    fn of_first(&self, there: usize, of: usize) -> Option<Reduction> {
        Some(Reduction { kept: self.kept.of_first(there, of)?, ..self.clone() })
    }

    fn walks(&self) -> Option<Vec<(Role, Walk)>> {
        let size = self.dtype.size();
        let walk =
            |nest: &Nest, operand: usize| Walk::nest(size, &nest.dims, nest.strides.get(operand)?);
        let read = walk(&self.kept, 1)?.and(&walk(&self.reduced, 0)?);
        Some(vec![(Role::Out, walk(&self.kept, 0)?), (Role::In, read)])
    }

    fn fields(&mut self, v: &mut dyn Fields) -> Result<()> {
        v.field("kind", &mut self.kind)?;
        v.field("type", &mut self.dtype)?;
        v.field("kept", &mut self.kept.dims)?;
        v.field("kept_strides", &mut self.kept.strides)?;
        v.field("reduced", &mut self.reduced.dims)?;
        v.field("reduced_strides", &mut self.reduced.strides)
    }

    fn emit(&self, linker: &mut Linker) -> Result<Function> {
        linker.kernel(|e, call| emit::emit(e, self, call))
    }
}
