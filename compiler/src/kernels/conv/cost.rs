//! What convolutions cost, in cycles of one core: estimates from extents alone. They decide between
//! algorithms and tiles where the caller does not.
//!
//! What differs between machines is in their [rows](crate::machine::Costs); constants here are the same
//! on all.

use crate::machine::{Costs, Factor, Machine};

/// Cycles around a call of a micro-kernel.
pub(super) const CALL: f64 = 40.0;

/// Cycles of one more step, before its threads have met again.
pub(super) const STEP: f64 = 5e3;

/// How much longer a step takes whose threads share so many items, as a mean of one thread and two: of
/// three items the second thread waits while the first computes the last.
pub(super) fn unevenness(items: usize) -> f64 {
    const THREADS: [usize; 2] = [1, 2];
    let items = items.max(1);
    let longer = |threads: usize| (items.div_ceil(threads) * threads) as f64 / items as f64;
    THREADS.map(longer).iter().sum::<f64>() / THREADS.len() as f64
}

/// Cycles of a tile of so many pixels and blocks for each contracted word of such factors, where sums stay in
/// registers for `sum` of them.
pub(super) fn tile(
    machine: Machine,
    factor: Factor,
    [pixels, blocks]: [usize; 2],
    sum: usize,
) -> f64 {
    // A sum's next multiply-add waits for the one before.
    const IN_FLIGHT: f64 = 4.0;
    // What every element costs besides.
    const LOOP: f64 = 0.2;
    if pixels * blocks == 0 {
        return 0.0;
    }
    let [p, b] = [pixels, blocks].map(|n| n as f64);
    let (costs, row) = (machine.costs(), b * machine.vectors.per_block() as f64);
    let products = p * row / costs.products(factor);
    let loads = p * costs.broadcast + row * costs.load;
    // Each bounds the loop, and those that are close hinder each other.
    let bounds = [products, loads, b * costs.line, IN_FLIGHT];
    let bounds = bounds.map(|n| n.powi(6)).into_iter().sum::<f64>();
    bounds.cbrt().sqrt() + LOOP + (costs.tile + costs.sum * p * row) / sum.max(1) as f64
}

/// Bytes that come to a core while it computes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Traffic {
    /// How fast they come.
    costs: &'static Costs,
    /// Weights, from beyond the caches.
    pub(super) streamed: f64,
    /// What passes again and again, from beyond the second-level cache.
    pub(super) passed: f64,
    /// What passes again and again, from within it.
    pub(super) near: f64,
}

impl Traffic {
    /// Of so many bytes that pass again and again, from within the second-level cache.
    pub(super) fn near(machine: Machine, near: f64) -> Traffic {
        Traffic { costs: machine.costs(), streamed: 0.0, passed: 0.0, near }
    }

    /// Of weights that stay while `passing` bytes go by so often, the first time apart.
    pub(super) fn of(machine: Machine, weights: f64, passing: f64, times: usize) -> Traffic {
        let none = Traffic::near(machine, 0.0);
        let stays = passing <= none.costs.cached_passing as f64;
        let again = if stays { 0 } else { times.saturating_sub(1) };
        Traffic { streamed: weights, passed: passing * again as f64, ..none }
    }

    /// Cycles of computing so long meanwhile: the shorter is hidden behind the longer, the less so the
    /// closer they are.
    pub(super) fn beside(&self, compute: f64) -> f64 {
        let Traffic { costs, streamed, passed, near } = self;
        let memory = streamed / costs.streamed + passed / costs.passed + near / costs.near;
        (compute.powi(3) + memory.powi(3)).cbrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Core, Vectors};

    const V3: Machine = Machine { vectors: Vectors::Avx2, core: None, dots: None, bfloats: false };
    const V4: Machine =
        Machine { vectors: Vectors::Avx512, core: None, dots: None, bfloats: false };
    const ZEN4: Machine = Machine { core: Some(Core::Znver4), ..V4 };
    const ZEN5: Machine = Machine { core: Some(Core::Znver5), ..V4 };

    /// Cycles for each element of tiles of pixels × blocks, in a 1×1 convolution of 256 channels, with
    /// AVX2 and AVX-512 on a CPU of Intel's (family 6, model 207), and with AVX-512 on a Zen 4 and a Zen 5.
    const AVX2: [([usize; 2], f64); 6] = [
        ([3, 1], 4.25),
        ([4, 1], 5.02),
        ([5, 1], 5.57),
        ([6, 1], 6.49),
        ([2, 2], 5.04),
        ([1, 3], 5.17),
    ];
    const AVX512: [([usize; 2], f64); 8] = [
        ([8, 1], 5.03),
        ([14, 1], 7.74),
        ([28, 1], 15.7),
        ([4, 2], 4.70),
        ([14, 2], 14.2),
        ([9, 3], 13.7),
        ([4, 4], 8.22),
        ([6, 4], 12.2),
    ];
    const AVX512_IN_HALVES: [([usize; 2], f64); 8] = [
        ([14, 1], 18.6),
        ([28, 1], 37.3),
        ([7, 2], 14.0),
        ([14, 2], 28.0),
        ([4, 3], 11.9),
        ([9, 3], 27.0),
        ([3, 4], 12.1),
        ([6, 4], 24.0),
    ];

    const AVX512_ZEN5: [([usize; 2], f64); 8] = [
        ([4, 2], 4.84),
        ([7, 2], 7.36),
        ([14, 2], 15.5),
        ([4, 3], 6.66),
        ([9, 3], 14.6),
        ([3, 4], 6.27),
        ([4, 4], 8.37),
        ([6, 4], 12.8),
    ];

    #[test]
    fn tiles_cost_what_was_measured() {
        let all = [
            (V3, &AVX2[..]),
            (V4, &AVX512[..]),
            (ZEN4, &AVX512_IN_HALVES[..]),
            (ZEN5, &AVX512_ZEN5[..]),
        ];
        for (machine, measured) in all {
            for ([pixels, blocks], cycles) in measured {
                let estimate = tile(machine, Factor::F32, [*pixels, *blocks], 256);
                let ratio = estimate / cycles;
                assert!((0.88..1.12).contains(&ratio), "{pixels}x{blocks}: {estimate} of {cycles}");
            }
        }
    }

    #[test]
    fn threads_wait_for_the_last_of_few_items() {
        assert_eq!([1, 2, 4].map(unevenness), [1.5, 1.0, 1.0]);
        assert!(unevenness(3) > 1.16 && unevenness(101) < 1.01);
    }

    #[test]
    fn the_longer_hides_the_shorter() {
        let streamed = |bytes: f64| Traffic { streamed: bytes, ..Traffic::near(V4, 0.0) };
        assert!((streamed(4.5e6).beside(0.0) - 1e6).abs() < 1.0);
        assert!(streamed(4.5e6).beside(1e7) < 1.001e7);
        assert!(streamed(4.5e6).beside(1e6) > 1.2e6);
    }

    #[test]
    fn what_fits_passes_for_nothing() {
        let small = Traffic::of(V3, 1e6, 1e5, 8);
        assert!(small.passed == 0.0);
        assert!(Traffic::of(V3, 1e6, 2e6, 8).passed == 14e6);
        assert!(Traffic::of(V3, 1e6, 2e6, 0).passed == 0.0);
    }
}
