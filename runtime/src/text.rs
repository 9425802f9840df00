//! Text from files on its way to a reader.
//!
//! Names, metadata and labels may hold anything, and some characters do more than show: terminals
//! obey control characters, and others turn around, join or hide what is beside them. Each function
//! here is for one kind of output, and replaces every such character by an escape.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

/// Characters that show nothing themselves, besides controls: Unicode's category Cf, and separators
/// of lines and paragraphs. The joiners U+200C and U+200D are not among them, since words of Persian
/// and of Indian languages are spelled with them.
const HIDDEN: [RangeInclusive<char>; 15] = [
    '\u{ad}'..='\u{ad}',
    '\u{600}'..='\u{605}',
    '\u{61c}'..='\u{61c}',
    '\u{6dd}'..='\u{6dd}',
    '\u{70f}'..='\u{70f}',
    '\u{890}'..='\u{891}',
    '\u{8e2}'..='\u{8e2}',
    '\u{180e}'..='\u{180e}',
    '\u{200b}'..='\u{200b}',
    '\u{200e}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{feff}'..='\u{feff}',
    '\u{fff9}'..='\u{fffb}',
    '\u{e0000}'..='\u{e007f}',
];

/// Whether a character only shows: it is no control, and leaves its neighbours alone.
pub fn is_visible(c: char) -> bool {
    !c.is_control() && !HIDDEN.iter().any(|range| range.contains(&c))
}

/// The text on one line, for what is said of it among other words: `\n`, `\u{1b}`.
pub fn line(text: &str) -> String {
    escaped(text, is_visible)
}

/// The text with its lines and tabs, for what has been put together already.
pub fn lines(text: &str) -> String {
    escaped(text, |c| c == '\n' || c == '\t' || is_visible(c))
}

fn escaped(text: &str, stays: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match stays(c) {
            true => out.push(c),
            false => out.extend(c.escape_default()),
        }
    }
    out
}

/// JSON without spaces between its values, each character that does not show as JSON's own escape.
/// It is the same value: such characters are in its strings only.
pub fn json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_visible(c) {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(out, "\\u{unit:04x}"); // Writing to a string does not fail.
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_that_does_more_than_show() {
        let text = "a\u{1b}[2J\u{7}\u{9b}31m\u{202e}b\u{2066}\u{200f}\u{feff}\u{e0041}\r\nc\td";
        for shown in [line(text), json(text)] {
            assert!(shown.chars().all(is_visible), "{shown:?}");
        }
        assert!(lines(text).chars().all(|c| is_visible(c) || "\n\t".contains(c)));
        assert_eq!(line("a\u{1b}]0;\n"), "a\\u{1b}]0;\\n");
        assert_eq!(lines("a\r\n\tb"), "a\\r\n\tb");
    }

    #[test]
    fn words_of_every_language_stay() {
        for text in ["café", "cafe\u{301}", "\\ \"", "می\u{200c}خواهم", "क्\u{200d}ष", "模型", "🐦"]
        {
            assert_eq!((line(text), json(text)), (text.to_owned(), text.to_owned()));
        }
    }

    #[test]
    fn escapes_of_json_mean_the_same_characters() {
        assert_eq!(json("\u{7f}\u{202e}\u{e0041}"), "\\u007f\\u202e\\udb40\\udc41");
    }
}
