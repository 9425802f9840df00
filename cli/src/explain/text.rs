//! The way of a thing as text.

use std::io::{self, Write};

use cardinal_runtime::text;

use super::code::Function;
use super::{Argument, Fused, OnnxNode, Rewrite, StepStory, Story};
use crate::columns::{WIDTH, wrapped};

impl Story {
    /// Writes the way, from the file to the code.
    pub(crate) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{} is a {}", text::line(&self.name), self.kind)?;
        section(out, "of the file", &self.onnx, OnnxNode::print)?;
        match &self.rewrites {
            Some(rewrites) => section(out, "rewritten by passes", rewrites, Rewrite::print)?,
            None => writeln!(out, "\nrewritten by passes: an artifact does not say how")?,
        }
        section(out, "after all passes, and scheduled", &self.fused, Fused::print)?;
        section(out, "planned", &self.steps, StepStory::print)?;
        section(out, "compiled to", &self.functions, Function::print)
    }
}

/// A heading and what is under it, or that nothing is.
fn section<T>(
    out: &mut dyn Write,
    heading: &str,
    all: &[T],
    print: impl Fn(&T, &mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let nothing = if all.is_empty() { ": nothing" } else { "" };
    writeln!(out, "\n{heading}{nothing}")?;
    all.iter().try_for_each(|one| print(one, out))
}

impl OnnxNode {
    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "  {}", text::line(&self.name))?;
        let imported = match self.imported.as_deref() {
            None => return Ok(()),
            Some([]) => "nothing, as it was computed when it was imported".into(),
            Some(values) => values.join(", "),
        };
        let said = format!("read as {}", text::line(&imported));
        write!(out, "{}", wrapped(&said, WIDTH - 6, "    ", "      "))
    }
}

impl Rewrite {
    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let said = format!("{} at %{}: {}", self.pass, text::line(&self.at), self.summary);
        write!(out, "{}", wrapped(&said, WIDTH - 4, "  ", "    "))?;
        for (what, nodes) in [("removed", &self.removed), ("made", &self.made)] {
            nodes
                .iter()
                .try_for_each(|node| writeln!(out, "    {what:<8} {}", text::line(node)))?;
        }
        Ok(())
    }
}

impl Fused {
    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        // The first line of the schedule names the node, as the text before it does.
        let chosen = self.schedule.lines().skip(1);
        let chosen: Vec<&str> = chosen.collect();
        writeln!(out, "{}\n{}", self.text.trim_end(), chosen.join("\n"))
    }
}

impl StepStory {
    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "  #{} {}", self.number, self.headline)?;
        self.arguments.iter().try_for_each(|argument| argument.print(out))?;
        if !self.why.is_empty() {
            let (first, rest) = ("    why      ", "             ");
            write!(out, "{}", wrapped(&text::line(&self.why), WIDTH - rest.len(), first, rest))?;
        }
        writeln!(out, "    by       {}", self.function)
    }
}

impl Argument {
    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let Argument { role, name, memory, offset, bytes, lives } = self;
        let bytes = bytes.map_or_else(String::new, |bytes| format!(", {bytes} bytes"));
        let lives = lives.map_or_else(String::new, |[a, b]| format!(", alive from #{a} to #{b}"));
        let name =
            if name.is_empty() { String::new() } else { format!(" of %{}", text::line(name)) };
        let (said, rest) = (format!("at {offset} in {memory}{name}{bytes}{lives}"), " ".repeat(13));
        write!(out, "{}", wrapped(&said, WIDTH - rest.len(), &format!("    {role:<8} "), &rest))
    }
}

impl Function {
    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let Function { name, offset, bytes, calls, lines } = self;
        let calls =
            if calls.is_empty() { String::new() } else { format!(", calls {}", calls.join(", ")) };
        let said = format!("{name} at {offset:#x}, {bytes} bytes{calls}");
        write!(out, "{}", wrapped(&said, WIDTH - 4, "  ", "    "))?;
        for line in lines {
            let mark = if line.is_hot { '>' } else { ' ' };
            writeln!(out, "{}", format!("  {mark} {}", line.text).trim_end())?;
        }
        Ok(())
    }
}
