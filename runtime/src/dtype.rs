//! Element types of tensors.

/// The element type of a tensor; the discriminants are the ones stored in artifacts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum DType {
    /// IEEE 754 binary32.
    #[default]
    F32 = 1,
    /// IEEE 754 binary64; constants only, no generated code computes in it.
    F64 = 2,
    /// Signed 64-bit integer.
    I64 = 3,
    /// Signed 32-bit integer.
    I32 = 4,
    /// Unsigned byte.
    U8 = 5,
    /// Signed byte.
    I8 = 6,
    /// A byte that is 0 or 1.
    Bool = 7,
}

impl DType {
    /// Every element type, in the order of their discriminants.
    pub const ALL: [DType; 7] =
        [DType::F32, DType::F64, DType::I64, DType::I32, DType::U8, DType::I8, DType::Bool];

    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            DType::F64 | DType::I64 => 8,
            DType::F32 | DType::I32 => 4,
            DType::U8 | DType::I8 | DType::Bool => 1,
        }
    }

    /// The name used in dumps: `f32`, `i64`, `bool`, …
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::I64 => "i64",
            DType::I32 => "i32",
            DType::U8 => "u8",
            DType::I8 => "i8",
            DType::Bool => "bool",
        }
    }

    /// The element type with this [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|d| d.name() == name)
    }

    /// The element type with this discriminant.
    pub fn from_code(code: u32) -> Option<DType> {
        DType::ALL.into_iter().find(|d| *d as u32 == code)
    }

    /// Whether elements are floating-point numbers.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64)
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
