//! `.npz`: a zip of `.npy` files.

use std::io::{self, Cursor, Write as _};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use super::{Array, npy};
use crate::limits::{NPZ_PACKING, NPZ_UNSUSPICIOUS};

/// Deflate makes at most this much of one byte.
const DEFLATE_LIMIT: u64 = 1032;

/// Reads every array of a `.npz`, by name, in the archive's order.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<(String, Array)>, String> {
    let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(|e| e.to_string())?;
    let mut arrays = Vec::with_capacity(zip.len().min(64));
    for index in 0..zip.len() {
        let mut entry = zip.by_index(index).map_err(|e| e.to_string())?;
        let file = entry.name().map_err(|e| e.to_string())?.into_owned();
        let Some(name) = file.strip_suffix(".npy").map(str::to_owned) else {
            return Err(format!("it holds `{file}`, which is not a .npy"));
        };
        // What the directory says of sizes is not to be believed beyond the bytes that are there.
        let stored = entry.compressed_size().min(bytes.len() as u64);
        let available = entry.size().min(unpacked(stored));
        let array = npy::read(&mut entry, available).map_err(|what| format!("`{name}`: {what}"))?;
        // Reading past the end of the data makes the archive check its checksum.
        match io::copy(&mut entry, &mut io::sink()) {
            Ok(0) => arrays.push((name, array)),
            Ok(n) => return Err(format!("`{name}`: {n} bytes are left over")),
            Err(error) => return Err(format!("`{name}`: {error}")),
        }
    }
    Ok(arrays)
}

/// Most bytes that so many packed ones may become.
fn unpacked(stored: u64) -> u64 {
    let any = stored.saturating_mul(DEFLATE_LIMIT).min(NPZ_UNSUSPICIOUS);
    any.max(stored.saturating_mul(NPZ_PACKING))
}

/// A whole `.npz`, uncompressed like `numpy.savez`'s; the same bytes for the same arrays.
pub(super) fn encode<'a>(
    arrays: impl Iterator<Item = (&'a str, &'a Array)>,
) -> io::Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, array) in arrays {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(DateTime::default())
            .large_file(array.bytes.len() >= 1 << 31);
        zip.start_file(format!("{name}.npy"), options)?;
        zip.write_all(&npy::encode(array))?;
    }
    Ok(zip.finish()?.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> [(&'static str, Array); 2] {
        [("b", Array::from_f32(vec![2], &[1., 2.])), ("a/x", Array::from_f32(vec![], &[3.]))]
    }

    fn archive() -> Vec<u8> {
        encode(two().iter().map(|(name, array)| (*name, array))).unwrap()
    }

    #[test]
    fn arrays_survive_with_their_names() {
        let read = decode(&archive()).unwrap();
        assert_eq!(read, two().map(|(name, array)| (name.to_owned(), array)));
        assert_eq!(archive(), archive());
    }

    #[test]
    fn little_does_not_become_gigabytes() {
        assert_eq!(unpacked(100), 103_200);
        assert_eq!(unpacked(1_900_000), 256 << 20);
        assert_eq!(unpacked(1 << 30), 16 << 30);
    }

    #[test]
    fn a_flipped_or_missing_byte_is_an_error_or_harmless() {
        let good = archive();
        let expected = decode(&good).unwrap();
        for length in 0..good.len() {
            assert!(decode(&good[..length]).is_err(), "{length}");
        }
        let data = good.windows(4).position(|w| w == 2f32.to_le_bytes()).unwrap();
        let mut bad = good.clone();
        bad[data] ^= 1;
        assert!(decode(&bad).is_err());
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 0xff;
            if let Ok(arrays) = decode(&bad) {
                assert_eq!(arrays.len(), expected.len(), "{place}");
            }
        }
    }
}
