//! The text of a plan; `parse(print(p)) == p`.
//!
//! ```text
//! plan @resnest {
//!   arena     401408
//!   worker    0
//!   weights   9408
//!   stages    [1, 4]
//!   input     %x f32[1, 3, 64, 64]
//!   output    %y f32[1, 10]
//!   constant  %conv1.weight f32[1, 4, 27, 8] #5f0c9a1e01234567 at 0
//!   buffer    %u 131072 at 0
//!
//!   step %u = row_major_gemm(out %u, in input %x, weights const %conv1.weight)
//!     outer     []
//!     …
//!     store     relu(x0)
//!     why       "estimated kilocycles: …"
//!     from      "/conv1/Conv" "/act1/Relu"
//! }
//! ```
//!
//! An argument is its role and a place: a buffer by the value that it holds, or `input`, `output` or
//! `const` and a name, or `worker`, the scratch memory of a thread. Of several of one name all but the
//! first have their number, from 2: `%u #2`. Then follow `at` so many bytes from its start, and `image`
//! so many bytes from one image to the next, where these are not 0. The hash of a constant is of its
//! packed bytes, so printing a plan packs its weights, one after the other. From when to when buffers
//! live follows from the steps.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::kernel::{Field, Fields, KernelRef, Role, Row};
use super::weights::Packed;
use super::{Base, Buffer, Constant, Place, Plan, Port, Step, arena};
use crate::error::Result;
use crate::ir::Origin;
use crate::ir::text::lexer::{Cursor, Token, quoted, sigiled};
use crate::ir::text::parse::{tensor_type, text};
use crate::ir::text::values::Value as _;

/// The plan's text.
pub fn print(plan: &Plan) -> String {
    print_with(plan, &Packed::hash)
}

/// The plan's text with zeros instead of hashes, so that nothing need be packed for it.
pub(crate) fn print_without_hashes(plan: &Plan) -> String {
    print_with(plan, &|_| 0)
}

fn print_with(plan: &Plan, hash: &dyn Fn(&Packed) -> u64) -> String {
    let names = Names::of(plan);
    let mut out = format!("plan {} {{\n", sigiled('@', &plan.name));
    let sizes = [plan.arena_bytes, plan.worker_bytes, plan.weight_bytes];
    for (word, size) in ["arena  ", "worker ", "weights"].iter().zip(sizes) {
        let _ = writeln!(out, "  {word}   {size}");
    }
    if !plan.stages.is_empty() {
        let _ = writeln!(out, "  stages    {}", plan.stages.write());
    }
    for (word, ports) in [("input ", &plan.inputs), ("output", &plan.outputs)] {
        for port in ports {
            let _ = writeln!(out, "  {word}    {} {}", sigiled('%', &port.name), port.ty);
        }
    }
    for c in &plan.constants {
        let name = sigiled('%', &c.name);
        let hash = hash(&c.data);
        let _ = writeln!(out, "  constant  {name} {} #{hash:016x} at {}", c.ty, c.offset);
    }
    for b in &plan.buffers {
        let _ = writeln!(out, "  buffer    {} {} at {}", sigiled('%', &b.name), b.bytes, b.offset);
    }
    for step in &plan.steps {
        print_step(&mut out, &names, step);
    }
    out.push_str("}\n");
    out
}

/// The first line of a step: its value, kernel and arguments.
pub fn headline(plan: &Plan, step: &Step) -> String {
    Names::of(plan).headline(step)
}

fn print_step(out: &mut String, names: &Names<'_>, step: &Step) {
    let _ = writeln!(out, "\n  {}", names.headline(step));
    if step.stage > 0 {
        let _ = writeln!(out, "    stage     {}", step.stage);
    }
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

/// What places are called.
struct Names<'p> {
    plan: &'p Plan,
    /// How many of the same kind and name come before each, where there are any.
    earlier: BTreeMap<Base, usize>,
}

impl<'p> Names<'p> {
    fn of(plan: &'p Plan) -> Names<'p> {
        let mut seen: BTreeMap<(u8, &str), usize> = BTreeMap::new();
        let mut earlier = BTreeMap::new();
        for (base, kind, name) in listed(plan) {
            let count = seen.entry((kind, name)).or_default();
            if *count > 0 {
                earlier.insert(base, *count);
            }
            *count += 1;
        }
        Names { plan, earlier }
    }

    fn headline(&self, step: &Step) -> String {
        let argument = |(role, place): (Role, Place)| format!("{role} {}", self.place(place));
        let args: Vec<String> = step.arguments().map(argument).collect();
        format!("step {} = {}({})", sigiled('%', &step.name), step.kernel.name(), args.join(", "))
    }

    fn place(&self, place: Place) -> String {
        let plan = self.plan;
        let (word, name) = match place.base {
            Base::Input(i) => ("input ", plan.inputs.get(i).map(|port| &port.name)),
            Base::Output(i) => ("output ", plan.outputs.get(i).map(|port| &port.name)),
            Base::Constant(i) => ("const ", plan.constants.get(i).map(|c| &c.name)),
            Base::Buffer(i) => ("", plan.buffers.get(i).map(|b| &b.name)),
            Base::Worker => ("worker", None),
        };
        let mut out = word.to_owned();
        out.extend(name.map(|name| sigiled('%', name)));
        if let Some(earlier) = self.earlier.get(&place.base) {
            let _ = write!(out, " #{}", earlier + 1);
        }
        for (word, bytes) in [("at", place.offset), ("image", place.image)] {
            if bytes != 0 {
                let _ = write!(out, " {word} {bytes}");
            }
        }
        out
    }
}

/// All that places can point into, with a number for each kind, and their names.
fn listed(plan: &Plan) -> impl Iterator<Item = (Base, u8, &str)> {
    let inputs = plan.inputs.iter().enumerate().map(|(i, p)| (Base::Input(i), 0, p.name.as_str()));
    let outputs = plan.outputs.iter().enumerate().map(|(i, p)| (Base::Output(i), 1, &*p.name));
    let constants = plan.constants.iter().enumerate();
    let constants = constants.map(|(i, c)| (Base::Constant(i), 2, c.name.as_str()));
    let buffers = plan.buffers.iter().enumerate().map(|(i, b)| (Base::Buffer(i), 3, &*b.name));
    inputs.chain(outputs).chain(constants).chain(buffers)
}

/// The attributes of a kernel, in order, as text.
pub fn attributes(kernel: &KernelRef) -> Vec<(&'static str, String)> {
    struct Printer(Vec<(&'static str, String)>);
    impl Fields for Printer {
        fn field(&mut self, key: &'static str, value: &mut dyn Field) -> Result<()> {
            self.0.push((key, value.text()));
            Ok(())
        }

        fn field_unless(
            &mut self,
            usual: &'static str,
            key: &'static str,
            value: &mut dyn Field,
        ) -> Result<()> {
            if value.text() == usual { Ok(()) } else { self.field(key, value) }
        }
    }
    let mut printer = Printer(Vec::new());
    // A printer does not fail.
    let _ = kernel.visited(&mut printer);
    printer.0
}

/// The plan that a text describes, with kernels of this registry. Constants are known by their hash
/// only.
///
/// # Errors
/// [`Problem::Text`](crate::error::Problem::Text) with the line and what was expected there.
pub fn parse(source: &str, registry: &[Row]) -> Result<Plan> {
    let mut c = Cursor::new(source)?;
    word(&mut c, "plan")?;
    let Token::Graph(name) = c.peek().clone() else {
        return Err(c.expected("the plan's name, such as `@main`"));
    };
    c.take();
    c.mark('{')?;
    let [arena_bytes, worker_bytes, weight_bytes] =
        [labelled(&mut c, "arena")?, labelled(&mut c, "worker")?, labelled(&mut c, "weights")?];
    let mut plan = Plan {
        name: name.into_owned(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        constants: Vec::new(),
        buffers: Vec::new(),
        stages: if c.eat_word("stages") { Vec::read(&mut c)? } else { Vec::new() },
        steps: Vec::new(),
        arena_bytes,
        worker_bytes,
        weight_bytes,
    };
    let mut places = Places::default();
    while !c.eat_mark('}') {
        statement(&mut c, &mut plan, &mut places, registry)?;
    }
    arena::set_lives(&mut plan);
    match c.peek() {
        Token::End => Ok(plan),
        _ => Err(c.expected("the end of the text")),
    }
}

/// What names stand for, in their order of appearance.
#[derive(Default)]
struct Places(BTreeMap<(u8, String), Vec<Base>>);

impl Places {
    fn add(&mut self, kind: u8, name: &str, base: Base) {
        self.0.entry((kind, name.to_owned())).or_default().push(base);
    }

    fn read(&self, c: &mut Cursor<'_>) -> Result<Place> {
        let kinds = ["input", "output", "const"];
        let base = if c.eat_word("worker") {
            Base::Worker
        } else {
            let kind = kinds.iter().position(|word| c.eat_word(word)).unwrap_or(kinds.len());
            let name = value_name(c)?;
            let number = if c.eat_mark('#') { c.number("a number from 2")? } else { 1usize };
            let found = self.0.get(&(kind as u8, name));
            let found = found.and_then(|all| all.get(number.checked_sub(1)?).copied());
            found.ok_or_else(|| c.error("there is nothing of this name before"))?
        };
        let mut place = Place::of(base);
        for (word, bytes) in [("at", &mut place.offset), ("image", &mut place.image)] {
            if c.eat_word(word) {
                *bytes = c.number("a number of bytes")?;
            }
        }
        Ok(place)
    }
}

fn statement(
    c: &mut Cursor<'_>,
    plan: &mut Plan,
    places: &mut Places,
    registry: &[Row],
) -> Result<()> {
    if c.eat_word("input") {
        let port = port(c)?;
        places.add(0, &port.name, Base::Input(plan.inputs.len()));
        plan.inputs.push(port);
    } else if c.eat_word("output") {
        let port = port(c)?;
        places.add(1, &port.name, Base::Output(plan.outputs.len()));
        plan.outputs.push(port);
    } else if c.eat_word("constant") {
        let constant = constant(c)?;
        places.add(2, &constant.name, Base::Constant(plan.constants.len()));
        plan.constants.push(constant);
    } else if c.eat_word("buffer") {
        let (name, bytes) = (value_name(c)?, c.number("a size")?);
        places.add(3, &name, Base::Buffer(plan.buffers.len()));
        plan.buffers.push(Buffer { name, bytes, offset: labelled(c, "at")?, first: 0, last: 0 });
    } else if c.eat_word("step") {
        plan.steps.push(step(c, places, registry)?);
    } else {
        return Err(c.expected("`input`, `output`, `constant`, `buffer`, `step` or `}`"));
    }
    Ok(())
}

fn port(c: &mut Cursor<'_>) -> Result<Port> {
    Ok(Port { name: value_name(c)?, ty: tensor_type(c)? })
}

fn constant(c: &mut Cursor<'_>) -> Result<Constant> {
    let (name, ty) = (value_name(c)?, tensor_type(c)?);
    c.mark('#')?;
    let hash = c.word("16 hex digits", |w| u64::from_str_radix(w, 16).ok())?;
    Ok(Constant { name, ty, data: Packed::absent(hash), offset: labelled(c, "at")? })
}

fn step(c: &mut Cursor<'_>, places: &Places, registry: &[Row]) -> Result<Step> {
    let name = value_name(c)?;
    c.mark('=')?;
    let blank = |word: &str| registry.iter().find(|row| row.name == word).map(|row| (row.blank)());
    let blank = c.word("a kernel", blank)?;
    c.mark('(')?;
    let read = |c: &mut Cursor<'_>| {
        let role = c.word("the name of an argument", Role::from_name)?;
        Ok((role, places.read(c)?))
    };
    let (roles, args): (Vec<Role>, Vec<Place>) = c.list(')', read)?.into_iter().unzip();
    let stage = if c.eat_word("stage") { c.number("a stage")? } else { 0 };
    let kernel = blank.visited(&mut Reader(c))?;
    if kernel.arguments() != roles {
        let wanted: Vec<String> = kernel.arguments().iter().map(Role::to_string).collect();
        return Err(c.error(format!("such a step has the arguments {}", wanted.join(", "))));
    }
    let why = if c.eat_word("why") { text(c, "a reason in quotes")? } else { String::new() };
    let mut from: Vec<Origin> = Vec::new();
    if c.eat_word("from") {
        while matches!(c.peek(), Token::Text(_)) {
            from.push(text(c, "a name in quotes")?.into());
        }
    }
    Ok(Step { name, kernel, args, stage, why, from })
}

struct Reader<'a, 't>(&'a mut Cursor<'t>);

impl Fields for Reader<'_, '_> {
    fn field(&mut self, key: &'static str, value: &mut dyn Field) -> Result<()> {
        word(self.0, key)?;
        value.read_from(self.0)
    }

    fn field_unless(
        &mut self,
        _usual: &'static str,
        key: &'static str,
        value: &mut dyn Field,
    ) -> Result<()> {
        if self.0.eat_word(key) { value.read_from(self.0) } else { Ok(()) }
    }
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
