//! Compiled models that are kept in a folder, under what they were made of.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use cardinal_cli::library::{self, Model};
use cardinal_runtime::Artifact;

use crate::errors::{Class, Raised};

/// The artifact of a model, from a folder, or compiled and put there.
///
/// Of many processes that want the same at once, one compiles it, with the lock of a file beside it, and the
/// others wait. Nobody sees an unfinished file, so where the file system has no locks, all is well too, but for
/// the time that is lost. What is damaged is made again.
pub(crate) fn artifact(model: &Model, folder: &Path) -> Result<Artifact, Raised> {
    let failed = |error: io::Error| {
        let message = format!("cannot use the folder {}: {error}", folder.display());
        Raised::new(Class::File, message, Some("name a folder that can be written to".into()))
    };
    fs::create_dir_all(folder).map_err(failed)?;
    let key = model.key()?;
    let path = folder.join(format!("{key}.cardinal"));
    if let Some(artifact) = kept(&path) {
        return Ok(artifact);
    }
    let lock = File::create(folder.join(format!("{key}.lock"))).map_err(failed)?;
    // Held until this returns.
    let _ = lock.lock();
    if let Some(artifact) = kept(&path) {
        return Ok(artifact);
    }
    let artifact = model.compile()?;
    library::write(&path, artifact.as_bytes())?;
    // From the file, whose pages all processes share.
    Ok(kept(&path).unwrap_or(artifact))
}

/// What is there, if it is whole.
fn kept(path: &Path) -> Option<Artifact> {
    Artifact::open(path).ok()
}
