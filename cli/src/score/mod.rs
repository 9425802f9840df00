//! Scoring many images: what `cardinal score` does.
//!
//! ```text
//! inputs ──batches──> workers: decode, resize, infer ──rows, in order──> journal ──> table
//! (names are listed    (one thread each; a batch goes     (beside the       (at the end,
//!  before anything      through all of it on one)          output)           in one piece)
//!  is read)
//! ```
//!
//! Both arrows between threads are queues of a fixed length, so memory does not grow with the number of
//! images, but for their names. Which images go together in a batch, and what is written of each, follows
//! from the command and the inputs alone: a run that goes on from its journal ends with the same bytes.

mod forecast;
mod inputs;
mod journal;
mod pipeline;
mod progress;
mod row;
mod table;

use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub(crate) use forecast::Forecast;
pub(crate) use inputs::{Columns, Inputs, Listing};
pub(crate) use row::{Kind, Reading};
pub(crate) use table::Format;

use inputs::Item;
use journal::Journal;
use pipeline::Pipeline;
use progress::Progress;
use row::Row;

use crate::exit::{Failure, Outcome};
use crate::output;
use crate::program::Program;
use crate::stdio::is_dash;

/// Which part of the images is scored: the `index`th of `count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shard {
    index: usize,
    count: usize,
}

impl Shard {
    /// `I/N`, with I from 1 to N; 0 is what N is, for those who count from 0.
    pub(crate) fn parse(text: &str) -> Result<Shard, String> {
        let expected = || "expected I/N, with I from 1 to N".to_owned();
        let (index, count) = text.split_once('/').ok_or_else(expected)?;
        match (index.parse::<usize>(), count.parse::<usize>()) {
            (Ok(index), Ok(count @ 1..)) if index <= count => {
                Ok(Shard { index: if index == 0 { count } else { index }, count })
            }
            _ => Err(expected()),
        }
    }

    /// Its part of so many images: whole batches, so that they are the same as without shards.
    fn part(self, images: usize, batch: usize) -> Range<usize> {
        let batches = images.div_ceil(batch) as u128;
        let bound = |index: usize| {
            let batches = (batches * index as u128 / self.count as u128) as usize;
            batches.saturating_mul(batch).min(images)
        };
        bound(self.index - 1)..bound(self.index)
    }
}

/// What is asked for.
pub(crate) struct Job<'a> {
    /// What runs.
    pub(crate) program: &'a Program,
    /// What an image becomes before, and the outputs after.
    pub(crate) reading: Reading,
    /// The images.
    pub(crate) inputs: &'a Inputs,
    /// Which of them, all without a shard.
    pub(crate) shard: Option<Shard>,
    /// Where the rows go.
    pub(crate) output: &'a Path,
    /// How they are written there.
    pub(crate) format: Format,
    /// How many threads work.
    pub(crate) threads: NonZeroUsize,
    /// Whether nothing is said but what goes wrong.
    pub(crate) quiet: bool,
}

/// How many rows were written, and how many of them are errors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    all: usize,
    bad: usize,
}

impl Count {
    fn add(&mut self, rows: &[Row]) {
        self.all += rows.len();
        self.bad += rows.iter().filter(|row| row.error.is_some()).count();
    }
}

impl Job<'_> {
    /// Scores the images and writes a row for each.
    ///
    /// # Errors
    /// [`Failure::Images`] where some rows are errors; [`Failure::Usage`] where a journal is of another
    /// command; those of reading archives and of writing.
    pub(crate) fn run(&self) -> Outcome {
        let part = match self.shard {
            Some(shard) => shard.part(self.inputs.len(), self.program.batch()),
            None => 0..self.inputs.len(),
        };
        let count = match is_dash(self.output) {
            true => self.to_stdout(part)?,
            false => self.to_file(part)?,
        };
        match count {
            Count { bad: 0, .. } => Ok(()),
            Count { all, bad } => {
                Err(Failure::Images { bad, all, after: "; the column `error` says why".into() })
            }
        }
    }

    /// Each row as soon as it is there.
    fn to_stdout(&self, part: Range<usize>) -> Outcome<Count> {
        let mut progress = Progress::new(part.len(), 0, self.quiet);
        let mut count = Count::default();
        let mut table = Format::begin_lines(Box::new(io::stdout()));
        self.score(part, &mut |rows| {
            count.add(&rows);
            progress.add(rows.len());
            table.write(&rows, &self.reading).map_err(Failure::stdout)?;
            table.flush().map_err(Failure::stdout)
        })?;
        table.finish(&self.reading).map_err(Failure::stdout)?;
        progress.finish("standard output", count.bad);
        Ok(count)
    }

    /// The rows go to a journal, from which the file is made when all are there.
    fn to_file(&self, part: Range<usize>) -> Outcome<Count> {
        let mut journal = Journal::open(&self.journal_path(), &self.fingerprint(&part))?;
        let mut count = journal.count().map_err(|error| Failure::reading(journal.path(), error))?;
        self.check_keys(part.start..part.start + count.all.min(part.len()), &journal)?;
        let mut progress = Progress::new(part.len(), count.all, self.quiet);
        self.score(part.start + count.all.min(part.len())..part.end, &mut |rows| {
            count.add(&rows);
            journal.append(&rows)?;
            progress.add(rows.len());
            Ok(())
        })?;
        let make = |room: &mut dyn output::Room| {
            let mut table = self.format.begin_in(room, self.reading.kind())?;
            journal.batches()?.try_for_each(|rows| table.write(&rows?, &self.reading))?;
            table.finish(&self.reading)
        };
        output::write_made(self.output, &make)?;
        journal.remove()?;
        progress.finish(&self.output.display().to_string(), count.bad);
        Ok(count)
    }

    fn score(&self, part: Range<usize>, take: &mut dyn FnMut(Vec<Row>) -> Outcome) -> Outcome {
        let pipeline = Pipeline::new(self.program, &self.reading, self.threads)?;
        pipeline.run(&|give| self.inputs.each(part.clone(), Columns::All, give), take)
    }

    /// Refuses to go on where the images that were scored are not those that are there now.
    fn check_keys(&self, done: Range<usize>, journal: &Journal) -> Outcome {
        let failed = |error| Failure::reading(journal.path(), error);
        let mut rows = journal.rows().map_err(failed)?;
        self.inputs.each(done, Columns::Keys, &mut |item: Item| match rows
            .next()
            .transpose()
            .map_err(failed)?
        {
            Some(row) if row.key == item.key => Ok(()),
            Some(_) | None => Err(journal.refusal("other images")),
        })
    }

    /// What the rows depend on, besides the images.
    fn fingerprint(&self, part: &Range<usize>) -> [u8; blake3::OUT_LEN] {
        let mut hasher = blake3::Hasher::new();
        let version = env!("CARGO_PKG_VERSION");
        let about = format!("{version} {part:?} {:?} {:?}", self.shard, self.reading.about());
        hasher.update(about.as_bytes());
        self.program.identify(&mut |bytes| {
            let _ = hasher.write_all(bytes); // Hashing does not fail.
        });
        *hasher.finalize().as_bytes()
    }

    /// Beside the output.
    fn journal_path(&self) -> PathBuf {
        let mut name = self.output.as_os_str().to_owned();
        name.push(".journal");
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_all_of_it_in_whole_batches() {
        for (images, batch, count) in [(0, 1, 3), (10, 1, 3), (10, 4, 2), (7, 2, 9), (100, 8, 7)] {
            let mut end = 0;
            for index in 1..=count {
                let part = Shard { index, count }.part(images, batch);
                assert_eq!(part.start, end);
                assert!(part.end == images || part.end.is_multiple_of(batch));
                end = part.end;
            }
            assert_eq!(end, images);
        }
    }

    #[test]
    fn shards_are_counted_from_one_or_from_zero() {
        assert_eq!(Shard::parse("2/3"), Ok(Shard { index: 2, count: 3 }));
        assert_eq!(Shard::parse("0/3"), Shard::parse("3/3"));
        for bad in ["", "1", "4/3", "1/0", "0/0", "-1/2", "a/b"] {
            assert!(Shard::parse(bad).is_err(), "{bad}");
        }
    }
}
