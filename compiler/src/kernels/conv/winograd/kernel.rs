//! What the kernels of Winograd's filtering are to a plan.

use cranelift_codegen::ir::Function;

use super::emit;
use super::spec::{WinogradInput, WinogradOutput};
use crate::codegen::Linker;
use crate::error::Result;
use crate::kernels::conv::blocked::placed;
use crate::kernels::conv::micro_kernel::Variants;
use crate::machine::{BLOCK, Element};
use crate::plan::Walk;
use crate::plan::kernel::{Fields, Kernel, Role};
use crate::schedule::epilogue::FusedStep;

/// No function.
const NONE: Variants<usize> = [[None; 2]; 2];

impl Kernel for WinogradInput {
    const NAME: &'static str = "winograd_input";

    fn arguments(&self) -> Vec<Role> {
        vec![Role::Out, Role::In, Role::Scratch]
    }

    fn items(&self) -> usize {
        self.images.count * self.blocks.count * self.grid.tiles[0]
    }

    /// Its items, that is: where it writes them to depends on all images.
    fn of_first(&self, there: usize, of: usize) -> Option<WinogradInput> {
        Some(WinogradInput { images: self.images.of_first(there, of)?, ..self.clone() })
    }

    fn counts(&self) -> Option<usize> {
        (self.images.count > 1).then_some(self.images.count)
    }

    /// A tile half transformed.
    fn scratch(&self) -> usize {
        self.grid.elements() * BLOCK
    }

    fn walks(&self) -> Option<Vec<(Role, Walk)>> {
        let WinogradInput { grid, size, images, blocks, row, bytes: _, rounds: _ } = self;
        let plane = [(size[0], *row), (size[1], BLOCK)];
        let [pixels, made] = self.stored();
        let all = [grid.elements(), self.element()];
        self.grid.is_of(*size).then(|| {
            vec![
                (Role::Out, Walk::dense(made.bytes(), all)),
                (Role::In, Walk::blocks_of(pixels, [images.read(), blocks.read()]).by(plane)),
                (Role::Scratch, Walk::floats([self.scratch()])),
            ]
        })
    }

    fn fields(&mut self, v: &mut dyn Fields) -> Result<()> {
        self.grid.fields(v)?;
        v.field("size", &mut self.size)?;
        v.field("images", &mut self.images)?;
        v.field("blocks", &mut self.blocks)?;
        v.field("row", &mut self.row)?;
        v.field_unless("none", "pixels", &mut self.bytes)?;
        v.field_unless("false", "in_bf16", &mut self.rounds)
    }

    fn emit(&self, linker: &mut Linker) -> Result<Function> {
        let transforms = self.transforms().try_each(|spec| linker.leaf(spec.clone()))?;
        linker.kernel(|e, call| emit::input(e, self, &transforms, call))
    }
}

impl Kernel for WinogradOutput {
    const NAME: &'static str = "winograd_output";

    fn arguments(&self) -> Vec<Role> {
        let mut roles = vec![Role::Out, Role::In, Role::Weights, Role::Scratch];
        roles.extend(self.bias.then_some(Role::Bias));
        let has_residual = self.steps.contains(&FusedStep::AddResidual);
        roles.extend(has_residual.then_some(Role::Residual));
        roles.extend(self.totals.then_some(Role::Totals));
        roles
    }

    fn items(&self) -> usize {
        let chunks = self.grid.tiles[0] / self.chunk.max(1);
        self.images.count / self.grid.together.max(1)
            * self.groups.count
            * self.block_tiles()
            * chunks
    }

    /// Images that lie together are computed together, whether or not all of them are there.
    fn of_first(&self, there: usize, of: usize) -> Option<WinogradOutput> {
        let whole = there.checked_next_multiple_of(self.grid.together)?;
        let images = self.images.of_first(whole, of)?;
        self.counts().map(|_| WinogradOutput { images, ..self.clone() })
    }

    fn counts(&self) -> Option<usize> {
        let runs = self.images.count.checked_div(self.grid.together)?;
        (runs > 1).then_some(runs)
    }

    fn multiply_adds(&self) -> usize {
        let pixels = self.images.count * self.size[0] * self.size[1];
        self.groups.count * self.blocks * BLOCK * pixels * self.micro.multiply_adds() * 9
    }

    fn multiplies(&self) -> Element {
        self.micro.element
    }

    /// The products of an item, then those of a tile half transformed.
    fn scratch(&self) -> usize {
        self.grid.elements() * (self.product() + BLOCK)
    }

    fn walks(&self) -> Option<Vec<(Role, Walk)>> {
        if !self.is_whole() {
            return None;
        }
        let WinogradOutput { grid, images, groups, size, rows, micro, .. } = self;
        let all = groups.count.saturating_mul(self.blocks);
        let plane = |operand: usize| {
            [(self.blocks, self.block[operand]), (size[0], rows[operand]), (size[1], BLOCK)]
        };
        let around = [images.written(), groups.written()];
        let read = micro.read_by([images.read(), groups.read()], grid.tiles[0] * grid.tiles[1]);
        Some(vec![
            (Role::Out, Walk::blocks_of(self.stored(), around).by(plane(0))),
            (Role::In, read.by([(grid.elements(), self.element)])),
            (Role::Weights, Walk::floats([all, grid.elements(), micro.lines(), BLOCK])),
            (Role::Scratch, Walk::floats([self.scratch()])),
            (Role::Bias, Walk::floats([all, BLOCK])),
            (Role::Residual, Walk::blocks([images.added(), groups.added()]).by(plane(1))),
            (Role::Totals, Walk::floats([images.count, self.totals_image()])),
        ])
    }

    fn fields(&mut self, v: &mut dyn Fields) -> Result<()> {
        self.grid.fields(v)?;
        v.field("images", &mut self.images)?;
        v.field("groups", &mut self.groups)?;
        v.field("blocks", &mut self.blocks)?;
        v.field("chunk", &mut self.chunk)?;
        v.field("size", &mut self.size)?;
        v.field("element", &mut self.element)?;
        v.field("rows", &mut self.rows)?;
        v.field("block", &mut self.block)?;
        v.field("bias", &mut self.bias)?;
        v.field("then", &mut self.steps)?;
        v.field("totals", &mut self.totals)?;
        v.field_unless("none", "pixels_made", &mut self.made)?;
        self.micro.fields(v)
    }

    fn emit(&self, linker: &mut Linker) -> Result<Function> {
        let mut products = self.variants().map(|row| row.map(|(class, _)| (class, NONE)));
        let specs = self.variants();
        for (offsets, (_, specs)) in products.iter_mut().flatten().zip(specs.into_iter().flatten())
        {
            offsets.1 = placed(linker, specs)?;
        }
        let transforms = self.transforms().try_each(|spec| linker.leaf(spec.clone()))?;
        linker.kernel(|e, call| emit::output(e, self, &products, &transforms, call))
    }
}
