//! The weights section, written where it lies.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::thread;

use bytes::Bytes;
use cardinal_runtime::Weights;

use super::{Order, Packed};
use crate::plan::Plan;

/// The weights section of plans that share it, before it is packed.
///
/// The section does not depend on the number of threads that pack it: each stripe of a constant has
/// its place, and whoever is free writes the next.
#[derive(Debug, Clone)]
pub struct PackedWeights {
    /// The constants by their offset, in order; they do not overlap.
    constants: Vec<(usize, Packed)>,
    bytes: usize,
    threads: NonZeroUsize,
}

/// A stripe that is to be written.
struct Stripe<'a> {
    order: &'a dyn Order,
    from: &'a [u8],
    number: usize,
    to: &'a mut [u8],
}

impl PackedWeights {
    /// The section of these plans, to be packed by so many threads.
    pub fn new(plans: &[Plan], threads: NonZeroUsize) -> PackedWeights {
        let all = plans.iter().flat_map(|plan| &plan.constants);
        // What several plans share is at one place. Constants without elements take none.
        let distinct: BTreeMap<usize, &Packed> = all
            .filter(|constant| constant.ty.bytes() > 0)
            .map(|constant| (constant.offset, &constant.data))
            .collect();
        PackedWeights {
            constants: distinct.into_iter().map(|(at, data)| (at, data.clone())).collect(),
            bytes: plans.first().map_or(0, |plan| plan.weight_bytes),
            threads,
        }
    }
}

impl Weights for PackedWeights {
    fn length(&self) -> usize {
        self.bytes
    }

    fn write(self, section: &mut [u8]) {
        let threads = self.threads;
        let sources: Vec<(usize, Box<dyn Order>, Bytes)> = self
            .constants
            .into_iter()
            .filter_map(|(at, data)| Some((at, data.order(), data.weight.bytes(&data.ty)?)))
            .collect();
        fill(stripes(&sources, section), threads);
    }
}

/// Every stripe of every constant with its place in the section.
fn stripes<'a>(
    sources: &'a [(usize, Box<dyn Order>, Bytes)],
    section: &'a mut [u8],
) -> Vec<Stripe<'a>> {
    let mut stripes = Vec::new();
    let (mut rest, mut end) = (section, 0);
    for (offset, order, from) in sources {
        (_, rest) = rest.split_at_mut(offset - end);
        end = *offset;
        for (number, bytes) in order.stripes().into_iter().enumerate() {
            let to;
            (to, rest) = rest.split_at_mut(bytes);
            end += bytes;
            stripes.push(Stripe { order: order.as_ref(), from, number, to });
        }
    }
    stripes
}

/// Writes all stripes, by so many threads with this one. Where the system gives fewer, those do.
fn fill(stripes: Vec<Stripe<'_>>, threads: NonZeroUsize) {
    let others = threads.get().min(stripes.len()).saturating_sub(1);
    let stripes = Mutex::new(stripes.into_iter());
    let next = || stripes.lock().ok()?.next();
    let work = || {
        while let Some(Stripe { order, from, number, to }) = next() {
            order.fill(from, number, to);
        }
    };
    thread::scope(|scope| {
        for _ in 0..others {
            if thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
}
