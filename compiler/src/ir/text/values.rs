//! How one attribute value is written and read.

use super::functions::{blank_unary, parameters};
use super::lexer::{Cursor, Token};
use crate::error::Result;
use crate::ir::attention::{Excite, Weigh};
use crate::ir::function::Unary;
use crate::ir::op::Window;
use crate::ir::types::DType;

/// A value with a text.
pub(crate) trait Value: Sized {
    /// The text.
    fn write(&self) -> String;
    /// Reads what [`write`](Self::write) wrote.
    fn read(cursor: &mut Cursor<'_>) -> Result<Self>;
}

impl Value for usize {
    fn write(&self) -> String {
        self.to_string()
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<usize> {
        cursor.number("a number that is not negative")
    }
}

impl Value for isize {
    fn write(&self) -> String {
        self.to_string()
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<isize> {
        cursor.number("an integer")
    }
}

impl Value for f32 {
    fn write(&self) -> String {
        short(format!("{self:?}"))
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<f32> {
        cursor.number("a number")
    }
}

impl Value for f64 {
    fn write(&self) -> String {
        short(format!("{self:?}"))
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<f64> {
        cursor.number("a number")
    }
}

/// The shortest text that reads back the same, without the `.0` of whole numbers.
fn short(debug: String) -> String {
    match debug.strip_suffix(".0") {
        Some(whole) => whole.to_owned(),
        None => debug.replace("NaN", "nan"),
    }
}

impl Value for DType {
    fn write(&self) -> String {
        self.name().to_owned()
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<DType> {
        cursor.word("an element type such as f32", DType::from_name)
    }
}

impl<T: Value> Value for Vec<T> {
    fn write(&self) -> String {
        let items: Vec<_> = self.iter().map(Value::write).collect();
        format!("[{}]", items.join(", "))
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<Vec<T>> {
        cursor.mark('[')?;
        cursor.list(']', T::read)
    }
}

/// `3x3 stride 2 dilation 2 pad 1`: a kernel, and what differs from stride and dilation 1 and no
/// padding. Unequal strides and dilations are written `SHxSW`, unequal padding `pad T L B R`.
impl Value for Window {
    fn write(&self) -> String {
        let [kh, kw] = self.kernel;
        let mut out = format!("{kh}x{kw}");
        for (word, pair) in [("stride", self.stride), ("dilation", self.dilation)] {
            match pair {
                [1, 1] => {}
                [h, w] if h == w => out += &format!(" {word} {h}"),
                [h, w] => out += &format!(" {word} {h}x{w}"),
            }
        }
        let ([top, left], [bottom, right]) = (self.pad_before, self.pad_after);
        match [top, left, bottom, right] {
            [0, 0, 0, 0] => {}
            [a, b, c, d] if a == b && b == c && c == d => out += &format!(" pad {a}"),
            [a, b, c, d] => out += &format!(" pad {a} {b} {c} {d}"),
        }
        out
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<Window> {
        let mut window =
            Window { kernel: cursor.word("a kernel such as 3x3", pair)?, ..Window::POINT };
        if cursor.eat_word("stride") {
            window.stride = cursor.word("a stride such as 2 or 2x1", one_or_pair)?;
        }
        if cursor.eat_word("dilation") {
            window.dilation = cursor.word("a dilation such as 2 or 2x1", one_or_pair)?;
        }
        if cursor.eat_word("pad") {
            let [top, left, bottom, right] = padding(cursor)?;
            window.pad_before = [top, left];
            window.pad_after = [bottom, right];
        }
        Ok(window)
    }
}

fn pair(word: &str) -> Option<[usize; 2]> {
    let (h, w) = word.split_once('x')?;
    Some([h.parse().ok()?, w.parse().ok()?])
}

fn one_or_pair(word: &str) -> Option<[usize; 2]> {
    pair(word).or_else(|| word.parse().ok().map(|n| [n, n]))
}

fn padding(cursor: &mut Cursor<'_>) -> Result<[usize; 4]> {
    let top = usize::read(cursor)?;
    let more = matches!(cursor.peek(), Token::Word(w) if w.parse::<usize>().is_ok());
    if !more {
        return Ok([top; 4]);
    }
    Ok([top, usize::read(cursor)?, usize::read(cursor)?, usize::read(cursor)?])
}

/// A function with its parameters: `relu`, `hard_sigmoid 0.2 0.5`.
impl Value for Unary {
    fn write(&self) -> String {
        let mut function = *self;
        let mut out = function.mnemonic().to_owned();
        for (_, value) in parameters(&mut function) {
            out += &format!(" {}", value.write());
        }
        out
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<Unary> {
        let mut function = cursor.word("a function such as `relu`", blank_unary)?;
        for (_, value) in parameters(&mut function) {
            *value = f32::read(cursor)?;
        }
        Ok(function)
    }
}

/// `i20 then relu`: an inner layer 20 wide, and what is applied to it; or `direct`.
impl Value for Excite {
    fn write(&self) -> String {
        let Excite::Inner { width, activation } = self else { return "direct".to_owned() };
        let functions: Vec<_> = activation.iter().map(Value::write).collect();
        let then = if functions.is_empty() { "" } else { " then " };
        format!("i{width}{then}{}", functions.join(", "))
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<Excite> {
        if cursor.eat_word("direct") {
            return Ok(Excite::Direct);
        }
        let width = |word: &str| word.strip_prefix('i')?.parse().ok();
        let width = cursor.word("`direct` or a width such as `i20`", width)?;
        let mut activation = Vec::new();
        if cursor.eat_word("then") {
            activation.push(Unary::read(cursor)?);
            while cursor.eat_mark(',') {
                activation.push(Unary::read(cursor)?);
            }
        }
        Ok(Excite::Inner { width, activation })
    }
}

/// `softmax r`, or the function that is the gate.
impl Value for Weigh {
    fn write(&self) -> String {
        match self {
            Weigh::Softmax => "softmax r".to_owned(),
            Weigh::Gate(function) => function.write(),
        }
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<Weigh> {
        if !cursor.eat_word("softmax") {
            return Ok(Weigh::Gate(Unary::read(cursor)?));
        }
        if cursor.eat_word("r") { Ok(Weigh::Softmax) } else { Err(cursor.expected("`r`")) }
    }
}
