//! Every byte of a buffer is written, and what is filled is not what is made: borders end where values begin.

use super::memory::Written;
use super::{Check, Validation};
use crate::kernels::map::Map;
use crate::plan::{Base, Place};

/// Bytes from here to there.
type Interval = (usize, usize);

/// Runs of bytes of a buffer that are looked at, at most: more have only values that are hardly ever in blocks,
/// and so have no borders.
const MOST_RUNS: usize = 1 << 18;

impl Validation<'_> {
    pub(super) fn buffers_are_covered(&self) -> Check {
        for (at, buffer) in self.plan.buffers.iter().enumerate() {
            let covered = self.is_covered(Base::Buffer(at), buffer.bytes);
            covered.map_err(|what| format!("buffer `{}`: {what}", buffer.name))?;
        }
        Ok(())
    }

    /// One run of all that write a buffer writes each of its bytes, or those of a group of images.
    fn is_covered(&self, base: Base, bytes: usize) -> Check {
        let (mut filled, mut made) = (Vec::new(), Vec::new());
        let mut expected = bytes;
        for (at, place, written) in self.memory.writers(base) {
            let step = &self.plan.steps[at];
            let together = self.plan.stages.get(step.stage).copied().unwrap_or(1);
            if place.image > 0 {
                expected = place.image * together;
            }
            let fills = step.kernel.get::<Map>().is_some_and(|map| map.dtypes.len() == 1);
            let all = if fills { &mut filled } else { &mut made };
            if !intervals(written, place, all) {
                return Ok(());
            }
        }
        let whole = [(0, expected)];
        let (made, is_filled_first) = (joined(made), joined(filled.clone()) == whole);
        let lengths = |all: &[Interval]| all.iter().map(|(from, to)| to - from).sum::<usize>();
        let once = is_filled_first || lengths(&filled) + lengths(&made) == expected;
        let all = joined(filled.into_iter().chain(made).collect());
        if once && all == whole {
            return Ok(());
        }
        Err(format!("not all of {expected} bytes are written, or more, or what is made is filled"))
    }
}

/// The bytes that loops write, in runs, if these are not too many.
fn intervals(written: &Written, place: Place, all: &mut Vec<Interval>) -> bool {
    let element = written.element;
    let mut run = element;
    let mut outer = Vec::new();
    for at in written.order.iter().rev() {
        let (count, distance) = written.loops[*at];
        let distance = distance.saturating_mul(element);
        match distance == run {
            true => run = run.saturating_mul(count),
            false => outer.push((count, distance)),
        }
    }
    let trips = outer.iter().map(|(count, _)| *count).fold(1, usize::saturating_mul);
    if all.len().saturating_add(trips) > MOST_RUNS {
        return false;
    }
    if written.loops.iter().any(|(count, _)| *count == 0) {
        return true;
    }
    for mut trip in 0..trips {
        let mut from = place.offset;
        for (count, distance) in &outer {
            from += trip % count * distance;
            trip /= count;
        }
        all.push((from, from + run));
    }
    true
}

/// The same bytes in as few runs as can be, in order.
fn joined(mut all: Vec<Interval>) -> Vec<Interval> {
    all.sort_unstable();
    let mut joined: Vec<Interval> = Vec::new();
    for (from, to) in all {
        match joined.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => joined.push((from, to)),
        }
    }
    joined
}
