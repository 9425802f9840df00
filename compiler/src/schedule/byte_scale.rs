//! What bytes stand for.

use std::hash::{Hash, Hasher};

use crate::error::Result;
use crate::ir::expr::Expr;
use crate::ir::text::lexer::Cursor;
use crate::ir::text::values::Value;
use crate::ir::{Binary, DType, Unary};

/// The multiples of a scale, of which a byte can number each: byte `q` is `(q + lowest) * scale`. As text
/// `0.05 from -128 to 127`.
#[derive(Debug, Clone, Copy)]
pub struct ByteScale {
    /// Distance between neighbours.
    pub scale: f32,
    /// The lowest multiple: at most 0, less the zero point.
    pub lowest: i32,
    /// The highest multiple, at least 0.
    pub highest: i32,
}

impl ByteScale {
    /// Of what a function rounds to, if bytes can number its multiples and 0 is one of them.
    pub(crate) fn of(function: &Unary) -> Option<ByteScale> {
        let Unary::Quantized { scale, lowest, highest } = *function else { return None };
        let bytes = ByteScale { scale, lowest: lowest as i32, highest: highest as i32 };
        let is_whole = bytes.lowest as f32 == lowest && bytes.highest as f32 == highest;
        let has_zero = bytes.lowest <= 0 && bytes.highest >= 0;
        let fits = bytes.highest.checked_sub(bytes.lowest)? <= i32::from(u8::MAX);
        // Bytes are made by multiplying with what divides.
        let is_scale = scale > 0.0 && scale.is_normal() && scale.recip().is_normal();
        (is_whole && has_zero && fits && is_scale).then_some(bytes)
    }

    /// The function that rounds to the multiples.
    pub(crate) fn function(self) -> Unary {
        let ByteScale { scale, lowest, highest } = self;
        Unary::Quantized { scale, lowest: lowest as f32, highest: highest as f32 }
    }

    /// The byte of 0.
    pub(crate) fn zero(self) -> u8 {
        u8::try_from(-self.lowest).unwrap_or(u8::MAX)
    }

    /// The number that a byte stands for.
    pub(crate) fn number(self, byte: Expr) -> Expr {
        let steps = Expr::Cast(DType::F32, Box::new(byte));
        let steps = match self.lowest {
            0 => steps,
            lowest => steps.binary(Binary::Add, Expr::number(f64::from(lowest))),
        };
        steps.binary(Binary::Mul, Expr::number(f64::from(self.scale)))
    }

    /// The byte of the multiple that is nearest to a number.
    pub(crate) fn byte(self, number: Expr) -> Expr {
        let number = match number {
            Expr::Unary(function, inner) if ByteScale::of(&function) == Some(self) => *inner,
            other => other,
        };
        // What is below 0 is rounded to the lowest multiple all the same.
        let number = match number {
            Expr::Unary(Unary::Relu, inner) if self.lowest == 0 => *inner,
            other => other,
        };
        let steps = number.binary(Binary::Mul, Expr::number(f64::from(self.scale.recip())));
        let whole = steps.unary(ByteScale { scale: 1.0, ..self }.function());
        let byte = match self.lowest {
            0 => whole,
            lowest => whole.binary(Binary::Sub, Expr::number(f64::from(lowest))),
        };
        Expr::Cast(DType::U8, Box::new(byte))
    }

    fn key(self) -> (u32, i32, i32) {
        (self.scale.to_bits(), self.lowest, self.highest)
    }
}

/// Two are equal when their bits are.
impl PartialEq for ByteScale {
    fn eq(&self, other: &ByteScale) -> bool {
        self.key() == other.key()
    }
}

impl Eq for ByteScale {}

impl Hash for ByteScale {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl Value for ByteScale {
    fn write(&self) -> String {
        format!("{} from {} to {}", self.scale.write(), self.lowest, self.highest)
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<ByteScale> {
        let scale = f32::read(cursor)?;
        let [lowest, highest] = [("from", "`from`"), ("to", "`to`")].map(|(word, wanted)| {
            if !cursor.eat_word(word) {
                return Err(cursor.expected(wanted));
            }
            cursor.number("an integer")
        });
        let read = ByteScale { scale, lowest: lowest?, highest: highest? };
        let whole = ByteScale::of(&read.function()).filter(|of| *of == read);
        whole.ok_or_else(|| cursor.error("bytes cannot stand for these"))
    }
}

/// `none` for what is no bytes.
impl Value for Option<ByteScale> {
    fn write(&self) -> String {
        self.as_ref().map_or("none".into(), Value::write)
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<Option<ByteScale>> {
        if cursor.eat_word("none") { Ok(None) } else { ByteScale::read(cursor).map(Some) }
    }
}
