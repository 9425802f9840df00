//! Images in tar archives, as webdataset has them: what a sample is called goes up to the first dot of its
//! files' names.

use std::io::Cursor;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tar::Archive;

use super::{Content, Give, Item};
use crate::exit::{Failure, Outcome};
use crate::image_input::EXTENSIONS;
use crate::mapped;
use crate::names;

/// A tar archive.
#[derive(Debug)]
pub(super) struct Tar {
    path: PathBuf,
    images: usize,
}

impl Tar {
    /// Counts the images of the archive at `path`.
    ///
    /// # Errors
    /// [`Failure::Io`].
    pub(super) fn open(path: &Path) -> Outcome<Tar> {
        let mut tar = Tar { path: path.to_owned(), images: 0 };
        let mut images = 0;
        tar.visit(&mut |_| {
            images += 1;
            ControlFlow::Continue(())
        })?;
        tar.images = images;
        Ok(tar)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How many images it has. Where it is damaged, what cannot be read is one.
    pub(super) fn len(&self) -> usize {
        self.images
    }

    /// Gives the images at these positions.
    ///
    /// # Errors
    /// [`Failure::Io`], and those of `give`.
    pub(super) fn each(&self, at: Range<usize>, give: Give<'_>) -> Outcome {
        let mut position = 0;
        let mut given = Ok(());
        self.visit(&mut |item| {
            let here = position;
            position += 1;
            if here < at.start {
                return ControlFlow::Continue(());
            }
            if here < at.end {
                given = give(item);
            }
            match position >= at.end || given.is_err() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })?;
        given
    }

    /// Shows each image to `see`, and then what is damaged.
    fn visit(&self, see: &mut dyn FnMut(Item) -> ControlFlow<()>) -> Outcome {
        let bytes = mapped::open(&self.path).map_err(|e| Failure::reading(&self.path, e))?.bytes;
        let name = names::shown(&self.path);
        if let Err(error) = visit(&bytes, &name, see) {
            let content = Content::Bad(format!("cannot read `{name}` any further: {error}"));
            let _ = see(Item { key: name, content });
        }
        Ok(())
    }
}

fn visit(
    bytes: &Bytes,
    archive: &str,
    see: &mut dyn FnMut(Item) -> ControlFlow<()>,
) -> std::io::Result<()> {
    let mut tar = Archive::new(Cursor::new(bytes));
    for entry in tar.entries_with_seek()? {
        let entry = entry?;
        let name = entry.path_bytes();
        if !entry.header().entry_type().is_file() || !is_image(&name) {
            continue;
        }
        let place = format!("{archive}/{}", names::shown_bytes(&name));
        let begin = usize::try_from(entry.raw_file_position()).unwrap_or(usize::MAX);
        let end = begin.saturating_add(usize::try_from(entry.size()).unwrap_or(usize::MAX));
        let content = match end <= bytes.len() {
            true => Content::Bytes(bytes.slice(begin..end), place),
            false => Content::Bad(format!("cannot read `{place}`: the archive is cut short")),
        };
        if see(Item { key: names::shown_bytes(key_of(&name)), content }).is_break() {
            break;
        }
    }
    Ok(())
}

/// A file's name, with its folder, up to the first dot that is not the first letter.
fn key_of(name: &[u8]) -> &[u8] {
    let begin = name.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let rest = name.get(begin + 1..).unwrap_or_default();
    let dot = rest.iter().position(|byte| *byte == b'.');
    dot.map_or(name, |dot| &name[..begin + 1 + dot])
}

fn is_image(name: &[u8]) -> bool {
    let extension = name.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    EXTENSIONS.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_up_to_the_first_dot() {
        for (name, key) in [
            ("0001.jpg", "0001"),
            ("a.b/0001.left.jpg", "a.b/0001"),
            ("./x.png", "./x"),
            (".hidden.png", ".hidden"),
            ("none", "none"),
        ] {
            assert_eq!(key_of(name.as_bytes()), key.as_bytes());
        }
    }

    fn archive(names: &[&str]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for name in names {
            let mut header = tar::Header::new_gnu();
            header.set_size(name.len() as u64);
            builder.append_data(&mut header, name, name.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    /// All that a damaged archive has is found twice, and nothing beyond its end.
    #[test]
    fn archives_may_be_cut_and_damaged_anywhere() {
        let long = "x".repeat(150) + ".jpg";
        let good = archive(&["a.png", "a.json", "b.txt", &long, "folder/c.jpeg"]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tar");
        let images = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let tar = Tar::open(&path).unwrap();
            let mut items = Vec::new();
            tar.each(0..usize::MAX, &mut |item| {
                items.push(item);
                Ok(())
            })
            .unwrap();
            assert_eq!(items.len(), tar.len());
            items
        };
        let whole = images(&good);
        let keys: Vec<&str> = whole.iter().map(|item| item.key.as_str()).collect();
        assert_eq!(keys, ["a", &long[..150], "folder/c"]);
        assert_eq!(
            whole[0].content,
            Content::Bytes("a.png".into(), format!("{}/a.png", path.display()))
        );
        for at in (1..good.len()).step_by(37) {
            assert!(images(&good[..at]).len() <= 4);
            let mut bad = good.clone();
            bad[at] ^= 0x15;
            assert!(images(&bad).len() <= 4);
        }
    }
}
