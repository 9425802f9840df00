//! Reads a graph from text.

use std::collections::{BTreeMap, HashMap};

use super::attributes::{Visitor, blank, visit};
use super::lexer::{Cursor, Token};
use super::literal;
use super::values::Value;
use crate::error::{Error, Result};
use crate::ir::epilogue::{Epilogue, Step};
use crate::ir::function::{Binary, Unary};
use crate::ir::graph::{Graph, Node, NodeId, Origin};
use crate::ir::op::Op;
use crate::ir::types::{Axis, DType, Factor, TensorType};
use crate::ir::weight::Weight;

/// Slots that `at` may name end here. Positions go further; `at` is for the few odd ones, and what
/// a text makes should not be much larger than the text.
const SLOTS: usize = 256;

/// The graph that a text describes. Types are taken as declared, and only the text itself is
/// checked: the rules of the IR are [`verify`](crate::ir::verify)'s business.
///
/// # Errors
/// [`Problem::Text`](crate::error::Problem::Text) with the line, and what was expected there: for
/// text that does not follow the grammar, a name defined twice or used before its definition, a
/// type of more bytes than an address space has, and a literal that does not fit its type.
pub fn parse(text: &str) -> Result<Graph> {
    let mut cursor = Cursor::new(text)?;
    if !cursor.eat_word("graph") {
        return Err(cursor.expected("`graph`"));
    }
    let Token::Graph(name) = cursor.peek().clone() else {
        return Err(cursor.expected("the graph's name, such as `@main`"));
    };
    cursor.take();
    cursor.mark('{')?;
    let mut parser = Parser { cursor, graph: Graph::new(name), names: HashMap::new() };
    while !parser.cursor.eat_mark('}') {
        parser.statement()?;
    }
    match parser.cursor.peek() {
        Token::End => Ok(parser.graph),
        _ => Err(parser.cursor.expected("the end of the text")),
    }
}

struct Parser<'t> {
    cursor: Cursor<'t>,
    graph: Graph,
    names: HashMap<String, NodeId>,
}

impl Parser<'_> {
    fn statement(&mut self) -> Result<()> {
        if self.cursor.eat_word("input") {
            let (name, ty) = self.declaration()?;
            self.finish(name, ty, Op::Input, &[])
        } else if self.cursor.eat_word("weight") {
            let (name, ty) = self.declaration()?;
            let weight = self.weight_data(&ty)?;
            self.finish(name, ty, Op::Weight(weight), &[])
        } else if self.cursor.eat_word("output") {
            self.output()
        } else if matches!(self.cursor.peek(), Token::Value(_)) {
            self.node()
        } else {
            Err(self.cursor.expected("an attribute, `input`, `weight`, `output`, a value or `}`"))
        }
    }

    fn declaration(&mut self) -> Result<(String, TensorType)> {
        let Token::Value(name) = self.cursor.peek().clone() else {
            return Err(self.cursor.expected("a value's name, such as `%x`"));
        };
        if self.names.contains_key(name.as_ref()) {
            let again = Token::Value(name);
            return Err(self
                .cursor
                .error(format!("expected a new name, {again} is defined above")));
        }
        self.cursor.take();
        Ok((name.into_owned(), tensor_type(&mut self.cursor)?))
    }

    fn output(&mut self) -> Result<()> {
        let node = known(&mut self.cursor, &self.names)?;
        let mut name = self.graph.node(node).name.clone();
        if self.cursor.eat_word("as") {
            name = text(&mut self.cursor, "the output's name in quotes")?;
        }
        self.graph.add_output(name, node);
        Ok(())
    }

    fn weight_data(&mut self, ty: &TensorType) -> Result<Weight> {
        if self.cursor.eat_mark('=') {
            return Ok(Weight::from_bytes(literal::read(ty, &mut self.cursor)?));
        }
        if self.cursor.eat_mark('#') {
            let hash = |word: &str| {
                let digits = word.len() == 16 && word.bytes().all(|b| b.is_ascii_hexdigit());
                u64::from_str_radix(word, 16).ok().filter(|_| digits)
            };
            return Ok(Weight::absent(self.cursor.word("16 hexadecimal digits", hash)?));
        }
        if !self.cursor.eat_word("rand") {
            return Err(self.cursor.expected("`=` and values, `#` and a hash, or `rand(SEED)`"));
        }
        self.cursor.mark('(')?;
        let seed = self.cursor.number("a seed")?;
        self.cursor.mark(')')?;
        Ok(Weight::rand(seed))
    }

    fn node(&mut self) -> Result<()> {
        let (name, ty) = self.declaration()?;
        self.cursor.mark('=')?;
        let (mut op, mnemonic) = self
            .cursor
            .word("an operator such as `conv`", |w| blank(w).map(|op| (op, w.to_owned())))?;
        self.cursor.mark('(')?;
        let mut operands = Operands::default();
        let (names, mut next) = (&self.names, 0);
        self.cursor.list(')', |c| operands.read(c, names, &mut next))?;
        let cursor = &mut self.cursor;
        visit(&mut op, &mut Reader { cursor, names, operands: &mut operands, dtype: ty.dtype })?;
        if op.mnemonic() != mnemonic {
            let other = op.mnemonic();
            let what = format!("expected `{other}` with these attributes, found `{mnemonic}`");
            return Err(self.cursor.error(what));
        }
        let operands: Vec<_> = operands.0.into_iter().collect();
        self.finish(name, ty, op, &operands)
    }

    fn finish(
        &mut self,
        name: String,
        ty: TensorType,
        op: Op,
        operands: &[(usize, NodeId)],
    ) -> Result<()> {
        let mut from: Vec<Origin> = Vec::new();
        if self.cursor.eat_word("from") {
            from.push(text(&mut self.cursor, "an origin in quotes")?.into());
            while matches!(self.cursor.peek(), Token::Text(_)) {
                from.push(text(&mut self.cursor, "an origin in quotes")?.into());
            }
        }
        let id = self.graph.add(Node { name: name.clone(), op, ty, from }, operands);
        self.names.insert(name, id);
        Ok(())
    }
}

pub(crate) fn text(cursor: &mut Cursor<'_>, what: &str) -> Result<String> {
    let Token::Text(text) = cursor.peek().clone() else {
        return Err(cursor.expected(what));
    };
    cursor.take();
    Ok(text.into_owned())
}

fn known(cursor: &mut Cursor<'_>, names: &HashMap<String, NodeId>) -> Result<NodeId> {
    let Token::Value(name) = cursor.peek() else {
        return Err(cursor.expected("a value, such as `%x`"));
    };
    let Some(&id) = names.get(name.as_ref()) else {
        return Err(cursor.expected("a value defined above"));
    };
    cursor.take();
    Ok(id)
}

pub(crate) fn tensor_type(cursor: &mut Cursor<'_>) -> Result<TensorType> {
    let dtype = DType::read(cursor)?;
    cursor.mark('[')?;
    let axes = cursor.list(']', axis)?;
    let ty = TensorType { dtype, axes };
    if isize::try_from(ty.bytes()).is_err() {
        return Err(cursor.error(format!("expected a type whose bytes can be counted, found {ty}")));
    }
    Ok(ty)
}

fn axis(cursor: &mut Cursor<'_>) -> Result<Axis> {
    if !cursor.eat_mark('(') {
        return Ok(Axis::plain(cursor.number("an extent or `(` and its factors")?));
    }
    let mut factors = vec![factor(cursor)?];
    while !cursor.eat_mark(')') {
        factors.push(factor(cursor)?);
    }
    Axis::product(factors)
        .ok_or_else(|| cursor.error("expected factors whose product can be counted"))
}

fn factor(cursor: &mut Cursor<'_>) -> Result<Factor> {
    cursor.word("a factor such as `k2`", |word| {
        let name = word.chars().next().filter(char::is_ascii_alphabetic)?;
        let size = word.get(1..)?.parse().ok()?;
        Some(Factor { name, size })
    })
}

/// Operands of one node, by slot. Several steps may name one slot, if they agree on its operand.
#[derive(Default)]
struct Operands(BTreeMap<usize, NodeId>);

impl Operands {
    /// Reads `_`, `%x` or `%x at 3`; returns its slot.
    fn read(
        &mut self,
        cursor: &mut Cursor<'_>,
        names: &HashMap<String, NodeId>,
        next: &mut usize,
    ) -> Result<usize> {
        let operand = if cursor.eat_word("_") { None } else { Some(known(cursor, names)?) };
        let mut slot = *next;
        if cursor.eat_word("at") {
            let below = |word: &str| word.parse().ok().filter(|slot| *slot < SLOTS);
            slot = cursor.word(&format!("a slot below {SLOTS}"), below)?;
        }
        *next = slot + 1;
        if let Some(operand) = operand
            && *self.0.entry(slot).or_insert(operand) != operand
        {
            return Err(cursor.error(format!("expected one operand in slot {slot}, found another")));
        }
        Ok(slot)
    }
}

struct Reader<'p, 't> {
    cursor: &'p mut Cursor<'t>,
    names: &'p HashMap<String, NodeId>,
    operands: &'p mut Operands,
    dtype: DType,
}

impl Visitor for Reader<'_, '_> {
    type Error = Error;

    fn required<T: Value>(&mut self, key: &'static str, value: &mut T) -> Result<()> {
        if !self.cursor.eat_word(key) {
            return Err(self.cursor.expected(format!("`{key}`")));
        }
        *value = T::read(self.cursor)?;
        Ok(())
    }

    fn optional<T: Value>(&mut self, key: &'static str, value: &mut T, default: T) -> Result<()> {
        *value = if self.cursor.eat_word(key) { T::read(self.cursor)? } else { default };
        Ok(())
    }

    fn flag(&mut self, key: &'static str, word: &'static str, value: &mut bool) -> Result<()> {
        *value = self.cursor.eat_word(key);
        if *value && !self.cursor.eat_word(word) {
            return Err(self.cursor.expected(format!("`{word}`")));
        }
        Ok(())
    }

    fn implied(&mut self, key: &'static str, value: &'static str) -> Result<()> {
        let line = format!("`{key} {value}`");
        let words = value.split_inclusive(',').flat_map(str::split_whitespace);
        for word in std::iter::once(key).chain(words) {
            let (word, comma) = match word.strip_suffix(',') {
                Some(word) => (word, true),
                None => (word, false),
            };
            if !self.cursor.eat_word(word) || (comma && !self.cursor.eat_mark(',')) {
                return Err(self.cursor.expected(line));
            }
        }
        Ok(())
    }

    fn then(&mut self, first: usize, epilogue: &mut Epilogue) -> Result<()> {
        if !self.cursor.eat_word("then") {
            return Ok(());
        }
        let mut next = first;
        epilogue.steps.push(self.step(&mut next)?);
        while self.cursor.eat_mark(',') {
            epilogue.steps.push(self.step(&mut next)?);
        }
        Ok(())
    }

    fn dtype(&self) -> DType {
        self.dtype
    }
}

impl Reader<'_, '_> {
    fn step(&mut self, next: &mut usize) -> Result<Step> {
        let unary = |word: &str| Unary::from_mnemonic(word).map(Step::Unary);
        let binary = |word: &str| Binary::from_mnemonic(word).map(|f| Step::Binary(f, 0));
        let what = "a function such as `relu` or `add`";
        match self.cursor.word(what, |word| unary(word).or_else(|| binary(word)))? {
            Step::Unary(mut function) => {
                for (_, value) in function.parameters() {
                    *value = f32::read(self.cursor)?;
                }
                Ok(Step::Unary(function))
            }
            Step::Binary(function, _) => {
                let slot = self.operands.read(self.cursor, self.names, next)?;
                Ok(Step::Binary(function, slot))
            }
        }
    }
}
