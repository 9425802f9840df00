//! Where results go: files that are written whole or not at all, and stdout.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::exit::{Failure, Outcome};
use crate::model_file::is_dash;

/// Writes `bytes` to the file at `path`, or to stdout when that is `-`. A regular file is replaced
/// in one step, so that nobody ever sees a part of it; a device or a pipe is written to as it is.
///
/// # Errors
/// [`Failure::Io`].
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Outcome {
    if is_dash(path) {
        return print(|out| out.write_all(bytes));
    }
    write_all(&[(path, bytes)])
}

/// Writes several files, none of which is stdout: everything that can fail for want of space or of
/// permission is done for all of them before the first takes its place.
///
/// # Errors
/// [`Failure::Io`].
pub(crate) fn write_all(files: &[(&Path, &[u8])]) -> Outcome {
    let staged = files
        .iter()
        .map(|(path, bytes)| stage(path, bytes).map_err(|error| Failure::writing(path, error)));
    let staged = staged.collect::<Outcome<Vec<Staged<'_>>>>()?;
    for (file, (path, _)) in staged.into_iter().zip(files) {
        file.put().map_err(|error| Failure::writing(path, error))?;
    }
    Ok(())
}

/// A file that is ready to be put into its place.
enum Staged<'a> {
    /// It is in the same folder already, under another name.
    File(tempfile::NamedTempFile, PathBuf),
    /// It goes to a device or a pipe.
    Stream(&'a Path, &'a [u8]),
}

fn stage<'a>(path: &'a Path, bytes: &'a [u8]) -> io::Result<Staged<'a>> {
    let path = match fs::metadata(path) {
        Ok(about) if about.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(about) if !about.is_file() => return Ok(Staged::Stream(path, bytes)),
        Ok(_) => path.canonicalize()?,
        Err(_) => path.to_owned(),
    };
    let folder = path.parent().filter(|p| *p != Path::new("")).map_or(".".into(), PathBuf::from);
    let mut file = new_file(&folder)?;
    file.write_all(bytes)?;
    Ok(Staged::File(file, path))
}

impl Staged<'_> {
    fn put(self) -> io::Result<()> {
        match self {
            Staged::File(file, path) => file.persist(path).map(drop).map_err(|e| e.error),
            Staged::Stream(path, bytes) => fs::write(path, bytes),
        }
    }
}

#[cfg(unix)]
fn new_file(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt as _;
    // What `File::create` would give; the process's umask applies.
    let mode = fs::Permissions::from_mode(0o666);
    tempfile::Builder::new().prefix(".cardinal-").permissions(mode).tempfile_in(folder)
}

#[cfg(not(unix))]
fn new_file(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new().prefix(".cardinal-").tempfile_in(folder)
}

/// Prints results on stdout through `write`, buffered.
///
/// # Errors
/// [`Failure::ClosedPipe`] when the reader has gone, [`Failure::Io`] otherwise.
pub(crate) fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Outcome {
    let mut out = io::BufWriter::new(io::stdout().lock());
    write(&mut out).and_then(|()| out.flush()).map_err(Failure::stdout)
}

/// Prints a JSON value and a line end on stdout.
///
/// # Errors
/// Those of [`print`].
pub(crate) fn print_json(value: &serde_json::Value) -> Outcome {
    print(|out| writeln!(out, "{value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        for text in ["first", "second"] {
            write(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_stays_a_link_and_a_device_a_device() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        fs::write(folder.path().join("real"), b"old").unwrap();
        std::os::unix::fs::symlink("real", &link).unwrap();
        write(&link, b"new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(folder.path().join("real")).unwrap(), b"new");
        write(Path::new("/dev/null"), b"x").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn a_missing_folder_is_an_output_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = write(&folder.path().join("no/out"), b"x").unwrap_err();
        assert!(matches!(error, Failure::Io { action: "write", .. }), "{error}");
    }
}
