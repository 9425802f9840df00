//! The machine that code is made for, as far as choices and layouts depend on it: vector registers, what
//! blocks of channels are made of, and what work costs on its core. Which instructions there are is `asm`'s
//! business, and Cranelift's.

pub mod bfloat16;
mod cores;
mod costs;
mod element;

pub use cores::Core;
pub use costs::Costs;
pub use element::{Element, F32_BYTES};

/// Channels of a block. Activations of convolutional layers lie as `[n][c/16][h][w][16]`: 16 channels
/// of one pixel are a cache line, one register of 512 bits or two of 256.
pub const BLOCK: usize = 16;

/// What schedules depend on besides the graph and what the caller asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// The vector instructions.
    pub vectors: Vectors,
    /// The micro-architecture, where it is known.
    pub core: Option<Core>,
    /// How bytes are multiplied, where kernels of bytes are worth it.
    pub dots: Option<Dots>,
    /// Whether two bfloat16 of each lane are multiplied by an instruction.
    pub bfloats: bool,
}

/// How the four bytes of each lane are multiplied, and the products added to an i32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dots {
    /// By one instruction (VNNI).
    Words,
    /// By one that adds up two products in an i16, which stops at its ends, and two more that add up what
    /// becomes of both: without VNNI. So it is exact for weights only of which no pair adds up to more than
    /// [`LARGEST_PAIR`].
    Pairs,
}

/// The largest sum of two neighbouring weights in bytes, of those of one sign: 255 times this is an i16.
pub const LARGEST_PAIR: u32 = 128;

/// What a register tile multiplies, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Factor {
    /// An f32 of each lane.
    F32,
    /// Four bytes of each lane.
    U8(Dots),
    /// Two i16 of each lane: added up by the same instruction, or by a second one.
    I16(Dots),
    /// Two bfloat16 of each lane, whose products are added up in f32.
    Bf16,
}

impl Factor {
    /// Elements of this kind, where bytes are multiplied so.
    pub fn of(element: Element, dots: Dots) -> Factor {
        match element {
            Element::F32 => Factor::F32,
            Element::U8 => Factor::U8(dots),
            Element::I16 => Factor::I16(dots),
            Element::Bf16 => Factor::Bf16,
        }
    }

    /// Registers that it takes, besides those of sums, weights and elements.
    pub fn registers(self) -> usize {
        match self {
            Factor::F32 | Factor::U8(Dots::Words) | Factor::I16(Dots::Words) | Factor::Bf16 => 0,
            // Of products.
            Factor::I16(Dots::Pairs) => 1,
            // And of ones, by which pairs are multiplied to be added up.
            Factor::U8(Dots::Pairs) => 2,
        }
    }
}

impl Machine {
    /// What work costs.
    pub fn costs(&self) -> &'static Costs {
        Costs::of(self.vectors, self.core)
    }
}

/// A vector instruction set: how much of a register tile fits its registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vectors {
    /// 16 registers of 4 lanes, through Cranelift: x86-64 before AVX2.
    Sse,
    /// 32 registers of 4 lanes, through Cranelift: aarch64.
    Neon,
    /// 16 registers of 8 lanes.
    Avx2,
    /// 32 registers of 16 lanes.
    Avx512,
}

/// What there is to know of a vector instruction set.
struct Row {
    /// The name in keys of layers.
    name: &'static str,
    /// f32 lanes of a register.
    lanes: usize,
    /// Vector registers.
    registers: usize,
    /// Features that a CPU must have, besides those that all of its architecture have.
    features: &'static [&'static str],
}

impl Vectors {
    /// Those of x86-64, the best first. Every CPU has the last.
    pub const X86_64: [Vectors; 3] = [Vectors::Avx512, Vectors::Avx2, Vectors::Sse];

    fn row(self) -> &'static Row {
        match self {
            Vectors::Sse => &Row { name: "sse", lanes: 4, registers: 16, features: &[] },
            Vectors::Neon => &Row { name: "neon", lanes: 4, registers: 32, features: &[] },
            Vectors::Avx2 => {
                &Row { name: "avx2", lanes: 8, registers: 16, features: &["avx2", "fma"] }
            }
            Vectors::Avx512 => &Row {
                name: "avx512",
                lanes: 16,
                registers: 32,
                features: &["avx2", "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"],
            },
        }
    }

    /// The name in keys of layers.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// f32 lanes of a register.
    pub fn lanes(self) -> usize {
        self.row().lanes
    }

    /// Features that a CPU must have, besides those that all of its architecture have.
    pub fn features(self) -> &'static [&'static str] {
        self.row().features
    }

    /// Registers of a block.
    pub fn per_block(self) -> usize {
        BLOCK / self.lanes()
    }

    /// How bytes are multiplied in these vectors, given whether the CPU has their [feature](Self::dots_feature).
    pub fn dots(self, has_feature: bool) -> Option<Dots> {
        match self {
            Vectors::Avx512 | Vectors::Avx2 if has_feature => Some(Dots::Words),
            Vectors::Avx2 => Some(Dots::Pairs),
            Vectors::Avx512 | Vectors::Sse | Vectors::Neon => None,
        }
    }

    /// The feature with which a CPU has instructions for dot products of four bytes in these vectors.
    pub fn dots_feature(self) -> Option<&'static str> {
        match self {
            Vectors::Avx512 => Some("avx512vnni"),
            Vectors::Avx2 => Some("avxvnni"),
            Vectors::Sse | Vectors::Neon => None,
        }
    }

    /// The feature with which a CPU multiplies bfloat16 in these vectors.
    pub fn bfloats_feature(self) -> Option<&'static str> {
        match self {
            Vectors::Avx512 => Some("avx512bf16"),
            Vectors::Avx2 | Vectors::Sse | Vectors::Neon => None,
        }
    }

    /// Vector registers.
    pub fn registers(self) -> usize {
        self.row().registers
    }

    /// Most pixels of a register tile so many blocks wide: beside the sums, registers hold one row of weights,
    /// a broadcast element, and what the products take.
    pub fn most_pixels(self, factor: Factor, blocks: usize) -> usize {
        let row = self.per_block() * blocks;
        let taken = row + 1 + factor.registers();
        self.registers().saturating_sub(taken) / row
    }
}
