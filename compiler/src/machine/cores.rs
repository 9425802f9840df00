//! Micro-architectures that have names.

use std::fmt;

/// A micro-architecture of x86-64, by the name that compilers give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Core {
    /// AMD's Zen 2.
    Znver2,
    /// AMD's Zen 3.
    Znver3,
    /// AMD's Zen 4.
    Znver4,
    /// AMD's Zen 5.
    Znver5,
    /// Intel's Skylake, Cascade Lake and Cooper Lake for servers.
    SkylakeAvx512,
    /// Intel's Ice Lake for servers.
    IcelakeServer,
    /// Intel's Sapphire Rapids and Emerald Rapids.
    SapphireRapids,
}

impl Core {
    /// All that there are.
    pub const ALL: [Core; 7] = [
        Core::Znver2,
        Core::Znver3,
        Core::Znver4,
        Core::Znver5,
        Core::SkylakeAvx512,
        Core::IcelakeServer,
        Core::SapphireRapids,
    ];

    /// The core of this name.
    pub fn named(name: &str) -> Option<Core> {
        Core::ALL.into_iter().find(|core| core.name() == name)
    }

    /// Its name, as GCC and LLVM have it.
    pub fn name(self) -> &'static str {
        match self {
            Core::Znver2 => "znver2",
            Core::Znver3 => "znver3",
            Core::Znver4 => "znver4",
            Core::Znver5 => "znver5",
            Core::SkylakeAvx512 => "skylake-avx512",
            Core::IcelakeServer => "icelake-server",
            Core::SapphireRapids => "sapphirerapids",
        }
    }

    /// The x86-64 level whose features it has.
    pub fn level(self) -> &'static str {
        match self {
            Core::Znver2 | Core::Znver3 => "x86-64-v3",
            Core::Znver4
            | Core::Znver5
            | Core::SkylakeAvx512
            | Core::IcelakeServer
            | Core::SapphireRapids => "x86-64-v4",
        }
    }
}

impl Core {
    /// What it has besides the features of its level, of what generated code uses.
    pub fn beyond_level(self) -> &'static [&'static str] {
        match self {
            Core::Znver4 | Core::Znver5 | Core::SapphireRapids => &["avx512bf16", "avx512vnni"],
            Core::IcelakeServer => &["avx512vnni"],
            // Of the three, Skylake has it not.
            Core::SkylakeAvx512 => &[],
            Core::Znver2 | Core::Znver3 => &[],
        }
    }
}

impl fmt::Display for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
