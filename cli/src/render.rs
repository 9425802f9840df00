//! What the user sees of a failure: on stderr, at most a screenful, graphical and coloured on a
//! terminal, plain ASCII elsewhere.

use std::fmt;
use std::io::{IsTerminal as _, Write as _, stderr};
use std::process::ExitCode;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};

use crate::exit::{Failure, Status};

/// The most characters of a message or of its help text that are shown.
const MESSAGE_LIMIT: usize = 1200;
/// Columns that a drawn message is wrapped at.
const WIDTH: usize = 100;
/// The most characters of one word, such as the name of a node.
const WORD_LIMIT: usize = 160;

/// Prints a failure and gives its exit code.
pub(crate) fn failure(failure: &Failure) -> ExitCode {
    if failure.status() != Status::Quiet {
        // Nothing is left to do when stderr cannot be written either.
        let _ = stderr().write_all(report(failure, theme()).as_bytes());
    }
    ExitCode::from(failure.status() as u8)
}

/// Prints what clap has to say: help and version on stdout, complaints on stderr.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { Status::Usage } else { Status::Quiet } as u8)
}

/// Prints one line on stderr that is no failure.
pub(crate) fn note(text: impl fmt::Display) {
    let _ = writeln!(stderr(), "{}", shown(&text.to_string()));
}

/// A panic is a bug of ours: says so in two lines and exits with 1, whichever thread it is on.
pub(crate) fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|l| format!(" at {}:{}", l.file(), l.line()));
        let what = info.payload_as_str().unwrap_or("no message");
        let _ = writeln!(
            stderr(),
            "cardinal: internal error{}: {}\nThis is a bug; please report it with the command and the model that led to it.",
            place.unwrap_or_default(),
            shown(what),
        );
        std::process::exit(i32::from(Status::Failed as u8));
    }));
}

/// How a terminal draws a failure; `None` when stderr is none.
fn theme() -> Option<GraphicalTheme> {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let theme = || {
        if no_color { GraphicalTheme::unicode_nocolor() } else { GraphicalTheme::unicode() }
    };
    stderr().is_terminal().then(theme)
}

fn report(failure: &Failure, theme: Option<GraphicalTheme>) -> String {
    let shown = Shown { message: shown(&failure.to_string()), help: failure.help().map(shown) };
    let mut text = String::new();
    let drawn = theme.map(|theme| {
        let handler = GraphicalReportHandler::new_themed(theme).with_width(WIDTH);
        handler.with_links(false).render_report(&mut text, &shown)
    });
    match drawn {
        Some(Ok(())) => text,
        Some(Err(_)) | None => shown.plain(),
    }
}

/// A failure's texts, made fit to print.
#[derive(Debug)]
struct Shown {
    message: String,
    help: Option<String>,
}

impl Shown {
    fn plain(&self) -> String {
        let help = self.help.as_ref().map(|help| format!("  help: {help}\n"));
        format!("error: {}\n{}", self.message, help.unwrap_or_default())
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Shown {}

impl Diagnostic for Shown {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }
}

/// `text` without control characters and cut to a screenful: names come from files and may hold
/// anything.
pub(crate) fn shown(text: &str) -> String {
    let mut clean = String::with_capacity(text.len().min(4 * MESSAGE_LIMIT));
    for (i, line) in text.lines().take(20).enumerate() {
        if i > 0 {
            clean.push('\n');
        }
        let words: Vec<String> = line.split(' ').take(MESSAGE_LIMIT).map(word).collect();
        clean.push_str(&words.join(" "));
    }
    cut(&clean, MESSAGE_LIMIT)
}

fn word(word: &str) -> String {
    let visible = |c: char| {
        if c.is_control() { c.escape_default().to_string() } else { c.into() }
    };
    cut(&word.chars().map(visible).collect::<String>(), WORD_LIMIT)
}

/// The beginning and the end of `text`, at most `limit` characters.
fn cut(text: &str, limit: usize) -> String {
    let count = text.chars().count();
    if count <= limit {
        return text.to_owned();
    }
    let tail = limit / 4;
    let head: String = text.chars().take(limit - tail - 1).collect();
    let tail: String = text.chars().skip(count - tail).collect();
    format!("{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_files_cannot_flood_or_drive_the_terminal() {
        let text = shown(&format!("node `{}\u{1b}[2J`", "x".repeat(1_000_000)));
        assert!(text.chars().count() <= MESSAGE_LIMIT && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn a_failure_is_drawn_on_a_terminal_and_plain_elsewhere() {
        let failure = Failure::usage("no such thing").with_help("try another");
        assert_eq!(report(&failure, None), "error: no such thing\n  help: try another\n");
        let drawn = report(&failure, Some(GraphicalTheme::unicode_nocolor()));
        assert_eq!(drawn, "  × no such thing\n  help: try another\n");
        assert!(report(&failure, Some(GraphicalTheme::unicode())).contains('\u{1b}'));
    }
}
