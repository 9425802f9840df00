//! Choices that a caller makes instead of the estimates: which algorithm computes a convolution, and
//! how it is cut. A choice names what it is, not its rank among others, so that it keeps its meaning.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::cut::Cut;
use super::winograd::SIZES;

/// How a convolution is computed.
///
/// As text `direct 14x2 by weights` (pixels × blocks of a tile), `direct 6x1 by pixels`, or
/// `F(4x4) 7x2 rows 7 images 1`, or `strassen 6x1 by pixels row 28`, which reads back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// By its definition.
    Direct {
        /// A tile.
        cut: Cut,
        /// Run through the weights for each row of pixels, rather than through the rows for each
        /// weight.
        pixels_first: bool,
    },
    /// In Winograd's transformed domain.
    Winograd {
        /// m of F(m×m, 3×3): 2, 3 or 4.
        outputs: usize,
        /// A tile of the products.
        cut: Cut,
        /// Rows of tiles of outputs of an item, in each of its images.
        rows: usize,
        /// Images of an item.
        images: usize,
    },
    /// With Strassen's products of halves.
    Strassen {
        /// A tile of the products.
        cut: Cut,
        /// As for direct convolution, of half the pixels and half the blocks.
        pixels_first: bool,
        /// Pixels of a row of tiles.
        row: usize,
    },
}

/// A choice, and what speaks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The choice.
    pub choice: Choice,
    /// For the plan's reader, such as times measured; may be empty. Code does not depend on it.
    pub because: String,
}

/// Choices by the [key](super::Layer::key) of the layers they are for.
pub type Choices = BTreeMap<String, Chosen>;

impl Choice {
    /// The algorithm's name: `direct`, `F(4x4)`.
    pub fn algorithm(&self) -> String {
        match self {
            Choice::Direct { .. } => "direct".into(),
            Choice::Winograd { outputs, .. } => format!("F({outputs}x{outputs})"),
            Choice::Strassen { .. } => "strassen".into(),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithm = self.algorithm();
        let order = |pixels_first: &bool| if *pixels_first { "pixels" } else { "weights" };
        match self {
            Choice::Direct { cut: Cut { pixels, blocks }, pixels_first } => {
                write!(f, "{algorithm} {pixels}x{blocks} by {}", order(pixels_first))
            }
            Choice::Strassen { cut: Cut { pixels, blocks }, pixels_first, row } => {
                let order = order(pixels_first);
                write!(f, "{algorithm} {pixels}x{blocks} by {order} row {row}")
            }
            Choice::Winograd { cut: Cut { pixels, blocks }, rows, images, .. } => {
                write!(f, "{algorithm} {pixels}x{blocks} rows {rows} images {images}")
            }
        }
    }
}

/// Text that names no [`Choice`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no way to compute a convolution")]
pub struct BadChoice(pub String);

impl FromStr for Choice {
    type Err = BadChoice;

    fn from_str(text: &str) -> Result<Choice, BadChoice> {
        // What is written differently is not what was written: `06x2`, two spaces.
        let choice = read(text).filter(|choice| choice.to_string() == text);
        choice.ok_or_else(|| BadChoice(text.into()))
    }
}

fn read(text: &str) -> Option<Choice> {
    let words: Vec<&str> = text.split(' ').collect();
    let cut = |word: &str| {
        let (pixels, blocks) = word.split_once('x')?;
        Some(Cut { pixels: pixels.parse().ok()?, blocks: blocks.parse().ok()? })
    };
    match words[..] {
        ["direct", size, "by", order @ ("pixels" | "weights")] => {
            Some(Choice::Direct { cut: cut(size)?, pixels_first: order == "pixels" })
        }
        ["strassen", size, "by", order @ ("pixels" | "weights"), "row", row] => {
            let (cut, pixels_first) = (cut(size)?, order == "pixels");
            Some(Choice::Strassen { cut, pixels_first, row: row.parse().ok()? })
        }
        [tile, size, "rows", rows, "images", images] => {
            let outputs = SIZES.into_iter().find(|m| tile == format!("F({m}x{m})"))?;
            let (rows, images) = (rows.parse().ok()?, images.parse().ok()?);
            Some(Choice::Winograd { outputs, cut: cut(size)?, rows, images })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_read_back() {
        for text in [
            "direct 14x2 by weights",
            "direct 1x1 by pixels",
            "F(4x4) 7x2 rows 7 images 1",
            "strassen 6x1 by weights row 98",
        ] {
            assert_eq!(text.parse::<Choice>().map(|c| c.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn nothing_else_is_a_choice() {
        for text in [
            "",
            "direct",
            "direct 14x2",
            "direct 14x2 by rows",
            "direct 014x2 by pixels",
            "direct +1x2 by pixels",
            "direct -1x2 by pixels",
            "direct 14x2  by pixels",
            "direct 14x2 by pixels ",
            "direct 99999999999999999999x2 by pixels",
            "F(5x5) 7x2 rows 7 images 1",
            "F(4x4) 7x2 rows 7",
            "F(4x4) 7 rows 7 images 1",
            "strassen 6x1 by weights",
            "strassen 6x1 by weights row +98",
        ] {
            assert_eq!(text.parse::<Choice>(), Err(BadChoice(text.into())));
        }
    }
}
