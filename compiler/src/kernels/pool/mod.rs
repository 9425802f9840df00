//! Sliding-window pooling of row-major planes.

pub(super) mod emit;

use cranelift_codegen::ir::Function;

use crate::codegen::Linker;
use crate::error::Result;
use crate::ir::{NodeId, Pool, PoolKind, Window};
use crate::kernels::lowering::{Lowering, four};
use crate::plan::Walk;
use crate::plan::kernel::{Fields, Kernel, Role};
use crate::plan::loops::of_first;

/// Sliding-window pooling of dense planes. Items are planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pooling {
    /// What is taken of each window.
    pub kind: PoolKind,
    /// Images times channels.
    pub planes: usize,
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Height and width of the output.
    pub output: [usize; 2],
    /// The window.
    pub window: Window,
}

impl Kernel for Pooling {
    const NAME: &'static str = "pool";

    fn arguments(&self) -> Vec<Role> {
        vec![Role::Out, Role::In]
    }

    fn items(&self) -> usize {
        self.planes
    }

    fn of_first(&self, there: usize, of: usize) -> Option<Pooling> {
        Some(Pooling { planes: of_first(self.planes, there, of)?, ..*self })
    }

    fn walks(&self) -> Option<Vec<(Role, Walk)>> {
        let Pooling { kind: _, planes, input, output, window } = *self;
        let all = |[height, width]: [usize; 2]| Walk::floats([planes, height, width]);
        let walks = vec![(Role::Out, all(output)), (Role::In, all(input))];
        window.goes(input, output).then_some(walks)
    }

    fn fields(&mut self, v: &mut dyn Fields) -> Result<()> {
        v.field("kind", &mut self.kind)?;
        v.field("planes", &mut self.planes)?;
        v.field("input", &mut self.input)?;
        v.field("output", &mut self.output)?;
        v.field("window", &mut self.window)
    }

    fn emit(&self, linker: &mut Linker) -> Result<Function> {
        linker.kernel(|e, call| emit::emit(e, self, call))
    }
}

/// A pool whose operand and result are row-major.
pub(super) fn lower(l: &mut Lowering<'_, '_>, id: NodeId, pool: &Pool) -> Result<()> {
    let x = l.operand(id, 0)?;
    let [n, c, h, w] = four(l.ty(x))?;
    let [_, _, oh, ow] = four(l.ty(id))?;
    let from = l.place(x)?;
    let out = l.make(id);
    let pooling = Pooling {
        kind: pool.kind,
        planes: n * c,
        input: [h, w],
        output: [oh, ow],
        window: pool.window,
    };
    l.step(pooling, [(Role::Out, out), (Role::In, from)])
}
