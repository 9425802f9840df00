//! Tables in Apache Parquet, column by column as the format stores them.
//!
//! Where a value may be missing, a definition level says how deep it is there; in lists, a repetition level
//! says whether it begins a row's. `top` is null (0) or has elements (2) whose label may be there too (3).

use std::io;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::Table;
use crate::output::Room;
use crate::score::row::{Kind, Reading, Row};

const CLASSES: &str = "message scores {
    required binary key (STRING);
    optional int32 class;
    optional double score;
    optional binary label (STRING);
    optional group top (LIST) { repeated group list { required group element {
        required int32 class;
        required double score;
        optional binary label (STRING);
    } } }
    optional binary error (STRING);
}";

const LOGITS: &str = "message scores {
    required binary key (STRING);
    optional group logits (LIST) { repeated group list { required float element; } }
    optional binary error (STRING);
}";

/// Rows of a row group, and numbers in them, at most.
const ROWS: usize = 1 << 14;
const NUMBERS: usize = 1 << 22;

/// A file that is being written.
pub(super) struct Parquet<'w> {
    writer: SerializedFileWriter<&'w mut dyn Room>,
    kind: Kind,
    waiting: Vec<Row>,
    /// Numbers in the rows that wait.
    numbers: usize,
}

impl<'w> Parquet<'w> {
    pub(super) fn new(room: &'w mut dyn Room, kind: Kind) -> io::Result<Parquet<'w>> {
        let schema = match kind {
            Kind::Classes => CLASSES,
            Kind::Logits => LOGITS,
        };
        let schema = parse_message_type(schema).map_err(io_error)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("cardinal ", env!("CARGO_PKG_VERSION")).into());
        let properties = Arc::new(properties.build());
        let writer = SerializedFileWriter::new(room, Arc::new(schema), properties);
        Ok(Parquet { writer: writer.map_err(io_error)?, kind, waiting: Vec::new(), numbers: 0 })
    }

    /// Writes the rows that wait as a row group.
    fn write_group(&mut self, reading: &Reading) -> Result<()> {
        let rows = std::mem::take(&mut self.waiting);
        self.numbers = 0;
        let mut group = self.writer.next_row_group()?;
        put_texts(&mut group, false, rows.iter().map(|row| Some(row.key.as_str())))?;
        match self.kind {
            Kind::Classes => put_classes(&mut group, &rows, reading)?,
            Kind::Logits => put_logits(&mut group, &rows)?,
        }
        put_texts(&mut group, true, rows.iter().map(|row| row.error.as_deref()))?;
        group.close().map(drop)
    }
}

impl Table for Parquet<'_> {
    fn write(&mut self, rows: &[Row], reading: &Reading) -> io::Result<()> {
        for row in rows {
            self.numbers += row.top.len() + row.logits.len();
            self.waiting.push(row.clone());
            if self.waiting.len() == ROWS || self.numbers >= NUMBERS {
                self.write_group(reading).map_err(io_error)?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // Nothing can be read before the end is written.
    }

    fn finish(mut self: Box<Self>, reading: &Reading) -> io::Result<()> {
        if !self.waiting.is_empty() {
            self.write_group(reading).map_err(io_error)?;
        }
        self.writer.close().map(drop).map_err(io_error)
    }
}

type Group<'g, 'w> = SerializedRowGroupWriter<'g, &'w mut dyn Room>;

/// The best class of each row, and then all that were asked for.
fn put_classes(group: &mut Group<'_, '_>, rows: &[Row], reading: &Reading) -> Result<()> {
    let best = || rows.iter().map(|row| row.top.first());
    let levels: Vec<i16> = best().map(|best| i16::from(best.is_some())).collect();
    let classes: Vec<i32> = best().flatten().map(|best| best.class.cast_signed()).collect();
    put::<Int32Type>(group, &classes, Some(&levels), None)?;
    let scores: Vec<f64> = best().flatten().map(|best| best.score).collect();
    put::<DoubleType>(group, &scores, Some(&levels), None)?;
    put_texts(group, true, best().map(|best| best.and_then(|best| reading.label(best.class))))?;

    let lists = Levels::of(rows.iter().map(|row| row.top.len()));
    let all = || rows.iter().flat_map(|row| &row.top);
    let classes: Vec<i32> = all().map(|scored| scored.class.cast_signed()).collect();
    put::<Int32Type>(group, &classes, Some(&lists.definition), Some(&lists.repetition))?;
    let scores: Vec<f64> = all().map(|scored| scored.score).collect();
    put::<DoubleType>(group, &scores, Some(&lists.definition), Some(&lists.repetition))?;
    let labels: Vec<Option<&str>> = all().map(|scored| reading.label(scored.class)).collect();
    let mut next = labels.iter();
    let deeper = |level: &i16| match level {
        2 => 2 + i16::from(next.next().is_some_and(Option::is_some)),
        missing => *missing,
    };
    let definition: Vec<i16> = lists.definition.iter().map(deeper).collect();
    let labels: Vec<ByteArray> =
        labels.iter().flatten().map(|label| ByteArray::from(*label)).collect();
    put::<ByteArrayType>(group, &labels, Some(&definition), Some(&lists.repetition))
}

fn put_logits(group: &mut Group<'_, '_>, rows: &[Row]) -> Result<()> {
    let lists = Levels::of(rows.iter().map(|row| row.logits.len()));
    let values: Vec<f32> = rows.iter().flat_map(|row| row.logits.iter().copied()).collect();
    put::<FloatType>(group, &values, Some(&lists.definition), Some(&lists.repetition))
}

/// Where the lists of rows are, of which an empty one is missing.
struct Levels {
    definition: Vec<i16>,
    repetition: Vec<i16>,
}

impl Levels {
    fn of(lengths: impl Iterator<Item = usize>) -> Levels {
        let mut levels = Levels { definition: Vec::new(), repetition: Vec::new() };
        for length in lengths {
            let entries = length.max(1);
            levels.definition.extend(std::iter::repeat_n(if length == 0 { 0 } else { 2 }, entries));
            levels.repetition.extend((0..entries).map(|entry| i16::from(entry > 0)));
        }
        levels
    }
}

fn put_texts<'t>(
    group: &mut Group<'_, '_>,
    is_optional: bool,
    texts: impl Iterator<Item = Option<&'t str>>,
) -> Result<()> {
    let texts: Vec<Option<&str>> = texts.collect();
    let values: Vec<ByteArray> =
        texts.iter().flatten().map(|text| ByteArray::from(*text)).collect();
    let levels: Vec<i16> = texts.iter().map(|text| i16::from(text.is_some())).collect();
    put::<ByteArrayType>(group, &values, is_optional.then_some(&levels), None)
}

/// Writes the next column.
fn put<T: DataType>(
    group: &mut Group<'_, '_>,
    values: &[T::T],
    definition: Option<&[i16]>,
    repetition: Option<&[i16]>,
) -> Result<()> {
    let column = group.next_column()?;
    let mut column = column.ok_or_else(|| ParquetError::General("no column is left".into()))?;
    column.typed::<T>().write_batch(values, definition, repetition)?;
    column.close()
}

fn io_error(error: ParquetError) -> io::Error {
    io::Error::other(error)
}
