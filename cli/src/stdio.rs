//! `-` on the command line: stdin where something is read, stdout where something is written.

use std::io::{self, Read as _};
use std::path::Path;

use bytes::Bytes;

/// Whether a path means stdin or stdout.
pub(crate) fn is_dash(path: &Path) -> bool {
    path == Path::new("-")
}

/// All of stdin.
pub(crate) fn read_stdin() -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes.into())
}
