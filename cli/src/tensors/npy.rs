//! The `.npy` format, versions 1 to 3 (NEP 1), strictly.
//!
//! Not `npyz`: it allocates what a header announces before reading it, and multiplies extents
//! unchecked.

use std::io::Read;

use cardinal_runtime::DType;

use super::{Array, room};
use crate::limits::{NPY_AXES, NPY_HEADER};

const MAGIC: &[u8] = b"\x93NUMPY";
/// Bytes before the header's text in version 1.
const START: usize = 10;

/// Reads a whole `.npy`.
pub(super) fn decode(bytes: &[u8]) -> Result<Array, String> {
    let mut rest = bytes;
    let array = read(&mut rest, bytes.len() as u64)?;
    match rest.len() {
        0 => Ok(array),
        n => Err(format!("{n} bytes are left over after {}", array.ty())),
    }
}

/// Reads a `.npy` from a stream that holds `available` bytes or fewer; no more than that is ever
/// allocated, whatever the header says.
pub(super) fn read(from: &mut dyn Read, available: u64) -> Result<Array, String> {
    let header = Header::parse(&read_header(from)?)?;
    let size = header.bytes().filter(|size| *size <= available).ok_or_else(|| {
        format!("its header announces {}{:?}, more than the file holds", header.dtype, header.shape)
    })?;
    let mut bytes = room(size as usize).map_err(|failure| failure.to_string())?;
    from.take(size).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 != size {
        return Err(format!("it ends after {} of its {size} bytes of data", bytes.len()));
    }
    header.arrange(bytes)
}

fn read_header(from: &mut dyn Read) -> Result<String, String> {
    let cut = |_| "it is not a .npy file, or is cut short".to_owned();
    let mut start = [0; 8];
    from.read_exact(&mut start).map_err(cut)?;
    if !start.starts_with(MAGIC) {
        return Err("it is not a .npy file".into());
    }
    let mut length = [0; 4];
    match start[6] {
        1 => from.read_exact(&mut length[..2]).map_err(cut)?,
        2 | 3 => from.read_exact(&mut length).map_err(cut)?,
        version => return Err(format!("version {version} of the .npy format is not known")),
    }
    let length = u32::from_le_bytes(length);
    if length > NPY_HEADER {
        return Err(format!("its header claims {length} bytes"));
    }
    let mut text = vec![0; length as usize];
    from.read_exact(&mut text).map_err(cut)?;
    String::from_utf8(text).map_err(|_| "its header is not text".into())
}

/// What a header says.
#[derive(Debug, PartialEq)]
struct Header {
    dtype: DType,
    big_endian: bool,
    fortran: bool,
    shape: Vec<usize>,
}

impl Header {
    /// Parses the Python literal `{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }`.
    fn parse(text: &str) -> Result<Header, String> {
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        let mut rest = Literal(text.trim());
        rest.expect("{")?;
        while !rest.accept("}") {
            let key = rest.string()?;
            rest.expect(":")?;
            match key {
                "descr" => descr = Some(rest.string()?),
                "fortran_order" => fortran = Some(rest.boolean()?),
                "shape" => shape = Some(rest.shape()?),
                _ => return Err(format!("its header has the unknown key `{key}`")),
            }
            if !rest.accept(",") {
                rest.expect("}")?;
                break;
            }
        }
        match (descr, fortran, shape, rest.0) {
            (Some(descr), Some(fortran), Some(shape), "") => {
                let (dtype, big_endian) = element_type(descr)?;
                Ok(Header { dtype, big_endian, fortran, shape })
            }
            _ => Err("its header is incomplete".into()),
        }
    }

    /// Bytes of data, when their number makes sense.
    fn bytes(&self) -> Option<u64> {
        let size = self.shape.iter().try_fold(self.dtype.size(), |n, e| n.checked_mul(*e))?;
        isize::try_from(size).ok().and_then(|size| u64::try_from(size).ok())
    }

    /// Stored bytes as a row-major little-endian tensor.
    fn arrange(self, mut bytes: Vec<u8>) -> Result<Array, String> {
        let size = self.dtype.size();
        if self.big_endian {
            bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        }
        if self.dtype == DType::Bool && bytes.iter().any(|b| *b > 1) {
            return Err("it has booleans that are neither 0 nor 1".into());
        }
        if self.fortran && self.shape.len() > 1 {
            bytes = to_row_major(&bytes, &self.shape, size)?;
        }
        Ok(Array { dtype: self.dtype, shape: self.shape, bytes })
    }
}

fn element_type(descr: &str) -> Result<(DType, bool), String> {
    let (order, kind) = descr.split_at_checked(1).unwrap_or(("", descr));
    let dtype = match kind {
        "f4" => DType::F32,
        "f8" => DType::F64,
        "i8" => DType::I64,
        "i4" => DType::I32,
        "u1" => DType::U8,
        "i1" => DType::I8,
        "b1" => DType::Bool,
        _ => return Err(format!("its elements are `{descr}`, which no model takes")),
    };
    match order {
        "<" | "=" => Ok((dtype, false)),
        "|" if dtype.size() == 1 => Ok((dtype, false)),
        ">" => Ok((dtype, true)),
        _ => Err(format!("its elements have the unknown type `{descr}`")),
    }
}

/// Column-major elements in row-major order.
fn to_row_major(bytes: &[u8], shape: &[usize], size: usize) -> Result<Vec<u8>, String> {
    let mut arranged = room(bytes.len()).map_err(|failure| failure.to_string())?;
    let mut index = vec![0; shape.len()];
    for _ in 0..bytes.len() / size {
        let place = index.iter().zip(shape).rev().fold(0, |at, (i, extent)| at * extent + i);
        arranged.extend(&bytes[place * size..(place + 1) * size]);
        for (i, extent) in index.iter_mut().zip(shape).rev() {
            *i += 1;
            if *i < *extent {
                break;
            }
            *i = 0;
        }
    }
    Ok(arranged)
}

/// The rest of a Python literal.
struct Literal<'a>(&'a str);

impl<'a> Literal<'a> {
    fn accept(&mut self, token: &str) -> bool {
        let rest = self.0.strip_prefix(token);
        self.0 = rest.unwrap_or(self.0).trim_start();
        rest.is_some()
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        let found = self.accept(token);
        found.then_some(()).ok_or_else(|| format!("`{token}` is missing in its header"))
    }

    fn string(&mut self) -> Result<&'a str, String> {
        let quote = if self.0.starts_with('"') { "\"" } else { "'" };
        let inner = self.0.strip_prefix(quote).and_then(|rest| rest.split_once(quote));
        let (text, rest) =
            inner.ok_or("a string is missing in its header (records are not read)")?;
        self.0 = rest.trim_start();
        Ok(text)
    }

    fn boolean(&mut self) -> Result<bool, String> {
        match self.accept("True") {
            true => Ok(true),
            false => self.expect("False").map(|()| false),
        }
    }

    fn shape(&mut self) -> Result<Vec<usize>, String> {
        self.expect("(")?;
        let mut shape = Vec::new();
        while !self.accept(")") {
            shape.push(self.extent()?);
            if shape.len() > NPY_AXES {
                return Err(format!("it has more than {NPY_AXES} axes"));
            }
            if !self.accept(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(shape)
    }

    fn extent(&mut self) -> Result<usize, String> {
        let end = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
        let (digits, rest) = self.0.split_at(end);
        // Python 2's numpy wrote `3L`.
        self.0 = rest.strip_prefix('L').unwrap_or(rest).trim_start();
        digits.parse().map_err(|_| format!("`{digits}` is no extent"))
    }
}

/// A whole `.npy`, version 1, as numpy writes it.
pub(super) fn encode(array: &Array) -> Vec<u8> {
    let descr = match array.dtype {
        DType::F32 => "<f4",
        DType::F64 => "<f8",
        DType::I64 => "<i8",
        DType::I32 => "<i4",
        DType::U8 => "|u1",
        DType::I8 => "|i1",
        DType::Bool => "|b1",
    };
    let extents: Vec<String> = array.shape.iter().map(usize::to_string).collect();
    let comma = if extents.len() == 1 { "," } else { "" };
    let shape = extents.join(", ") + comma;
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    // Data begins at a multiple of 64 bytes. Tensors have few axes: the length fits in two bytes.
    let end = (START + header.len() + 1).next_multiple_of(64);
    header += &" ".repeat(end - START - header.len() - 1);
    let length = ((header.len() + 1) as u16).to_le_bytes();
    [MAGIC, &[1, 0], &length, header.as_bytes(), b"\n", &array.bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(header.len()).unwrap().to_le_bytes();
        [MAGIC, &[1, 0], &length, header.as_bytes(), data].concat()
    }

    fn header(descr: &str, fortran: &str, shape: &str) -> String {
        format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}  \n")
    }

    #[test]
    fn every_element_type_and_rank_survives() {
        for dtype in DType::ALL {
            for shape in [vec![], vec![0], vec![3], vec![2, 0, 2], vec![2, 1, 3]] {
                let size = shape.iter().product::<usize>() * dtype.size();
                let bytes = (0..size).map(|i| (i % 2) as u8).collect();
                let array = Array { dtype, shape, bytes };
                assert_eq!(decode(&encode(&array)), Ok(array));
            }
        }
    }

    #[test]
    fn fortran_order_becomes_row_major() {
        let stored: Vec<u8> = vec![0, 3, 1, 4, 2, 5];
        let array = decode(&file(&header("|u1", "True", "(2, 3)"), &stored)).unwrap();
        assert_eq!(array.bytes, [0, 1, 2, 3, 4, 5]);
        let cube: Vec<u8> = vec![0, 4, 2, 6, 1, 5, 3, 7];
        let array = decode(&file(&header("|u1", "True", "(2, 2, 2)"), &cube)).unwrap();
        assert_eq!(array.bytes, [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn big_endian_becomes_little() {
        let array = decode(&file(&header(">f4", "False", "(1,)"), &1.5f32.to_be_bytes())).unwrap();
        assert_eq!(array, Array::from_f32(vec![1], &[1.5]));
    }

    /// Gives a byte at a time, and fails at one of the calls.
    struct Failing<'a> {
        rest: &'a [u8],
        calls: usize,
    }

    impl Read for Failing<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.calls = self.calls.checked_sub(1).ok_or(std::io::ErrorKind::Other)?;
            let length = buffer.len().min(1);
            self.rest.read(&mut buffer[..length])
        }
    }

    #[test]
    fn a_stream_that_fails_at_any_call_is_an_error() {
        let good = file(&header("<f4", "False", "(2,)"), &[7; 8]);
        let read = |calls| read(&mut Failing { rest: &good, calls }, good.len() as u64);
        let calls = (0..).find(|calls| read(*calls).is_ok()).unwrap();
        assert!(calls >= good.len(), "{calls} calls, for {} bytes", good.len());
        assert_eq!(read(calls).unwrap(), decode(&good).unwrap());
    }

    #[test]
    fn damaged_files_are_refused() {
        let good = file(&header("<f4", "False", "(2,)"), &[0; 8]);
        for length in 0..good.len() {
            assert!(decode(&good[..length]).is_err(), "{length}");
        }
        let refused = |header: &str, data: &[u8]| decode(&file(header, data)).unwrap_err();
        let huge = header("<f4", "False", "(4611686018427387904, 4, 3)");
        assert!(refused(&huge, &[]).contains("more than the file holds"));
        let large = header("<f4", "False", "(1000000000, 1000)");
        assert!(refused(&large, &[0; 8]).contains("more than the file holds"));
        assert!(refused(&header("<f4", "False", "(-1,)"), &[]).contains("extent"));
        assert!(refused(&header("<f2", "False", "(1,)"), &[0; 2]).contains("<f2"));
        assert!(refused(&header("|O", "False", "(1,)"), &[0; 2]).contains("|O"));
        assert!(refused(&header("<f4", "False", "(1,)"), &[0; 5]).contains("left over"));
        assert!(refused(&"[".repeat(60_000), &[]).contains("missing"));
        assert!(refused("{'descr': [('a', '<f4')]}", &[]).contains("records"));
        let mut long = good.clone();
        long[6] = 2;
        long[8..12].fill(0xff);
        assert!(decode(&long).unwrap_err().contains("claims"));
    }
}
