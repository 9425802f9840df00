//! What blocks are made of.

/// Bytes of an f32: of sums, biases and totals, and of an element where a kernel takes no other.
pub const F32_BYTES: usize = 4;

/// The type in which values in blocks are stored. It is no type of a model's tensors, which are of
/// [`DType`](crate::ir::DType): what is f32 in the model may lie otherwise in blocks.
///
/// Sums, biases, and totals of rows are f32 whatever the elements are, but for sums of products of bytes,
/// which are i32. Elements are converted as they are loaded and stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Element {
    /// As in the model.
    #[default]
    F32,
    /// Which multiple of a scale it is, counted from the lowest.
    U8,
    /// Integers on their way through Winograd's domain; no value is stored so.
    I16,
    /// The upper half of an f32: copies of values, and what goes through Winograd's domain, for products of such;
    /// no value is stored so alone.
    Bf16,
}

impl Element {
    /// All that there are.
    const ALL: [Element; 4] = [Element::F32, Element::U8, Element::I16, Element::Bf16];

    /// The name in texts.
    pub fn name(self) -> &'static str {
        match self {
            Element::F32 => "f32",
            Element::U8 => "u8",
            Element::I16 => "i16",
            Element::Bf16 => "bf16",
        }
    }

    /// The element type of this name.
    pub fn from_name(name: &str) -> Option<Element> {
        Element::ALL.into_iter().find(|element| element.name() == name)
    }

    /// Bytes of an element.
    pub const fn bytes(self) -> usize {
        match self {
            Element::F32 => F32_BYTES,
            Element::U8 => 1,
            Element::I16 | Element::Bf16 => 2,
        }
    }

    /// How many are a word of 32 bits, which a lane of a register holds.
    pub const fn of_word(self) -> usize {
        F32_BYTES / self.bytes()
    }
}
