//! What the user sees of a failure: on stderr, at most a screenful, graphical and coloured on a
//! terminal, plain ASCII elsewhere, and JSON on request.

use std::fmt;
use std::io::{IsTerminal as _, Write as _, stderr};
use std::panic::PanicHookInfo;
use std::process::ExitCode;

use cardinal_runtime::text;
use clap::ColorChoice;
use clap::error::ErrorKind;
use serde_json::json;

use crate::columns::{self, wrapped};
use crate::ending;
use crate::exit::{Failure, Outcome, Status};
use crate::reporting::{Errors, Reporting};

/// The schema of errors in JSON.
const SCHEMA: &str = "cardinal.error/v1";

/// The most characters of a message or of its help text that are shown.
const MESSAGE_LIMIT: usize = 1200;
/// Columns that a drawn message is wrapped at.
const WIDTH: usize = 100;
/// The most characters of one word, such as the name of a node.
const WORD_LIMIT: usize = 160;

/// The exit code of a command that has ended; prints what went wrong with it.
pub(crate) fn outcome(outcome: Outcome) -> ExitCode {
    outcome.map_or_else(|failed| failure(&failed), |()| ExitCode::SUCCESS)
}

fn failure(failure: &Failure) -> ExitCode {
    if failure.status() != Status::Quiet {
        let text = match Reporting::chosen().errors {
            Errors::Text => report(failure, Style::of_stderr()),
            Errors::Json => object(failure, true),
        };
        // Nothing is left to do when stderr cannot be written either.
        let _ = stderr().write_all(text.as_bytes());
    }
    ExitCode::from(failure.status() as u8)
}

/// Prints what clap has to say: help and version on stdout, complaints on stderr.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    let is_help = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if Reporting::chosen().errors == Errors::Text || is_help {
        let _ = error.print();
        return ExitCode::from(if error.use_stderr() { Status::Usage } else { Status::Quiet } as u8);
    }
    failure(&complaint(error))
}

/// The same as a failure: what is wrong is in the first paragraph of the text, and tips are in others.
fn complaint(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let (what, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
    let what = what.strip_prefix("error: ").unwrap_or(what);
    let what = Failure::usage(what.split_whitespace().collect::<Vec<_>>().join(" "));
    match rest.lines().find_map(|line| line.trim().strip_prefix("tip: ")) {
        Some(tip) => what.with_help(tip),
        None => what.with_help("see --help"),
    }
}

/// Prints one line on stderr that is no failure.
pub(crate) fn note(text: impl fmt::Display) {
    let _ = writeln!(stderr(), "{}", line(&text.to_string()));
}

/// Prints on stderr what is no failure and longer than a line: in as many as fit 80 columns, the first of which is not
/// indented.
pub(crate) fn long_note(text: impl fmt::Display) {
    let text = line(&text.to_string());
    let lines = wrapped(&text, columns::WIDTH - 2, "", "  ");
    let _ = stderr().write_all(lines.as_bytes());
}

/// Says in one line on stderr what is wrong with one of many things; the others go on.
pub(crate) fn complain(failure: &Failure) {
    match Reporting::chosen().errors {
        Errors::Text => note(format_args!("error: {failure}")),
        Errors::Json => {
            let _ = stderr().write_all(object(failure, false).as_bytes());
        }
    }
}

/// A panic is a bug of ours: says so in two lines and exits with 1, whichever thread it is on.
pub(crate) fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        say_panic(
            info,
            "This is a bug; please report it with the command and the model that led to it.",
            true,
        );
        ending::discard();
        std::process::exit(i32::from(Status::Failed as u8));
    }));
}

/// From now on a panic costs no more than what its thread was doing.
#[cfg(feature = "serving")]
pub(crate) fn survive_panics() {
    std::panic::set_hook(Box::new(|info| {
        say_panic(
            info,
            "This is a bug; please report it with the request that led to it. Others go on.",
            false,
        );
    }));
}

fn say_panic(info: &PanicHookInfo<'_>, advice: &str, is_last: bool) {
    let place = info.location().map(|l| format!(" at {}:{}", l.file(), l.line()));
    let what = info.payload_as_str().unwrap_or("no message");
    let (place, what) = (place.unwrap_or_default(), shown(what));
    let _ = match Reporting::chosen().errors {
        Errors::Text => writeln!(stderr(), "cardinal: internal error{place}: {what}\n{advice}"),
        Errors::Json => {
            let failure = Failure::Failed(format!("internal error{place}: {what}. {advice}"));
            stderr().write_all(object(&failure, is_last).as_bytes())
        }
    };
}

/// How failures are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// ASCII, for files and programs.
    Plain,
    /// For a terminal.
    Drawn,
    /// For a terminal, in colour.
    Coloured,
}

impl Style {
    fn of_stderr() -> Style {
        let is_terminal = stderr().is_terminal();
        let no_color = || std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        match Reporting::chosen().color {
            ColorChoice::Always => Style::Coloured,
            ColorChoice::Auto if is_terminal && !no_color() => Style::Coloured,
            ColorChoice::Auto | ColorChoice::Never if is_terminal => Style::Drawn,
            ColorChoice::Auto | ColorChoice::Never => Style::Plain,
        }
    }

    /// `text` in a colour of ECMA-48, where there are colours.
    fn paint(self, colour: u8, text: &str) -> String {
        match self {
            Style::Plain | Style::Drawn => text.to_owned(),
            Style::Coloured => format!("\u{1b}[{colour}m{text}\u{1b}[0m"),
        }
    }
}

const RED: u8 = 31;
const CYAN: u8 = 36;

/// What a failure says. Names from files may hold line ends, and could put words into our mouth.
fn message(failure: &Failure) -> String {
    let message = failure.to_string();
    if failure.has_lines() { shown(&message) } else { line(&message) }
}

/// A line of JSON, with the exit code where the failure ends the command.
fn object(failure: &Failure, is_last: bool) -> String {
    let site = failure.node();
    let mut object = json!({
        "schema": SCHEMA,
        "kind": failure.status().name(),
        "message": message(failure),
        "file": failure.file().map(line),
        "node": site.map(|(node, _)| line(node)),
        "operator": site.map(|(_, operator)| line(operator)),
        "help": failure.help().map(line),
    });
    if is_last {
        object["exit_code"] = json!(failure.status() as u8);
    }
    format!("{object}\n")
}

fn report(failure: &Failure, style: Style) -> String {
    let message = message(failure);
    let help = failure.help().map(line);
    if style == Style::Plain {
        let help = help.map(|help| format!("  help: {help}\n")).unwrap_or_default();
        return format!("error: {message}\n{help}");
    }
    let (cross, bar) = (style.paint(RED, "×"), style.paint(RED, "│"));
    let mut text = wrapped(&message, WIDTH - 4, &format!("  {cross} "), &format!("  {bar} "));
    if let Some(help) = help {
        let first = format!("  {} ", style.paint(CYAN, "help:"));
        text += &wrapped(&help, WIDTH - 8, &first, "        ");
    }
    text
}

/// `text`, which may have lines, cut to a screenful and without characters that do more than show.
fn shown(text: &str) -> String {
    let lines: Vec<String> = text.lines().take(20).map(line).collect();
    cut(&lines.join("\n"), MESSAGE_LIMIT)
}

/// The same on one line.
fn line(text: &str) -> String {
    let words = text.split(' ').take(MESSAGE_LIMIT);
    let words: Vec<String> = words.map(|word| cut(&text::line(word), WORD_LIMIT)).collect();
    cut(&words.join(" "), MESSAGE_LIMIT)
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
        let name = format!("{}\u{1b}[2J\u{202e}\nerror: another", "x".repeat(1_000_000));
        let text = report(&Failure::usage(format!("node `{name}`")), Style::Plain);
        assert!(text.chars().count() <= MESSAGE_LIMIT && text.lines().count() == 1, "{text}");
        assert!(text.trim_end().chars().all(text::is_visible), "{text}");
    }

    #[test]
    fn a_failure_is_drawn_on_a_terminal_and_plain_elsewhere() {
        let failure = Failure::usage("no such thing").with_help("try another");
        assert_eq!(report(&failure, Style::Plain), "error: no such thing\n  help: try another\n");
        let drawn = report(&failure, Style::Drawn);
        assert_eq!(drawn, "  × no such thing\n  help: try another\n");
        let coloured = report(&failure, Style::Coloured);
        let bare = coloured.replace("\u{1b}[31m", "").replace("\u{1b}[36m", "");
        assert_eq!(bare.replace("\u{1b}[0m", ""), drawn);
        assert!(coloured.contains("\u{1b}[31m×\u{1b}[0m no such"), "{coloured:?}");
    }

    #[test]
    fn a_failure_in_json_has_its_parts() {
        let failure = Failure::damaged("a\u{1b}[2J.png".as_ref(), "it is cut short");
        let object = |is_last| -> serde_json::Value {
            serde_json::from_str(&super::object(&failure, is_last)).unwrap()
        };
        assert_eq!(
            object(true),
            json!({
                "schema": SCHEMA,
                "kind": "io",
                "message": "cannot read `a\\u{1b}[2J.png`: it is cut short",
                "file": "a\\u{1b}[2J.png",
                "node": null,
                "operator": null,
                "help": null,
                "exit_code": 5,
            })
        );
        assert_eq!(object(false).get("exit_code"), None);
    }

    #[test]
    fn a_complaint_about_arguments_keeps_its_tip() {
        let command = clap::Command::new("x").arg(clap::arg!(--threads <N>));
        let error = command.try_get_matches_from(["x", "--thread", "1"]).unwrap_err();
        let complaint = complaint(&error);
        assert_eq!(complaint.to_string(), "unexpected argument '--thread' found");
        assert!(complaint.help().unwrap().contains("'--threads'"), "{:?}", complaint.help());
    }

    #[test]
    fn long_messages_are_broken_between_words() {
        let failure = Failure::usage(["seven 7"; 20].join(" ")).with_help(["help"; 30].join(" "));
        let drawn = report(&failure, Style::Drawn);
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines.len(), 4, "{drawn}");
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{drawn}");
        assert!(lines[1].starts_with("  │ ") && lines[3].starts_with("        help"), "{drawn}");
        let one = report(&Failure::usage("x".repeat(150)), Style::Drawn);
        assert_eq!(one.lines().count(), 1);
    }
}
