//! What blocks are made of.

/// Bytes of an f32: of sums, biases and totals, and of an element where a kernel takes no other.
pub const F32_BYTES: usize = 4;

/// The type in which values in blocks are stored, and the weights of what reads them. It is no type of a
/// model's tensors, which are of [`DType`](crate::ir::DType): what is f32 in the model may lie otherwise in
/// blocks.
///
/// Sums, biases, and totals of rows are f32 whatever the elements are: so registers hold f32, and elements
/// are converted as they are loaded and stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Element {
    /// As in the model.
    #[default]
    F32,
}

impl Element {
    /// All that there are.
    const ALL: [Element; 1] = [Element::F32];

    /// The name in texts.
    pub fn name(self) -> &'static str {
        match self {
            Element::F32 => "f32",
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
        }
    }

    /// Whether a sum can wait in the output between two of its parts. A narrower type would round it there.
    pub fn holds_sums(self) -> bool {
        match self {
            Element::F32 => true,
        }
    }
}
