//! Around Winograd's transforms and products: finds where each item begins, and calls.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{FuncRef, InstBuilder, Value};

use crate::codegen::emitter::Emitter;
use crate::plan::tile::{BLOCK, TileStep, Variants};
use crate::plan::winograd::{WinogradInput, WinogradOutput};

/// Bytes of an element.
const ELEMENT: i64 = 4;
/// Bytes of a block.
const BLOCK_BYTES: i64 = BLOCK as i64 * ELEMENT;

pub(in crate::codegen) fn input(
    e: &mut Emitter<'_, '_>,
    spec: &WinogradInput,
    transform: FuncRef,
    [args, begin, end, worker]: [Value; 4],
) {
    let (out, from, scratch) = (e.pointer(args, 0), e.pointer(args, 1), e.pointer(args, 2));
    let by = e.mul_imm(worker, spec.scratch() as i64 * ELEMENT);
    let scratch = e.add(scratch, by);
    let [rows, columns] = spec.tiles;
    e.each(begin, end, |e, item| {
        let (plane, row) = e.divide(item, rows);
        let (block, image) = e.divide(plane, spec.images.count);
        let row = pixel_row(e, row, spec.outputs, spec.dilation);
        let mut at = from;
        for (index, stride) in
            [(image, spec.images.stride), (block, spec.blocks.stride), (row, spec.row)]
        {
            at = moved(e, at, index, stride);
        }
        // Items follow each other in the output as they are numbered.
        let to = moved(e, out, item, columns * BLOCK);
        let of_phase = columns / spec.dilation;
        let (count, none) = (e.int(of_phase as i64), e.int(0));
        e.repeat(spec.dilation, &[at, to], |e, state| {
            e.builder.ins().call(transform, &[state[0], scratch, state[1], none, count, none]);
            vec![
                e.add_imm(state[0], BLOCK_BYTES),
                e.add_imm(state[1], of_phase as i64 * BLOCK_BYTES),
            ]
        });
    });
}

/// The first row of pixels of a row of tiles.
fn pixel_row(e: &mut Emitter<'_, '_>, row: Value, outputs: usize, dilation: usize) -> Value {
    let (tile, phase) = e.divide(row, dilation);
    let first = e.mul_imm(tile, (outputs * dilation) as i64);
    if dilation == 1 { first } else { e.add(first, phase) }
}

/// Byte addresses of an item.
struct Here {
    from: Value,
    weights: Value,
    out: Value,
    bias: Value,
    other: Value,
    /// The item's first row of tiles.
    row: Value,
}

pub(in crate::codegen) fn output(
    e: &mut Emitter<'_, '_>,
    spec: &WinogradOutput,
    products: &Variants<FuncRef>,
    transforms: &Variants<FuncRef>,
    [args, begin, end, worker]: [Value; 4],
) {
    let none = e.int(0);
    let has_other = spec.steps.contains(&TileStep::AddOther);
    let [out, from, weights, scratch] = [0, 1, 2, 3].map(|i| e.pointer(args, i));
    let bias = if spec.bias { e.pointer(args, 4) } else { none };
    let other = if has_other { e.pointer(args, 4 + usize::from(spec.bias)) } else { none };
    let by = e.mul_imm(worker, spec.scratch() as i64 * ELEMENT);
    let scratch = e.add(scratch, by);
    e.each(begin, end, |e, item| {
        let chunks = spec.tiles[0] / spec.chunk;
        let (rest, chunk) = e.divide(item, chunks);
        let (rest, first) = e.divide(rest, spec.images.count / spec.together);
        let image = e.mul_imm(first, spec.together as i64);
        let (group, tile) = e.divide(rest, spec.block_tiles());
        let row = e.mul_imm(chunk, spec.chunk as i64);
        let mut here = Here { from, weights, out, bias, other, row };
        for (index, around) in [(image, &spec.images), (group, &spec.groups)] {
            here.from = moved(e, here.from, index, around.input);
            here.out = moved(e, here.out, index, around.output);
            here.other = moved(e, here.other, index, around.other);
        }
        here.from = moved(e, here.from, chunk, spec.columns() * BLOCK);
        // Weights and bias of earlier groups, then of earlier tiles of this one.
        let blocks = e.mul_imm(group, spec.blocks as i64);
        let within = e.mul_imm(tile, spec.micro.blocks as i64);
        let before = e.add(blocks, within);
        let depth = spec.micro.depth() * spec.elements();
        here.weights = moved(e, here.weights, before, depth * BLOCK);
        here.bias = moved(e, here.bias, before, BLOCK);
        here.out = moved(e, here.out, within, spec.block[0]);
        here.other = moved(e, here.other, within, spec.block[1]);
        by_blocks(e, spec, products, transforms, tile, scratch, &here);
    });
}

/// The address so many strides further.
pub(super) fn moved(e: &mut Emitter<'_, '_>, base: Value, index: Value, stride: usize) -> Value {
    let by = e.mul_imm(index, stride as i64 * ELEMENT);
    e.add(base, by)
}

/// A whole tile of blocks, or the last one, of as many as there are.
fn by_blocks(
    e: &mut Emitter<'_, '_>,
    spec: &WinogradOutput,
    products: &Variants<FuncRef>,
    transforms: &Variants<FuncRef>,
    tile: Value,
    scratch: Value,
    here: &Here,
) {
    let (whole, rest) = (spec.blocks / spec.micro.blocks, spec.blocks % spec.micro.blocks);
    let sizes = [spec.micro.blocks, rest];
    if whole == 0 || rest == 0 {
        let at = usize::from(whole == 0);
        return item(e, spec, &products[at], transforms, sizes[at], scratch, here);
    }
    let last = e.int(whole as i64);
    let is_last = e.builder.ins().icmp(IntCC::Equal, tile, last);
    e.either(
        is_last,
        |e| item(e, spec, &products[1], transforms, sizes[1], scratch, here),
        |e| item(e, spec, &products[0], transforms, sizes[0], scratch, here),
    );
}

fn item(
    e: &mut Emitter<'_, '_>,
    spec: &WinogradOutput,
    products: &[Option<FuncRef>; 2],
    transforms: &Variants<FuncRef>,
    blocks: usize,
    scratch: Value,
    here: &Here,
) {
    let columns = spec.columns();
    // Scratch has room for a whole tile of blocks.
    let element = spec.product() as i64 * ELEMENT;
    let weights = spec.micro.depth() as i64 * BLOCK_BYTES;
    let state = [here.from, here.weights, scratch];
    let (pixels, none) = (spec.micro.pixels, e.int(0));
    e.repeat(spec.elements(), &state, |e, state| {
        let [mut from, at_weights, mut to] = [state[0], state[1], state[2]];
        for (function, tiles) in products.iter().zip([columns / pixels, 1]) {
            let Some(function) = function else { continue };
            let count = e.int(tiles as i64);
            e.builder.ins().call(*function, &[from, at_weights, to, none, count, none]);
            let by = (tiles * pixels) as i64 * BLOCK_BYTES;
            (from, to) = (e.add_imm(from, by), e.add_imm(to, by));
        }
        vec![
            e.add_imm(state[0], spec.element as i64 * ELEMENT),
            e.add_imm(state[1], weights),
            e.add_imm(state[2], element),
        ]
    });
    let behind = spec.elements() as i64 * element;
    let temporary = e.add_imm(scratch, behind);
    let state = [scratch, here.bias, here.out, here.other];
    e.repeat(blocks, &state, |e, state| {
        let images = [state[0], state[2], state[3]];
        e.repeat(spec.together, &images, |e, image| {
            let rows = e.repeat(spec.chunk, &[image[0], here.row], |e, row| {
                let at = pixel_row(e, row[1], spec.outputs, spec.dilation);
                let out = moved(e, image[1], at, spec.rows[0]);
                let other = moved(e, image[2], at, spec.rows[1]);
                transform_row(
                    e,
                    spec,
                    transforms,
                    [row[0], out, other, row[1]],
                    state[1],
                    temporary,
                );
                vec![e.add_imm(row[0], spec.tiles[1] as i64 * BLOCK_BYTES), e.add_imm(row[1], 1)]
            });
            let [out, other] = [spec.images.output, spec.images.other];
            vec![
                rows[0],
                e.add_imm(image[1], out as i64 * ELEMENT),
                e.add_imm(image[2], other as i64 * ELEMENT),
            ]
        });
        vec![
            e.add_imm(state[0], columns as i64 * BLOCK_BYTES),
            e.add_imm(state[1], BLOCK_BYTES),
            e.add_imm(state[2], spec.block[0] as i64 * ELEMENT),
            e.add_imm(state[3], spec.block[1] as i64 * ELEMENT),
        ]
    });
}

/// A row of tiles: where it is in the products, the output and the other operand, and its number. The
/// last of each phase may be cut off at the bottom.
fn transform_row(
    e: &mut Emitter<'_, '_>,
    spec: &WinogradOutput,
    transforms: &Variants<FuncRef>,
    row: [Value; 4],
    bias: Value,
    temporary: Value,
) {
    let [whole, cut] = transforms;
    if cut.iter().all(Option::is_none) || whole.iter().all(Option::is_none) {
        let functions = if cut.iter().all(Option::is_none) { whole } else { cut };
        return transform_tiles(e, spec, functions, row, bias, temporary);
    }
    let last = e.int((spec.tiles[0] - spec.dilation) as i64);
    let is_last = e.builder.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, row[3], last);
    e.either(
        is_last,
        |e| transform_tiles(e, spec, cut, row, bias, temporary),
        |e| transform_tiles(e, spec, whole, row, bias, temporary),
    );
}

fn transform_tiles(
    e: &mut Emitter<'_, '_>,
    spec: &WinogradOutput,
    functions: &[Option<FuncRef>; 2],
    [from, out, other, _]: [Value; 4],
    bias: Value,
    temporary: Value,
) {
    let whole = spec.size[1] / spec.dilation / spec.outputs;
    e.repeat(spec.dilation, &[from, out, other], |e, state| {
        let [mut from, mut out, mut other] = [state[0], state[1], state[2]];
        for (function, tiles) in functions.iter().zip([whole, 1]) {
            let Some(function) = function else { continue };
            let count = e.int(tiles as i64);
            e.builder.ins().call(*function, &[from, temporary, out, bias, count, other]);
            from = e.add_imm(from, tiles as i64 * BLOCK_BYTES);
            let by = (tiles * spec.outputs * spec.dilation) as i64 * BLOCK_BYTES;
            (out, other) = (e.add_imm(out, by), e.add_imm(other, by));
        }
        vec![from, e.add_imm(state[1], BLOCK_BYTES), e.add_imm(state[2], BLOCK_BYTES)]
    });
}
