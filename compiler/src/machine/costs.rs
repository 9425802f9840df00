//! What work costs on a core, in cycles: the rows that estimates read. Each was measured on the CPU that
//! it names; a core without a row of its own has that of its vectors, from which others of their kind
//! differ by less than the ways that are compared.

use super::{Core, Dots, Factor, Vectors};

/// Costs of a core with vectors of a kind. Cycles, unless it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Costs {
    /// Vector multiply-adds that start in a cycle.
    pub multiply_adds: f64,
    /// Dot products of vectors of bytes that start in a cycle: of words by one instruction, and by pairs.
    pub dots: [f64; 2],
    /// The same of vectors of i16, by pairs.
    pub halves: f64,
    /// Of an element that is broadcast to a vector.
    pub broadcast: f64,
    /// Of a vector of weights.
    pub load: f64,
    /// Of a cache line of weights, which comes from the first or the second cache.
    pub line: f64,
    /// Of each register tile besides, however long its sums are.
    pub tile: f64,
    /// Of each vector of sums, which begins with a bias and is stored in the end.
    pub sum: f64,
    /// Bytes of weights that come from beyond the caches in a cycle.
    pub streamed: f64,
    /// Bytes a cycle of what passes again and again, from beyond the second-level cache.
    pub passed: f64,
    /// The same from within it.
    pub near: f64,
    /// Whether Winograd's products hide the way of their weights from the second-level cache, instead of
    /// waiting for them.
    pub hides_weights: bool,
    /// Of a vector of Winograd's transforms, on its way to the transformed domain or back.
    pub transformed: f64,
    /// The same where elements are i16, and pixels bytes.
    pub transformed_halves: f64,
    /// Of a vector of inputs and of one of outputs, in the sums around Strassen's products.
    pub summed: [f64; 2],
    /// Of a vector that becomes f32 of bytes, or bytes of f32, in a step of its own.
    pub converted: f64,
    /// Of a vector of f32 that is copied as bfloat16, in a step of its own.
    pub rounded: f64,
    /// Weights of a group up to so many bytes stay in the second-level cache while rows of pixels go by.
    pub cached_weights: usize,
    /// Data up to so many bytes is still in the second-level cache when a loop comes back to it, while
    /// nothing else is kept there.
    pub cached_passing: usize,
    /// Winograd's products of up to so many bytes stay in the second-level cache until they are
    /// transformed back.
    pub cached_products: usize,
}

impl Costs {
    /// Products of vectors that start in a cycle.
    pub fn products(&self, factor: Factor) -> f64 {
        let [words, pairs] = self.dots;
        match factor {
            Factor::F32 | Factor::Bf16 => self.multiply_adds,
            Factor::U8(Dots::Words) | Factor::I16(Dots::Words) => words,
            Factor::U8(Dots::Pairs) => pairs,
            Factor::I16(Dots::Pairs) => self.halves,
        }
    }

    /// The row of a core with these vectors; `None` is any that has them.
    pub(super) fn of(vectors: Vectors, core: Option<Core>) -> &'static Costs {
        match (vectors, core) {
            (Vectors::Avx512, Some(Core::Znver4)) => &AVX512_IN_HALVES,
            (Vectors::Avx512, Some(Core::Znver5)) => &AVX512_ZEN5,
            (
                Vectors::Avx512,
                None
                | Some(
                    Core::Znver2
                    | Core::Znver3
                    | Core::SkylakeAvx512
                    | Core::IcelakeServer
                    | Core::SapphireRapids,
                ),
            ) => &AVX512,
            (Vectors::Sse | Vectors::Neon | Vectors::Avx2, _) => &AVX2,
        }
    }
}

/// Two multiply-adds of 256 bits and two loads a cycle: Intel since Haswell, AMD since Zen 2. Measured
/// with AVX2 on a Sapphire Rapids (family 6, model 207).
const AVX2: Costs = Costs {
    multiply_adds: 2.0,
    // Pairs take two multiplications.
    dots: [2.0, 1.0],
    halves: 1.5,
    broadcast: 0.5,
    load: 0.5,
    line: 1.5,
    tile: 4.0,
    sum: 0.5,
    streamed: 4.5,
    passed: 16.0,
    near: 32.0,
    hides_weights: false,
    transformed: 4.0,
    transformed_halves: 4.0,
    summed: [5.5, 4.0],
    converted: 4.0,
    rounded: 3.0,
    cached_weights: 256 << 10,
    cached_passing: 1 << 20,
    cached_products: 256 << 10,
};

/// The same of 512 bits, with a second-level cache of 2 MiB. Measured on the same CPU. Products of
/// larger vectors are faster, what feeds them is not.
const AVX512: Costs = Costs {
    summed: [11.0, 9.0],
    cached_weights: 768 << 10,
    cached_passing: 3 << 19,
    cached_products: 512 << 10,
    ..AVX2
};

/// 512 bits in two halves: a multiply-add takes both units of 256 bits, and a store takes two cycles. So
/// products are no faster than AVX2's, but what feeds them has twice the time, as registers are twice as
/// many and as wide. A second-level cache of 1 MiB. Measured on an EPYC with Zen 4 (family 25, model 17).
const AVX512_IN_HALVES: Costs = Costs {
    multiply_adds: 1.0,
    dots: [1.0, 0.5],
    halves: 0.75,
    broadcast: 1.2,
    load: 0.5,
    line: 2.75,
    tile: 12.0,
    sum: 2.0,
    streamed: 7.5,
    passed: 16.0,
    near: 20.0,
    hides_weights: true,
    transformed: 12.0,
    transformed_halves: 7.0,
    summed: [6.0, 5.0],
    converted: 8.0,
    rounded: 4.0,
    cached_weights: 384 << 10,
    cached_passing: 768 << 10,
    cached_products: 512 << 10,
};

/// Two multiply-adds and two loads of 512 bits a cycle, additions beside them, one store, and a second-level cache of
/// 1 MiB. Measured on an EPYC with Zen 5 (family 26, model 2). In a loop over the first-level cache an element takes
/// 0.55 cycles; what layers read comes from the second one, and with 0.8 the tiles of these are the fastest.
const AVX512_ZEN5: Costs = Costs {
    broadcast: 0.8,
    line: 1.2,
    tile: 6.0,
    sum: 2.5,
    streamed: 7.5,
    summed: [6.0, 5.0],
    ..AVX512
};
