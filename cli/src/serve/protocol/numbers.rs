//! Numbers of JSON as elements of tensors, flat or nested as the tensor's shape is.
//!
//! Elements are written as they are read, so that a text of numbers takes no more memory than the tensor.

use std::fmt;

use cardinal_runtime::DType;
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Reads a tensor of this type and shape, whose extents are not 0.
///
/// # Errors
/// What is wrong with the text, in words.
pub(super) fn read(text: &RawValue, dtype: DType, shape: &[usize]) -> Result<Vec<u8>, String> {
    let elements = shape.iter().product::<usize>();
    // A number takes two characters at least, but for the last.
    let bytes = Vec::with_capacity(elements.min(text.get().len() / 2 + 1) * dtype.size());
    let mut tensor = Tensor { dtype, shape, elements, bytes, depth: None };
    let mut reader = serde_json::Deserializer::from_str(text.get());
    let read = List { tensor: &mut tensor, depth: 0 }.deserialize(&mut reader);
    read.map_err(|error| error.to_string())?;
    let given = tensor.bytes.len() / dtype.size();
    if given != elements {
        return Err(format!("{given} numbers are given, and the shape {shape:?} has {elements}"));
    }
    Ok(tensor.bytes)
}

/// A tensor that is being read.
struct Tensor<'a> {
    dtype: DType,
    shape: &'a [usize],
    elements: usize,
    bytes: Vec<u8>,
    /// How many lists are around each number, once there is one.
    depth: Option<usize>,
}

/// What is at some place of the text: within `depth` lists.
struct Item<'t, 'a> {
    tensor: &'t mut Tensor<'a>,
    depth: usize,
}

/// The same where only a list may be.
struct List<'t, 'a> {
    tensor: &'t mut Tensor<'a>,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for List<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_seq(Item { tensor: self.tensor, depth: self.depth })
    }
}

impl<'de> DeserializeSeed<'de> for Item<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Item<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tensor.dtype {
            DType::F32 | DType::F64 => {
                f.write_str("numbers, in one list or in lists as the shape is")
            }
            DType::I64 | DType::I32 | DType::U8 | DType::I8 => {
                write!(
                    f,
                    "integers of {}, in one list or in lists as the shape is",
                    self.tensor.dtype
                )
            }
            DType::Bool => f.write_str("true and false, in one list or in lists as the shape is"),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Item { tensor, depth } = self;
        let Some(extent) = tensor.shape.get(depth).copied().or_else(|| tensor.flat_extent(depth))
        else {
            let rank = tensor.shape.len();
            return Err(A::Error::custom(format!("lists are nested deeper than the {rank} axes")));
        };
        let mut count = 0;
        while items.next_element_seed(Item { tensor: &mut *tensor, depth: depth + 1 })?.is_some() {
            count += 1;
        }
        // The numbers of a flat list are counted in the end.
        if count != extent && (depth > 0 || tensor.depth.is_some_and(|depth| depth > 1)) {
            let message = format!("a list of axis {depth} has {count} items and not {extent}");
            return Err(A::Error::custom(message));
        }
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match self.tensor.dtype {
            DType::Bool => self.tensor.push(self.depth, &[u8::from(value)]),
            _ => Err(E::invalid_type(serde::de::Unexpected::Bool(value), &self)),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        match self.tensor.dtype {
            DType::F32 | DType::F64 => self.visit_f64(value as f64),
            _ => self.integer(value.into()),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        match self.tensor.dtype {
            DType::F32 | DType::F64 => self.visit_f64(value as f64),
            _ => self.integer(value.into()),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        let Item { tensor, depth } = &mut { self };
        match tensor.dtype {
            DType::F64 => tensor.push(*depth, &value.to_le_bytes()),
            DType::F32 if (value as f32).is_finite() => {
                tensor.push(*depth, &(value as f32).to_le_bytes())
            }
            DType::F32 => Err(E::custom(format!("{value:e} is beyond what f32 holds"))),
            DType::I64 | DType::I32 | DType::U8 | DType::I8 | DType::Bool => {
                let expected = format!("an element of {}", tensor.dtype);
                Err(E::invalid_value(serde::de::Unexpected::Float(value), &expected.as_str()))
            }
        }
    }
}

impl Item<'_, '_> {
    fn integer<E: Error>(self, value: i128) -> Result<(), E> {
        let Item { tensor, depth } = self;
        let beyond = |_| E::custom(format!("{value} is beyond what {} holds", tensor.dtype));
        match tensor.dtype {
            DType::I64 => {
                let value = i64::try_from(value).map_err(beyond)?;
                tensor.push(depth, &value.to_le_bytes())
            }
            DType::I32 => {
                let value = i32::try_from(value).map_err(beyond)?;
                tensor.push(depth, &value.to_le_bytes())
            }
            DType::U8 => {
                let value = u8::try_from(value).map_err(beyond)?;
                tensor.push(depth, &[value])
            }
            DType::I8 => {
                let value = i8::try_from(value).map_err(beyond)?;
                tensor.push(depth, &value.to_le_bytes())
            }
            DType::Bool | DType::F32 | DType::F64 => {
                Err(E::custom(format!("{value} is no element of {}", tensor.dtype)))
            }
        }
    }
}

impl Tensor<'_> {
    /// How many numbers the outermost list has of a tensor without axes, which is one number in a list.
    fn flat_extent(&self, depth: usize) -> Option<usize> {
        (depth == 0).then_some(self.elements)
    }

    fn push<E: Error>(&mut self, depth: usize, element: &[u8]) -> Result<(), E> {
        let rank = self.shape.len().max(1);
        if depth != *self.depth.get_or_insert(depth) || (depth != 1 && depth != rank) {
            return Err(E::custom(format!(
                "a number is within {depth} lists: all are within one, or within {rank} as the shape is"
            )));
        }
        if self.bytes.len() >= self.elements * self.dtype.size() {
            return Err(E::custom(format!(
                "there are more numbers than the {} of the shape {:?}",
                self.elements, self.shape
            )));
        }
        self.bytes.extend_from_slice(element);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str, dtype: DType, shape: &[usize]) -> Result<Vec<u8>, String> {
        let text: &RawValue = serde_json::from_str(text).unwrap();
        read(text, dtype, shape)
    }

    #[test]
    fn lists_are_flat_or_as_the_shape_is() {
        let six: Vec<u8> =
            [1f32, -2., 0.5, 3e-2, 0., 7.].iter().flat_map(|x| x.to_le_bytes()).collect();
        for text in ["[1, -2, 0.5, 3e-2, 0, 7]", "[[1, -2, 0.5], [3e-2, 0, 7]]"] {
            assert_eq!(read_text(text, DType::F32, &[2, 3]).as_ref(), Ok(&six), "{text}");
        }
        assert_eq!(read_text("[[[[true]]]]", DType::Bool, &[1, 1, 1, 1]), Ok(vec![1]));
        assert_eq!(read_text("[9]", DType::U8, &[]), Ok(vec![9]));
        for (text, what) in [
            ("[1,2,3]", "3 numbers are given"),
            ("[]", "0 numbers are given"),
            ("[1,2,3,4,5,6,7]", "more numbers than the 6"),
            ("[[1,2,3]]", "axis 0 has 1 items"),
            ("[[1,2],[3,4],[5,6]]", "axis 1 has 2 items"),
            ("[[1,2,3],4,5,6]", "within 1 lists"),
            ("[1,[2],3]", "within 2 lists"),
            ("[[[1,2,3]],[[4,5,6]]]", "nested deeper"),
            ("[[],[]]", "axis 1 has 0 items"),
            ("7", "invalid type: integer `7`"),
            ("[\"7\"]", "invalid type: string"),
            ("[null]", "invalid type: null"),
            ("{\"a\": 1}", "invalid type: map"),
        ] {
            let said = read_text(text, DType::F32, &[2, 3]).unwrap_err();
            assert!(said.contains(what), "{text}: {said}");
        }
    }

    #[test]
    fn elements_are_of_their_type() {
        let good = [
            (DType::I64, "[-9223372036854775808]", i64::MIN.to_le_bytes().to_vec()),
            (DType::I32, "[-1]", (-1i32).to_le_bytes().to_vec()),
            (DType::U8, "[255]", vec![255]),
            (DType::I8, "[-128]", vec![128]),
            (DType::Bool, "[false]", vec![0]),
            (DType::F64, "[1e300]", 1e300f64.to_le_bytes().to_vec()),
            (DType::F32, "[0.1]", 0.1f32.to_le_bytes().to_vec()),
        ];
        for (dtype, text, bytes) in good {
            assert_eq!(read_text(text, dtype, &[1]), Ok(bytes), "{text}");
        }
        for (dtype, text) in [
            (DType::I64, "[9223372036854775808]"),
            (DType::I32, "[2147483648]"),
            (DType::U8, "[-1]"),
            (DType::U8, "[1.0]"),
            (DType::I8, "[128]"),
            (DType::Bool, "[1]"),
            (DType::F32, "[true]"),
            (DType::F32, "[1e39]"),
        ] {
            assert!(read_text(text, dtype, &[1]).is_err(), "{dtype} {text}");
        }
    }
}
