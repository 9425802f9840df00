//! Which elements of an argument a kernel touches, as nested loops: what a plan's check asks of kernels.

use crate::machine::{BLOCK, Element, F32_BYTES};

use super::Loop;

/// The elements of one argument that a kernel touches: all that the loops reach from its place, whatever
/// their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    /// Bytes of an element.
    element: usize,
    /// Trips, and elements from one trip to the next.
    loops: Vec<(usize, isize)>,
}

impl Walk {
    /// Elements of so many bytes, by these loops.
    pub(crate) fn new(element: usize, loops: impl IntoIterator<Item = (usize, isize)>) -> Walk {
        Walk { element, loops: loops.into_iter().collect() }
    }

    /// So many elements of so many bytes, one after the other.
    pub(crate) fn dense(element: usize, extents: impl IntoIterator<Item = usize>) -> Walk {
        let elements = extents.into_iter().fold(1, usize::saturating_mul);
        Walk::new(element, [(elements, 1)])
    }

    /// So many elements of f32, one after the other.
    pub(crate) fn floats(extents: impl IntoIterator<Item = usize>) -> Walk {
        Walk::dense(F32_BYTES, extents)
    }

    /// Elements of so many bytes, by the loops of a nest for one operand; `None` where the strides are not
    /// those of the loops.
    pub(crate) fn nest(element: usize, dims: &[usize], strides: &[isize]) -> Option<Walk> {
        let loops = dims.iter().copied().zip(strides.iter().copied());
        (dims.len() == strides.len()).then(|| Walk::new(element, loops))
    }

    /// The same in loops of so many trips at such distances besides.
    pub(crate) fn by(mut self, loops: impl IntoIterator<Item = (usize, usize)>) -> Walk {
        // A distance that is no `isize` is far outside of everything.
        let distance = |by| isize::try_from(by).unwrap_or(isize::MAX);
        self.loops.extend(loops.into_iter().map(|(count, by)| (count, distance(by))));
        self
    }

    /// The same in the loops of the other besides.
    pub(crate) fn and(mut self, other: &Walk) -> Walk {
        self.loops.extend(&other.loops);
        self
    }

    /// Blocks of channels of f32, by loops of so many trips at such distances.
    pub(crate) fn blocks(loops: impl IntoIterator<Item = (usize, usize)>) -> Walk {
        Walk::floats([BLOCK]).by(loops)
    }

    /// Blocks of channels of such elements, by loops of so many trips at such distances.
    pub(crate) fn blocks_of(
        element: Element,
        loops: impl IntoIterator<Item = (usize, usize)>,
    ) -> Walk {
        Walk::dense(element.bytes(), [BLOCK]).by(loops)
    }

    /// Bytes of an element.
    pub fn element(&self) -> usize {
        self.element
    }

    /// How many elements there are, each as often as the loops come to it.
    pub fn elements(&self) -> usize {
        self.loops.iter().fold(1, |n, (count, _)| n.saturating_mul(*count))
    }

    /// Bytes that are touched, each once: no more than the loops come to, or reach.
    pub fn bytes(&self) -> usize {
        let (low, high) = self.reach().unwrap_or_default();
        let reached = usize::try_from(high - low).unwrap_or(usize::MAX);
        self.elements().saturating_mul(self.element).min(reached)
    }

    /// The first byte from the place on, and the one behind the last; `None` where nothing is touched.
    pub fn reach(&self) -> Option<(i128, i128)> {
        let (mut low, mut high) = (0i128, 0i128);
        for (count, by) in &self.loops {
            // Counts and distances are below 2^64.
            let last = (i128::try_from(*count).ok()? - 1).checked_mul(*by as i128)?;
            if *count == 0 {
                return None;
            }
            (low, high) = (low.checked_add(last.min(0))?, high.checked_add(last.max(0))?);
        }
        let element = self.element as i128;
        Some((low.saturating_mul(element), high.saturating_add(1).saturating_mul(element)))
    }

    /// Whether the loops come to no element twice: each moves farther than all within it reach.
    pub fn is_injective(&self) -> bool {
        let mut loops: Vec<_> = self.loops.iter().filter(|(count, _)| *count > 1).collect();
        loops.sort_by_key(|(_, by)| by.unsigned_abs());
        let mut within = 0u128;
        loops.into_iter().all(|(count, by)| {
            let by = by.unsigned_abs() as u128;
            let is_beyond = by > within;
            within = within.saturating_add(by.saturating_mul(*count as u128 - 1));
            is_beyond
        })
    }
}

impl Loop {
    /// Trips, and the distance in the input.
    pub(crate) const fn read(&self) -> (usize, usize) {
        (self.count, self.input)
    }

    /// Trips, and the distance in the output.
    pub(crate) const fn written(&self) -> (usize, usize) {
        (self.count, self.output)
    }

    /// Trips, and the distance in the residual operand.
    pub(crate) const fn added(&self) -> (usize, usize) {
        (self.count, self.residual)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_that_are_reached_and_no_more() {
        for (loops, bytes) in [
            (vec![(5, 10)], 5 * 4),
            // Windows overlap: elements from 0 to 28.
            (vec![(3, 1), (14, 2)], 29 * 4),
            (vec![(3, 1), (14, -2)], 29 * 4),
            (vec![(7, 0)], 4),
            (vec![(7, 1), (0, 1)], 0),
            (vec![], 4),
        ] {
            assert_eq!(Walk::new(4, loops.clone()).bytes(), bytes, "{loops:?}");
        }
    }
}
