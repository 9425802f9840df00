//! What the machine can do at most: measured before what a model does is held against it.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::thread;
use std::time::Instant;

use cardinal_compiler::codegen::Target;
use cardinal_compiler::machine::Element;
use cardinal_compiler::peak::Peak;

use crate::exit::{Failure, Outcome};
use crate::loading;
use crate::model_file::ModelFile;
use crate::program::{Program, Session};

/// Runs of each measurement, of which the best counts: whatever else runs makes others slower.
const RUNS: usize = 15;
/// Bytes that threads read together for the bandwidth of memory: more than caches hold.
const STREAMED: usize = 256 << 20;
/// Bytes that each thread reads again and again for that of caches: what the second level holds everywhere.
const NEAR: usize = 192 << 10;

/// Ceilings of so many threads together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ceilings {
    /// 10⁹ operations a second in each element type, of which a multiply-add is two.
    pub(crate) gflops: Vec<(Element, f64)>,
    /// 10⁹ bytes a second, read from memory.
    pub(crate) memory: f64,
    /// The same from caches.
    pub(crate) caches: f64,
}

impl Ceilings {
    /// Measures the peak in these element types, with the instructions that code for the target has, and the
    /// bandwidth.
    ///
    /// # Errors
    /// Those of generating, loading and running code, and want of memory.
    pub(super) fn measure(
        file: &ModelFile,
        target: &Target,
        elements: &[Element],
        threads: NonZeroUsize,
    ) -> Outcome<Ceilings> {
        let mut gflops = Vec::new();
        for element in elements {
            gflops.extend(peak(file, target, *element, threads)?.map(|peak| (*element, peak)));
        }
        let memory = bandwidth(threads, STREAMED.div_ceil(threads.get()), 1)?;
        let caches = bandwidth(threads, NEAR, 256)?;
        Ok(Ceilings { gflops, memory, caches })
    }

    /// The peak in an element type, where it is known.
    pub(crate) fn peak(&self, element: Element) -> Option<f64> {
        self.gflops.iter().find(|(known, _)| *known == element).map(|(_, gflops)| *gflops)
    }
}

/// The peak in one element type: 10⁹ operations a second; `None` where it is not multiplied.
///
/// # Errors
/// Those of generating, loading and running code.
pub(crate) fn peak(
    file: &ModelFile,
    target: &Target,
    element: Element,
    threads: NonZeroUsize,
) -> Outcome<Option<f64>> {
    let peak = Peak::new(target, element).map_err(|error| loading::refused(file, error))?;
    peak.map(|peak| peak_of(peak, threads)).transpose()
}

/// 10⁹ operations a second that a program makes which only multiplies.
fn peak_of(peak: Peak, threads: NonZeroUsize) -> Outcome<f64> {
    const NAME: &str = "the program that measures the peak";
    let operations = 2.0 * peak.multiply_adds as f64;
    let artifact = peak.parts.to_artifact().map_err(|e| Failure::Failed(e.to_string()))?;
    let program = Program::load(artifact, None, NAME)?;
    let mut session = Session::new(&program, threads)?;
    let mut prepared = session.prepare(Vec::new())?;
    let mut best = 0.0f64;
    for _ in 0..RUNS {
        let begin = Instant::now();
        session.run_prepared(&mut prepared)?;
        best = best.max(operations / begin.elapsed().as_secs_f64() / 1e9);
    }
    Ok(best)
}

/// 10⁹ bytes a second that threads read together, each so many, so many times over.
fn bandwidth(threads: NonZeroUsize, bytes: usize, times: usize) -> Outcome<f64> {
    const WORD: usize = size_of::<u64>();
    let (share, all) = (bytes / WORD, bytes / WORD * threads.get());
    let mut words = Vec::new();
    words.try_reserve_exact(all).map_err(|_| Failure::memory(all * WORD))?;
    // Pages that were never written to would all be one.
    words.resize(all, 1u64);
    let read = |share: &[u64]| {
        (0..times).for_each(|_| _ = black_box(sum(black_box(share))));
    };
    let run = |_| {
        let begin = Instant::now();
        thread::scope(|scope| {
            // The last share is this thread's.
            let mut shares = words.chunks(share);
            let own = shares.next_back();
            shares.for_each(|share| drop(scope.spawn(move || read(share))));
            own.into_iter().for_each(read);
        });
        (all * WORD * times) as f64 / begin.elapsed().as_secs_f64() / 1e9
    };
    Ok((0..RUNS / 3).map(run).fold(0.0, f64::max))
}

/// Something that every word has a part in, as fast as words can be loaded.
fn sum(words: &[u64]) -> u64 {
    let (rows, _) = words.as_chunks::<8>();
    rows.iter().fold(0, |sum: u64, [a, b, c, d, e, f, g, h]| {
        sum.wrapping_add((a ^ b) ^ (c ^ d) ^ ((e ^ f) ^ (g ^ h)))
    })
}
