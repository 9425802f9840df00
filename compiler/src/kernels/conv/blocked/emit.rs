//! Around the micro-kernel: finds where each item's tiles begin, and calls.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{FuncRef, InstBuilder, Value};

use super::{BlockedConv, Splits};
use crate::codegen::KernelCall;
use crate::codegen::emitter::Emitter;
use crate::kernels::conv::micro_kernel::Variants;
use crate::kernels::pointers::Pointers;
use crate::machine::{BLOCK, Element, F32_BYTES};
use crate::plan::{Loop, Role};

/// The micro-kernels that are called, by runs of parts of the contraction.
pub(in crate::kernels::conv) type Functions = [(usize, Variants<FuncRef>)];

/// Functions at the offsets of all splits.
pub(in crate::kernels::conv) fn imported(
    e: &mut Emitter<'_, '_>,
    splits: &Splits<usize>,
) -> Vec<(usize, Variants<FuncRef>)> {
    let each = |(times, offsets): &(usize, Variants<usize>)| (*times, functions(e, offsets));
    splits.iter().map(each).collect()
}

/// Functions at these offsets.
pub(in crate::kernels::conv) fn functions(
    e: &mut Emitter<'_, '_>,
    offsets: &Variants<usize>,
) -> Variants<FuncRef> {
    offsets.map(|row| row.map(|offset| Some(e.leaf(offset?))))
}

/// Byte addresses of an item.
#[derive(Clone, Copy)]
pub(in crate::kernels::conv) struct Here {
    pub(in crate::kernels::conv) input: Value,
    pub(in crate::kernels::conv) weights: Value,
    pub(in crate::kernels::conv) out: Value,
    pub(in crate::kernels::conv) bias: Value,
    pub(in crate::kernels::conv) residual: Value,
}

pub(super) fn emit(
    e: &mut Emitter<'_, '_>,
    spec: &BlockedConv,
    splits: &Splits<usize>,
    call: KernelCall,
) {
    let functions = imported(e, splits);
    let pointers = Pointers::of(spec, call);
    let base = Here {
        out: pointers.load(e, Role::Out),
        input: pointers.load(e, Role::In),
        weights: pointers.load(e, Role::Weights),
        bias: pointers.load(e, Role::Bias),
        residual: pointers.load(e, Role::Residual),
    };
    let images = pointers.runs(e, spec);
    e.each(call.begin, call.end, |e, item| {
        let (group, block_tile, image, row) = indices(e, spec, images, item);
        let mut here = base;
        for (index, around) in [(image, &spec.images), (group, &spec.groups), (row, &spec.rows)] {
            here = moved(e, spec, here, index, around);
        }
        let micro = &spec.micro;
        // Weights and bias of earlier groups, then of earlier tiles of this one.
        let row_of_weights = (micro.lines() * BLOCK * F32_BYTES) as i64;
        let [made, added] = [micro.made(), micro.added()].map(Element::bytes);
        let blocks = e.mul_imm(group, spec.blocks as i64);
        let within = e.mul_imm(block_tile, micro.blocks as i64);
        let before = e.add(blocks, within);
        let by = e.mul_imm(before, row_of_weights);
        here.weights = e.add(here.weights, by);
        let by = e.mul_imm(before, (BLOCK * F32_BYTES) as i64);
        here.bias = e.add(here.bias, by);
        let by = e.mul_imm(within, (micro.output_block * made) as i64);
        here.out = e.add(here.out, by);
        let by = e.mul_imm(within, (micro.residual_block * added) as i64);
        here.residual = e.add(here.residual, by);
        calls(e, spec, &functions, block_tile, here);
    });
}

/// Group, tile of blocks, image and row of an item, of so many images if the kernel counts them.
pub(in crate::kernels::conv) fn indices(
    e: &mut Emitter<'_, '_>,
    spec: &BlockedConv,
    images: Option<Value>,
    item: Value,
) -> (Value, Value, Value, Value) {
    let tiles = spec.block_tiles();
    if spec.pixels_first {
        let (rest, block_tile) = e.divide(item, tiles);
        let (rest, group) = e.divide(rest, spec.groups.count);
        let (image, row) = e.divide(rest, spec.rows.count);
        return (group, block_tile, image, row);
    }
    let (rest, row) = e.divide(item, spec.rows.count);
    let (rest, image) = e.divide_by(rest, images);
    let (group, block_tile) = e.divide(rest, tiles);
    (group, block_tile, image, row)
}

fn moved(
    e: &mut Emitter<'_, '_>,
    spec: &BlockedConv,
    here: Here,
    index: Value,
    around: &Loop,
) -> Here {
    let [made, added] = [spec.micro.made(), spec.micro.added()].map(Element::bytes);
    let mut at = |base: Value, bytes: usize| {
        let by = e.mul_imm(index, bytes as i64);
        e.add(base, by)
    };
    Here {
        input: at(here.input, around.input * F32_BYTES),
        out: at(here.out, around.output * made),
        residual: at(here.residual, around.residual * added),
        ..here
    }
}

/// An item: with as many blocks as a whole tile has, or as are left for the last.
fn calls(
    e: &mut Emitter<'_, '_>,
    spec: &BlockedConv,
    functions: &Functions,
    tile: Value,
    here: Here,
) {
    let (whole, rest) = (spec.blocks / spec.micro.blocks, spec.blocks % spec.micro.blocks);
    if rest == 0 {
        return splits(e, spec, functions, 0, here);
    }
    if whole == 0 {
        return splits(e, spec, functions, 1, here);
    }
    let last = e.int(whole as i64);
    let is_last = e.builder.ins().icmp(IntCC::Equal, tile, last);
    e.either(
        is_last,
        |e| splits(e, spec, functions, 1, here),
        |e| splits(e, spec, functions, 0, here),
    );
}

/// Every split of the contraction, one after the other; `size` says for how many blocks.
pub(in crate::kernels::conv) fn splits(
    e: &mut Emitter<'_, '_>,
    spec: &BlockedConv,
    functions: &Functions,
    size: usize,
    here: Here,
) {
    let input = spec.micro.reduce.first().map_or(0, |r| r.count / spec.k_splits * r.input);
    let weights = spec.micro.depth() / spec.k_splits * BLOCK;
    let mut at = vec![here.input, here.weights];
    for (count, variants) in functions {
        at = e.repeat(*count, &at, |e, at| {
            row(e, spec, &variants[size], Here { input: at[0], weights: at[1], ..here });
            let by = [input, weights].map(|n| (n * F32_BYTES) as i64);
            vec![e.add_imm(at[0], by[0]), e.add_imm(at[1], by[1])]
        });
    }
}

/// The row's whole tiles and its last.
fn row(e: &mut Emitter<'_, '_>, spec: &BlockedConv, functions: &[Option<FuncRef>; 2], here: Here) {
    let micro = &spec.micro;
    let whole = spec.columns / micro.pixels;
    let mut here = here;
    for (function, tiles) in functions.iter().zip([whole, 1]) {
        let Some(function) = function else { continue };
        let count = e.int(tiles as i64);
        let args = [here.input, here.weights, here.out, here.bias, count, here.residual];
        e.builder.ins().call(*function, &args);
        let pixels = tiles * micro.pixels;
        let [made, added] = [micro.made(), micro.added()].map(Element::bytes);
        let bytes = |distance: usize, element: usize| (pixels * distance * element) as i64;
        here.input = e.add_imm(here.input, bytes(micro.input_pixel, F32_BYTES));
        here.out = e.add_imm(here.out, bytes(micro.output_pixel, made));
        here.residual = e.add_imm(here.residual, bytes(micro.output_pixel, added));
    }
}
