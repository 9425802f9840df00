//! Around Strassen's products and their sums: finds where each item begins, and calls.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{FuncRef, InstBuilder, Value};

use super::tile::{self, Passes};
use super::winograd::moved;
use crate::codegen::emitter::Emitter;
use crate::plan::strassen::{FACTORS, Factor, PRODUCTS, StrassenInput, StrassenOutput};
use crate::plan::tile::BLOCK;

/// Bytes of an element.
const ELEMENT: i64 = 4;
/// Bytes of a block.
const BLOCK_BYTES: i64 = BLOCK as i64 * ELEMENT;

pub(in crate::codegen) fn input(
    e: &mut Emitter<'_, '_>,
    spec: &StrassenInput,
    sums: FuncRef,
    [args, begin, end, _]: [Value; 4],
) {
    let (out, from) = (e.pointer(args, 0), e.pointer(args, 1));
    let [pieces, pixels] = spec.pieces;
    e.each(begin, end, |e, item| {
        let (plane, piece) = e.divide(item, pieces);
        let (image, block) = e.divide(plane, spec.blocks.count);
        let [mut from, mut to] = [from, out];
        for (index, [input, output]) in [
            (image, [spec.images.input, spec.images.output]),
            (block, [spec.blocks.stride; 2]),
            (piece, [pixels * BLOCK; 2]),
        ] {
            from = moved(e, from, index, input);
            to = moved(e, to, index, output);
        }
        let (count, none) = (e.int(pixels as i64), e.int(0));
        e.builder.ins().call(sums, &[from, none, to, none, count, none]);
    });
}

/// Byte addresses of an item.
struct Here {
    input: Value,
    sums: Value,
    weights: Value,
    scratch: Value,
    out: Value,
    bias: Value,
    other: Value,
    next: Value,
}

pub(in crate::codegen) fn output(
    e: &mut Emitter<'_, '_>,
    spec: &StrassenOutput,
    passes: &Passes,
    sums: FuncRef,
    [args, begin, end, worker]: [Value; 4],
) {
    let none = e.int(0);
    let scratch = e.pointer(args, 4);
    let [bias, other, next] =
        spec.optional().map(|argument| argument.map_or(none, |at| e.pointer(args, at)));
    let base = Here {
        out: e.pointer(args, 0),
        input: e.pointer(args, 1),
        weights: e.pointer(args, 2),
        sums: e.pointer(args, 3),
        scratch: moved(e, scratch, worker, spec.scratch()),
        bias,
        other,
        next,
    };
    e.each(begin, end, |e, item| {
        let tile = &spec.tile;
        let (_, block_tile, image, row) = tile::indices(e, tile, item);
        let first = e.mul_imm(block_tile, tile.micro.blocks as i64);
        let mut at = |base: Value, [by_image, by_row, by_block]: [usize; 3]| {
            let base = moved(e, base, image, by_image);
            let base = moved(e, base, row, by_row);
            moved(e, base, first, by_block)
        };
        let (images, rows) = (&tile.images, &tile.rows);
        let next_image = spec.next.map_or(0, |next| next.image);
        let weights = PRODUCTS * tile.micro.depth() * BLOCK;
        let here = Here {
            input: at(base.input, [images.input, rows.input, 0]),
            sums: at(base.sums, [spec.sums_image, rows.input, 0]),
            weights: at(base.weights, [0, 0, weights]),
            scratch: base.scratch,
            out: at(base.out, [images.output, rows.output, spec.block[0]]),
            bias: at(base.bias, [0, 0, BLOCK]),
            other: at(base.other, [images.other, rows.other, spec.block[1]]),
            next: at(base.next, [next_image, rows.output, spec.block[0]]),
        };
        by_blocks(e, spec, passes, sums, block_tile, &here);
    });
}

/// An item: with as many blocks as a whole tile has, or as are left for the last.
fn by_blocks(
    e: &mut Emitter<'_, '_>,
    spec: &StrassenOutput,
    passes: &Passes,
    sums: FuncRef,
    tile: Value,
    here: &Here,
) {
    let (blocks, wide) = (spec.tile.blocks, spec.tile.micro.blocks);
    let (whole, rest) = (blocks / wide, blocks % wide);
    let of = |e: &mut Emitter<'_, '_>, size: usize| {
        quarters(e, spec, passes, size, here);
        outputs(e, spec, sums, [wide, rest][size], here);
    };
    if whole == 0 || rest == 0 {
        return of(e, usize::from(whole == 0));
    }
    let last = e.int(whole as i64);
    let is_last = e.builder.ins().icmp(IntCC::Equal, tile, last);
    e.either(is_last, |e| of(e, 1), |e| of(e, 0));
}

/// The seven products, into scratch memory; `size` says for how many blocks.
fn quarters(
    e: &mut Emitter<'_, '_>,
    spec: &StrassenOutput,
    passes: &Passes,
    size: usize,
    here: &Here,
) {
    let none = e.int(0);
    let (weights, product) = (spec.tile.micro.depth() as i64, spec.product() as i64);
    for (number, factor) in FACTORS.into_iter().enumerate() {
        let number = number as i64;
        let (base, at) = match factor {
            Factor::Quarter(pixels, channels) => (here.input, spec.from.at(pixels, channels)),
            Factor::Sum(sum) => (here.sums, spec.sums.at(sum % 2, sum / 2)),
        };
        let of_product = tile::Here {
            input: e.add_imm(base, at as i64 * ELEMENT),
            weights: e.add_imm(here.weights, number * weights * BLOCK_BYTES),
            out: e.add_imm(here.scratch, number * product * ELEMENT),
            bias: none,
            other: none,
        };
        tile::parts(e, &spec.tile, passes, size, of_product);
    }
}

/// The outputs of so many blocks.
fn outputs(
    e: &mut Emitter<'_, '_>,
    spec: &StrassenOutput,
    sums: FuncRef,
    blocks: usize,
    here: &Here,
) {
    let columns = spec.tile.columns as i64;
    let pixels = e.int(columns);
    let state = [here.scratch, here.next, here.out, here.bias, here.other];
    e.repeat(blocks, &state, |e, state| {
        let [from, next, out, bias, other] = [state[0], state[1], state[2], state[3], state[4]];
        e.builder.ins().call(sums, &[from, next, out, bias, pixels, other]);
        let [out_block, other_block] = spec.block.map(|n| n as i64 * ELEMENT);
        vec![
            e.add_imm(from, columns * BLOCK_BYTES),
            e.add_imm(next, out_block),
            e.add_imm(out, out_block),
            e.add_imm(bias, BLOCK_BYTES),
            e.add_imm(other, other_block),
        ]
    });
}
