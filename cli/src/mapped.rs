//! Files as bytes, mapped into memory where the system allows it.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use bytes::Bytes;
use memmap2::Mmap;

/// The bytes of the file at `path`. A regular file is mapped: nothing is read until it is used.
/// Pipes and devices are read to their end.
///
/// # Errors
/// Those of opening, reading and mapping.
pub(crate) fn open(path: &Path) -> io::Result<Bytes> {
    let mut file = File::open(path)?;
    let about = file.metadata()?;
    if about.is_file() && about.len() > 0 {
        return map(&file);
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

fn map(file: &File) -> io::Result<Bytes> {
    // SAFETY: the mapping is private and read-only. As with every memory-mapped file, whoever
    // truncates or rewrites it meanwhile makes this process fail; the command's help says so.
    let map = unsafe { Mmap::map(file) }?;
    Ok(Bytes::from_owner(map))
}
