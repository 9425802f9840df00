//! `-` on the command line: stdin where something is read, stdout where something is written.

use std::io;
use std::path::Path;

use crate::mapped::{self, Mapped};

/// Whether a path means stdin or stdout.
pub(crate) fn is_dash(path: &Path) -> bool {
    path == Path::new("-")
}

/// The bytes of what is read: stdin for `-`, a file for all else.
///
/// # Errors
/// Those of [`mapped::open`] and [`mapped::stdin`].
pub(crate) fn read(path: &Path) -> io::Result<Mapped> {
    if is_dash(path) { mapped::stdin() } else { mapped::open(path) }
}
