//! Names of files as text, and of how many things there are.

use std::path::Path;

/// The name of a file as text that no other name has. Bytes that are no UTF-8 become `\xff`; in names that
/// have such bytes, or what looks like one, a backslash becomes two.
pub(crate) fn shown(path: &Path) -> String {
    shown_bytes(path.as_os_str().as_encoded_bytes())
}

/// The same of a name that is no path of this system.
pub(crate) fn shown_bytes(name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok(text) if !looks_escaped(name) => text.to_owned(),
        _ => escaped(name),
    }
}

fn looks_escaped(name: &[u8]) -> bool {
    let is_escape = |w: &[u8]| w.starts_with(b"\\x") && w[2..].iter().all(u8::is_ascii_hexdigit);
    name.windows(4).any(is_escape)
}

fn escaped(name: &[u8]) -> String {
    let mut out = String::with_capacity(name.len() + 8);
    for chunk in name.utf8_chunks() {
        out += &chunk.valid().replace('\\', "\\\\");
        for byte in chunk.invalid() {
            out += &format!("\\x{byte:02x}");
        }
    }
    out
}

/// `1 thread`, `2 threads`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_no_plural() {
        assert_eq!([0, 1, 2].map(|n| counted(n, "thread")), ["0 threads", "1 thread", "2 threads"]);
    }

    #[test]
    fn different_names_stay_different() {
        let names: [&[u8]; 8] = [
            b"a.png",
            b"\xff.png",
            b"\xfe.png",
            b"\\xff.png",
            b"\\\\xff.png",
            b"\\.png",
            b"\\\\.png",
            "\u{fffd}.png".as_bytes(),
        ];
        let shown = names.map(shown_bytes);
        assert_eq!(shown[0], "a.png");
        assert_eq!(shown[1], "\\xff.png");
        assert_eq!(shown[5], "\\.png");
        for (i, name) in shown.iter().enumerate() {
            assert!(!shown[..i].contains(name), "{shown:?}");
        }
    }
}
