//! Text to tokens, and a cursor over them that knows what it expected.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Problem, Result};

/// A piece of a dump.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token<'t> {
    /// A keyword, mnemonic or number.
    Word(&'t str),
    /// `%name`, a value.
    Value(Cow<'t, str>),
    /// `@name`, a graph.
    Graph(Cow<'t, str>),
    /// `"text"`.
    Text(Cow<'t, str>),
    /// One of `{}[](),=#`.
    Mark(char),
    /// The end of the text.
    End,
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Word(word) => write!(f, "`{word}`"),
            Token::Value(name) => write!(f, "`{}`", sigiled('%', name)),
            Token::Graph(name) => write!(f, "`{}`", sigiled('@', name)),
            Token::Text(text) => f.write_str(&quoted(text)),
            Token::Mark(mark) => write!(f, "`{mark}`"),
            Token::End => f.write_str("the end of the text"),
        }
    }
}

/// `%name`, or `%"name"` when the name does not lex bare; the same for `@`.
pub(crate) fn sigiled(sigil: char, name: &str) -> String {
    if !name.is_empty() && name.chars().all(in_name) {
        format!("{sigil}{name}")
    } else {
        format!("{sigil}{}", quoted(name))
    }
}

/// The text in quotes, on one line: what is not printable is escaped as in Rust.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '\'' => out.push(c),
            _ => out.extend(c.escape_debug()),
        }
    }
    out.push('"');
    out
}

fn in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_./:-".contains(c)
}

fn in_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.+-".contains(c)
}

/// The tokens of a text, each with its 1-based line, and a position among them.
#[derive(Debug)]
pub(crate) struct Cursor<'t> {
    tokens: Vec<(Token<'t>, usize)>,
    at: usize,
}

impl<'t> Cursor<'t> {
    /// Splits the text.
    pub(crate) fn new(text: &'t str) -> Result<Cursor<'t>> {
        let mut lexer = Lexer { rest: text, line: 1 };
        let mut tokens = Vec::new();
        loop {
            lexer.skip_space();
            let line = lexer.line;
            let token = lexer.token()?;
            let end = token == Token::End;
            tokens.push((token, line));
            if end {
                return Ok(Cursor { tokens, at: 0 });
            }
        }
    }

    /// The next token.
    pub(crate) fn peek(&self) -> &Token<'t> {
        self.tokens.get(self.at).map_or(&Token::End, |(token, _)| token)
    }

    /// Takes the next token.
    pub(crate) fn take(&mut self) -> Token<'t> {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    /// An error at the next token: `expected …, found …`.
    pub(crate) fn expected(&self, what: impl fmt::Display) -> Error {
        self.error(format!("expected {what}, found {}", self.peek()))
    }

    /// An error at the next token.
    pub(crate) fn error(&self, what: impl Into<String>) -> Error {
        let last = self.tokens.last();
        let line = self.tokens.get(self.at).or(last).map_or(1, |(_, line)| *line);
        Problem::Text { line, what: what.into() }.into()
    }

    /// Takes the next token if it is this word.
    pub(crate) fn eat_word(&mut self, word: &str) -> bool {
        self.eat(&Token::Word(word))
    }

    /// Takes the next token if it is this mark.
    pub(crate) fn eat_mark(&mut self, mark: char) -> bool {
        self.eat(&Token::Mark(mark))
    }

    fn eat(&mut self, token: &Token<'_>) -> bool {
        let here = self.peek() == token;
        self.at += usize::from(here);
        here
    }

    /// Takes this mark, or fails.
    pub(crate) fn mark(&mut self, mark: char) -> Result<()> {
        if self.eat_mark(mark) { Ok(()) } else { Err(self.expected(Token::Mark(mark))) }
    }

    /// Takes a word that `read` understands.
    pub(crate) fn word<T>(&mut self, what: &str, read: impl Fn(&str) -> Option<T>) -> Result<T> {
        let value = match self.peek() {
            Token::Word(word) => read(word),
            _ => None,
        };
        let value = value.ok_or_else(|| self.expected(what))?;
        self.at += 1;
        Ok(value)
    }

    /// Takes a number.
    pub(crate) fn number<T: FromStr>(&mut self, what: &str) -> Result<T> {
        self.word(what, |word| word.parse().ok())
    }

    /// Takes what `item` reads, separated by commas, up to the closing mark.
    pub(crate) fn list<T>(
        &mut self,
        close: char,
        mut item: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut all = Vec::new();
        if self.eat_mark(close) {
            return Ok(all);
        }
        loop {
            all.push(item(self)?);
            if self.eat_mark(close) {
                return Ok(all);
            }
            if !self.eat_mark(',') {
                return Err(self.expected(format!("`,` or `{close}`")));
            }
        }
    }
}

struct Lexer<'t> {
    rest: &'t str,
    line: usize,
}

impl<'t> Lexer<'t> {
    fn skip_space(&mut self) {
        loop {
            let rest = self.rest.trim_start();
            self.advance(self.rest.len() - rest.len());
            if !self.rest.starts_with(';') {
                return;
            }
            self.advance(self.rest.find('\n').unwrap_or(self.rest.len()));
        }
    }

    fn advance(&mut self, bytes: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.bytes().filter(|b| *b == b'\n').count();
        self.rest = rest;
        taken
    }

    fn while_in(&mut self, set: fn(char) -> bool) -> &'t str {
        self.advance(self.rest.find(|c| !set(c)).unwrap_or(self.rest.len()))
    }

    fn token(&mut self) -> Result<Token<'t>> {
        let Some(first) = self.rest.chars().next() else {
            return Ok(Token::End);
        };
        match first {
            '%' => self.name().map(Token::Value),
            '@' => self.name().map(Token::Graph),
            '"' => self.text().map(Token::Text),
            '{' | '}' | '[' | ']' | '(' | ')' | ',' | '=' | '#' => {
                self.advance(1);
                Ok(Token::Mark(first))
            }
            c if in_word(c) => Ok(Token::Word(self.while_in(in_word))),
            c => Err(self.error(format!("expected a token, found {}", quoted(&c.to_string())))),
        }
    }

    fn name(&mut self) -> Result<Cow<'t, str>> {
        self.advance(1);
        if self.rest.starts_with('"') {
            return self.text();
        }
        match self.while_in(in_name) {
            "" => Err(self.error("expected a name, bare or in quotes")),
            name => Ok(Cow::Borrowed(name)),
        }
    }

    fn text(&mut self) -> Result<Cow<'t, str>> {
        self.advance(1);
        let special = |c| matches!(c, '"' | '\\' | '\n');
        let mut out = Cow::Borrowed("");
        loop {
            let end = self.rest.find(special).unwrap_or(self.rest.len());
            out += self.advance(end);
            match self.rest.chars().next() {
                Some('"') => {
                    self.advance(1);
                    return Ok(out);
                }
                Some('\\') => out.to_mut().push(self.escape()?),
                _ => return Err(self.error("expected `\"` before the end of the line")),
            }
        }
    }

    fn escape(&mut self) -> Result<char> {
        self.advance(1);
        let (kind, length) = match self.rest.chars().next() {
            Some('0') => ('\0', 1),
            Some('n') => ('\n', 1),
            Some('r') => ('\r', 1),
            Some('t') => ('\t', 1),
            Some(c @ ('"' | '\\' | '\'')) => (c, 1),
            Some('u') => self.unicode()?,
            _ => return Err(self.error("expected one of the escapes 0 n r t \" ' \\ u{…}")),
        };
        self.advance(length);
        Ok(kind)
    }

    fn unicode(&self) -> Result<(char, usize)> {
        let digits = self.rest.strip_prefix("u{").and_then(|r| r.split_once('}'));
        let read = |(digits, _): (&str, &str)| {
            let value = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
            Some((value, digits.len() + 3))
        };
        digits
            .and_then(read)
            .ok_or_else(|| self.error("expected u{…} with a hexadecimal character"))
    }

    fn error(&self, what: impl Into<String>) -> Error {
        Problem::Text { line: self.line, what: what.into() }.into()
    }
}
