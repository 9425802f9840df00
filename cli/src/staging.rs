//! Files and folders on their way: under a name of their own in the folder that they are made for, until
//! they are renamed or removed.
//!
//! A name and a lock are all there is to it, on every file system and for folders too. The name is listed
//! in [`ending`], so whatever ends this process removes what it names. What cannot be caught, SIGKILL or a
//! power failure, leaves the file; its lock goes with the process, and the next run that puts something
//! into the folder removes what has such a name and no lock. (Files without a name, `O_TMPFILE`, would need
//! one before they can replace another, are not on every file system, and are no folders: all of this would
//! still be needed.)

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
#[cfg(feature = "compiler")]
use std::path::PathBuf;

use tempfile::{Builder, NamedTempFile};

use crate::ending::{Unfinished, uninterrupted};

/// Nobody else's files are called so: `.cardinal-`, 16 letters and digits, `.part`.
const PREFIX: &str = ".cardinal-";
const SUFFIX: &str = ".part";
const LETTERS: usize = 16;

/// Permissions of a folder that is nobody else's business.
#[cfg(feature = "compiler")]
const PRIVATE: u32 = 0o700;

/// A file that is being written.
pub(crate) struct StagedFile {
    file: NamedTempFile,
    /// Dropped after the file is removed.
    _unfinished: Unfinished,
}

impl StagedFile {
    /// An empty file in `folder`, with these permissions less the process's umask.
    ///
    /// # Errors
    /// Those of making it.
    pub(crate) fn new(folder: &Path, mode: u32) -> io::Result<StagedFile> {
        sweep(folder);
        loop {
            let (file, unfinished) = uninterrupted(|| {
                let file = names(mode).tempfile_in(folder)?;
                let unfinished = Unfinished::new(file.path())?;
                Ok::<_, io::Error>((file, unfinished))
            })?;
            if lock(file.as_file(), file.path()) {
                return Ok(StagedFile { file, _unfinished: unfinished });
            }
        }
    }

    /// The file itself, to be written.
    pub(crate) fn as_file_mut(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// Puts it in its place, which may be another file's.
    ///
    /// # Errors
    /// Those of renaming it.
    pub(crate) fn put(self, path: &Path) -> io::Result<()> {
        self.file.persist(path).map(drop).map_err(|error| error.error)
    }
}

/// How names are made.
fn names(mode: u32) -> Builder<'static, 'static> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut names = Builder::new();
    names.prefix(PREFIX).suffix(SUFFIX).rand_bytes(LETTERS);
    names.permissions(fs::Permissions::from_mode(mode));
    names
}

/// Locks what was just made at `path`. `false` where another's [`sweep`] saw it without its lock, and
/// removed it. Where there are no locks, nothing is swept either.
fn lock(made: &File, path: &Path) -> bool {
    let _ = made.lock();
    fs::symlink_metadata(path).is_ok()
}

/// Removes from `folder` what runs have left that ended before they could. What cannot be removed stays.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_ours) {
            let _ = remove_dead(&entry);
        }
    }
}

fn is_ours(name: &str) -> bool {
    let inner = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
    inner.is_some_and(|letters| {
        letters.len() == LETTERS && letters.bytes().all(|b| b.is_ascii_alphanumeric())
    })
}

/// Removes a file or a folder that nobody holds the lock of.
fn remove_dead(entry: &fs::DirEntry) -> io::Result<()> {
    let kind = entry.file_type()?;
    if !kind.is_file() && !kind.is_dir() {
        return Ok(());
    }
    // Held until it is removed.
    let file = File::open(entry.path())?;
    match file.try_lock() {
        Ok(()) if kind.is_dir() => fs::remove_dir_all(entry.path()),
        Ok(()) => fs::remove_file(entry.path()),
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// A folder for what another program makes, which is removed with all that is in it.
#[cfg(feature = "compiler")]
pub(crate) struct StagedFolder {
    folder: tempfile::TempDir,
    _lock: File,
    _unfinished: [Unfinished; 3],
    /// Where the other program reads.
    pub(crate) from: PathBuf,
    /// Where it writes.
    pub(crate) to: PathBuf,
}

#[cfg(feature = "compiler")]
impl StagedFolder {
    /// A folder in `parent`, and what two files in it are called.
    ///
    /// # Errors
    /// Those of making it.
    pub(crate) fn new(parent: &Path, from: &str, to: &str) -> io::Result<StagedFolder> {
        sweep(parent);
        loop {
            let staged = uninterrupted(|| {
                let folder = names(PRIVATE).tempdir_in(parent)?;
                let [from, to] = [from, to].map(|name| folder.path().join(name));
                let unfinished = [folder.path(), &from, &to].map(Unfinished::new);
                let [all, input, output] = unfinished;
                let unfinished = [all?, input?, output?];
                let lock = File::open(folder.path())?;
                Ok::<_, io::Error>(StagedFolder {
                    folder,
                    _lock: lock,
                    _unfinished: unfinished,
                    from,
                    to,
                })
            })?;
            if lock(&staged._lock, staged.folder.path()) {
                return Ok(staged);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is in a folder.
    fn names_in(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name());
        let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_has_no_lock_is_removed_and_what_has_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let alive = StagedFile::new(here, 0o666).unwrap();
        let alive = alive.file.path().file_name().unwrap().to_str().unwrap().to_owned();
        fs::write(here.join(".cardinal-0123456789abcdef.part"), b"dead").unwrap();
        fs::create_dir(here.join(".cardinal-0123456789ABCDEF.part")).unwrap();
        fs::write(here.join(".cardinal-0123456789ABCDEF.part/model.o"), b"dead").unwrap();
        let others = [".cardinal-0123456789abcde.part", ".cardinal-notes.part", "x.part"];
        others.iter().for_each(|name| fs::write(here.join(name), b"not ours").unwrap());
        drop(StagedFile::new(here, 0o666).unwrap());
        let mut left = others.map(str::to_owned).to_vec();
        left.push(alive);
        left.sort();
        assert_eq!(names_in(here), left);
    }

    #[test]
    fn a_file_that_another_run_took_for_dead_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let file = File::create(&path).unwrap();
        assert!(lock(&file, &path));
        fs::remove_file(&path).unwrap();
        assert!(!lock(&file, &path));
    }
}
