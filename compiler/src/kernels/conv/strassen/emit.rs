//! Around Strassen's products and their sums: finds where each item begins, and calls.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{FuncRef, InstBuilder, Value};

use super::spec::{FACTORS, Factor, PRODUCTS, StrassenInput, StrassenOutput};
use crate::codegen::KernelCall;
use crate::codegen::emitter::Emitter;
use crate::kernels::conv::blocked::Splits;
use crate::kernels::conv::blocked::emit::{self, Functions};
use crate::kernels::pointers::Pointers;
use crate::machine::{BLOCK, F32_BYTES};
use crate::plan::Role;

const ELEMENT: i64 = F32_BYTES as i64;
/// Bytes of a block.
const BLOCK_BYTES: i64 = BLOCK as i64 * ELEMENT;

pub(super) fn input(e: &mut Emitter<'_, '_>, spec: &StrassenInput, sums: usize, call: KernelCall) {
    let sums = e.leaf(sums);
    let pointers = Pointers::of(spec, call);
    let [out, from] = [Role::Out, Role::In].map(|role| pointers.load(e, role));
    let [pieces, pixels] = spec.pieces;
    e.each(call.begin, call.end, |e, item| {
        let (plane, piece) = e.divide(item, pieces);
        let (image, block) = e.divide(plane, spec.blocks.count);
        let [mut from, mut to] = [from, out];
        for (index, [input, output]) in [
            (image, [spec.images.input, spec.images.output]),
            (block, [spec.blocks.input; 2]),
            (piece, [pixels * BLOCK; 2]),
        ] {
            from = e.moved(from, index, input);
            to = e.moved(to, index, output);
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
    residual: Value,
    next: Value,
}

pub(super) fn output(
    e: &mut Emitter<'_, '_>,
    spec: &StrassenOutput,
    splits: &Splits<usize>,
    sums: usize,
    call: KernelCall,
) {
    let functions = emit::imported(e, splits);
    let sums = e.leaf(sums);
    let pointers = Pointers::of(spec, call);
    let base = Here {
        out: pointers.load(e, Role::Out),
        input: pointers.load(e, Role::In),
        weights: pointers.load(e, Role::Weights),
        sums: pointers.load(e, Role::Sums),
        scratch: pointers.scratch(e, spec),
        bias: pointers.load(e, Role::Bias),
        residual: pointers.load(e, Role::Residual),
        next: pointers.load(e, Role::NextSums),
    };
    let images = pointers.runs(e, spec);
    e.each(call.begin, call.end, |e, item| {
        let tile = &spec.tile;
        let (_, block_tile, image, row) = emit::indices(e, tile, images, item);
        let first = e.mul_imm(block_tile, tile.micro.blocks as i64);
        let mut at = |base: Value, [by_image, by_row, by_block]: [usize; 3]| {
            let base = e.moved(base, image, by_image);
            let base = e.moved(base, row, by_row);
            e.moved(base, first, by_block)
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
            residual: at(base.residual, [images.residual, rows.residual, spec.block[1]]),
            next: at(base.next, [next_image, rows.output, spec.block[0]]),
        };
        by_blocks(e, spec, &functions, sums, block_tile, &here);
    });
}

/// An item: with as many blocks as a whole tile has, or as are left for the last.
fn by_blocks(
    e: &mut Emitter<'_, '_>,
    spec: &StrassenOutput,
    functions: &Functions,
    sums: FuncRef,
    tile: Value,
    here: &Here,
) {
    let (blocks, wide) = (spec.tile.blocks, spec.tile.micro.blocks);
    let (whole, rest) = (blocks / wide, blocks % wide);
    let of = |e: &mut Emitter<'_, '_>, size: usize| {
        quarters(e, spec, functions, size, here);
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
    functions: &Functions,
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
        let of_product = emit::Here {
            input: e.add_imm(base, at as i64 * ELEMENT),
            weights: e.add_imm(here.weights, number * weights * BLOCK_BYTES),
            out: e.add_imm(here.scratch, number * product * ELEMENT),
            bias: none,
            residual: none,
        };
        emit::splits(e, &spec.tile, functions, size, of_product);
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
    let state = [here.scratch, here.next, here.out, here.bias, here.residual];
    e.repeat(blocks, &state, |e, state| {
        let [from, next, out, bias, residual] = [state[0], state[1], state[2], state[3], state[4]];
        e.builder.ins().call(sums, &[from, next, out, bias, pixels, residual]);
        let [out_block, residual_block] = spec.block.map(|n| n as i64 * ELEMENT);
        vec![
            e.add_imm(from, columns * BLOCK_BYTES),
            e.add_imm(next, out_block),
            e.add_imm(out, out_block),
            e.add_imm(bias, BLOCK_BYTES),
            e.add_imm(residual, residual_block),
        ]
    });
}
