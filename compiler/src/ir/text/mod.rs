//! The text of the IR: `parse(print(graph)) == graph`.
//!
//! ```text
//! graph @block {
//!   input  %x   f32[1, (k2 r2 c20), 56, 56]
//!
//!   weight %w   f32[(k2 r2 c40), 20, 3, 3]   #5f0c9a1e01234567
//!   weight %b   f32[160]                     rand(7)
//!   %u   f32[1, (k2 r2 c40), 56, 56] = group_conv(%x, %w, %b)
//!     groups   4
//!     window   3x3 pad 1
//!     then     relu
//!     from     "/conv2/conv/Conv" "/conv2/act/Relu"
//!
//!   output %u as "logits"
//! }
//! ```
//!
//! In words (line breaks separate like spaces do, `;` starts a comment that ends with its line). The book has the same
//! text, and a row for each operator (`docs/src/ir.md`); a test keeps both alike.
//!
//! ```text
//! graph     = "graph" @NAME "{" statement* "}"
//! statement = "input" %NAME type from?
//!           | "weight" %NAME type data from?
//!           | %NAME type "=" operator "(" operand, … ")" attribute* from?
//!           | "output" %NAME ( "as" STRING )?
//! type      = dtype "[" axis, … "]"       axis = SIZE | "(" factor+ ")"    factor = LETTER SIZE
//! data      = "=" literal | "=" "[" literal, … "]" | "#" 16 hex digits | "rand" "(" SEED ")"
//! operand   = "_" | %NAME ( "at" SLOT )?
//! attribute = KEY value                   in the order of the operator's row
//! then      = "then" step, …              step = function parameter* | function operand
//! from      = "from" STRING+
//! ```
//!
//! `%NAME` and `@NAME` are written bare when made of letters, digits and `_./:-`, and quoted
//! otherwise. An operand stands in the slot after its predecessor's unless `at` says another; `_`
//! leaves a slot empty. In `then`, slots start after the operator's own.
//!
//! Weights of at most eight elements show their values; others show their hash, and parse to a
//! weight of which only the hash is known.

pub(crate) mod attributes;
pub(crate) mod lexer;
mod literal;
pub(crate) mod parse;
mod print;
pub(crate) mod values;

pub use attributes::mnemonics;
pub use parse::parse;
pub use print::{attributes, print, print_node, weight_data};
pub(super) use print::{in_reading_order, value_name};
