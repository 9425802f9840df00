//! Tensor types whose axes may be products of named factors.

use std::fmt;

pub use cardinal_runtime::DType;

/// One named factor of an axis, such as `k2`: two cardinal groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Factor {
    /// `k` cardinality, `r` radix, `c` channels per split.
    pub name: char,
    /// How many.
    pub size: usize,
}

/// One axis of a tensor: its extent and, where known, how it factors, outermost first.
///
/// `(k2 r2 c20)` has extent 80 and lies in memory as two cardinal groups of two radix splits of
/// 20 channels. A plain axis has no factors.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Axis {
    size: usize,
    factors: Vec<Factor>,
}

impl Axis {
    /// An axis of `size` elements that does not factor.
    pub fn plain(size: usize) -> Axis {
        Axis { size, factors: Vec::new() }
    }

    /// A product of named factors, outermost first. `None` when the product overflows.
    pub fn product(factors: impl Into<Vec<Factor>>) -> Option<Axis> {
        let factors = factors.into();
        let size = factors.iter().try_fold(1usize, |n, f| n.checked_mul(f.size))?;
        Some(Axis { size, factors })
    }

    /// The channels of K cardinal groups of R splits, `(k2 r2 c20)`: factors of 1 are left out,
    /// and the axis is plain when only one is left.
    pub fn cardinality_major([k, r, c]: [usize; 3]) -> Axis {
        let factors: Vec<Factor> = [('k', k), ('r', r), ('c', c)]
            .into_iter()
            .filter(|(_, size)| *size != 1)
            .map(|(name, size)| Factor { name, size })
            .collect();
        let product = if factors.len() > 1 { Axis::product(factors) } else { None };
        product.unwrap_or_else(|| Axis::plain(k.saturating_mul(r).saturating_mul(c)))
    }

    /// Number of elements along the axis.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The factors, outermost first; empty for a plain axis.
    pub fn factors(&self) -> &[Factor] {
        &self.factors
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.factors.is_empty() {
            return write!(f, "{}", self.size);
        }
        for (i, factor) in self.factors.iter().enumerate() {
            let open = if i == 0 { "(" } else { " " };
            write!(f, "{open}{}{}", factor.name, factor.size)?;
        }
        f.write_str(")")
    }
}

/// Element type and axes of a value; every extent is known at compile time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Axes, outermost first. Empty for a scalar.
    pub axes: Vec<Axis>,
}

impl TensorType {
    /// A type with plain axes.
    pub fn new(dtype: DType, shape: &[usize]) -> TensorType {
        TensorType { dtype, axes: shape.iter().map(|&n| Axis::plain(n)).collect() }
    }

    /// The extents, outermost first.
    pub fn shape(&self) -> Vec<usize> {
        self.axes.iter().map(Axis::size).collect()
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.axes.len()
    }

    /// Number of elements. The import refuses types whose byte count does not fit `isize`, so this
    /// does not overflow in a verified graph; it saturates elsewhere.
    pub fn elements(&self) -> usize {
        self.axes.iter().fold(1usize, |n, a| n.saturating_mul(a.size()))
    }

    /// Number of bytes of a dense tensor of this type.
    pub fn bytes(&self) -> usize {
        self.elements().saturating_mul(self.dtype.size())
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (i, axis) in self.axes.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{axis}")?;
        }
        f.write_str("]")
    }
}
