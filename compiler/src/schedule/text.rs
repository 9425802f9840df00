//! The text of a schedule: what was chosen for each value, and why.
//!
//! ```text
//! schedule @resnest {
//!   machine   avx512 of znver4
//!
//!   stage     image by image
//!
//!   %u = conv
//!     lies      4 blocks of 16 channels with a border of 1 1 1 1
//!     by        F(4x4) 7x2 rows 7 images 1
//!     estimate  F(4x4) 812 kilocycles
//!     why       "estimated kilocycles: F(4x4) 812, direct 1405"
//! }
//! ```
//!
//! It reads back as a [`Summary`], but for digits of estimates and for candidates, which it does not show. A
//! statement is a line, and what follows its keyword is a text of its own; a line that begins with `;` is a
//! comment.

use std::fmt::Write as _;

use cardinal_runtime::text::is_visible;

use super::choice::Choice;
use super::summary::{ConvSummary, NodeSummary, Summary};
use crate::error::{Error, Problem, Result};
use crate::ir::text::lexer::{Cursor, Token, quoted, sigiled};

/// What the text says of weights that are stored as bytes, around the number of their slot.
const BYTE_WEIGHTS: [&str; 2] = ["those of slot ", " are multiples of a scale, stored as i8"];

/// The schedule as a text.
pub fn print(schedule: &Summary) -> String {
    let mut out = format!("schedule {} {{\n", sigiled('@', &schedule.name));
    let _ = writeln!(out, "  machine   {}", schedule.machine);
    let mut stage = None;
    for node in &schedule.nodes {
        if stage.replace(node.stage) != Some(node.stage) {
            print_stage(&mut out, &schedule.stages, node.stage);
        }
        out.push('\n');
        out.push_str(&self::node(node));
    }
    out.push_str("}\n");
    out
}

/// What was chosen for one node.
pub fn node(node: &NodeSummary) -> String {
    let mut out = format!("  {} = {}\n", sigiled('%', &node.name), node.op);
    let _ = writeln!(out, "    lies      {}", node.lies);
    let [before, after] = BYTE_WEIGHTS;
    for slot in &node.byte_weights {
        let _ = writeln!(out, "    weights   {before}{slot}{after}");
    }
    if let Some(conv) = &node.conv {
        print_conv(&mut out, conv);
    }
    out
}

fn print_stage(out: &mut String, stages: &[usize], stage: usize) {
    match stages.get(stage) {
        Some(1) => out.push_str("\n  stage     image by image\n"),
        Some(images) => {
            let _ = writeln!(out, "\n  stage     {images} images at a time");
        }
        None if stages.is_empty() => {}
        None => out.push_str("\n  stage     all images at once\n"),
    }
}

fn print_conv(out: &mut String, conv: &ConvSummary) {
    let _ = writeln!(out, "    by        {}", conv.by);
    if conv.joined > 1 {
        let _ = writeln!(out, "    groups    {} joined to one", conv.joined);
    }
    for what in &conv.makes {
        let _ = writeln!(out, "    makes     {what}");
    }
    for (way, cycles) in &conv.estimates {
        let _ = writeln!(out, "    estimate  {way} {} kilocycles", (cycles / 1e3).round());
    }
    if !conv.why.is_empty() {
        let _ = writeln!(out, "    why       {}", quoted(&conv.why));
    }
}

/// The schedule that a text describes.
///
/// # Errors
/// [`Problem::Text`] with the line and what was expected there.
pub fn parse(source: &str) -> Result<Summary> {
    let mut reader = Reader::default();
    for (at, line) in source.lines().enumerate() {
        reader.line(line.trim()).map_err(|what| at_line(at + 1, what))?;
    }
    let end = source.lines().count().max(1);
    match (reader.schedule, reader.ended) {
        (Some(schedule), true) => Ok(schedule),
        (Some(_), false) => Err(at_line(end, "expected `}`, found the end of the text")),
        (None, _) => Err(at_line(end, "expected `schedule @NAME {`, found the end of the text")),
    }
}

fn at_line(line: usize, what: impl Into<String>) -> Error {
    Problem::Text { line, what: what.into() }.into()
}

/// What has been read so far.
#[derive(Default)]
struct Reader {
    schedule: Option<Summary>,
    /// The stage of the nodes that follow.
    stage: usize,
    ended: bool,
}

impl Reader {
    fn line(&mut self, line: &str) -> std::result::Result<(), String> {
        if line.is_empty() || line.starts_with(';') {
            return Ok(());
        }
        if let Some(hidden) = line.chars().find(|c| !is_visible(*c)) {
            return Err(format!("expected visible characters, found {hidden:?}"));
        }
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        let value = value.trim_start();
        let Some(schedule) = self.schedule.as_mut().filter(|_| !self.ended) else {
            self.schedule =
                Some(heading(line).ok_or_else(|| expected("`schedule @NAME {`", line))?);
            return Ok(());
        };
        match key {
            "}" => self.ended = true,
            "machine" => schedule.machine = value.to_owned(),
            "stage" => {
                self.stage = schedule.stages.len();
                schedule.stages.extend(images(value)?);
            }
            _ if line.starts_with('%') => {
                let node = node_heading(line, self.stage);
                schedule.nodes.push(node.ok_or_else(|| expected("`%VALUE = OPERATOR`", line))?);
            }
            _ => {
                let node = schedule.nodes.last_mut();
                attribute(node.ok_or_else(|| expected("`%VALUE = OPERATOR`", line))?, key, value)?;
            }
        }
        Ok(())
    }
}

fn expected(what: &str, found: &str) -> String {
    format!("expected {what}, found {}", quoted(found))
}

/// `schedule @NAME {`
fn heading(line: &str) -> Option<Summary> {
    let mut c = Cursor::new(line).ok()?;
    let is_schedule = c.eat_word("schedule");
    let Token::Graph(name) = c.take() else { return None };
    let is_whole = is_schedule && c.eat_mark('{') && *c.peek() == Token::End;
    let schedule = Summary {
        name: name.into_owned(),
        machine: String::new(),
        stages: Vec::new(),
        nodes: Vec::new(),
    };
    is_whole.then_some(schedule)
}

/// `%VALUE = OPERATOR`
fn node_heading(line: &str, stage: usize) -> Option<NodeSummary> {
    let mut c = Cursor::new(line).ok()?;
    let Token::Value(name) = c.take() else { return None };
    let is_made = c.eat_mark('=');
    let Token::Word(op) = c.take() else { return None };
    let is_whole = is_made && *c.peek() == Token::End;
    let node = NodeSummary {
        name: name.into_owned(),
        op: op.to_owned(),
        stage,
        lies: String::new(),
        byte_weights: Vec::new(),
        conv: None,
    };
    is_whole.then_some(node)
}

/// Images of a stage; none for what runs once.
fn images(value: &str) -> std::result::Result<Option<usize>, String> {
    match value {
        "image by image" => Ok(Some(1)),
        "all images at once" => Ok(None),
        _ => {
            let count = value.strip_suffix(" images at a time").and_then(|n| n.parse().ok());
            count.map(Some).ok_or_else(|| expected("`image by image` or the like", value))
        }
    }
}

fn attribute(node: &mut NodeSummary, key: &str, value: &str) -> std::result::Result<(), String> {
    let wrong = |what: &str| expected(what, value);
    match (key, &mut node.conv) {
        ("lies", _) => node.lies = value.to_owned(),
        ("weights", _) => {
            let [before, after] = BYTE_WEIGHTS;
            let slot = value.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            let slot = slot.and_then(|slot| slot.parse().ok());
            node.byte_weights.push(slot.ok_or_else(|| wrong("the slot of weights"))?);
        }
        ("by", conv @ None) => *conv = Some(taken(value)),
        ("groups", Some(conv)) => {
            let joined = value.strip_suffix(" joined to one").and_then(|n| n.parse().ok());
            conv.joined = joined.ok_or_else(|| wrong("`N joined to one`"))?;
        }
        ("makes", Some(conv)) => conv.makes.push(value.to_owned()),
        ("estimate", Some(conv)) => {
            conv.estimates.push(estimate(value).ok_or_else(|| wrong("`WAY N kilocycles`"))?);
        }
        ("why", Some(conv)) => {
            conv.why = reason(value).ok_or_else(|| wrong("a reason in quotes"))?;
        }
        _ => return Err(expected("what is chosen for a value", key)),
    }
    Ok(())
}

/// A convolution of which no more is known.
fn taken(by: &str) -> ConvSummary {
    ConvSummary {
        by: Choice::new(by),
        joined: 1,
        makes: Vec::new(),
        estimates: Vec::new(),
        candidates: Vec::new(),
        why: String::new(),
    }
}

/// `F(4x4) 812 kilocycles`
fn estimate(value: &str) -> Option<(String, f64)> {
    let (way, kilocycles) = value.strip_suffix(" kilocycles")?.rsplit_once(' ')?;
    let kilocycles: u64 = kilocycles.parse().ok()?;
    Some((way.to_owned(), kilocycles as f64 * 1e3))
}

fn reason(value: &str) -> Option<String> {
    let mut c = Cursor::new(value).ok()?;
    let Token::Text(why) = c.take() else { return None };
    (*c.peek() == Token::End).then(|| why.into_owned())
}
