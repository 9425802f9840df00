//! Offsets of a tensor's elements.

/// Number of elements of a shape.
pub(super) fn elements(shape: &[usize]) -> usize {
    shape.iter().fold(1usize, |n, size| n.saturating_mul(*size))
}

/// Distance between neighbours along each axis of a dense row-major tensor.
pub(super) fn strides(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1isize; shape.len()];
    for axis in (1..shape.len()).rev() {
        // Only a tensor without elements can overflow, and has no offsets.
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis] as isize);
    }
    strides
}

/// The shape that shapes broadcast to, aligned at their last axes; `None` when they do not.
pub(super) fn broadcast(shapes: &[&[usize]]) -> Option<Vec<usize>> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut all = vec![1; rank];
    for shape in shapes {
        for (size, all) in shape.iter().zip(&mut all[rank - shape.len()..]) {
            match (*size, *all) {
                (1, _) => {}
                (size, 1) => *all = size,
                (size, old) if size == old => {}
                _ => return None,
            }
        }
    }
    Some(all)
}

/// Strides that repeat a dense tensor of shape `from` along the axes of `to`, which it broadcasts
/// to.
pub(super) fn repeating(from: &[usize], to: &[usize]) -> Vec<isize> {
    let mut all = vec![0; to.len()];
    let own = from.iter().zip(strides(from));
    for ((size, stride), all) in own.zip(&mut all[to.len() - from.len()..]) {
        *all = if *size == 1 { 0 } else { stride };
    }
    all
}

/// `start + index · strides` for every index of `shape`, in row-major order.
pub(super) struct Walk<'s> {
    shape: &'s [usize],
    strides: Vec<isize>,
    index: Vec<usize>,
    at: usize,
    left: usize,
}

/// A [`Walk`].
pub(super) fn walk(shape: &[usize], start: usize, strides: Vec<isize>) -> Walk<'_> {
    Walk { shape, strides, index: vec![0; shape.len()], at: start, left: elements(shape) }
}

impl Iterator for Walk<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let at = self.at;
        for axis in (0..self.shape.len()).rev() {
            let (size, stride) = (self.shape[axis], self.strides[axis]);
            self.index[axis] += 1;
            self.at = self.at.wrapping_add_signed(stride);
            if self.index[axis] < size {
                break;
            }
            self.index[axis] = 0;
            self.at =
                self.at.wrapping_add_signed(stride.wrapping_mul(size as isize).wrapping_neg());
        }
        Some(at)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}
