//! Where results go: files that are written whole or not at all, and stdout.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::exit::{Failure, Outcome};
use crate::stdio::is_dash;

/// Permissions of a new file before the process's umask: what `File::create` gives.
const DATA: u32 = 0o666;
/// The same with the right to run it: what a linker gives.
#[cfg(feature = "compiler")]
const PROGRAM: u32 = 0o777;

/// Writes `bytes` to the file at `path`, or to stdout when that is `-`. A regular file is replaced
/// in one step, so that nobody ever sees a part of it; a device or a pipe is written to as it is.
///
/// # Errors
/// [`Failure::Io`].
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Outcome {
    write_pieces(path, &[bytes], DATA)
}

/// Writes pieces one after the other as [`write`] does, to a file that can be run.
///
/// # Errors
/// [`Failure::Io`].
#[cfg(feature = "compiler")]
pub(crate) fn write_program(path: &Path, pieces: &[&[u8]]) -> Outcome {
    write_pieces(path, pieces, PROGRAM)
}

fn write_pieces(path: &Path, pieces: &[&[u8]], mode: u32) -> Outcome {
    if is_dash(path) {
        return print(|out| write_all(out, pieces));
    }
    let written = match fs::metadata(path) {
        Ok(about) if !about.is_file() => fs::File::options()
            .write(true)
            .open(path)
            .and_then(|mut file| write_all(&mut file, pieces)),
        Ok(_) => path.canonicalize().and_then(|path| replace(&path, pieces, mode)),
        Err(_) => replace(path, pieces, mode),
    };
    written.map_err(|error| Failure::writing(path, error))
}

fn write_all(out: &mut dyn Write, pieces: &[&[u8]]) -> io::Result<()> {
    pieces.iter().try_for_each(|piece| out.write_all(piece))
}

fn replace(path: &Path, pieces: &[&[u8]], mode: u32) -> io::Result<()> {
    let folder = path.parent().filter(|p| *p != Path::new("")).map_or(".".into(), PathBuf::from);
    let mut file = new_file(&folder, mode)?;
    write_all(&mut file, pieces)?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

#[cfg(unix)]
fn new_file(folder: &Path, mode: u32) -> io::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt as _;
    // The process's umask applies.
    let mode = fs::Permissions::from_mode(mode);
    tempfile::Builder::new().prefix(".cardinal-").permissions(mode).tempfile_in(folder)
}

#[cfg(not(unix))]
fn new_file(folder: &Path, _mode: u32) -> io::Result<tempfile::NamedTempFile> {
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
