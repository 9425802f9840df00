//! The first look at untrusted bytes: bounds them, and lifts weights out without copying them.
//!
//! The protobuf parser used afterwards recurses as deep as its input says and copies every byte.
//! So the walk here goes over the encoded message first. It refuses what the parser must not see
//! (groups, deep nesting, lengths past the end, floods of empty messages) and writes the message
//! anew with each `TensorProto.raw_data` replaced by an eight-byte index into [`Lifted::raw`],
//! whose entries are slices of the original. A field that may be there once and is there twice is
//! refused too: parsers differ in what they make of it.

use bytes::Bytes;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key};
use protobuf::Message as _;

use super::schema::{Message, RAW_DATA};
use crate::error::{Problem, Result};
use crate::limits::{MESSAGE_DEPTH, MESSAGES};

/// Bytes of a length that is filled in when the message it stands before is complete.
const LENGTH_BYTES: usize = 5;

/// A parsed model and its weights.
#[derive(Debug)]
pub(super) struct Lifted {
    /// The model; `raw_data` holds indices into `raw`.
    pub(super) model: onnx_protobuf::ModelProto,
    /// What `raw_data` held.
    pub(super) raw: Vec<Bytes>,
}

/// Parses a model file.
pub(super) fn parse(file: &Bytes) -> Result<Lifted> {
    if file.is_empty() {
        return Err(malformed("the file is empty"));
    }
    parse_binary(file).map_err(|error| match text_hint(file) {
        Some(hint) => malformed(hint),
        None => error,
    })
}

fn parse_binary(file: &Bytes) -> Result<Lifted> {
    let mut walk = Walk { file, raw: Vec::new(), out: Vec::new(), messages: 0 };
    walk.message(Message::Model, file, 0)?;
    let model = onnx_protobuf::ModelProto::parse_from_bytes(&walk.out)
        .map_err(|e| malformed(format!("{e}")))?;
    Ok(Lifted { model, raw: walk.raw })
}

/// What to say about a file that begins like text.
fn text_hint(file: &[u8]) -> Option<&'static str> {
    let head = &file[..file.len().min(48)];
    if head.starts_with(b"version https://git-lfs") {
        return Some("this is a Git LFS pointer; fetch the file itself with `git lfs pull`");
    }
    let printable = |b: &u8| b.is_ascii_graphic() || b.is_ascii_whitespace();
    head.iter().all(printable).then_some("this is a text file")
}

fn malformed(what: impl Into<String>) -> crate::error::Error {
    Problem::Malformed(what.into()).into()
}

struct Walk<'a> {
    file: &'a Bytes,
    raw: Vec<Bytes>,
    out: Vec<u8>,
    messages: usize,
}

impl Walk<'_> {
    fn message(&mut self, kind: Message, mut rest: &[u8], depth: usize) -> Result<()> {
        self.count(kind, rest, depth)?;
        let mut seen = 0;
        while !rest.is_empty() {
            let field = rest;
            let broken = |e| self.broken(kind, field, &format!("{e}"));
            let (tag, wire) = decode_key(&mut rest).map_err(broken)?;
            self.once(kind, tag, &mut seen, field)?;
            match wire {
                WireType::Varint => {
                    decode_varint(&mut rest).map_err(broken)?;
                }
                WireType::ThirtyTwoBit => self.skip(kind, &mut rest, 4)?,
                WireType::SixtyFourBit => self.skip(kind, &mut rest, 8)?,
                WireType::LengthDelimited => {
                    let length = decode_varint(&mut rest).map_err(broken)?;
                    let content = rest;
                    self.skip(kind, &mut rest, length)?;
                    let content = &content[..content.len() - rest.len()];
                    if self.nested(kind, tag, content, depth)? {
                        continue;
                    }
                }
                WireType::StartGroup | WireType::EndGroup => {
                    return Err(self.broken(kind, field, "ONNX has no groups"));
                }
            }
            self.out.extend_from_slice(&field[..field.len() - rest.len()]);
        }
        Ok(())
    }

    fn count(&mut self, kind: Message, at: &[u8], depth: usize) -> Result<()> {
        self.messages += 1;
        if depth > MESSAGE_DEPTH {
            return Err(self.broken(kind, at, &format!("nested more than {MESSAGE_DEPTH} deep")));
        }
        if self.messages > MESSAGES {
            return Err(self.broken(kind, at, &format!("more than {MESSAGES} messages")));
        }
        Ok(())
    }

    /// Refuses a field that is there already, and may be there once. Bits of `seen` are places of
    /// fields.
    fn once(&self, kind: Message, tag: u32, seen: &mut u32, at: &[u8]) -> Result<()> {
        let Some(bit) = kind.place(tag).and_then(|place| 1u32.checked_shl(place)) else {
            return Ok(());
        };
        if *seen & bit != 0 {
            let what = format!("field {tag} is there twice, or with another that excludes it");
            return Err(self.broken(kind, at, &what));
        }
        *seen |= bit;
        Ok(())
    }

    /// Writes a field that holds a message or weights; `false` when it is neither.
    fn nested(&mut self, kind: Message, tag: u32, content: &[u8], depth: usize) -> Result<bool> {
        if (kind, tag) == (Message::Tensor, RAW_DATA) {
            let index = self.raw.len() as u64;
            self.raw.push(self.file.slice_ref(content));
            encode_key(tag, WireType::LengthDelimited, &mut self.out);
            self.out.push(8);
            self.out.extend(index.to_le_bytes());
            return Ok(true);
        }
        let Some(message) = kind.nested(tag) else {
            return Ok(false);
        };
        encode_key(tag, WireType::LengthDelimited, &mut self.out);
        let start = self.out.len() + LENGTH_BYTES;
        self.out.resize(start, 0);
        self.message(message, content, depth + 1)?;
        let length = self.out.len() - start;
        if length > i32::MAX as usize {
            return Err(self.broken(message, content, "longer than 2 GiB without its weights"));
        }
        write_length(&mut self.out[start - LENGTH_BYTES..start], length);
        Ok(true)
    }

    fn skip(&self, kind: Message, rest: &mut &[u8], length: u64) -> Result<()> {
        let next = usize::try_from(length).ok().and_then(|n| rest.get(n..));
        *rest = next.ok_or_else(|| self.overrun(kind, rest, length))?;
        Ok(())
    }

    fn overrun(&self, kind: Message, rest: &[u8], length: u64) -> crate::error::Error {
        let after = self.file.len() - self.offset(rest);
        if length > after as u64 {
            return malformed(format!(
                "a {} goes on {} bytes past the end of the file, which seems to be truncated",
                kind.name(),
                length - after as u64,
            ));
        }
        self.broken(kind, rest, "a field is longer than the message that holds it")
    }

    fn broken(&self, kind: Message, at: &[u8], what: &str) -> crate::error::Error {
        let (name, offset) = (kind.name(), self.offset(at));
        malformed(format!("{name} at byte {offset}: {}", what.trim_end_matches('.')))
    }

    /// Where in the file `part` begins.
    fn offset(&self, part: &[u8]) -> usize {
        (part.as_ptr() as usize).saturating_sub(self.file.as_ptr() as usize).min(self.file.len())
    }
}

/// A varint of exactly [`LENGTH_BYTES`] bytes.
fn write_length(place: &mut [u8], mut length: usize) {
    let last = place.len() - 1;
    for byte in &mut place[..last] {
        *byte = (length & 0x7f) as u8 | 0x80;
        length >>= 7;
    }
    place[last] = length as u8;
}
