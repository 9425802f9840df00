//! Rows that are there already, in a file beside the output.
//!
//! Whatever ends a run, the file stays, and the same command goes on behind its last whole record. A record
//! is the length of its bytes (u32), the first eight bytes of their BLAKE3, and the bytes: in the first
//! record what the rows depend on, in all others the rows of one batch. (Nothing is synchronized with the
//! disk: after a power failure records may be missing, and those that are torn do not have their digest.)

use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use prost::Message;

use super::Count;
use super::row::Row;
use crate::exit::{Failure, Outcome};
use crate::limits::JOURNAL_RECORD;
use crate::names;

/// Bytes before those of a record: length and digest.
const HEAD: usize = 12;

/// An open journal, locked for this process.
pub(super) struct Journal {
    path: PathBuf,
    file: BufWriter<File>,
}

/// The rows of a batch.
#[derive(Clone, PartialEq, Message)]
struct Rows {
    #[prost(message, repeated, tag = "1")]
    rows: Vec<Row>,
}

impl Journal {
    /// Opens the journal at `path`, or begins one, for rows that depend on what `fingerprint` says. What
    /// follows its last whole record is cut off.
    ///
    /// # Errors
    /// [`Failure::Usage`] where it is another command's, or another process's; [`Failure::Io`].
    pub(super) fn open(path: &Path, fingerprint: &[u8]) -> Outcome<Journal> {
        let failed = |error| Failure::writing(path, error);
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(failed)?;
        match file.try_lock() {
            Ok(()) | Err(TryLockError::Error(_)) => {}
            Err(TryLockError::WouldBlock) => {
                let path = names::shown(path);
                return Err(Failure::usage(format!("another run is writing to `{path}`")));
            }
        }
        let mut journal = Journal { path: path.to_owned(), file: BufWriter::new(file) };
        match journal.fingerprint().map_err(failed)? {
            Some(found) if found == fingerprint => journal.cut().map_err(failed)?,
            Some(_) => return Err(journal.refusal("another model or other options")),
            None if journal.file.get_ref().metadata().map_err(failed)?.len() > 0 => {
                return Err(journal.refusal("something else"));
            }
            None => journal.record(fingerprint).map_err(failed)?,
        }
        Ok(journal)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The refusal to go on with a journal that is of something else.
    pub(super) fn refusal(&self, what: &str) -> Failure {
        let path = names::shown(&self.path);
        Failure::usage(format!("`{path}` is no journal of this run, but of {what}"))
            .with_help(format!("to begin anew: rm `{path}`"))
    }

    /// What the rows depend on; `None` where nothing is in the file yet.
    fn fingerprint(&self) -> io::Result<Option<Vec<u8>>> {
        Records::of(&self.path)?.next().transpose()
    }

    /// Cuts off what is no whole record, and stands behind the last one.
    fn cut(&mut self) -> io::Result<()> {
        let mut records = Records::of(&self.path)?;
        records.by_ref().try_for_each(|record| record.map(drop))?;
        self.file.get_mut().set_len(records.end)?;
        self.file.seek(SeekFrom::Start(records.end)).map(drop)
    }

    /// How many rows there are.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn count(&self) -> io::Result<Count> {
        let mut count = Count::default();
        self.batches()?.try_for_each(|rows| rows.map(|rows| count.add(&rows)))?;
        Ok(count)
    }

    /// The rows of each batch.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn batches(&self) -> io::Result<impl Iterator<Item = io::Result<Vec<Row>>> + use<>> {
        let rows = |record: io::Result<Vec<u8>>| {
            Rows::decode(record?.as_slice()).map(|rows| rows.rows).map_err(io::Error::other)
        };
        Ok(Records::of(&self.path)?.skip(1).map(rows))
    }

    /// All rows.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn rows(&self) -> io::Result<impl Iterator<Item = io::Result<Row>> + use<>> {
        let each = |rows: io::Result<Vec<Row>>| {
            let (rows, error) = rows.map_or_else(|e| (Vec::new(), Some(Err(e))), |r| (r, None));
            rows.into_iter().map(Ok).chain(error)
        };
        Ok(self.batches()?.flat_map(each))
    }

    /// Adds the rows of a batch. The system has them when this returns.
    ///
    /// # Errors
    /// [`Failure::Io`].
    pub(super) fn append(&mut self, rows: &[Row]) -> Outcome {
        let bytes = Rows { rows: rows.to_vec() }.encode_to_vec();
        self.record(&bytes).map_err(|error| Failure::writing(&self.path, error))
    }

    fn record(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.file.write_all(&length.to_le_bytes())?;
        self.file.write_all(&digest(bytes))?;
        self.file.write_all(bytes)?;
        self.file.flush()
    }

    /// Removes it.
    ///
    /// # Errors
    /// [`Failure::Io`].
    pub(super) fn remove(self) -> Outcome {
        fs::remove_file(&self.path).map_err(|error| Failure::writing(&self.path, error))
    }
}

fn digest(bytes: &[u8]) -> [u8; 8] {
    let mut digest = [0; 8];
    digest.copy_from_slice(&blake3::hash(bytes).as_bytes()[..8]);
    digest
}

/// The whole records of a file, from its beginning.
struct Records {
    file: BufReader<File>,
    /// Where the last of them ends.
    end: u64,
}

impl Records {
    fn of(path: &Path) -> io::Result<Records> {
        Ok(Records { file: BufReader::new(File::open(path)?), end: 0 })
    }

    /// The next record; `None` where there is no whole one.
    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut head = [0; HEAD];
        if !self.fill(&mut head)? {
            return Ok(None);
        }
        let (length, stated) = head.split_at(4);
        let length = length.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        if length > JOURNAL_RECORD {
            return Ok(None);
        }
        let mut bytes = vec![0; length as usize];
        if !self.fill(&mut bytes)? || digest(&bytes) != stated {
            return Ok(None);
        }
        self.end += (HEAD + bytes.len()) as u64;
        Ok(Some(bytes))
    }

    /// Whether there are so many bytes.
    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<bool> {
        match self.file.read_exact(bytes) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Iterator for Records {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<io::Result<Vec<u8>>> {
        self.read().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(key: &str) -> Vec<Row> {
        vec![Row { key: key.into(), error: Some("none".into()), ..Row::default() }]
    }

    fn keys(journal: &Journal) -> Vec<String> {
        journal.rows().unwrap().map(|row| row.unwrap().key).collect()
    }

    /// Cut after any byte, or damaged in any, it has the records before that, and takes others after them.
    #[test]
    fn what_is_torn_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.journal");
        let mut journal = Journal::open(&path, b"model").unwrap();
        let begin = fs::metadata(&path).unwrap().len() as usize;
        ["a", "b"].iter().for_each(|key| journal.append(&rows(key)).unwrap());
        drop(journal);
        let whole = fs::read(&path).unwrap();
        let middle = begin + (whole.len() - begin) / 2;
        for at in begin..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            for bytes in [&whole[..at], &flipped] {
                fs::write(&path, bytes).unwrap();
                let mut journal = Journal::open(&path, b"model").unwrap();
                let left = if at < middle { vec![] } else { vec!["a"] };
                assert_eq!(keys(&journal), left, "{at}");
                journal.append(&rows("c")).unwrap();
                assert_eq!(keys(&journal).last().unwrap(), "c");
                assert_eq!(
                    journal.count().unwrap(),
                    Count { all: left.len() + 1, bad: left.len() + 1 }
                );
            }
        }
    }

    #[test]
    fn a_journal_is_one_commands_and_one_processs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.journal");
        let journal = Journal::open(&path, b"model").unwrap();
        let error = Journal::open(&path, b"model").err().unwrap();
        assert!(error.to_string().contains("another run"), "{error}");
        drop(journal);
        let error = Journal::open(&path, b"other").err().unwrap();
        assert!(error.help().unwrap().contains("rm `"), "{error}");
        Journal::open(&path, b"model").unwrap().remove().unwrap();
        assert!(!path.exists());
        fs::write(&path, "Dear diary").unwrap();
        assert!(Journal::open(&path, b"model").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"Dear diary");
    }
}
