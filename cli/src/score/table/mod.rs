//! Tables of rows: JSON Lines, CSV and Parquet.

mod lines;
#[cfg(feature = "full")]
mod parquet;

use std::io::{self, Write};
use std::path::Path;

use super::inputs::extension;
use super::row::{Kind, Reading, Row};
use crate::exit::{Failure, Outcome};
use crate::names;
use crate::output::Room;
use crate::stdio::is_dash;

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// An object a line.
    JsonLines,
    /// Comma-separated values.
    Csv,
    /// Apache Parquet.
    #[cfg(feature = "full")]
    Parquet,
}

impl Format {
    /// What a file is called after; JSON Lines on stdout.
    ///
    /// # Errors
    /// [`Failure::Usage`].
    pub(crate) fn of(output: &Path) -> Outcome<Format> {
        if is_dash(output) {
            return Ok(Format::JsonLines);
        }
        match extension(output).as_deref() {
            Some("jsonl") => Ok(Format::JsonLines),
            Some("csv") => Ok(Format::Csv),
            #[cfg(feature = "full")]
            Some("parquet") => Ok(Format::Parquet),
            #[cfg(not(feature = "full"))]
            Some("parquet") => Err(Format::left_out(output)),
            _ => {
                let name = names::shown(output);
                Err(Failure::usage(format!("`{name}` is neither .parquet nor .jsonl nor .csv")))
            }
        }
    }

    /// The refusal of what this build does not have.
    #[cfg(not(feature = "full"))]
    pub(super) fn left_out(file: &Path) -> Failure {
        let name = names::shown(file);
        Failure::usage(format!("`{name}`: this Cardinal was built without Parquet"))
            .with_help("build it with: cargo install --path cli --features full")
    }

    /// Begins a table in a file.
    ///
    /// # Errors
    /// Those of writing.
    pub(super) fn begin_in<'w>(
        self,
        room: &'w mut dyn Room,
        kind: Kind,
    ) -> io::Result<Box<dyn Table + 'w>> {
        Ok(match self {
            Format::JsonLines => Box::new(lines::JsonLines::new(Box::new(room))),
            Format::Csv => Box::new(lines::Csv::new(Box::new(room), kind)?),
            #[cfg(feature = "full")]
            Format::Parquet => Box::new(parquet::Parquet::new(room, kind)?),
        })
    }

    /// Begins a table of lines of text.
    pub(super) fn begin_lines<'w>(out: Box<dyn Write + 'w>) -> Box<dyn Table + 'w> {
        Box::new(lines::JsonLines::new(out))
    }
}

/// A table that is being written.
pub(super) trait Table {
    /// Adds rows.
    fn write(&mut self, rows: &[Row], reading: &Reading) -> io::Result<()>;

    /// Passes on what was written, as far as that can be read already.
    fn flush(&mut self) -> io::Result<()>;

    /// Writes what stands at the end.
    fn finish(self: Box<Self>, reading: &Reading) -> io::Result<()>;
}
