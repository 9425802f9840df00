//! Rows of comma-separated values (RFC 4180).

use std::borrow::Cow;
use std::io::{self, Write};

/// Writes a row.
///
/// # Errors
/// Those of writing.
pub(crate) fn write_row(out: &mut dyn Write, fields: &[&str]) -> io::Result<()> {
    let fields: Vec<Cow<'_, str>> = fields.iter().map(|field| quoted(field)).collect();
    writeln!(out, "{}", fields.join(","))
}

/// A field in quotes, where it needs them.
fn quoted(field: &str) -> Cow<'_, str> {
    match field.bytes().any(|byte| b",\"\n\r".contains(&byte)) {
        true => format!("\"{}\"", field.replace('"', "\"\"")).into(),
        false => field.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_field_is_quoted() {
        let mut row = Vec::new();
        write_row(&mut row, &["a", "b,c", "say \"d\"", "two\nlines", ""]).unwrap();
        assert_eq!(row, b"a,\"b,c\",\"say \"\"d\"\"\",\"two\nlines\",\n");
    }
}
