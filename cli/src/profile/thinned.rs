//! Samples of something that is measured again and again, in memory that does not grow with them.

/// No more samples are kept.
const MOST: usize = 1000;

/// Some of all samples, evenly over time: all of up to a thousand, then every other one of up to two thousand, and
/// so on.
pub(super) struct Thinned<T> {
    kept: Vec<T>,
    /// One of so many is kept.
    every: usize,
    seen: usize,
}

impl<T> Thinned<T> {
    pub(super) fn new() -> Thinned<T> {
        Thinned { kept: Vec::new(), every: 1, seen: 0 }
    }

    pub(super) fn add(&mut self, sample: T) {
        if self.seen.is_multiple_of(self.every) && self.kept.len() == MOST {
            let mut place = 0;
            self.kept.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            self.every *= 2;
        }
        if self.seen.is_multiple_of(self.every) {
            self.kept.push(sample);
        }
        self.seen += 1;
    }

    /// Those that are kept, in order.
    pub(super) fn kept(&self) -> &[T] {
        &self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thinned(count: usize) -> Vec<usize> {
        let mut samples = Thinned::new();
        (0..count).for_each(|sample| samples.add(sample));
        samples.kept().to_vec()
    }

    #[test]
    fn samples_are_kept_evenly() {
        assert_eq!(thinned(MOST), (0..MOST).collect::<Vec<_>>());
        for count in [MOST + 1, 2 * MOST, 2 * MOST + 1, 100 * MOST + 7] {
            let kept = thinned(count);
            let step = kept[1];
            assert!(
                step.is_power_of_two() && kept.iter().enumerate().all(|(i, at)| *at == i * step)
            );
            assert!((MOST / 2..=MOST).contains(&kept.len()), "{} of {count}", kept.len());
            assert!(kept[kept.len() - 1] + step >= count, "{count}");
        }
    }
}
