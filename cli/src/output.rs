//! Where results go: files that are written whole or not at all, and stdout.

use std::fs;
use std::io::{self, IsTerminal as _, Write};
#[cfg(feature = "compiler")]
use std::io::{Cursor, Seek};
use std::path::{Path, PathBuf};

use cardinal_runtime::text;

use crate::ending::uninterrupted;
use crate::exit::{Failure, Outcome};
use crate::staging::StagedFile;
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
    put_one(path, Bytes::Pieces(&[bytes]), DATA)
}

/// What the bytes of a file are made in: a file, or memory for what cannot be gone back in.
#[cfg(feature = "compiler")]
pub(crate) trait Room: Write + Seek + Send {}

#[cfg(feature = "compiler")]
impl<T: Write + Seek + Send> Room for T {}

/// Writes as [`write`] does what `make` makes, in the file itself where there is one: so the whole need
/// not be in memory.
///
/// # Errors
/// [`Failure::Io`].
#[cfg(feature = "compiler")]
pub(crate) fn write_made(path: &Path, make: Make<'_>) -> Outcome {
    put_one(path, Bytes::Made(make), DATA)
}

/// Writes pieces one after the other as [`write`] does, to a file that can be run.
///
/// # Errors
/// [`Failure::Io`].
#[cfg(feature = "compiler")]
pub(crate) fn write_program(path: &Path, pieces: &[&[u8]]) -> Outcome {
    put_one(path, Bytes::Pieces(pieces), PROGRAM)
}

/// Where to write a file that is called `name` unless somebody says otherwise: `output`, or if that is a folder, or ends
/// like one, the file of that name in it.
#[cfg(feature = "compiler")]
pub(crate) fn place(output: Option<&Path>, name: PathBuf) -> PathBuf {
    let is_folder = |path: &Path| {
        path.as_os_str().as_encoded_bytes().ends_with(b"/") || !is_dash(path) && path.is_dir()
    };
    match output {
        Some(folder) if is_folder(folder) => folder.join(name),
        Some(file) => file.to_owned(),
        None => name,
    }
}

/// Refuses, before any work, a file other than a text that cannot be written at all or would take an input's place.
///
/// # Errors
/// [`Failure::Usage`] where the output is one of the inputs or would go to a terminal, and [`Failure::Io`] where no file can be made
/// in its folder.
pub(crate) fn check(output: &Path, inputs: &[&Path]) -> Outcome {
    if is_dash(output) {
        return match io::stdout().is_terminal() {
            true => {
                Err(Failure::usage("standard output is a terminal, which shows no binary file")
                    .with_help("name a file with -o, or put a pipe behind the command"))
            }
            false => Ok(()),
        };
    }
    try_to_write(output).map_err(|error| Failure::writing(output, error))?;
    // What is not there yet may be both all the same.
    let place = output.canonicalize().ok();
    let is_output =
        |input: &&&Path| **input == output || place.is_some() && input.canonicalize().ok() == place;
    match inputs.iter().find(is_output) {
        Some(_) => {
            Err(Failure::usage(format!("`{}` is an input, and would be lost", output.display()))
                .with_help("name another output: -o FILE"))
        }
        None => Ok(()),
    }
}

/// Makes a file where the output is going to be made, and removes it. Devices and pipes are left alone.
fn try_to_write(output: &Path) -> io::Result<()> {
    let place = match fs::metadata(output) {
        Ok(about) if about.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(about) if !about.is_file() => return Ok(()),
        Ok(_) => output.canonicalize()?,
        Err(_) => output.to_owned(),
    };
    let folder = folder_of(&place);
    match fs::metadata(folder)?.is_dir() {
        true => StagedFile::new(folder, DATA).map(drop),
        false => Err(io::ErrorKind::NotADirectory.into()),
    }
}

/// Writes several files, none of which is stdout: everything that can fail for want of space or of
/// permission is done for all of them before the first takes its place.
///
/// # Errors
/// [`Failure::Io`].
#[cfg(feature = "compiler")]
pub(crate) fn write_all(files: &[(&Path, &[u8])]) -> Outcome {
    let pieces: Vec<[&[u8]; 1]> = files.iter().map(|(_, bytes)| [*bytes]).collect();
    let paths = files.iter().map(|(path, _)| *path);
    let bytes = pieces.iter().map(|pieces| Bytes::Pieces(pieces));
    let each = paths.zip(bytes).map(|(path, bytes)| Contents { path, bytes, mode: DATA });
    put(&each.collect::<Vec<_>>())
}

/// The folder that a file is in.
pub(crate) fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}

fn put_one(path: &Path, bytes: Bytes<'_>, mode: u32) -> Outcome {
    if is_dash(path) {
        return send(bytes);
    }
    put(&[Contents { path, bytes, mode }])
}

/// Makes bytes.
#[cfg(feature = "compiler")]
pub(crate) type Make<'a> = &'a dyn Fn(&mut dyn Room) -> io::Result<()>;

/// What is to be written.
#[derive(Clone, Copy)]
enum Bytes<'a> {
    /// One piece after the other.
    Pieces(&'a [&'a [u8]]),
    /// What this makes.
    #[cfg(feature = "compiler")]
    Made(Make<'a>),
}

impl Bytes<'_> {
    /// Writes to a new file.
    fn write_to_file(self, file: &mut fs::File) -> io::Result<()> {
        match self {
            Bytes::Pieces(pieces) => write_to(file, pieces),
            #[cfg(feature = "compiler")]
            Bytes::Made(make) => make(file),
        }
    }

    /// Writes to what takes bytes in order only.
    fn write_to_stream(self, stream: &mut dyn Write) -> io::Result<()> {
        match self {
            Bytes::Pieces(pieces) => write_to(stream, pieces),
            #[cfg(feature = "compiler")]
            Bytes::Made(make) => {
                let mut bytes = Cursor::new(Vec::new());
                make(&mut bytes)?;
                stream.write_all(bytes.get_ref())
            }
        }
    }
}

fn write_to(out: &mut dyn Write, pieces: &[&[u8]]) -> io::Result<()> {
    pieces.iter().try_for_each(|piece| out.write_all(piece))
}

/// A file to be written.
struct Contents<'a> {
    path: &'a Path,
    bytes: Bytes<'a>,
    mode: u32,
}

fn put(files: &[Contents<'_>]) -> Outcome {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| Failure::writing(&path, error)
    };
    let staged = files.iter().map(|file| stage(file).map_err(failed(file.path)));
    let staged = staged.collect::<Outcome<Vec<Staged<'_>>>>()?;
    let are_files = staged.iter().all(|staged| matches!(staged, Staged::File(..)));
    let mut each = staged.into_iter().zip(files);
    let mut put = || each.try_for_each(|(staged, file)| staged.put().map_err(failed(file.path)));
    // All of them or none. Streams may wait for a reader, and so must not be waited for.
    if are_files { uninterrupted(put) } else { put() }
}

/// A file that is ready to be put into its place.
enum Staged<'a> {
    /// It is in the same folder already, under another name.
    File(StagedFile, PathBuf),
    /// It goes to a device or a pipe.
    Stream(&'a Contents<'a>),
}

fn stage<'a>(contents: &'a Contents<'a>) -> io::Result<Staged<'a>> {
    let path = match fs::metadata(contents.path) {
        Ok(about) if about.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(about) if !about.is_file() => return Ok(Staged::Stream(contents)),
        Ok(_) => contents.path.canonicalize()?,
        Err(_) => contents.path.to_owned(),
    };
    let mut file = StagedFile::new(folder_of(&path), contents.mode)?;
    contents.bytes.write_to_file(file.as_file_mut())?;
    Ok(Staged::File(file, path))
}

impl Staged<'_> {
    fn put(self) -> io::Result<()> {
        match self {
            Staged::File(file, path) => file.put(&path),
            Staged::Stream(contents) => {
                let mut file = fs::File::options().write(true).open(contents.path)?;
                contents.bytes.write_to_stream(&mut file)
            }
        }
    }
}

/// What was printed for somebody who may have gone: the verdict that follows counts all the same.
#[cfg(feature = "compiler")]
pub(crate) fn even_unread(printed: Outcome) -> Outcome {
    match printed {
        Err(Failure::ClosedPipe) => Ok(()),
        other => other,
    }
}

/// Prints text on stdout, in one piece. Whatever `write` took from files, no character of it does
/// more than show.
///
/// # Errors
/// [`Failure::ClosedPipe`] when the reader has gone, [`Failure::Io`] otherwise.
pub(crate) fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Outcome {
    let mut bytes = Vec::new();
    write(&mut bytes).map_err(Failure::stdout)?;
    send(Bytes::Pieces(&[text::lines(&String::from_utf8_lossy(&bytes)).as_bytes()]))
}

/// Prints a JSON value and a line end on stdout.
///
/// # Errors
/// Those of [`print`].
pub(crate) fn print_json(value: &serde_json::Value) -> Outcome {
    print(|out| writeln!(out, "{}", text::json(&value.to_string())))
}

/// Bytes to stdout as they are.
fn send(bytes: Bytes<'_>) -> Outcome {
    let mut out = io::stdout().lock();
    bytes.write_to_stream(&mut out).and_then(|()| out.flush()).map_err(Failure::stdout)
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
