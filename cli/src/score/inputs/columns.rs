//! Images in Parquet files: a column of bytes, or of structures whose `bytes` they are, as data sets of
//! Hugging Face's have them.

use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use parquet::basic::{Compression, Type};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::schema::types::SchemaDescriptor;

use super::{Columns, Content, Give, Item, Listing};
use crate::exit::{Failure, Outcome};
use crate::mapped;
use crate::names;

/// Rows that are read at once.
const ROWS: usize = 16;

/// A Parquet file with images.
pub(super) struct Parquet {
    path: PathBuf,
    reader: SerializedFileReader<Bytes>,
    /// Which leaf column the images are.
    image: usize,
    /// Which one the keys are, where there is one.
    key: Option<usize>,
}

impl Parquet {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// [`Failure::Io`] and [`Failure::Damaged`]; [`Failure::Usage`] where it has no such columns.
    pub(super) fn open(path: &Path, listing: &Listing<'_>) -> Outcome<Parquet> {
        let bytes = mapped::open(path).map_err(|error| Failure::reading(path, error))?.bytes;
        let reader = SerializedFileReader::new(bytes);
        let reader = reader.map_err(|error| Failure::damaged(path, error.to_string()))?;
        let schema = reader.metadata().file_metadata().schema_descr();
        let name = listing.image_column;
        let image = find(schema, &[&[name], &[name, "bytes"]]);
        let image = image.ok_or_else(|| no_column(path, schema, name, "--image-column"))?;
        let key = match listing.key_column {
            Some(name) => {
                let key = find(schema, &[&[name]]);
                Some(key.ok_or_else(|| no_column(path, schema, name, "--key-column"))?)
            }
            None => find(schema, &[&["key"], &["__key__"], &[name, "path"]]),
        };
        let parquet = Parquet { path: path.to_owned(), reader, image, key };
        parquet.check_packing()?;
        Ok(parquet)
    }

    /// Refuses what this build does not unpack, before all rows are errors for it.
    fn check_packing(&self) -> Outcome {
        for group in self.reader.metadata().row_groups() {
            for column in self.key.iter().chain([&self.image]) {
                match group.column(*column).compression() {
                    Compression::UNCOMPRESSED | Compression::SNAPPY => {}
                    other => return Err(packed(&self.path, other)),
                }
            }
        }
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How many rows it has.
    pub(super) fn len(&self) -> usize {
        let groups = self.reader.metadata().row_groups().iter();
        groups.map(|group| usize::try_from(group.num_rows()).unwrap_or(0)).sum()
    }

    /// Gives the images of these rows.
    ///
    /// # Errors
    /// Those of `give`.
    pub(super) fn each(&self, at: Range<usize>, columns: Columns, give: Give<'_>) -> Outcome {
        let mut before = 0;
        for (index, group) in self.reader.metadata().row_groups().iter().enumerate() {
            let rows = usize::try_from(group.num_rows()).unwrap_or(0);
            let part =
                at.start.saturating_sub(before).min(rows)..at.end.saturating_sub(before).min(rows);
            if !part.is_empty() {
                self.each_in_group(index, before, part, columns, give)?;
            }
            before += rows;
        }
        Ok(())
    }

    /// Gives the images of these rows of a row group. Where it cannot be read any further, all the rest of
    /// them are bad.
    fn each_in_group(
        &self,
        group: usize,
        before: usize,
        part: Range<usize>,
        columns: Columns,
        give: Give<'_>,
    ) -> Outcome {
        let mut reader = self.reader.get_row_group(group).and_then(|group| {
            Reader::new(group.as_ref(), self.key, self.image, columns, part.start)
        });
        for begin in part.clone().step_by(ROWS) {
            let count = ROWS.min(part.end - begin);
            let read = reader.as_mut().map_err(|error| error.to_string());
            let read = read.and_then(|reader| reader.read(count).map_err(|e| e.to_string()));
            let rows = read.unwrap_or_else(|what| {
                vec![(None, Err(format!("the row cannot be read: {what}"))); count]
            });
            for (row, (key, image)) in rows.into_iter().enumerate() {
                let place = format!("{}#{}", names::shown(&self.path), before + begin + row);
                let content = match image {
                    Ok(bytes) => Content::Bytes(bytes, place.clone()),
                    Err(what) => Content::Bad(format!("cannot read `{place}`: {what}")),
                };
                give(Item { key: key.unwrap_or(place), content })?;
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Parquet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parquet").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The first of these columns that is there and holds bytes, one value a row.
fn find(schema: &SchemaDescriptor, paths: &[&[&str]]) -> Option<usize> {
    paths.iter().find_map(|path| {
        schema.columns().iter().position(|column| {
            column.path().parts() == *path
                && column.physical_type() == Type::BYTE_ARRAY
                && column.max_rep_level() == 0
        })
    })
}

fn no_column(path: &Path, schema: &SchemaDescriptor, name: &str, flag: &str) -> Failure {
    let has: Vec<String> = schema.columns().iter().map(|column| column.path().string()).collect();
    let path = names::shown(path);
    Failure::usage(format!("`{path}` has no column `{name}` of bytes; it has {}", has.join(", ")))
        .with_help(format!("name another with {flag}"))
}

fn packed(path: &Path, with: Compression) -> Failure {
    let path = names::shown(path);
    Failure::usage(format!("`{path}` is packed with {with}, which Cardinal does not unpack")).with_help(
        "write it anew with Snappy: pyarrow.parquet.write_table(table, file, compression='snappy')",
    )
}

/// The columns of a row group, which are read side by side.
struct Reader {
    key: Option<Column>,
    image: Option<Column>,
}

/// A row's key, and its image or what is wrong with it.
type Cells = (Option<String>, std::result::Result<Bytes, String>);

impl Reader {
    fn new(
        group: &dyn RowGroupReader,
        key: Option<usize>,
        image: usize,
        columns: Columns,
        skipped: usize,
    ) -> Result<Reader> {
        let column = |index| Column::new(group, index, skipped);
        let image = match columns {
            Columns::All => Some(column(image)?),
            Columns::Keys => None,
        };
        Ok(Reader { key: key.map(column).transpose()?, image })
    }

    fn read(&mut self, rows: usize) -> Result<Vec<Cells>> {
        let keys = self.key.as_mut().map(|column| column.read(rows)).transpose()?;
        let images = self.image.as_mut().map(|column| column.read(rows)).transpose()?;
        let mut keys = keys.into_iter().flatten();
        let mut images = images.into_iter().flatten();
        let mut cells = || {
            let key = keys.next().flatten().map(|key| names::shown_bytes(key.data()));
            let image = images.next().flatten().map(|image| Bytes::copy_from_slice(image.data()));
            (key, image.ok_or_else(|| "there is no image in it".to_owned()))
        };
        Ok((0..rows).map(|_| cells()).collect())
    }
}

/// A column of bytes.
struct Column {
    reader: ColumnReaderImpl<ByteArrayType>,
    /// The definition level of a value that is there.
    there: i16,
}

impl Column {
    fn new(group: &dyn RowGroupReader, index: usize, skipped: usize) -> Result<Column> {
        let there = group.metadata().column(index).column_descr().max_def_level();
        let ColumnReader::ByteArrayColumnReader(mut reader) = group.get_column_reader(index)?
        else {
            return Err(ParquetError::General("the column is not bytes".into()));
        };
        reader.skip_records(skipped)?;
        Ok(Column { reader, there })
    }

    /// The next values, of which some may be missing.
    fn read(&mut self, rows: usize) -> Result<Vec<Option<ByteArray>>> {
        let (mut values, mut levels) = (Vec::new(), Vec::new());
        let (read, ..) = self.reader.read_records(rows, Some(&mut levels), None, &mut values)?;
        if read < rows {
            return Err(ParquetError::General("the column ends early".into()));
        }
        let mut values = values.into_iter();
        Ok(match self.there {
            0 => values.map(Some).collect(),
            there => {
                let value = |level: &i16| if *level == there { values.next() } else { None };
                levels.iter().map(value).collect()
            }
        })
    }
}
