//! Around Winograd's transforms and products: finds where each item begins, and calls.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::F32X4;
use cranelift_codegen::ir::{FuncRef, InstBuilder, Value};

use super::grid::{Grid, Run};
use super::spec::{ElementProducts, Transforms, WinogradInput, WinogradOutput};
use crate::codegen::KernelCall;
use crate::codegen::emitter::{Emitter, LANES};
use crate::kernels::conv::blocked::emit::functions;
use crate::kernels::pointers::Pointers;
use crate::machine::{BLOCK, Element, F32_BYTES};
use crate::plan::Role;

const ELEMENT: i64 = F32_BYTES as i64;
/// Bytes of a block of f32.
const BLOCK_BYTES: i64 = BLOCK as i64 * ELEMENT;

/// Bytes of blocks: of a pixel at both places that are moved by pixels, and of a tile.
#[derive(Clone, Copy)]
struct Blocks {
    pixels: [usize; 2],
    tiles: usize,
}

pub(super) fn input(
    e: &mut Emitter<'_, '_>,
    spec: &WinogradInput,
    transforms: &Transforms<usize>,
    call: KernelCall,
) {
    let transforms = transforms.each(|offset| e.leaf(*offset));
    let pointers = Pointers::of(spec, call);
    let [out, from] = [Role::Out, Role::In].map(|role| pointers.load(e, role));
    let scratch = pointers.scratch(e, spec);
    let grid = &spec.grid;
    let [read, made] = spec.stored().map(Element::bytes);
    let blocks = Blocks { pixels: [read * BLOCK, 0], tiles: made * BLOCK };
    // Windows begin before the plane, where nothing is read.
    let corner = grid.dilation * (spec.row + BLOCK) * read;
    let from = e.add_imm(from, -(corner as i64));
    let images = pointers.runs(e, spec);
    e.each(call.begin, call.end, |e, item| {
        let (plane, row) = e.divide(item, grid.tiles[0]);
        let (block, image) = e.divide_by(plane, images);
        let pixels = pixel_row(e, row, grid);
        let mut at = from;
        for (index, stride) in
            [(image, spec.images.input), (block, spec.blocks.input), (pixels, spec.row)]
        {
            at = e.moved_by(at, index, stride * read);
        }
        // Images that lie together, after those before them, whether or not these are there.
        let (_, within) = e.divide(image, grid.together);
        let before = e.mul_imm(block, spec.images.count as i64);
        let plane = e.add(before, image);
        let first = e.builder.ins().isub(plane, within);
        let to = e.moved_by(out, first, grid.tiles[0] * grid.tiles[1] * blocks.tiles);
        by_rows(e, grid, &transforms.rows, row, |e, functions, bottom| {
            let to = tiles_at(e, grid, (to, blocks.tiles), [within, row], bottom);
            let none = e.int(0);
            let runs = transforms.columns.iter().zip(functions);
            along(e, grid, runs, [at, none], (to, blocks), |e, transform, [at, _], to, count| {
                let count = e.int(count as i64);
                e.builder.ins().call(transform, &[at, scratch, to, none, count, none]);
            });
        });
    });
}

/// The first row of pixels of a row of tiles.
fn pixel_row(e: &mut Emitter<'_, '_>, row: Value, grid: &Grid) -> Value {
    let (tile, phase) = e.divide(row, grid.dilation);
    let first = e.mul_imm(tile, (grid.outputs * grid.dilation) as i64);
    if grid.dilation == 1 { first } else { e.add(first, phase) }
}

/// With the transforms of the run that this row of tiles is of, and whether that is the last.
fn by_rows(
    e: &mut Emitter<'_, '_>,
    grid: &Grid,
    runs: &[(Run, Vec<FuncRef>)],
    row: Value,
    body: impl Fn(&mut Emitter<'_, '_>, &[FuncRef], bool) + Copy,
) {
    match runs {
        [] => {}
        [(_, functions)] => body(e, functions, true),
        [(run, functions), others @ ..] => {
            let behind = e.int(((run.first + run.count) * grid.dilation) as i64);
            let is_here = e.builder.ins().icmp(IntCC::UnsignedLessThan, row, behind);
            e.either(
                is_here,
                |e| body(e, functions, false),
                |e| by_rows(e, grid, others, row, body),
            );
        }
    }
}

/// Where the tiles of a row of an image are from `base` on, in blocks of so many bytes: those of whole width,
/// and that of the last column if its tiles lie elsewhere.
fn tiles_at(
    e: &mut Emitter<'_, '_>,
    grid: &Grid,
    (base, block): (Value, usize),
    [image, row]: [Value; 2],
    bottom: bool,
) -> [Option<Value>; 2] {
    let [rows, columns] = grid.is_cut();
    [false, true].map(|right| {
        if right && !columns {
            return None;
        }
        let section = grid.section([bottom && rows, right]);
        let at = e.moved_by(base, image, section.image * block);
        let at = e.moved_by(at, row, section.row * block);
        Some(e.add_imm(at, (section.first * block) as i64))
    })
}

/// Calls for all tiles of a row, run by run in each phase. What is at `pixels` is moved by pixels, `tiles`
/// are as [`tiles_at`] has them.
fn along<'r>(
    e: &mut Emitter<'_, '_>,
    grid: &Grid,
    runs: impl Iterator<Item = (&'r Run, &'r FuncRef)>,
    pixels: [Value; 2],
    ([whole, last], blocks): ([Option<Value>; 2], Blocks),
    call: impl Fn(&mut Emitter<'_, '_>, FuncRef, [Value; 2], Value, usize),
) {
    let of_phase = grid.tiles[1] / grid.dilation;
    let runs: Vec<(Run, FuncRef)> = runs.map(|(run, function)| (*run, *function)).collect();
    let none = e.int(0);
    let state = [pixels[0], pixels[1], whole.unwrap_or(none)];
    e.repeat(grid.dilation, &state, |e, state| {
        for (run, function) in &runs {
            let before = run.first * grid.outputs * grid.dilation;
            let pixels = [0, 1].map(|i| e.add_imm(state[i], (before * blocks.pixels[i]) as i64));
            let is_last = run.first + run.count == of_phase;
            let tiles = match last.filter(|_| is_last) {
                Some(last) => last,
                None => e.add_imm(state[2], (run.first * blocks.tiles) as i64),
            };
            call(e, *function, pixels, tiles, run.count);
        }
        let [first, second] = [0, 1].map(|i| e.add_imm(state[i], blocks.pixels[i] as i64));
        vec![first, second, e.add_imm(state[2], (of_phase * blocks.tiles) as i64)]
    });
}

/// Byte addresses of an item.
struct Here {
    from: Value,
    weights: Value,
    out: Value,
    bias: Value,
    residual: Value,
    totals: Value,
    /// The item's first row of tiles.
    row: Value,
}

/// What an item calls.
struct Functions<'f> {
    /// For products, by rows of elements that are in as many tiles.
    products: &'f ElementProducts<FuncRef>,
    transforms: &'f Transforms<FuncRef>,
}

pub(super) fn output(
    e: &mut Emitter<'_, '_>,
    spec: &WinogradOutput,
    products: &ElementProducts<usize>,
    transforms: &Transforms<usize>,
    call: KernelCall,
) {
    let products = products.map(|row| row.map(|(class, offsets)| (class, functions(e, &offsets))));
    let transforms = transforms.each(|offset| e.leaf(*offset));
    let functions = Functions { products: &products, transforms: &transforms };
    let pointers = Pointers::of(spec, call);
    let [out, from, weights] =
        [Role::Out, Role::In, Role::Weights].map(|role| pointers.load(e, role));
    let [bias, residual, totals] =
        [Role::Bias, Role::Residual, Role::Totals].map(|role| pointers.load(e, role));
    let scratch = pointers.scratch(e, spec);
    let made = spec.stored().bytes();
    let runs = pointers.runs(e, spec);
    e.each(call.begin, call.end, |e, item| {
        let chunks = spec.grid.tiles[0] / spec.chunk;
        let (rest, chunk) = e.divide(item, chunks);
        let (rest, first) = e.divide_by(rest, runs);
        let image = e.mul_imm(first, spec.grid.together as i64);
        let (group, tile) = e.divide(rest, spec.block_tiles());
        let row = e.mul_imm(chunk, spec.chunk as i64);
        let mut here = Here { from, weights, out, bias, residual, totals, row };
        for (index, around) in [(image, &spec.images), (group, &spec.groups)] {
            here.from = e.moved(here.from, index, around.input);
            here.out = e.moved_by(here.out, index, around.output * made);
            here.residual = e.moved(here.residual, index, around.residual);
        }
        here.from = e.moved(here.from, chunk, spec.columns() * spec.micro.input_pixel);
        // Weights and bias of earlier groups, then of earlier tiles of this one.
        let blocks = e.mul_imm(group, spec.blocks as i64);
        let within = e.mul_imm(tile, spec.micro.blocks as i64);
        let before = e.add(blocks, within);
        let lines = spec.micro.lines() * spec.grid.elements();
        here.weights = e.moved(here.weights, before, lines * BLOCK);
        here.bias = e.moved(here.bias, before, BLOCK);
        here.out = e.moved_by(here.out, within, spec.block[0] * made);
        here.residual = e.moved(here.residual, within, spec.block[1]);
        if spec.totals {
            here.totals = e.moved(here.totals, image, spec.totals_image());
            here.totals = e.moved(here.totals, before, spec.totals_block());
            here.totals = e.moved(here.totals, row, BLOCK);
        }
        by_blocks(e, spec, &functions, tile, scratch, &here);
    });
}

/// A whole tile of blocks, or the last one, of as many as there are.
fn by_blocks(
    e: &mut Emitter<'_, '_>,
    spec: &WinogradOutput,
    functions: &Functions<'_>,
    tile: Value,
    scratch: Value,
    here: &Here,
) {
    let (whole, rest) = (spec.blocks / spec.micro.blocks, spec.blocks % spec.micro.blocks);
    let sizes = [spec.micro.blocks, rest];
    if whole == 0 || rest == 0 {
        let at = usize::from(whole == 0);
        return item(e, spec, functions, (at, sizes[at]), scratch, here);
    }
    let last = e.int(whole as i64);
    let is_last = e.builder.ins().icmp(IntCC::Equal, tile, last);
    e.either(
        is_last,
        |e| item(e, spec, functions, (1, sizes[1]), scratch, here),
        |e| item(e, spec, functions, (0, sizes[0]), scratch, here),
    );
}

fn item(
    e: &mut Emitter<'_, '_>,
    spec: &WinogradOutput,
    functions: &Functions<'_>,
    (variant, blocks): (usize, usize),
    scratch: Value,
    here: &Here,
) {
    multiply(e, spec, functions.products, variant, [here.from, here.weights, scratch]);
    let grid = &spec.grid;
    let behind = (grid.elements() * spec.product()) as i64 * ELEMENT;
    let temporary = e.add_imm(scratch, behind);
    let made = spec.stored().bytes();
    let sizes = Blocks { pixels: [made * BLOCK, F32_BYTES * BLOCK], tiles: F32_BYTES * BLOCK };
    let state = [scratch, here.bias, here.out, here.residual, here.totals];
    e.repeat(blocks, &state, |e, state| {
        let [products, bias, out, residual, totals] =
            [state[0], state[1], state[2], state[3], state[4]];
        let first = e.int(0);
        e.repeat(grid.together, &[first, out, residual, totals], |e, image| {
            let [image, out, residual, totals] = [image[0], image[1], image[2], image[3]];
            e.repeat(spec.chunk, &[first, here.row, totals], |e, rows| {
                let [within, row, total] = [rows[0], rows[1], rows[2]];
                if spec.totals {
                    clear(e, total);
                }
                let at = pixel_row(e, row, grid);
                let out = e.moved_by(out, at, spec.rows[0] * made);
                let residual = e.moved(residual, at, spec.rows[1]);
                let transforms = functions.transforms;
                by_rows(e, grid, &transforms.rows, row, |e, functions, bottom| {
                    let from = tiles_at(e, grid, (products, sizes.tiles), [image, within], bottom);
                    let runs = transforms.columns.iter().zip(functions);
                    along(
                        e,
                        grid,
                        runs,
                        [out, residual],
                        (from, sizes),
                        |e, f, to, from, count| {
                            let count = e.int(count as i64);
                            let [out, residual] = to;
                            let residual = if spec.totals { total } else { residual };
                            e.builder.ins().call(f, &[from, temporary, out, bias, count, residual]);
                        },
                    );
                });
                vec![e.add_imm(within, 1), e.add_imm(row, 1), e.add_imm(total, BLOCK_BYTES)]
            });
            vec![
                e.add_imm(image, 1),
                e.add_imm(out, (spec.images.output * made) as i64),
                e.add_imm(residual, spec.images.residual as i64 * ELEMENT),
                e.add_imm(totals, spec.totals_image() as i64 * ELEMENT),
            ]
        });
        vec![
            e.add_imm(products, spec.columns() as i64 * BLOCK_BYTES),
            e.add_imm(bias, BLOCK_BYTES),
            e.add_imm(out, (spec.block[0] * made) as i64),
            e.add_imm(residual, spec.block[1] as i64 * ELEMENT),
            e.add_imm(totals, spec.totals_block() as i64 * ELEMENT),
        ]
    });
}

/// Zeroes a block.
fn clear(e: &mut Emitter<'_, '_>, at: Value) {
    let zero = e.float(F32X4, 0.0);
    for vector in 0..BLOCK / LANES {
        e.store(zero, at, (vector * LANES) as i64 * ELEMENT);
    }
}

/// The products of all elements, row by row. What comes from where, and the products, are at `state`.
fn multiply(
    e: &mut Emitter<'_, '_>,
    spec: &WinogradOutput,
    products: &ElementProducts<FuncRef>,
    variant: usize,
    state: [Value; 3],
) {
    let steps = [spec.element, spec.micro.lines() * BLOCK, spec.product()];
    let pixels = spec.micro.pixels;
    let none = e.int(0);
    let mut state = state.to_vec();
    for row in products {
        let high = row[0].0.elements[0];
        state = e.repeat(high, &state, |e, state| {
            let mut state = state.to_vec();
            for (class, functions) in row {
                let tiles = spec.tiles(*class);
                state = e.repeat(class.elements[1], &state, |e, state| {
                    let [mut from, weights, mut to] = [state[0], state[1], state[2]];
                    for (function, tiles) in functions[variant].iter().zip([tiles / pixels, 1]) {
                        let Some(function) = function else { continue };
                        let count = e.int(tiles as i64);
                        e.builder.ins().call(*function, &[from, weights, to, none, count, none]);
                        let [read, made] = [spec.micro.input_pixel, BLOCK]
                            .map(|pixel| (tiles * pixels * pixel) as i64 * ELEMENT);
                        (from, to) = (e.add_imm(from, read), e.add_imm(to, made));
                    }
                    let next = state.iter().zip(steps);
                    next.map(|(at, by)| e.add_imm(*at, by as i64 * ELEMENT)).collect()
                });
            }
            state
        });
    }
}
