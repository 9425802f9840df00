//! Gives buffers their places in the arena, reusing memory whose value is dead.

use std::collections::{BTreeMap, BTreeSet};

use cardinal_runtime::abi::ALIGNMENT;

use super::{Base, Buffer, Plan};

/// Sets from which step to which each buffer lives: from the first that touches it to the last. What
/// one stage passes on to another lives from the very first step on, since all stages before run again
/// for the next images.
pub fn set_lives(plan: &mut Plan) {
    let mut stages: Vec<Option<usize>> = vec![None; plan.buffers.len()];
    for buffer in &mut plan.buffers {
        (buffer.first, buffer.last) = (usize::MAX, 0);
    }
    for (at, step) in plan.steps.iter().enumerate() {
        for place in &step.args {
            let Base::Buffer(b) = place.base else { continue };
            let (Some(buffer), Some(stage)) = (plan.buffers.get_mut(b), stages.get_mut(b)) else {
                continue;
            };
            buffer.first = buffer.first.min(at);
            buffer.last = buffer.last.max(at);
            if *stage.get_or_insert(step.stage) != step.stage {
                buffer.first = 0;
            }
        }
    }
}

/// Most buffers that are placed largest first, each of which is compared with all others. Networks have
/// hundreds.
const MOST_COMPARED: usize = 8192;

/// Sets the offset of every buffer from its size and live range, and returns the arena's size.
pub fn assign(buffers: &mut [Buffer]) -> usize {
    match buffers.len() <= MOST_COMPARED {
        true => largest_first(buffers),
        false => in_order_of_time(buffers),
    }
}

/// Largest first, each at the lowest offset where it meets no buffer that lives at the same time.
/// On the fixtures this comes within a few percent of the peak of live bytes.
fn largest_first(buffers: &mut [Buffer]) -> usize {
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(buffers[i].bytes), i));
    let mut placed: Vec<usize> = Vec::with_capacity(buffers.len());
    let mut end = 0;
    for i in order {
        let offset = lowest_gap(buffers, &placed, &buffers[i]);
        buffers[i].offset = offset;
        end = end.max(offset + round_up(buffers[i].bytes));
        let at = placed.partition_point(|&p| buffers[p].offset <= offset);
        placed.insert(at, i);
    }
    end
}

/// Each in the smallest of the gaps that dead ones have left, or behind all others: the work grows with the
/// number of buffers, whichever live at the same time, and the arena may be larger.
fn in_order_of_time(buffers: &mut [Buffer]) -> usize {
    let mut starts: Vec<usize> = (0..buffers.len()).collect();
    let mut ends = starts.clone();
    starts.sort_by_key(|&i| (buffers[i].first, i));
    ends.sort_by_key(|&i| (buffers[i].last, i));
    let mut ends = ends.into_iter().peekable();
    let mut gaps = Gaps::default();
    let mut arena = 0;
    for i in starts {
        while let Some(dead) = ends.next_if(|&dead| buffers[dead].last < buffers[i].first) {
            gaps.give_back(buffers[dead].offset, round_up(buffers[dead].bytes));
        }
        let size = round_up(buffers[i].bytes);
        buffers[i].offset = gaps.take(size).unwrap_or(arena);
        arena = arena.max(buffers[i].offset + size);
    }
    arena
}

/// Memory between live buffers.
#[derive(Default)]
struct Gaps {
    /// Sizes by offset; no two gaps touch.
    by_offset: BTreeMap<usize, usize>,
    /// The same as (size, offset).
    by_size: BTreeSet<(usize, usize)>,
}

impl Gaps {
    /// Takes so many bytes out of the smallest gap that has them.
    fn take(&mut self, size: usize) -> Option<usize> {
        let &(whole, offset) = self.by_size.range((size, 0)..).next()?;
        self.remove(offset, whole);
        self.insert(offset + size, whole - size);
        Some(offset)
    }

    /// Adds a gap, as one with those that it touches.
    fn give_back(&mut self, mut offset: usize, mut size: usize) {
        let before = self.by_offset.range(..offset).next_back().map(|(at, size)| (*at, *size));
        if let Some((at, bytes)) = before.filter(|(at, bytes)| at + bytes == offset) {
            self.remove(at, bytes);
            (offset, size) = (at, size + bytes);
        }
        if let Some(&bytes) = self.by_offset.get(&(offset + size)) {
            self.remove(offset + size, bytes);
            size += bytes;
        }
        self.insert(offset, size);
    }

    fn insert(&mut self, offset: usize, size: usize) {
        if size > 0 {
            self.by_offset.insert(offset, size);
            self.by_size.insert((size, offset));
        }
    }

    fn remove(&mut self, offset: usize, size: usize) {
        self.by_offset.remove(&offset);
        self.by_size.remove(&(size, offset));
    }
}

/// The lowest offset where `new` fits beside the buffers of `placed`, which is sorted by offset.
fn lowest_gap(buffers: &[Buffer], placed: &[usize], new: &Buffer) -> usize {
    let size = round_up(new.bytes);
    let mut offset = 0;
    for other in placed.iter().map(|&p| &buffers[p]) {
        if other.last < new.first || new.last < other.first {
            continue;
        }
        if offset + size <= other.offset {
            break;
        }
        offset = offset.max(other.offset + round_up(other.bytes));
    }
    offset
}

/// The next multiple of the arena's alignment.
pub fn round_up(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}
