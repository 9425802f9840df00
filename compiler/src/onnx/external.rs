//! Tensors whose bytes lie in another file: where, how many, and whether the model may say so.

use bytes::Bytes;
use onnx_protobuf::TensorProto;

use super::ExternalData;
use super::stored::StoredType;
use crate::error::{Error, Problem, Result};

const REMEDY: &str = "keep the weights file beside the model, under the name the model was saved \
                      with, or save the model as one file";

/// The bytes of a tensor of type `ty` with `data_location = EXTERNAL`.
pub(super) fn read(
    tensor: &TensorProto,
    ty: &StoredType,
    name: &str,
    external: &dyn ExternalData,
) -> Result<Bytes> {
    let place = place(tensor, ty, name)?;
    let wrong = |what| wrong(name, what);
    let wanted = ty.bytes() as u64;
    if wanted == 0 {
        return Ok(Bytes::new());
    }
    let bytes = external
        .read(place.location, place.offset, place.length)
        .map_err(|what| wrong(format!("`{}`: {what}", place.location)).with_remedy(REMEDY))?;
    if bytes.len() as u64 != wanted {
        let what = format!(
            "`{}` holds {} bytes from {} on, but {ty} takes {wanted}",
            place.location,
            bytes.len(),
            place.offset
        );
        return Err(wrong(what).with_remedy(REMEDY));
    }
    Ok(bytes)
}

/// Checks where the tensor says its bytes are, and how many.
pub(super) fn check(tensor: &TensorProto, ty: &StoredType, name: &str) -> Result<()> {
    place(tensor, ty, name).map(|_| ())
}

fn place<'a>(tensor: &'a TensorProto, ty: &StoredType, name: &str) -> Result<Place<'a>> {
    let place = Place::of(tensor).map_err(|what| wrong(name, what))?;
    let wanted = ty.bytes() as u64;
    if place.length.is_some_and(|n| n != wanted) || place.offset.checked_add(wanted).is_none() {
        let length = place.length.unwrap_or(wanted);
        let what = format!(
            "{length} bytes at {} of `{}` for {ty}, which takes {wanted}",
            place.offset, place.location
        );
        return Err(wrong(name, what));
    }
    Ok(place)
}

fn wrong(name: &str, what: String) -> Error {
    Problem::ExternalData { tensor: name.to_owned(), what }.into()
}

struct Place<'a> {
    location: &'a str,
    offset: u64,
    length: Option<u64>,
}

impl<'a> Place<'a> {
    fn of(tensor: &'a TensorProto) -> Result<Place<'a>, String> {
        let mut place = Place { location: "", offset: 0, length: None };
        for entry in &tensor.external_data {
            match entry.key.as_str() {
                "location" => place.location = &entry.value,
                "offset" => place.offset = number("offset", &entry.value)?,
                "length" => place.length = Some(number("length", &entry.value)?),
                // `checksum` and what exporters add say nothing about where the bytes are.
                _ => {}
            }
        }
        check_location(place.location)?;
        Ok(place)
    }
}

fn number(key: &str, value: &str) -> Result<u64, String> {
    value.parse().map_err(|_| format!("its {key} is `{value}`, which is not a byte count"))
}

/// A location must name a file in the model's folder or below, on every operating system.
fn check_location(location: &str) -> Result<(), String> {
    let drive = location.as_bytes().get(1) == Some(&b':');
    let why = if location.is_empty() {
        "is missing"
    } else if location.starts_with('/') || drive {
        "is an absolute path"
    } else if location.contains(['\\', '\0']) {
        "has a character that paths in ONNX may not have"
    } else if location.split('/').any(|part| part == "..") {
        "leaves the model's folder"
    } else if location.split('/').any(str::is_empty) {
        "is not the name of a file"
    } else {
        return Ok(());
    };
    Err(format!("its location `{}` {why}", location.escape_debug()))
}
