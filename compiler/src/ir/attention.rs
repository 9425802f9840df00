//! Split-Attention, the operator this compiler is named for.
//!
//! A block of ResNeSt (Zhang et al. 2020, "ResNeSt: Split-Attention Networks", section 3.1) has K
//! cardinal groups of R splits of c channels each, `u[n, (k r c), h, w]`. It computes
//!
//! ```text
//! z[n, k, c]    = mean over h, w of the sum over r of u                    squeeze
//! a[n, k, r, c] = W2[k] · act(W1[k] · z[n, k] + b1[k]) + b2[k]             excite
//! y[n, (k c)]   = Σ over r of weigh(a)[n, k, r, c] · u[n, (k r c), h, w]   weigh
//! ```
//!
//! A model that was quantized rounds on the way; [`Rounding`] says where. SE-Net (Hu et al. 2018) is
//! K = R = 1 with a sigmoid for `weigh`; SK-Net (Li et al. 2019) is K = 1 with R paths of different kernels; the effective SE of timm has no inner layer.

use super::epilogue::Epilogue;
use super::function::Unary;

/// Attributes of Split-Attention. Operands by slot: u `[n, K·R·c, h, w]`, w1 `[K·i, c]`, optional
/// b1 `[K·i]`, w2 `[K·R·c, i]`, optional b2 `[K·R·c]`, all rows cardinality-major; without an inner
/// layer slots 1 and 2 are empty and w2 is `[K·R·c, c]`. Result `[n, K·c, h, w]`. Epilogue operands
/// follow in slots 5 and up.
#[derive(Debug, Clone, PartialEq)]
pub struct SplitAttention {
    /// K: groups that do not see each other.
    pub cardinality: usize,
    /// R: splits of a group, which compete for attention.
    pub radix: usize,
    /// From the squeezed channels to one number for each split and channel.
    pub excite: Excite,
    /// From these numbers to weights.
    pub weigh: Weigh,
    /// Applied on the way from u to the result.
    pub rounding: Rounding,
    /// Applied to each element of the result.
    pub epilogue: Epilogue,
}

/// What is applied on the way, each list first to last: the rounding of a model that was quantized, to the bits
/// that its file asks for. In other models all are empty. That of the inner layer is part of its activation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rounding {
    /// To each z.
    pub squeezed: Vec<Unary>,
    /// To each a.
    pub excited: Vec<Unary>,
    /// To each weight.
    pub weights: Vec<Unary>,
    /// To each product of a weight and an element of u, before they are summed.
    pub products: Vec<Unary>,
}

/// The dense layers between squeeze and weigh.
#[derive(Debug, Clone, PartialEq)]
pub enum Excite {
    /// Two layers.
    Inner {
        /// Width of the layer between, for each cardinal group.
        width: usize,
        /// Applied to it, first to last.
        activation: Vec<Unary>,
    },
    /// One layer.
    Direct,
}

/// How attention becomes weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Weigh {
    /// Softmax over the radix, which is 2 or more.
    Softmax,
    /// A function of each number; the radix is 1.
    Gate(Unary),
}

impl Rounding {
    /// Its lists, each with the name that it has in text.
    pub fn lists(&mut self) -> [(&'static str, &mut Vec<Unary>); 4] {
        let Rounding { squeezed, excited, weights, products } = self;
        [
            ("round_squeezed", squeezed),
            ("round_excited", excited),
            ("round_weights", weights),
            ("round_products", products),
        ]
    }
}

impl SplitAttention {
    /// Slot of u.
    pub const U: usize = 0;
    /// Slot of the inner layer's weights.
    pub const W1: usize = 1;
    /// Slot of the inner layer's bias.
    pub const B1: usize = 2;
    /// Slot of the last layer's weights.
    pub const W2: usize = 3;
    /// Slot of the last layer's bias.
    pub const B2: usize = 4;

    /// The functions that make a weight of each a; `None` where a softmax over the splits is among them.
    pub fn gate(&self) -> Option<Vec<Unary>> {
        let Weigh::Gate(function) = self.weigh else { return None };
        let Rounding { excited, weights, .. } = &self.rounding;
        Some(excited.iter().copied().chain([function]).chain(weights.iter().copied()).collect())
    }

    /// What the squeeze does, in words.
    pub fn squeeze(&self) -> &'static str {
        if self.radix > 1 { "mean h w, sum r" } else { "mean h w" }
    }
}
