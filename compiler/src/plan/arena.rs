//! Gives buffers their places in the arena, reusing memory whose value is dead.

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

/// Sets the offset of every buffer from its size and live range, and returns the arena's size.
///
/// Largest first, each at the lowest offset where it meets no buffer that lives at the same time.
/// On the fixtures this comes within a few percent of the peak of live bytes.
pub fn assign(buffers: &mut [Buffer]) -> usize {
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
