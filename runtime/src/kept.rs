//! Expanded weights that all processes of a machine share: a file in a folder, which each of them maps.
//!
//! The file is named after what it is made of, so it is never changed, and what is in it is trusted no more than the
//! artifact: before it is used, each byte that code reads is compared with what the artifact's weights expand to. What
//! differs is made anew. One process at a time makes a file, under a lock of the folder, and gives it its name when it
//! is whole; one that ends before leaves a part that the next one writes over.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use memmap2::Mmap;

use crate::encoding::Run;
use crate::expand::{PIECE, Piece, for_each, pieces};

/// How the names of weights end.
const WEIGHTS: &str = "weights";

/// The same as [`expand`](crate::expand::expand), in memory that is shared with all who name this folder. It is made if
/// there is none. `digest` is that of `stored`.
pub(crate) fn expand_in(
    folder: &Path,
    digest: &[u8],
    runs: &[Run],
    stored: &[u8],
    parts: &[Range<usize>],
) -> io::Result<Mmap> {
    let expanded = Expanded {
        path: folder.join(name(digest, runs, parts)),
        bytes: runs.iter().map(|run| run.bytes).sum(),
        pieces: pieces(runs, stored, parts),
    };
    if let Some(map) = expanded.find()? {
        return Ok(map);
    }
    fs::create_dir_all(folder)?;
    let lock = options().open(regular(&folder.join("lock"))?)?;
    lock.lock()?;
    // Somebody may have made it meanwhile.
    match expanded.find()? {
        Some(map) => Ok(map),
        None => expanded.make(),
    }
}

/// A name that only the same bytes in the same places have.
fn name(digest: &[u8], runs: &[Run], parts: &[Range<usize>]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"cardinal weights 1").update(digest);
    for run in runs {
        hasher.update(&(run.bytes as u64).to_le_bytes()).update(&[run.encoding.code() as u8]);
    }
    for part in parts {
        hasher.update(&(part.start as u64).to_le_bytes());
        hasher.update(&(part.end as u64).to_le_bytes());
    }
    format!("{}.{WEIGHTS}", &hasher.finalize().to_hex()[..40])
}

/// A file to open and write, made if there is none.
fn options() -> OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    options
}

/// The path, unless opening what is there could wait for ever.
fn regular(path: &Path) -> io::Result<&Path> {
    match fs::metadata(path) {
        Ok(about) if !about.is_file() => Err(io::Error::other("not a regular file")),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(_) | Err(_) => Ok(path),
    }
}

/// Weights in a file.
struct Expanded<'a> {
    path: PathBuf,
    bytes: usize,
    pieces: Vec<Piece<'a>>,
}

impl Expanded<'_> {
    /// The file's, if it is there and right.
    fn find(&self) -> io::Result<Option<Mmap>> {
        let file = match File::open(regular(&self.path)?) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if file.metadata()?.len() != self.bytes as u64 {
            return Ok(None);
        }
        let map = map(&file)?;
        let is_right = AtomicBool::new(true);
        for_each(&self.pieces, |piece| {
            if !piece.is(&map[piece.loaded.clone()]) {
                is_right.store(false, Ordering::Relaxed);
            }
        })?;
        Ok(is_right.into_inner().then_some(map))
    }

    /// Makes the file, in the place of what is there.
    fn make(&self) -> io::Result<Mmap> {
        let unfinished = self.path.with_extension("unfinished");
        let mut file = options().truncate(true).open(regular(&unfinished)?)?;
        let mut room = vec![0f32; PIECE / size_of::<f32>()];
        for piece in &self.pieces {
            let loaded = &mut bytemuck::cast_slice_mut(&mut room)[..piece.loaded.len()];
            piece.expand(loaded);
            file.seek(SeekFrom::Start(piece.loaded.start as u64))?;
            file.write_all(loaded)?;
        }
        // What is between the parts is not read, and takes no room.
        file.set_len(self.bytes as u64)?;
        fs::rename(&unfinished, &self.path)?;
        map(&file)
    }
}

#[allow(unsafe_code)]
fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is read-only. Nobody writes to a file that has its name; that others leave it alone, is the
    // same as with an artifact's own.
    unsafe { Mmap::map(file) }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;
    use crate::encoding::{Encoding, Narrow};
    use crate::memory;

    /// 128 plain bytes, then 3 MiB of f32 in a format.
    const fn runs(narrow: Narrow) -> [Run; 2] {
        let narrow = Run { bytes: 3 << 20, encoding: Encoding::Narrow(narrow) };
        [Run { bytes: 128, encoding: Encoding::Plain }, narrow]
    }
    const RUNS: [Run; 2] = runs(Narrow::F16);
    const PARTS: [Range<usize>; 2] = [0..4096, 1 << 20..(3 << 20) + 128];

    fn stored() -> Mmap {
        let mut stored = vec![7u8; 128];
        // Finite in every format.
        (0..3u32 << 18).for_each(|i| stored.extend((i as u16 % 0x7C00).to_le_bytes()));
        let mut map = memory::anonymous(stored.len()).unwrap();
        map[..stored.len()].copy_from_slice(&stored);
        map.make_read_only().unwrap()
    }

    fn kept(folder: &Path, stored: &Mmap) -> Mmap {
        kept_of(folder, &RUNS, stored)
    }

    fn kept_of(folder: &Path, runs: &[Run], stored: &Mmap) -> Mmap {
        expand_in(folder, b"digest", runs, &stored[..128 + (3 << 19)], &PARTS).unwrap()
    }

    fn is_right(loaded: &[u8], stored: &Mmap) -> bool {
        is_right_of(loaded, &RUNS, stored)
    }

    fn is_right_of(loaded: &[u8], runs: &[Run], stored: &Mmap) -> bool {
        let all = crate::expand::expand(runs, &stored[..128 + (3 << 19)], &PARTS).unwrap();
        PARTS.into_iter().all(|part| loaded[part.clone()] == all[part])
    }

    fn files(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn all_that_start_at_once_have_one_file() {
        let (folder, stored) = (tempfile::tempdir().unwrap(), stored());
        let folder = folder.path().join("made");
        let all = Barrier::new(8);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    all.wait();
                    assert!(is_right(&kept(&folder, &stored), &stored));
                });
            }
        });
        let names = files(&folder);
        assert!(names.len() == 2 && names[0].ends_with(".weights"), "{names:?}");
        assert_eq!(names[1], "lock");
    }

    /// The same bytes are other weights in another format.
    #[test]
    fn each_format_has_a_file_of_its_own() {
        let (folder, stored) = (tempfile::tempdir().unwrap(), stored());
        for _ in 0..2 {
            for runs in Narrow::ALL.map(runs) {
                let loaded = kept_of(folder.path(), &runs, &stored);
                assert!(is_right_of(&loaded, &runs, &stored), "{runs:?}");
            }
        }
        assert_eq!(files(folder.path()).len(), Narrow::ALL.len() + 1);
    }

    #[test]
    fn what_is_damaged_is_made_anew() {
        let (folder, stored) = (tempfile::tempdir().unwrap(), stored());
        drop(kept(folder.path(), &stored));
        let path = folder.path().join(&files(folder.path())[0]);
        let whole = fs::read(&path).unwrap();
        let changed = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            bytes
        };
        for bytes in [changed(0), changed(whole.len() - 1), whole[1..].to_vec(), Vec::new()] {
            fs::write(&path, bytes).unwrap();
            // Of one that ended before.
            fs::write(path.with_extension("unfinished"), vec![1; whole.len() + 9]).unwrap();
            assert!(is_right(&kept(folder.path(), &stored), &stored));
            assert!(fs::read(&path).unwrap() == whole, "the file is another");
        }
        // Nobody reads what is between the parts.
        fs::write(&path, changed(1 << 19)).unwrap();
        kept(folder.path(), &stored);
        assert!(fs::read(&path).unwrap() == changed(1 << 19));
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let (folder, stored) = (tempfile::tempdir().unwrap(), stored());
        fs::create_dir(folder.path().join("lock")).unwrap();
        let refused =
            expand_in(folder.path(), b"digest", &RUNS, &stored[..128 + (3 << 19)], &PARTS);
        assert_eq!(refused.unwrap_err().to_string(), "not a regular file");
    }
}
