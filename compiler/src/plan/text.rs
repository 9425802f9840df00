//! The text of a plan; `parse(print(p)) == p`.
//!
//! ```text
//! plan @resnest {
//!   arena     401408
//!   worker    0
//!   weights   9408
//!   input     %x f32[1, 3, 64, 64]
//!   output    %y f32[1, 10]
//!   constant  %conv1.weight f32[1, 4, 27, 8] #5f0c9a1e01234567 at 0
//!   buffer    %u 131072 at 0 live 0 2
//!
//!   step %u = contract(b0, in0, c0)
//!     outer     []
//!     …
//!     store     relu(x0)
//!     why       "estimated kilocycles: …"
//!     from      "/conv1/Conv" "/act1/Relu"
//! }
//! ```
//!
//! Places are `in`, `out`, `c` (constant) or `b` (buffer) and a position in the list above, or
//! `worker0`, the scratch memory of a thread, and
//! `at` so many bytes from its start where that is not 0. The hash of a constant is of its packed
//! bytes, so printing a plan packs its weights, one after the other.

use std::fmt::Write as _;

use super::fields::{self, Fields};
use super::kernel::Kernel;
use super::{Base, Buffer, Constant, Packed, Place, Plan, Port, Step};
use crate::error::Result;
use crate::ir::Origin;
use crate::ir::text::lexer::{Cursor, Token, quoted, sigiled};
use crate::ir::text::parse::{tensor_type, text};
use crate::ir::text::values::Value;

/// The plan's text.
pub fn print(plan: &Plan) -> String {
    let mut out = format!("plan {} {{\n", sigiled('@', &plan.name));
    let sizes = [plan.arena_bytes, plan.worker_bytes, plan.weight_bytes];
    for (word, size) in ["arena  ", "worker ", "weights"].iter().zip(sizes) {
        let _ = writeln!(out, "  {word}   {size}");
    }
    for (word, ports) in [("input ", &plan.inputs), ("output", &plan.outputs)] {
        for port in ports {
            let _ = writeln!(out, "  {word}    {} {}", sigiled('%', &port.name), port.ty);
        }
    }
    for c in &plan.constants {
        let name = sigiled('%', &c.name);
        let hash = c.data.hash();
        let _ = writeln!(out, "  constant  {name} {} #{hash:016x} at {}", c.ty, c.offset);
    }
    for b in &plan.buffers {
        let name = sigiled('%', &b.name);
        let (bytes, at, first, last) = (b.bytes, b.offset, b.first, b.last);
        let _ = writeln!(out, "  buffer    {name} {bytes} at {at} live {first} {last}");
    }
    for step in &plan.steps {
        print_step(&mut out, step);
    }
    out.push_str("}\n");
    out
}

/// The first line of a step: its value, kernel and places.
pub fn headline(step: &Step) -> String {
    let args: Vec<String> = step.args.iter().map(|p| place(*p)).collect();
    format!("step {} = {}({})", sigiled('%', &step.name), step.kernel.name(), args.join(", "))
}

fn print_step(out: &mut String, step: &Step) {
    let _ = writeln!(out, "\n  {}", headline(step));
    for (key, value) in attributes(&step.kernel) {
        let _ = writeln!(out, "    {key:<9} {value}");
    }
    if !step.why.is_empty() {
        let _ = writeln!(out, "    why       {}", quoted(&step.why));
    }
    if !step.from.is_empty() {
        let from: Vec<String> = step.from.iter().map(|f| quoted(f)).collect();
        let _ = writeln!(out, "    from      {}", from.join(" "));
    }
}

fn place(place: Place) -> String {
    let base = match place.base {
        Base::Input(i) => format!("in{i}"),
        Base::Output(i) => format!("out{i}"),
        Base::Constant(i) => format!("c{i}"),
        Base::Buffer(i) => format!("b{i}"),
        Base::Worker => "worker0".into(),
    };
    if place.offset == 0 { base } else { format!("{base} at {}", place.offset) }
}

/// The attributes of a kernel, in order, as text.
pub fn attributes(kernel: &Kernel) -> Vec<(&'static str, String)> {
    struct Printer(Vec<(&'static str, String)>);
    impl Fields for Printer {
        fn field<T: Value>(&mut self, key: &'static str, value: &mut T) -> Result<()> {
            self.0.push((key, value.write()));
            Ok(())
        }
    }
    let mut printer = Printer(Vec::new());
    // A printer does not fail.
    let _ = fields::visit(&mut kernel.clone(), &mut printer);
    printer.0
}

/// The plan that a text describes. Constants are known by their hash only.
///
/// # Errors
/// [`Problem::Text`](crate::error::Problem::Text) with the line and what was expected there.
pub fn parse(source: &str) -> Result<Plan> {
    let mut c = Cursor::new(source)?;
    word(&mut c, "plan")?;
    let Token::Graph(name) = c.peek().clone() else {
        return Err(c.expected("the plan's name, such as `@main`"));
    };
    c.take();
    c.mark('{')?;
    let mut plan = Plan {
        name: name.into_owned(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        constants: Vec::new(),
        buffers: Vec::new(),
        steps: Vec::new(),
        arena_bytes: labelled(&mut c, "arena")?,
        worker_bytes: labelled(&mut c, "worker")?,
        weight_bytes: labelled(&mut c, "weights")?,
    };
    while !c.eat_mark('}') {
        statement(&mut c, &mut plan)?;
    }
    match c.peek() {
        Token::End => Ok(plan),
        _ => Err(c.expected("the end of the text")),
    }
}

fn statement(c: &mut Cursor<'_>, plan: &mut Plan) -> Result<()> {
    if c.eat_word("input") {
        plan.inputs.push(Port { name: value_name(c)?, ty: tensor_type(c)? });
    } else if c.eat_word("output") {
        plan.outputs.push(Port { name: value_name(c)?, ty: tensor_type(c)? });
    } else if c.eat_word("constant") {
        let (name, ty) = (value_name(c)?, tensor_type(c)?);
        c.mark('#')?;
        let hash = c.word("16 hex digits", |w| u64::from_str_radix(w, 16).ok())?;
        let offset = labelled(c, "at")?;
        plan.constants.push(Constant { name, ty, data: Packed::absent(hash), offset });
    } else if c.eat_word("buffer") {
        let name = value_name(c)?;
        let bytes = c.number("a size")?;
        let (offset, first) = (labelled(c, "at")?, labelled(c, "live")?);
        let last = c.number("the last step")?;
        plan.buffers.push(Buffer { name, bytes, offset, first, last });
    } else if c.eat_word("step") {
        plan.steps.push(step(c)?);
    } else {
        return Err(c.expected("`input`, `output`, `constant`, `buffer`, `step` or `}`"));
    }
    Ok(())
}

fn step(c: &mut Cursor<'_>) -> Result<Step> {
    let name = value_name(c)?;
    c.mark('=')?;
    let mut kernel = c.word("a kernel", fields::blank)?;
    c.mark('(')?;
    let args = c.list(')', read_place)?;
    fields::visit(&mut kernel, &mut Reader(c))?;
    let why = if c.eat_word("why") { text(c, "a reason in quotes")? } else { String::new() };
    let mut from: Vec<Origin> = Vec::new();
    if c.eat_word("from") {
        while matches!(c.peek(), Token::Text(_)) {
            from.push(text(c, "a name in quotes")?.into());
        }
    }
    Ok(Step { name, kernel, args, why, from })
}

struct Reader<'a, 't>(&'a mut Cursor<'t>);

impl Fields for Reader<'_, '_> {
    fn field<T: Value>(&mut self, key: &'static str, value: &mut T) -> Result<()> {
        word(self.0, key)?;
        *value = T::read(self.0)?;
        Ok(())
    }
}

fn read_place(c: &mut Cursor<'_>) -> Result<Place> {
    type Make = fn(usize) -> Base;
    let worker = |_| Base::Worker;
    let bases: [(&str, Make); 5] = [
        ("in", Base::Input),
        ("out", Base::Output),
        ("c", Base::Constant),
        ("b", Base::Buffer),
        ("worker", worker),
    ];
    let base = c.word("a place such as b0", |w| {
        bases.iter().find_map(|(prefix, base)| Some(base(w.strip_prefix(prefix)?.parse().ok()?)))
    })?;
    let offset = if c.eat_word("at") { c.number("an offset")? } else { 0 };
    Ok(Place { base, offset })
}

fn value_name(c: &mut Cursor<'_>) -> Result<String> {
    let Token::Value(name) = c.peek().clone() else {
        return Err(c.expected("a value's name, such as `%x`"));
    };
    c.take();
    Ok(name.into_owned())
}

fn labelled(c: &mut Cursor<'_>, label: &'static str) -> Result<usize> {
    word(c, label)?;
    c.number("a number")
}

fn word(c: &mut Cursor<'_>, word: &str) -> Result<()> {
    if c.eat_word(word) { Ok(()) } else { Err(c.expected(format!("`{word}`"))) }
}
