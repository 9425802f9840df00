//! What is scored: files, folders, globs, lists of files, and the images in archives.
//!
//! All names are listed before anything is read, so what is added to a folder meanwhile is not scored, and
//! what is removed is a row with an error. Of archives the images are counted.

mod archive;
#[cfg(feature = "full")]
mod columns;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use walkdir::WalkDir;

use crate::exit::{Failure, Outcome};
use crate::image_input::EXTENSIONS;
use crate::names;
use crate::stdio;

/// One image, not yet decoded.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    /// What its row is called.
    pub(super) key: String,
    /// Where its bytes are.
    pub(super) content: Content,
}

/// The bytes of an image.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// A file of its own.
    File(PathBuf),
    /// A part of an archive, and what that is called in messages.
    Bytes(Bytes, String),
    /// There are none, for this reason.
    Bad(String),
}

/// What is read of tables of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Columns {
    /// Keys and images.
    All,
    /// Keys only: the images are not needed.
    Keys,
}

/// Takes items.
pub(super) type Give<'a> = &'a mut dyn FnMut(Item) -> Outcome;

/// What is asked for.
#[cfg_attr(not(feature = "full"), expect(dead_code, reason = "only tables have columns"))]
pub(crate) struct Listing<'a> {
    /// Files, folders, globs.
    pub(crate) paths: &'a [PathBuf],
    /// A file with a path a line, or stdin.
    pub(crate) files_from: Option<&'a Path>,
    /// The column of images in a Parquet file.
    pub(crate) image_column: &'a str,
    /// The column of keys in a Parquet file.
    pub(crate) key_column: Option<&'a str>,
}

/// Where images are.
#[derive(Debug)]
enum Source {
    Image(PathBuf),
    Tar(archive::Tar),
    #[cfg(feature = "full")]
    Parquet(columns::Parquet),
}

/// All images, in order.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// Each with the number of images before it.
    sources: Vec<(usize, Source)>,
    len: usize,
}

impl Inputs {
    /// Lists what is asked for.
    ///
    /// # Errors
    /// [`Failure::Usage`] for folders and globs without images, and for what this build does not read;
    /// [`Failure::Io`] and [`Failure::Damaged`].
    pub(crate) fn list(listing: &Listing<'_>) -> Outcome<Inputs> {
        let mut inputs = Inputs { sources: Vec::new(), len: 0 };
        for path in listing.paths {
            match globbed(path)? {
                Some(paths) => paths.iter().try_for_each(|path| inputs.add(path, listing))?,
                None => inputs.add(path, listing)?,
            }
        }
        if let Some(list) = listing.files_from {
            let bytes = stdio::read(list).map_err(|error| Failure::reading(list, error))?.bytes;
            for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                inputs.add(path_of(line), listing)?;
            }
        }
        Ok(inputs)
    }

    /// Lists files, folders and globs.
    ///
    /// # Errors
    /// Those of [`list`](Self::list).
    pub(crate) fn of(paths: &[PathBuf]) -> Outcome<Inputs> {
        let (image_column, key_column) = ("image", None);
        Inputs::list(&Listing { paths, files_from: None, image_column, key_column })
    }

    /// How many images there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The files that they are in.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.sources.iter().map(|(_, source)| match source {
            Source::Image(path) => path.as_path(),
            Source::Tar(tar) => tar.path(),
            #[cfg(feature = "full")]
            Source::Parquet(parquet) => parquet.path(),
        })
    }

    /// Adds a file, or what is in a folder.
    fn add(&mut self, path: &Path, listing: &Listing<'_>) -> Outcome {
        if path.is_dir() {
            let images = in_folder(path)?;
            images.into_iter().for_each(|image| self.push(1, Source::Image(image)));
            return Ok(());
        }
        match extension(path).as_deref() {
            Some("tar") => {
                let tar = archive::Tar::open(path)?;
                self.push(tar.len(), Source::Tar(tar));
            }
            Some("parquet") => self.add_parquet(path, listing)?,
            _ => self.push(1, Source::Image(path.to_owned())),
        }
        Ok(())
    }

    #[cfg(feature = "full")]
    fn add_parquet(&mut self, path: &Path, listing: &Listing<'_>) -> Outcome {
        let parquet = columns::Parquet::open(path, listing)?;
        self.push(parquet.len(), Source::Parquet(parquet));
        Ok(())
    }

    #[cfg(not(feature = "full"))]
    fn add_parquet(&mut self, path: &Path, _: &Listing<'_>) -> Outcome {
        Err(super::Format::left_out(path))
    }

    fn push(&mut self, images: usize, source: Source) {
        self.sources.push((self.len, source));
        self.len += images;
    }

    /// Gives the images at these positions, in order.
    ///
    /// # Errors
    /// Those of reading archives, and of `give`.
    #[cfg_attr(
        not(feature = "full"),
        expect(unused_variables, reason = "only tables have columns")
    )]
    pub(super) fn each(&self, at: Range<usize>, columns: Columns, give: Give<'_>) -> Outcome {
        let begin = self.sources.partition_point(|(before, _)| *before <= at.start);
        for (before, source) in &self.sources[begin.saturating_sub(1)..] {
            if *before >= at.end {
                break;
            }
            let part = at.start.saturating_sub(*before)..at.end - before;
            match source {
                // Where all are done already, the last one is before them.
                Source::Image(_) if !part.contains(&0) => {}
                Source::Image(path) => {
                    give(Item { key: names::shown(path), content: Content::File(path.clone()) })?;
                }
                Source::Tar(tar) => tar.each(part, give)?,
                #[cfg(feature = "full")]
                Source::Parquet(parquet) => parquet.each(part, columns, give)?,
            }
        }
        Ok(())
    }
}

/// The paths that a pattern stands for, in the order of their names; `None` for what is no pattern.
fn globbed(path: &Path) -> Outcome<Option<Vec<PathBuf>>> {
    let Some(pattern) = path.to_str().filter(|text| text.contains(['*', '?', '['])) else {
        return Ok(None);
    };
    if path.exists() {
        return Ok(None);
    }
    let bad = |what: String| Failure::usage(format!("`{pattern}`: {what}"));
    let found = glob::glob(pattern).map_err(|error| bad(error.to_string()))?;
    let found = found.collect::<Result<Vec<PathBuf>, _>>();
    let found = found
        .map_err(|error| Failure::reading(error.path(), io::Error::other(error.to_string())))?;
    match found.is_empty() {
        true => Err(bad("there is no such file".into())),
        false => Ok(Some(found)),
    }
}

/// The images in a folder and in those below it, in the order of their names.
fn in_folder(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let mut images = Vec::new();
    for entry in WalkDir::new(folder).follow_links(true).sort_by_file_name() {
        match entry {
            Ok(entry) if entry.file_type().is_file() && is_image(entry.path()) => {
                images.push(entry.into_path());
            }
            Ok(_) => {}
            Err(error) => {
                let path = error.path().unwrap_or(folder).to_owned();
                let error = error.into_io_error();
                let error =
                    error.unwrap_or_else(|| io::Error::other("a link leads back to its folder"));
                // What was removed meanwhile, and links to nothing.
                if error.kind() != io::ErrorKind::NotFound {
                    return Err(Failure::reading(&path, error));
                }
            }
        }
    }
    if images.is_empty() {
        let message = format!("`{}` holds no images", names::shown(folder));
        return Err(Failure::usage(message).with_help(
            "in folders, images are told by their names, as .jpg and .png; name archives themselves, as in shards/*.tar",
        ));
    }
    Ok(images)
}

fn is_image(path: &Path) -> bool {
    extension(path).is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}

/// What follows the last dot of a name, in small letters.
pub(super) fn extension(path: &Path) -> Option<String> {
    path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase)
}

fn path_of(bytes: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt as _;
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn listed(inputs: &Inputs, at: Range<usize>) -> Vec<String> {
        let mut keys = Vec::new();
        inputs
            .each(at, Columns::All, &mut |item| {
                keys.push(item.key);
                Ok(())
            })
            .unwrap();
        keys
    }

    fn list(folder: &Path, paths: &[&str], files_from: Option<&str>) -> Outcome<Inputs> {
        let paths: Vec<PathBuf> = paths.iter().map(|path| folder.join(path)).collect();
        let files_from = files_from.map(|name| folder.join(name));
        let (files_from, image_column, key_column) = (files_from.as_deref(), "image", None);
        Inputs::list(&Listing { paths: &paths, files_from, image_column, key_column })
    }

    #[test]
    fn folders_globs_and_lists_are_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        fs::create_dir_all(here.join("f/b")).unwrap();
        let names =
            ["f/c.PNG", "f/a.jpg", "f/b/x.jpeg", "f/notes.txt", "f/b/y.txt", "1.any", "2.any"];
        names.iter().for_each(|name| fs::write(here.join(name), "").unwrap());
        let lines = format!("{0}/2.any\n\n{0}/f\n{0}/1.any", here.display());
        fs::write(here.join("list"), lines).unwrap();
        let inputs = list(here, &["f", "?.any"], Some("list")).unwrap();
        let all = listed(&inputs, 0..inputs.len());
        let expected = [
            "f/a.jpg",
            "f/b/x.jpeg",
            "f/c.PNG",
            "1.any",
            "2.any",
            "2.any",
            "f/a.jpg",
            "f/b/x.jpeg",
            "f/c.PNG",
            "1.any",
        ];
        assert_eq!(all, expected.map(|name| here.join(name).display().to_string()));
        assert_eq!(listed(&inputs, 2..5), all[2..5]);
        assert!(listed(&inputs, 4..4).is_empty() && listed(&inputs, 10..10).is_empty());
        assert_eq!(inputs.files().count(), 10);
    }

    #[test]
    fn folders_and_globs_without_images_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("list"), "\n").unwrap();
        for path in ["", "*.png", "[", "[]*"] {
            assert!(
                matches!(list(folder.path(), &[path], None), Err(Failure::Usage { .. })),
                "{path}"
            );
        }
        assert_eq!(list(folder.path(), &[], Some("list")).unwrap().len(), 0);
    }

    #[test]
    fn links_that_lead_back_are_errors_and_links_to_nothing_are_none() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.png"), "").unwrap();
        std::os::unix::fs::symlink("nothing", folder.path().join("b.png")).unwrap();
        assert_eq!(list(folder.path(), &[""], None).unwrap().len(), 1);
        std::os::unix::fs::symlink(".", folder.path().join("c")).unwrap();
        let error = list(folder.path(), &[""], None).unwrap_err();
        assert!(error.to_string().contains("leads back"), "{error}");
    }
}
