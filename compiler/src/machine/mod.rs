//! The machine that code is made for, as far as choices and layouts depend on it: vector registers, what
//! blocks of channels are made of, and what work costs on its core. Which instructions there are is `asm`'s
//! business, and Cranelift's.

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
}

impl Machine {
    /// What work costs.
    pub fn costs(&self) -> &'static Costs {
        Costs::of(self.vectors, self.core)
    }

    /// The same machine with the registers that groups of so many channels are computed in.
    pub fn for_groups_of(self, narrow: usize) -> Machine {
        Machine { vectors: self.vectors.for_groups_of(narrow), ..self }
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

impl Vectors {
    /// The name in keys of layers.
    pub fn name(self) -> &'static str {
        match self {
            Vectors::Sse => "sse",
            Vectors::Neon => "neon",
            Vectors::Avx2 => "avx2",
            Vectors::Avx512 => "avx512",
        }
    }

    /// f32 lanes of a register.
    pub fn lanes(self) -> usize {
        match self {
            Vectors::Sse | Vectors::Neon => 4,
            Vectors::Avx2 => 8,
            Vectors::Avx512 => 16,
        }
    }

    /// Registers of a block.
    pub fn per_block(self) -> usize {
        BLOCK / self.lanes()
    }

    /// Vector registers.
    pub fn registers(self) -> usize {
        match self {
            Vectors::Sse | Vectors::Avx2 => 16,
            Vectors::Neon | Vectors::Avx512 => 32,
        }
    }

    /// The registers for groups of so many channels, if they are narrower than a block: an element
    /// is broadcast to a group of eight as fast as to a register of eight lanes.
    pub fn for_groups_of(self, narrow: usize) -> Vectors {
        match (self, narrow) {
            (Vectors::Avx512, 8) => Vectors::Avx2,
            (vectors, _) => vectors,
        }
    }

    /// Most pixels of a register tile so many blocks wide: beside the sums, registers hold one row of
    /// weights and a broadcast element.
    pub fn most_pixels(self, blocks: usize) -> usize {
        let row = self.per_block() * blocks;
        self.registers().saturating_sub(row + 1) / row
    }
}
