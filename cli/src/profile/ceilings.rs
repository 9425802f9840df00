//! What the machine can do at most, as far as it was seen to.

use cardinal_compiler::machine::Element;

/// Ceilings of so many threads together.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Ceilings {
    /// 10⁹ operations a second in each element type, of which a multiply-add is two.
    pub(crate) gflops: Vec<(Element, f64)>,
    /// 10⁹ bytes a second, read from memory.
    pub(crate) memory: f64,
    /// The same from caches.
    pub(crate) caches: f64,
    /// Measurements that these are the best of.
    pub(crate) measurements: usize,
}

impl Ceilings {
    /// The peak in an element type, where it is known.
    pub(crate) fn peak(&self, element: Element) -> Option<f64> {
        self.gflops.iter().find(|(known, _)| *known == element).map(|(_, gflops)| *gflops)
    }

    /// Takes what others say where they are higher: whatever else runs on a machine makes them lower.
    pub(super) fn raise(&mut self, others: &Ceilings) {
        for (element, gflops) in &others.gflops {
            match self.gflops.iter_mut().find(|(known, _)| known == element) {
                Some((_, best)) => *best = best.max(*gflops),
                None => self.gflops.push((*element, *gflops)),
            }
        }
        self.memory = self.memory.max(others.memory);
        self.caches = self.caches.max(others.caches);
        self.measurements += others.measurements;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ceilings(f32: f64, memory: f64, caches: f64) -> Ceilings {
        let gflops = vec![(Element::F32, f32)];
        Ceilings { gflops, memory, caches, measurements: 1 }
    }

    #[test]
    fn each_ceiling_is_the_highest_of_all_measurements() {
        let mut best = Ceilings::default();
        for one in
            [ceilings(90.0, 9.0, 40.0), ceilings(80.0, 11.0, 50.0), ceilings(70.0, 10.0, 45.0)]
        {
            best.raise(&one);
        }
        assert_eq!(best, Ceilings { measurements: 3, ..ceilings(90.0, 11.0, 50.0) });
        best.raise(&Ceilings { gflops: vec![(Element::Bf16, 170.0)], ..Ceilings::default() });
        assert_eq!((best.peak(Element::F32), best.peak(Element::Bf16)), (Some(90.0), Some(170.0)));
        assert_eq!(best.peak(Element::U8), None);
    }
}
