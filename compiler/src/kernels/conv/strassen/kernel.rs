//! What the kernels of Strassen's products are to a plan.

use cranelift_codegen::ir::Function;

use super::emit;
use super::spec::{Halves, PRODUCTS, StrassenInput, StrassenOutput};
use crate::codegen::Linker;
use crate::error::Result;
use crate::kernels::conv::blocked::BlockedConv;
use crate::machine::BLOCK;
use crate::plan::Walk;
use crate::plan::kernel::{Fields, Kernel, Role};
use crate::schedule::epilogue::FusedStep;

impl Kernel for StrassenInput {
    const NAME: &'static str = "strassen_input";

    fn arguments(&self) -> Vec<Role> {
        vec![Role::Out, Role::In]
    }

    fn items(&self) -> usize {
        self.images.count * self.blocks.count * self.pieces[0]
    }

    fn of_first(&self, there: usize, of: usize) -> Option<StrassenInput> {
        Some(StrassenInput { images: self.images.of_first(there, of)?, ..self.clone() })
    }

    fn walks(&self) -> Option<Vec<(Role, Walk)>> {
        let StrassenInput { images, blocks, pieces, from, to } = self;
        let piece = (pieces[0].saturating_mul(pieces[1]), BLOCK);
        let walk =
            |image, halves: &Halves| Walk::blocks([image, blocks.read(), piece]).by(halves.both());
        let walks =
            vec![(Role::Out, walk(images.written(), to)), (Role::In, walk(images.read(), from))];
        // A piece of no pixels would be counted down from none.
        (pieces[1] > 0).then_some(walks)
    }

    fn fields(&mut self, v: &mut dyn Fields) -> Result<()> {
        v.field("images", &mut self.images)?;
        v.field("blocks", &mut self.blocks)?;
        v.field("pieces", &mut self.pieces)?;
        v.field("in_halves", &mut self.from)?;
        v.field("out_halves", &mut self.to)
    }

    fn emit(&self, linker: &mut Linker) -> Result<Function> {
        let sums = linker.leaf(self.sums())?;
        linker.kernel(|e, call| emit::input(e, self, sums, call))
    }
}

impl Kernel for StrassenOutput {
    const NAME: &'static str = "strassen_output";

    fn arguments(&self) -> Vec<Role> {
        let mut roles = vec![Role::Out, Role::In, Role::Weights, Role::Sums, Role::Scratch];
        roles.extend(self.bias.then_some(Role::Bias));
        let has_residual = self.steps.contains(&FusedStep::AddResidual);
        roles.extend(has_residual.then_some(Role::Residual));
        roles.extend(self.next.map(|_| Role::NextSums));
        roles
    }

    fn items(&self) -> usize {
        Kernel::items(&self.tile)
    }

    fn of_first(&self, there: usize, of: usize) -> Option<StrassenOutput> {
        Some(StrassenOutput { tile: self.tile.of_first(there, of)?, ..self.clone() })
    }

    fn counts(&self) -> Option<usize> {
        self.tile.counts()
    }

    fn multiply_adds(&self) -> usize {
        let BlockedConv { images, rows, columns, blocks, micro, .. } = &self.tile;
        8 * images.count * rows.count * columns * blocks * BLOCK * micro.depth()
    }

    fn scratch(&self) -> usize {
        PRODUCTS * self.product()
    }

    fn walks(&self) -> Option<Vec<(Role, Walk)>> {
        let BlockedConv { images, blocks, rows, columns, micro, .. } = &self.tile;
        let read = |image: (usize, usize), halves: &Halves| {
            micro.read_by([image, rows.read()], *columns).by(halves.both())
        };
        let made = |image: (usize, usize), block: usize, row: (usize, usize), halves: &Halves| {
            Walk::blocks([image, (*blocks, block), row, (*columns, BLOCK)]).by(halves.both())
        };
        let next = self.next.unwrap_or_default();
        let [out, residual] = self.block;
        let walks = vec![
            (Role::Out, made(images.written(), out, rows.written(), &self.to)),
            (Role::In, read(images.read(), &self.from)),
            (Role::Weights, Walk::floats([*blocks, PRODUCTS, micro.depth(), BLOCK])),
            (Role::Sums, read((images.count, self.sums_image), &self.sums)),
            (Role::Scratch, Walk::floats([self.scratch()])),
            (Role::Bias, Walk::floats([2, *blocks, BLOCK])),
            (Role::Residual, made(images.added(), residual, rows.added(), &self.residual)),
            (Role::NextSums, made((images.count, next.image), out, rows.written(), &next.to)),
        ];
        (self.tile.is_tiled() && micro.is_packed(PRODUCTS)).then_some(walks)
    }

    /// Halves of an odd number of pixels share one.
    fn may_write_twice(&self) -> bool {
        true
    }

    fn fields(&mut self, v: &mut dyn Fields) -> Result<()> {
        v.field("in_halves", &mut self.from)?;
        v.field("sum_halves", &mut self.sums)?;
        v.field("out_halves", &mut self.to)?;
        v.field("residual_halves", &mut self.residual)?;
        v.field("sum_image", &mut self.sums_image)?;
        v.field("block", &mut self.block)?;
        v.field("bias", &mut self.bias)?;
        v.field("then", &mut self.steps)?;
        let mut next = self.next.unwrap_or_default();
        v.field("next_halves", &mut next.to)?;
        v.field("next_image", &mut next.image)?;
        self.next = (next.image > 0).then_some(next);
        self.tile.all_fields(v)
    }

    fn emit(&self, linker: &mut Linker) -> Result<Function> {
        let splits = self.tile.place_micro_kernels(linker)?;
        let sums = linker.leaf(self.sums())?;
        linker.kernel(|e, call| emit::output(e, self, &splits, sums, call))
    }
}
