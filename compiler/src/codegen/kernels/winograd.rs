//! Around Winograd's transforms and products: finds where each item begins, and calls.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::F32X4;
use cranelift_codegen::ir::{FuncRef, InstBuilder, Value};

use crate::codegen::emitter::{Emitter, LANES};
use crate::plan::tile::{BLOCK, TileStep};
use crate::plan::winograd::{Grid, Products, Run, Transforms, WinogradInput, WinogradOutput};

/// Bytes of an element.
const ELEMENT: i64 = 4;
/// Bytes of a block.
const BLOCK_BYTES: i64 = BLOCK as i64 * ELEMENT;

pub(in crate::codegen) fn input(
    e: &mut Emitter<'_, '_>,
    spec: &WinogradInput,
    transforms: &Transforms<FuncRef>,
    [args, begin, end, worker]: [Value; 4],
) {
    let (out, from, scratch) = (e.pointer(args, 0), e.pointer(args, 1), e.pointer(args, 2));
    let by = e.mul_imm(worker, spec.scratch() as i64 * ELEMENT);
    let scratch = e.add(scratch, by);
    let grid = &spec.grid;
    // Windows begin before the plane, where nothing is read.
    let corner = grid.dilation * (spec.row + BLOCK);
    let from = e.add_imm(from, -(corner as i64 * ELEMENT));
    e.each(begin, end, |e, item| {
        let (plane, row) = e.divide(item, grid.tiles[0]);
        let (block, image) = e.divide(plane, spec.images.count);
        let pixels = pixel_row(e, row, grid);
        let mut at = from;
        for (index, stride) in
            [(image, spec.images.stride), (block, spec.blocks.stride), (pixels, spec.row)]
        {
            at = moved(e, at, index, stride);
        }
        // Images that lie together, after those before them.
        let (_, within) = e.divide(image, grid.together);
        let first = e.builder.ins().isub(plane, within);
        let to = moved(e, out, first, grid.tiles[0] * grid.tiles[1] * BLOCK);
        by_rows(e, grid, &transforms.rows, row, |e, functions, bottom| {
            let to = tiles_at(e, grid, to, [within, row], bottom);
            let none = e.int(0);
            let runs = transforms.columns.iter().zip(functions);
            along(e, grid, runs, [at, none], to, |e, transform, [at, _], to, count| {
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

/// Where the tiles of a row of an image are from `base` on: those of whole width, and that of the last
/// column if its tiles lie elsewhere.
fn tiles_at(
    e: &mut Emitter<'_, '_>,
    grid: &Grid,
    base: Value,
    [image, row]: [Value; 2],
    bottom: bool,
) -> [Option<Value>; 2] {
    let [rows, columns] = grid.is_cut();
    [false, true].map(|right| {
        if right && !columns {
            return None;
        }
        let section = grid.section([bottom && rows, right]);
        let at = moved(e, base, image, section.image * BLOCK);
        let at = moved(e, at, row, section.row * BLOCK);
        Some(e.add_imm(at, section.first as i64 * BLOCK_BYTES))
    })
}

/// Calls for all tiles of a row, run by run in each phase. What is at `pixels` is moved by pixels, `tiles`
/// are as [`tiles_at`] has them.
fn along<'r>(
    e: &mut Emitter<'_, '_>,
    grid: &Grid,
    runs: impl Iterator<Item = (&'r Run, &'r FuncRef)>,
    pixels: [Value; 2],
    [whole, last]: [Option<Value>; 2],
    call: impl Fn(&mut Emitter<'_, '_>, FuncRef, [Value; 2], Value, usize),
) {
    let of_phase = grid.tiles[1] / grid.dilation;
    let runs: Vec<(Run, FuncRef)> = runs.map(|(run, function)| (*run, *function)).collect();
    let none = e.int(0);
    let state = [pixels[0], pixels[1], whole.unwrap_or(none)];
    e.repeat(grid.dilation, &state, |e, state| {
        for (run, function) in &runs {
            let by = (run.first * grid.outputs * grid.dilation) as i64 * BLOCK_BYTES;
            let pixels = [state[0], state[1]].map(|at| e.add_imm(at, by));
            let is_last = run.first + run.count == of_phase;
            let tiles = match last.filter(|_| is_last) {
                Some(last) => last,
                None => e.add_imm(state[2], run.first as i64 * BLOCK_BYTES),
            };
            call(e, *function, pixels, tiles, run.count);
        }
        let tiles = e.add_imm(state[2], of_phase as i64 * BLOCK_BYTES);
        vec![e.add_imm(state[0], BLOCK_BYTES), e.add_imm(state[1], BLOCK_BYTES), tiles]
    });
}

/// Byte addresses of an item.
struct Here {
    from: Value,
    weights: Value,
    out: Value,
    bias: Value,
    other: Value,
    totals: Value,
    /// The item's first row of tiles.
    row: Value,
}

/// What an item calls.
struct Functions<'f> {
    /// For products, by rows of elements that are in as many tiles.
    products: &'f Products<FuncRef>,
    transforms: &'f Transforms<FuncRef>,
}

pub(in crate::codegen) fn output(
    e: &mut Emitter<'_, '_>,
    spec: &WinogradOutput,
    products: &Products<FuncRef>,
    transforms: &Transforms<FuncRef>,
    [args, begin, end, worker]: [Value; 4],
) {
    let none = e.int(0);
    let has_other = spec.steps.contains(&TileStep::AddOther);
    let [out, from, weights, scratch] = [0, 1, 2, 3].map(|i| e.pointer(args, i));
    let bias = if spec.bias { e.pointer(args, 4) } else { none };
    let other = if has_other { e.pointer(args, spec.last()) } else { none };
    let totals = if spec.totals { e.pointer(args, spec.last()) } else { none };
    let by = e.mul_imm(worker, spec.scratch() as i64 * ELEMENT);
    let scratch = e.add(scratch, by);
    let functions = Functions { products, transforms };
    e.each(begin, end, |e, item| {
        let chunks = spec.grid.tiles[0] / spec.chunk;
        let (rest, chunk) = e.divide(item, chunks);
        let (rest, first) = e.divide(rest, spec.images.count / spec.grid.together);
        let image = e.mul_imm(first, spec.grid.together as i64);
        let (group, tile) = e.divide(rest, spec.block_tiles());
        let row = e.mul_imm(chunk, spec.chunk as i64);
        let mut here = Here { from, weights, out, bias, other, totals, row };
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
        let depth = spec.micro.depth() * spec.grid.elements();
        here.weights = moved(e, here.weights, before, depth * BLOCK);
        here.bias = moved(e, here.bias, before, BLOCK);
        here.out = moved(e, here.out, within, spec.block[0]);
        here.other = moved(e, here.other, within, spec.block[1]);
        if spec.totals {
            here.totals = moved(e, here.totals, image, spec.totals_image());
            here.totals = moved(e, here.totals, before, spec.totals_block());
            here.totals = moved(e, here.totals, row, BLOCK);
        }
        by_blocks(e, spec, &functions, tile, scratch, &here);
    });
}

/// The address so many strides further.
pub(super) fn moved(e: &mut Emitter<'_, '_>, base: Value, index: Value, stride: usize) -> Value {
    if stride == 0 {
        return base;
    }
    let by = e.mul_imm(index, stride as i64 * ELEMENT);
    e.add(base, by)
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
    let state = [scratch, here.bias, here.out, here.other, here.totals];
    e.repeat(blocks, &state, |e, state| {
        let [products, bias, out, other, totals] =
            [state[0], state[1], state[2], state[3], state[4]];
        let first = e.int(0);
        e.repeat(grid.together, &[first, out, other, totals], |e, image| {
            let [image, out, other, totals] = [image[0], image[1], image[2], image[3]];
            e.repeat(spec.chunk, &[first, here.row, totals], |e, rows| {
                let [within, row, total] = [rows[0], rows[1], rows[2]];
                if spec.totals {
                    clear(e, total);
                }
                let at = pixel_row(e, row, grid);
                let out = moved(e, out, at, spec.rows[0]);
                let other = moved(e, other, at, spec.rows[1]);
                let transforms = functions.transforms;
                by_rows(e, grid, &transforms.rows, row, |e, functions, bottom| {
                    let from = tiles_at(e, grid, products, [image, within], bottom);
                    let runs = transforms.columns.iter().zip(functions);
                    along(e, grid, runs, [out, other], from, |e, f, to, from, count| {
                        let count = e.int(count as i64);
                        let [out, other] = to;
                        let other = if spec.totals { total } else { other };
                        e.builder.ins().call(f, &[from, temporary, out, bias, count, other]);
                    });
                });
                vec![e.add_imm(within, 1), e.add_imm(row, 1), e.add_imm(total, BLOCK_BYTES)]
            });
            vec![
                e.add_imm(image, 1),
                e.add_imm(out, spec.images.output as i64 * ELEMENT),
                e.add_imm(other, spec.images.other as i64 * ELEMENT),
                e.add_imm(totals, spec.totals_image() as i64 * ELEMENT),
            ]
        });
        vec![
            e.add_imm(products, spec.columns() as i64 * BLOCK_BYTES),
            e.add_imm(bias, BLOCK_BYTES),
            e.add_imm(out, spec.block[0] as i64 * ELEMENT),
            e.add_imm(other, spec.block[1] as i64 * ELEMENT),
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
    products: &Products<FuncRef>,
    variant: usize,
    state: [Value; 3],
) {
    let steps = [spec.element * 4, spec.micro.depth() * BLOCK * 4, spec.product() * 4];
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
                        let by = (tiles * pixels) as i64 * BLOCK_BYTES;
                        (from, to) = (e.add_imm(from, by), e.add_imm(to, by));
                    }
                    let next = state.iter().zip(steps);
                    next.map(|(at, by)| e.add_imm(*at, by as i64)).collect()
                });
            }
            state
        });
    }
}
