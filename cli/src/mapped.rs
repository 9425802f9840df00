//! Files as bytes, mapped into memory where the system allows it.
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;

use bytes::Bytes;
use memmap2::Mmap;

use crate::ending::fallible;
use crate::limits::{PATIENCE, PIPED};

/// What a file holds.
pub(crate) struct Mapped {
    pub(crate) bytes: Bytes,
    pub(crate) pages: Pages,
}

/// The pages that a file's bytes are mapped to, if they are.
pub(crate) struct Pages(Option<Arc<Mmap>>);

impl Pages {
    /// Gives back all of them. What somebody looks at is read from the file anew, page by page: weights when they
    /// are used, and what was only checked or copied never again.
    #[cfg(unix)]
    pub(crate) fn give_back(&self) {
        if let Some(map) = &self.0 {
            // SAFETY: nobody writes to the mapping, so its pages hold what the file does. A system that refuses
            // does nothing.
            let _ = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        }
    }

    /// Elsewhere they stay.
    #[cfg(not(unix))]
    pub(crate) fn give_back(&self) {}
}

/// The owner of mapped bytes.
struct Owner(Arc<Mmap>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Mapped {
    /// Bytes in memory.
    pub(crate) fn copied(bytes: Bytes) -> Mapped {
        Mapped { bytes, pages: Pages(None) }
    }
}

/// The bytes of the file at `path`. A regular file is mapped: nothing is read until it is used.
/// Pipes are read to their end; devices, which may have none, are refused.
///
/// # Errors
/// Those of opening, reading and mapping, and those of [`read_pipe`].
pub(crate) fn open(path: &Path) -> io::Result<Mapped> {
    let mut file = open_file(path)?;
    let about = file.metadata()?;
    if about.is_file() && about.len() > 0 {
        return map(&file);
    }
    read_pipe(&mut file, PIPED).map(Mapped::copied)
}

/// A copy of the bytes of a small file, one of many, which another program may be writing meanwhile.
///
/// # Errors
/// Those of [`open`]; one for more than `most` bytes.
pub(crate) fn copy(path: &Path, most: u64) -> io::Result<Bytes> {
    read_pipe(&mut open_file(path)?, most)
}

fn open_file(path: &Path) -> io::Result<File> {
    // Asked before opening, which waits where a pipe has nobody at its other end.
    match Kind::of(fs::metadata(path)?.file_type()) {
        Kind::Device => Err(io::Error::other("it is a device, not a file")),
        Kind::Pipe => open_pipe(path),
        Kind::Other => File::open(path),
    }
}

/// What is found at a path, as far as it matters to reading.
enum Kind {
    Device,
    Pipe,
    Other,
}

impl Kind {
    #[cfg(unix)]
    fn of(kind: fs::FileType) -> Kind {
        use std::os::unix::fs::FileTypeExt as _;
        match (kind.is_char_device() || kind.is_block_device(), kind.is_fifo()) {
            (true, _) => Kind::Device,
            (false, true) => Kind::Pipe,
            (false, false) => Kind::Other,
        }
    }

    /// Elsewhere devices and pipes have names of their own.
    #[cfg(not(unix))]
    fn of(_: fs::FileType) -> Kind {
        Kind::Other
    }
}

/// Opens a named pipe, if somebody opens its other end in time.
fn open_pipe(path: &Path) -> io::Result<File> {
    let (send, receive) = mpsc::channel();
    let path = path.to_owned();
    // A thread that waits for ever ends with the process.
    thread::Builder::new().spawn(move || send.send(File::open(path)))?;
    let nobody = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "nobody writes to this pipe"));
    receive.recv_timeout(PATIENCE).unwrap_or_else(nobody)
}

/// All of stdin.
///
/// # Errors
/// Those of reading, and those of [`read_pipe`].
pub(crate) fn stdin() -> io::Result<Mapped> {
    read_pipe(&mut io::stdin().lock(), PIPED).map(Mapped::copied)
}

/// All that comes out of a pipe.
///
/// # Errors
/// Those of reading; one for more than `most` bytes.
fn read_pipe(from: &mut dyn Read, most: u64) -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    fallible(|| from.take(most + 1).read_to_end(&mut bytes))?;
    if bytes.len() as u64 > most {
        let what = format!("there is no end to it within {most} bytes; give it as a file");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(bytes.into())
}

fn map(file: &File) -> io::Result<Mapped> {
    // SAFETY: the mapping is private and read-only. Whoever rewrites the file meanwhile changes what is
    // read, as with every mapped file; where it is cut short, `ending` ends the process with an error.
    let map = Arc::new(unsafe { Mmap::map(file) }?);
    Ok(Mapped { bytes: Bytes::from_owner(Owner(Arc::clone(&map))), pages: Pages(Some(map)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_no_end_is_not_read_to_it() {
        let error = open(Path::new("/dev/zero")).err().unwrap();
        assert!(error.to_string().contains("a device"), "{error}");
        let error = read_pipe(&mut io::repeat(0), 1000).unwrap_err();
        assert!(error.to_string().contains("within 1000 bytes"), "{error}");
        assert_eq!(read_pipe(&mut io::repeat(7).take(1000), 1000).unwrap().len(), 1000);
    }

    #[test]
    fn nobody_waits_for_ever_for_a_pipe() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let writer = {
            let path = path.clone();
            thread::spawn(move || fs::write(path, b"content"))
        };
        assert_eq!(open(&path).unwrap().bytes, "content");
        writer.join().unwrap().unwrap();
        assert_eq!(open(&path).err().unwrap().kind(), io::ErrorKind::TimedOut);
    }

    /// Kilobytes of the mapping that holds an address, of those that the process has resident.
    #[cfg(target_os = "linux")]
    fn resident(address: usize) -> usize {
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = maps.lines();
        let holds = |line: &str| {
            let bounds = line.split(' ').next().and_then(|range| range.split_once('-'));
            let bounds = bounds.map(|(a, b)| [a, b].map(|n| usize::from_str_radix(n, 16)));
            matches!(bounds, Some([Ok(begin), Ok(end)]) if (begin..end).contains(&address))
        };
        assert!(lines.any(holds));
        let resident = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
        resident.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn pages_that_are_given_back_are_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let content: Vec<u8> = (0..4 << 20).map(|i| (i / 7) as u8).collect();
        fs::write(&path, &content).unwrap();
        let file = open(&path).unwrap();
        assert_eq!(file.bytes, content);
        assert!(resident(file.bytes.as_ptr().addr()) >= 4096);
        file.pages.give_back();
        assert_eq!(resident(file.bytes.as_ptr().addr()), 0);
        assert_eq!(file.bytes, content);
        let copied = Mapped::copied(content.clone().into());
        copied.pages.give_back();
        assert_eq!(copied.bytes, content);
    }
}
