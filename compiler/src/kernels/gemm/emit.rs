//! The code of row-major matrix products.
//!
//! ```text
//!              8 channels (two f32x4)
//!            ┌───────────┬───────────┐
//!   pixel 0  │  sum 0.0  │  sum 0.1  │   up to 6 pixels: 12 sums,
//!   pixel 1  │  sum 1.0  │  sum 1.1  │   2 vectors of weights,
//!     …      │     …     │     …     │   1 broadcast input element
//!   pixel 5  │  sum 5.0  │  sum 5.1  │   = 15 of 16 registers
//!            └───────────┴───────────┘
//! ```
//!
//! For each contracted element the tile loads two vectors of packed weights once and multiplies
//! them with one broadcast element of each pixel. The small inner axes (kernel taps) are unrolled,
//! their input offsets are immediate; only the channel loop moves pointers.
//!
//! Weights that are bytes become floats as they are loaded; what the channels' scales are is left to the
//! end, where sums are multiplied with them and the bias is added.

use cranelift_codegen::ir::types::{F32, F32X4, I64};
use cranelift_codegen::ir::{FuncRef, InstBuilder, StackSlotData, StackSlotKind, Value};

use super::{CHANNEL_BLOCK, RowMajorGemm};
use crate::codegen::KernelCall;
use crate::codegen::emitter::{Element, Emitter, LANES};
use crate::codegen::functions::is_vectorizable;
use crate::ir::DType;
use crate::kernels::pointers;
use crate::machine::F32_BYTES;
use crate::plan::{Loop, Role};

const ELEMENT: i64 = F32_BYTES as i64;
/// Vectors of a channel block.
pub(super) const VECTORS: usize = CHANNEL_BLOCK / LANES;
/// Most taps that are unrolled.
const MOST_TAPS: usize = 9;

/// With the leaf that makes the [sums of a dense layer](RowMajorGemm::dense_sums) at an offset.
pub(super) fn emit(
    e: &mut Emitter<'_, '_>,
    spec: &RowMajorGemm,
    dense_sums: Option<usize>,
    call: KernelCall,
) {
    let pointers = Pointers::load(e, spec, call);
    let dense_sums = dense_sums.map(|offset| e.leaf(offset));
    e.each(call.begin, call.end, |e, item| row(e, spec, &pointers, dense_sums, item));
}

struct Pointers {
    out: Value,
    input: Value,
    weights: Value,
    bias: Option<Value>,
    others: Vec<Value>,
}

impl Pointers {
    fn load(e: &mut Emitter<'_, '_>, spec: &RowMajorGemm, call: KernelCall) -> Pointers {
        let all = pointers::Pointers::of(spec, call);
        let [out, input, weights] =
            [Role::Out, Role::In, Role::Weights].map(|role| all.load(e, role));
        let bias = all.find(e, Role::Bias);
        let others = (1..=spec.operands()).map(|i| all.load(e, Role::Operand(i))).collect();
        Pointers { out, input, weights, bias, others }
    }
}

/// Where one item of work begins: byte addresses and offsets.
struct Row {
    input: Value,
    weights: Value,
    bias: Option<Value>,
    /// The scales of the channels, where weights are bytes.
    scales: Option<Value>,
    /// Byte offset in the output, and in every operand laid out like it.
    output: Value,
    /// Channels of this block that exist, when the last block is not full.
    block: Value,
}

/// One item: a row of pixels by one block of channels.
fn row(
    e: &mut Emitter<'_, '_>,
    spec: &RowMajorGemm,
    pointers: &Pointers,
    dense_sums: Option<FuncRef>,
    item: Value,
) {
    let (rest, y) = e.divide(item, spec.rows.count);
    let (mut rest, block) = e.divide(rest, spec.blocks());
    let mut input = e.mul_imm(y, spec.rows.input as i64 * ELEMENT);
    let mut output = e.mul_imm(y, spec.rows.output as i64 * ELEMENT);
    let mut matrix = e.int(0);
    for outer in spec.outer.iter().rev() {
        let (next, index) = e.divide(rest, outer.count);
        rest = next;
        let by = e.mul_imm(index, outer.input as i64 * ELEMENT);
        input = e.add(input, by);
        let by = e.mul_imm(index, outer.output as i64 * ELEMENT);
        output = e.add(output, by);
        let by = e.mul_imm(index, outer.weights as i64);
        matrix = e.add(matrix, by);
    }
    let by = e.mul_imm(block, (CHANNEL_BLOCK * spec.channels.output) as i64 * ELEMENT);
    output = e.add(output, by);
    let first = e.mul_imm(matrix, spec.blocks() as i64);
    let packed = e.add(first, block);
    let by = e.mul_imm(packed, spec.block_bytes() as i64);
    let mut weights = e.add(pointers.weights, by);
    let scales = spec.bytes.then_some(weights);
    if spec.bytes {
        weights = e.add_imm(weights, CHANNEL_BLOCK as i64 * ELEMENT);
    }
    let bias = pointers.bias.map(|bias| {
        let by = e.mul_imm(packed, CHANNEL_BLOCK as i64 * ELEMENT);
        e.add(bias, by)
    });
    let input = e.add(pointers.input, input);
    let row = Row { input, weights, bias, scales, output, block };
    match dense_sums {
        Some(leaf) => dense(e, spec, pointers, &row, leaf),
        None => columns(e, spec, pointers, &row),
    }
}

/// One pixel of a dense layer, whose sums a leaf makes.
fn dense(
    e: &mut Emitter<'_, '_>,
    spec: &RowMajorGemm,
    pointers: &Pointers,
    row: &Row,
    leaf: FuncRef,
) {
    let bytes = CHANNEL_BLOCK * F32_BYTES;
    let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, bytes as u32, 3);
    let slot = e.builder.create_sized_stack_slot(slot);
    let to = e.builder.ins().stack_addr(I64, slot, 0);
    let [none, one] = [0, 1].map(|n| e.int(n));
    let bias = row.bias.unwrap_or(none);
    e.builder.ins().call(leaf, &[row.input, row.weights, to, bias, one, none]);
    let sums = floats(e, to, 0);
    epilogue(e, spec, pointers, row, 1, &sums);
}

/// What the sums of a pixel begin with: the bias, unless they are to be scaled first.
fn start(e: &mut Emitter<'_, '_>, row: &Row) -> Vec<Value> {
    match row.bias.filter(|_| row.scales.is_none()) {
        Some(bias) => floats(e, bias, 0),
        None => vec![e.float(F32X4, 0.0); VECTORS],
    }
}

/// One number for each channel of a block, so many bytes behind an address.
pub(super) fn floats(e: &mut Emitter<'_, '_>, at: Value, offset: i64) -> Vec<Value> {
    let vector = |v: usize| e.load(F32X4, at, offset + (v * LANES) as i64 * ELEMENT);
    (0..VECTORS).map(vector).collect()
}

/// The weights of a block for one contracted element, i8 or f32, so many bytes behind an address.
pub(super) fn weights(e: &mut Emitter<'_, '_>, bytes: bool, at: Value, offset: i64) -> Vec<Value> {
    if !bytes {
        return floats(e, at, offset);
    }
    let words = e.load_signed_bytes(at, offset);
    let low = e.builder.ins().swiden_low(words);
    let high = e.builder.ins().swiden_high(words);
    [low, high].map(|steps| e.builder.ins().fcvt_from_sint(F32X4, steps)).to_vec()
}

/// Sums of products with bytes, as sums of products with what the bytes stand for, and the bias.
fn scaled(e: &mut Emitter<'_, '_>, row: &Row, sums: &[Value]) -> Vec<Value> {
    let Some(scales) = row.scales else { return sums.to_vec() };
    let scales = floats(e, scales, 0);
    let biases = row.bias.map(|bias| floats(e, bias, 0));
    let mut channels = (0..VECTORS).cycle();
    let scale = |sum: &Value| {
        let vector = channels.next().unwrap_or(0);
        match &biases {
            Some(biases) => e.multiply_add(*sum, scales[vector], biases[vector]),
            None => e.builder.ins().fmul(*sum, scales[vector]),
        }
    };
    sums.iter().map(scale).collect()
}

/// All pixels of a row, a tile at a time, then what is left over.
fn columns(e: &mut Emitter<'_, '_>, spec: &RowMajorGemm, pointers: &Pointers, row: &Row) {
    let (whole, rest) = (spec.columns.count / spec.tile, spec.columns.count % spec.tile);
    let by_input = (spec.columns.input * spec.tile) as i64 * ELEMENT;
    let by_output = (spec.columns.output * spec.tile) as i64 * ELEMENT;
    let state = e.repeat(whole, &[row.input, row.output], |e, state| {
        let here = Row { input: state[0], output: state[1], ..*row };
        tile(e, spec, pointers, &here, spec.tile);
        vec![e.add_imm(state[0], by_input), e.add_imm(state[1], by_output)]
    });
    if rest > 0 {
        let here = Row { input: state[0], output: state[1], ..*row };
        tile(e, spec, pointers, &here, rest);
    }
}

fn tile(
    e: &mut Emitter<'_, '_>,
    spec: &RowMajorGemm,
    pointers: &Pointers,
    row: &Row,
    pixels: usize,
) {
    let start = start(e, row);
    let sums: Vec<Value> = (0..pixels).flat_map(|_| start.clone()).collect();
    let unrolled = unrolled_axes(&spec.reduce);
    let (loops, taps) = spec.reduce.split_at(spec.reduce.len() - unrolled);
    let mut state = sums;
    state.extend([row.input, row.weights]);
    let state = match (loops, taps) {
        ([axis], []) => interleaved(e, spec, *axis, pixels, state),
        _ => contract(e, spec, loops, taps, pixels, state),
    };
    epilogue(e, spec, pointers, row, pixels, &state);
}

/// A matrix product of few pixels: every `n`-th element goes to sums of its own, since one chain of
/// multiply-adds would wait for each, and rounding errors grow with its length.
fn interleaved(
    e: &mut Emitter<'_, '_>,
    spec: &RowMajorGemm,
    axis: Loop,
    pixels: usize,
    state: Vec<Value>,
) -> Vec<Value> {
    const MOST_SUMS: usize = 12;
    let count = pixels * VECTORS;
    // As many in the last tile as in whole ones, so that the bits of a pixel do not depend on which it is.
    let most = spec.tile * VECTORS;
    let chains = [4, 2].into_iter().find(|n| most * n <= MOST_SUMS && *n <= axis.count);
    let Some(chains) = chains else { return contract(e, spec, &[axis], &[], pixels, state) };
    let zero = e.float(F32X4, 0.0);
    let mut all = state[..count].to_vec();
    all.resize(count * chains, zero);
    all.extend(&state[count..]);
    let by = axis.input as i64 * ELEMENT;
    let mut all = e.repeat(axis.count / chains, &all, |e, state| {
        let (sums, at) = state.split_at(count * chains);
        let (mut next, mut at) = (Vec::with_capacity(state.len()), at.to_vec());
        for sums in sums.chunks(count) {
            let mut one = sums.to_vec();
            one.extend(&at);
            let one = multiply(e, spec, &[], pixels, one);
            next.extend(&one[..count]);
            at = vec![e.add_imm(at[0], by), one[count + 1]];
        }
        next.extend(at);
        next
    });
    let at = all.split_off(count * chains);
    while all.len() > count {
        let half = all.len() / 2;
        let (low, high) = all.split_at(half);
        all = low.iter().zip(high).map(|(a, b)| e.builder.ins().fadd(*a, *b)).collect();
    }
    all.extend(at);
    let left = Loop { count: axis.count % chains, ..axis };
    contract(e, spec, &[left], &[], pixels, all)
}

/// How many of the innermost axes are unrolled.
fn unrolled_axes(reduce: &[Loop]) -> usize {
    let mut taps = 1;
    let fits = reduce.iter().rev().take_while(|axis| {
        taps *= axis.count;
        taps <= MOST_TAPS
    });
    fits.count()
}

/// The loops over `loops`, with `taps` unrolled inside. The state is the sums, the input pointer
/// and the weight pointer; the weights are read in order, so their pointer only moves forward.
fn contract(
    e: &mut Emitter<'_, '_>,
    spec: &RowMajorGemm,
    loops: &[Loop],
    taps: &[Loop],
    pixels: usize,
    state: Vec<Value>,
) -> Vec<Value> {
    let Some((axis, inner)) = loops.split_first() else {
        return multiply(e, spec, taps, pixels, state);
    };
    let input_at = pixels * VECTORS;
    let input = state[input_at];
    let mut out = e.repeat(axis.count, &state, |e, state| {
        let here = state[input_at];
        let mut next = contract(e, spec, inner, taps, pixels, state.to_vec());
        next[input_at] = e.add_imm(here, axis.input as i64 * ELEMENT);
        next
    });
    out[input_at] = input;
    out
}

fn multiply(
    e: &mut Emitter<'_, '_>,
    spec: &RowMajorGemm,
    taps: &[Loop],
    pixels: usize,
    mut state: Vec<Value>,
) -> Vec<Value> {
    let (input, first) = (state[pixels * VECTORS], state[pixels * VECTORS + 1]);
    let offsets = tap_offsets(taps);
    for (tap, offset) in offsets.iter().enumerate() {
        let vectors = weights(e, spec.bytes, first, (tap * spec.line_bytes()) as i64);
        for pixel in 0..pixels {
            let at = (offset + pixel * spec.columns.input) as i64 * ELEMENT;
            let element = e.load(F32, input, at);
            let element = e.builder.ins().splat(F32X4, element);
            for (v, weight) in vectors.iter().enumerate() {
                let sum = &mut state[pixel * VECTORS + v];
                *sum = e.multiply_add(*weight, element, *sum);
            }
        }
    }
    let by = (offsets.len() * spec.line_bytes()) as i64;
    state[pixels * VECTORS + 1] = e.add_imm(first, by);
    state
}

/// Input offsets of the taps, in the order of the packed weights.
fn tap_offsets(taps: &[Loop]) -> Vec<usize> {
    taps.iter().fold(vec![0], |offsets, axis| {
        let each =
            offsets.iter().flat_map(|base| (0..axis.count).map(move |i| base + i * axis.input));
        each.collect()
    })
}

/// Applies the epilogue and stores, channel by channel; the channels of a last block that is not
/// full are behind a branch.
fn epilogue(
    e: &mut Emitter<'_, '_>,
    spec: &RowMajorGemm,
    pointers: &Pointers,
    row: &Row,
    pixels: usize,
    sums: &[Value],
) {
    let whole = spec.channels.count / CHANNEL_BLOCK;
    let rest = spec.channels.count % CHANNEL_BLOCK;
    let sums = scaled(e, row, &sums[..pixels * VECTORS]);
    let sums = activated(e, spec, pointers, &sums);
    match (whole, rest) {
        (_, 0) => store(e, spec, pointers, row, pixels, CHANNEL_BLOCK, &sums),
        (0, rest) => store(e, spec, pointers, row, pixels, rest, &sums),
        (whole, rest) => {
            let (full, part) = (e.builder.create_block(), e.builder.create_block());
            let done = e.builder.create_block();
            let last = e.int(whole as i64);
            let is_last = e.builder.ins().icmp(
                cranelift_codegen::ir::condcodes::IntCC::Equal,
                row.block,
                last,
            );
            e.builder.ins().brif(is_last, part, &[], full, &[]);
            for (block, channels) in [(full, CHANNEL_BLOCK), (part, rest)] {
                e.builder.switch_to_block(block);
                e.builder.seal_block(block);
                store(e, spec, pointers, row, pixels, channels, &sums);
                e.builder.ins().jump(done, &[]);
            }
            e.builder.switch_to_block(done);
            e.builder.seal_block(done);
        }
    }
}

/// Whether the epilogue works on whole vectors of sums: it reads nothing but them.
fn on_vectors(e: &Emitter<'_, '_>, spec: &RowMajorGemm, pointers: &Pointers) -> bool {
    pointers.others.is_empty() && is_vectorizable(&spec.then, e.fma)
}

fn activated(
    e: &mut Emitter<'_, '_>,
    spec: &RowMajorGemm,
    pointers: &Pointers,
    sums: &[Value],
) -> Vec<Value> {
    if !on_vectors(e, spec, pointers) {
        return sums.to_vec();
    }
    let apply = |value: &Value| {
        let sum = Element { value: *value, dtype: DType::F32 };
        e.expression(&spec.then, &[sum], DType::F32).value
    };
    sums.iter().map(apply).collect()
}

fn store(
    e: &mut Emitter<'_, '_>,
    spec: &RowMajorGemm,
    pointers: &Pointers,
    row: &Row,
    pixels: usize,
    channels: usize,
    sums: &[Value],
) {
    let out = e.add(pointers.out, row.output);
    let others: Vec<Value> = pointers.others.iter().map(|p| e.add(*p, row.output)).collect();
    for channel in 0..channels {
        for pixel in 0..pixels {
            let vector = sums[pixel * VECTORS + channel / LANES];
            let mut value = e.builder.ins().extractlane(vector, (channel % LANES) as u8);
            let at =
                (channel * spec.channels.output + pixel * spec.columns.output) as i64 * ELEMENT;
            if !on_vectors(e, spec, pointers) {
                let mut operands = vec![Element { value, dtype: DType::F32 }];
                for other in &others {
                    let value = e.load(F32, *other, at);
                    operands.push(Element { value, dtype: DType::F32 });
                }
                value = e.expression(&spec.then, &operands, DType::F32).value;
            }
            e.store(value, out, at);
        }
    }
}
