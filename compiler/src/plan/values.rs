//! How attributes of kernels are written and read, beyond those of the graph's text.

use crate::error::Result;
use crate::ir::expr::Expr;
use crate::ir::text::lexer::Cursor;
use crate::ir::text::values::Value;
use crate::ir::{Binary, DType, PoolKind, ReduceKind, Unary};
use crate::machine::Element;

impl Value for bool {
    fn write(&self) -> String {
        self.to_string()
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<bool> {
        cursor.word("true or false", |w| w.parse().ok())
    }
}

impl Value for Element {
    fn write(&self) -> String {
        self.name().into()
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<Element> {
        cursor.word("an element type of blocks", Element::from_name)
    }
}

impl Value for [usize; 2] {
    fn write(&self) -> String {
        format!("{}x{}", self[0], self[1])
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<[usize; 2]> {
        cursor.word("two numbers such as 3x3", |w| {
            let (a, b) = w.split_once('x')?;
            Some([a.parse().ok()?, b.parse().ok()?])
        })
    }
}

impl Value for ReduceKind {
    fn write(&self) -> String {
        self.mnemonic().into()
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<ReduceKind> {
        cursor.word("a kind of reduction", |w| {
            ReduceKind::ALL.into_iter().find(|k| k.mnemonic() == w)
        })
    }
}

impl Value for PoolKind {
    fn write(&self) -> String {
        match self {
            PoolKind::Max => "max",
            PoolKind::Average { count_padding: false } => "average",
            PoolKind::Average { count_padding: true } => "average_with_padding",
        }
        .into()
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<PoolKind> {
        cursor.word("a kind of pool", |w| match w {
            "max" => Some(PoolKind::Max),
            "average" => Some(PoolKind::Average { count_padding: false }),
            "average_with_padding" => Some(PoolKind::Average { count_padding: true }),
            _ => None,
        })
    }
}

impl Value for Expr {
    fn write(&self) -> String {
        match self {
            Expr::Operand(i) => format!("x{i}"),
            Expr::Constant(number) => number.0.write(),
            Expr::Unary(f, a) => {
                let mut f = *f;
                let parameters: Vec<String> =
                    f.parameters().iter().map(|(_, v)| format!(", {}", v.write())).collect();
                format!("{}({}{})", f.mnemonic(), a.write(), parameters.concat())
            }
            Expr::Binary(f, a, b) => format!("{}({}, {})", f.mnemonic(), a.write(), b.write()),
            Expr::Select(c, a, b) => {
                format!("select({}, {}, {})", c.write(), a.write(), b.write())
            }
            Expr::Cast(to, a) => format!("to_{}({})", to.name(), a.write()),
        }
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<Expr> {
        read_expr(cursor, 0)
    }
}

/// Deeper expressions are not of our making.
const MOST_DEPTH: usize = 256;

fn read_expr(cursor: &mut Cursor<'_>, depth: usize) -> Result<Expr> {
    if depth > MOST_DEPTH {
        return Err(cursor.error("the expression is too deep"));
    }
    let word = cursor.word("an expression", |w| Some(w.to_owned()))?;
    let operand = word.strip_prefix('x').and_then(|i| i.parse().ok());
    if let Some(i) = operand {
        return Ok(Expr::Operand(i));
    }
    if !cursor.eat_mark('(') {
        let number = word.parse().map_err(|_| cursor.error(format!("`{word}` is no number")))?;
        return Ok(Expr::number(number));
    }
    let expr = call(cursor, &word, depth)?;
    cursor.mark(')')?;
    Ok(expr)
}

fn call(cursor: &mut Cursor<'_>, name: &str, depth: usize) -> Result<Expr> {
    let first = Box::new(read_expr(cursor, depth + 1)?);
    let next = |cursor: &mut Cursor<'_>| -> Result<Box<Expr>> {
        cursor.mark(',')?;
        Ok(Box::new(read_expr(cursor, depth + 1)?))
    };
    if let Some(to) = name.strip_prefix("to_").and_then(DType::from_name) {
        return Ok(Expr::Cast(to, first));
    }
    if name == "select" {
        let a = next(cursor)?;
        return Ok(Expr::Select(first, a, next(cursor)?));
    }
    if let Some(f) = Binary::from_mnemonic(name) {
        return Ok(Expr::Binary(f, first, next(cursor)?));
    }
    let Some(mut f) = Unary::from_mnemonic(name) else {
        return Err(cursor.error(format!("there is no function `{name}`")));
    };
    for (_, value) in f.parameters() {
        cursor.mark(',')?;
        *value = f32::read(cursor)?;
    }
    Ok(Expr::Unary(f, first))
}
