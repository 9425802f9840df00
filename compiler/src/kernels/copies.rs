//! How kernels copy and fill runs of bytes: in vectors, and the rest in fewer and fewer bytes. Nothing behind a run
//! is touched.

use cranelift_codegen::ir::types::{I8, I8X16, I16, I32, I64};
use cranelift_codegen::ir::{Type, Value};

use crate::codegen::emitter::Emitter;

/// Bytes of a vector.
const VECTOR: usize = 16;

/// Vectors in a trip of a loop.
const UNROLLED: usize = 4;

/// What is left of a run after whole vectors, in one piece each.
const PIECES: [(usize, Type); 4] = [(8, I64), (4, I32), (2, I16), (1, I8)];

/// Copies so many bytes from the second place to the first.
pub(super) fn copy(e: &mut Emitter<'_, '_>, bytes: usize, places: [Value; 2]) {
    by_pieces(e, bytes, &places, |e, ty, places, offset| {
        let value = e.load(ty, places[1], offset);
        e.store(value, places[0], offset);
    });
}

/// Fills so many bytes with zeros.
pub(super) fn clear(e: &mut Emitter<'_, '_>, bytes: usize, to: Value) {
    by_pieces(e, bytes, &[to], |e, ty, places, offset| {
        let zero = e.nothing(ty);
        e.store(zero, places[0], offset);
    });
}

/// Emits pieces of a run, each of a type and at an offset from places that move along.
fn by_pieces(
    e: &mut Emitter<'_, '_>,
    bytes: usize,
    places: &[Value],
    piece: impl Fn(&mut Emitter<'_, '_>, Type, &[Value], i64),
) {
    let trip = UNROLLED * VECTOR;
    let places = e.repeat(bytes / trip, places, |e, places| {
        (0..UNROLLED).for_each(|i| piece(e, I8X16, places, (i * VECTOR) as i64));
        places.iter().map(|place| e.add_imm(*place, trip as i64)).collect()
    });
    let (mut left, mut offset) = (bytes % trip, 0);
    while left >= VECTOR {
        piece(e, I8X16, &places, offset as i64);
        (left, offset) = (left - VECTOR, offset + VECTOR);
    }
    for (size, ty) in PIECES {
        if left >= size {
            piece(e, ty, &places, offset as i64);
            (left, offset) = (left - size, offset + size);
        }
    }
}
