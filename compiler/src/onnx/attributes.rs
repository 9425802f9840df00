//! Attributes of one node, by name and type. What nobody has asked for is refused in the end.

use std::cell::RefCell;
use std::collections::BTreeSet;

use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::{AttributeProto, TensorProto};

use super::refusal::{bad, unsupported};
use crate::error::Result;

/// A node's attributes.
#[derive(Debug)]
pub(super) struct Attributes<'a, 'm> {
    all: &'a [(&'m str, &'m AttributeProto)],
    asked: RefCell<BTreeSet<String>>,
}

impl<'a, 'm> Attributes<'a, 'm> {
    /// The attributes in `all`.
    pub(super) fn new(all: &'a [(&'m str, &'m AttributeProto)]) -> Self {
        Attributes { all, asked: RefCell::default() }
    }

    /// An integer, or the default.
    pub(super) fn int(&self, name: &str, default: i64) -> Result<i64> {
        Ok(self.typed(name, AttributeType::INT)?.map_or(default, |a| a.i))
    }

    /// A truth value spelled as an integer, or the default.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool> {
        match self.int(name, i64::from(default))? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(bad(format!("attribute `{name}` is {other}, neither 0 nor 1"))),
        }
    }

    /// A float, or the default.
    pub(super) fn float(&self, name: &str, default: f32) -> Result<f32> {
        Ok(self.optional_float(name)?.unwrap_or(default))
    }

    /// A float, if it is there.
    pub(super) fn optional_float(&self, name: &str) -> Result<Option<f32>> {
        Ok(self.typed(name, AttributeType::FLOAT)?.map(|a| a.f))
    }

    /// An integer, if it is there.
    pub(super) fn optional_int(&self, name: &str) -> Result<Option<i64>> {
        Ok(self.typed(name, AttributeType::INT)?.map(|a| a.i))
    }

    /// A string, or the default.
    pub(super) fn string(&self, name: &str, default: &'m str) -> Result<&'m str> {
        match self.typed(name, AttributeType::STRING)? {
            Some(a) => std::str::from_utf8(&a.s)
                .map_err(|_| bad(format!("attribute `{name}` is not UTF-8"))),
            None => Ok(default),
        }
    }

    /// Integers, if they are there.
    pub(super) fn ints(&self, name: &str) -> Result<Option<&'m [i64]>> {
        Ok(self.typed(name, AttributeType::INTS)?.map(|a| a.ints.as_slice()))
    }

    /// Floats, if they are there.
    pub(super) fn floats(&self, name: &str) -> Result<Option<&'m [f32]>> {
        Ok(self.typed(name, AttributeType::FLOATS)?.map(|a| a.floats.as_slice()))
    }

    /// Strings, if they are there.
    pub(super) fn strings(&self, name: &str) -> Result<Option<Vec<&'m str>>> {
        let Some(attribute) = self.typed(name, AttributeType::STRINGS)? else {
            return Ok(None);
        };
        let texts = attribute.strings.iter().map(|bytes| {
            std::str::from_utf8(bytes).map_err(|_| bad(format!("attribute `{name}` is not UTF-8")))
        });
        Ok(Some(texts.collect::<Result<_>>()?))
    }

    /// A tensor, if it is there.
    pub(super) fn tensor(&self, name: &str) -> Result<Option<&'m TensorProto>> {
        match self.typed(name, AttributeType::TENSOR)? {
            Some(a) => match a.t.as_ref() {
                Some(tensor) => Ok(Some(tensor)),
                None => Err(bad(format!("attribute `{name}` holds no tensor"))),
            },
            None => Ok(None),
        }
    }

    /// Accepts attributes that make no difference.
    pub(super) fn ignore(&self, names: &[&str]) {
        self.asked.borrow_mut().extend(names.iter().map(|name| (*name).to_owned()));
    }

    /// Refuses an attribute that nothing has asked for.
    pub(super) fn check_all_known(&self) -> Result<()> {
        let asked = self.asked.borrow();
        match self.all.iter().find(|(name, _)| !asked.contains(*name)) {
            Some((name, _)) => Err(unsupported(format!("attribute `{name}`"))),
            None => Ok(()),
        }
    }

    fn typed(&self, name: &str, wanted: AttributeType) -> Result<Option<&'m AttributeProto>> {
        self.ignore(&[name]);
        let Some((_, attribute)) = self.all.iter().find(|(known, _)| *known == name) else {
            return Ok(None);
        };
        if attribute.type_.enum_value() != Ok(wanted) {
            return Err(bad(format!("attribute `{name}` is not of the type {wanted:?}")));
        }
        if values(attribute) > 1 {
            return Err(bad(format!("attribute `{name}` holds values of several types")));
        }
        Ok(Some(attribute))
    }
}

/// How many of its fields for values an attribute uses.
fn values(attribute: &AttributeProto) -> usize {
    let used = [
        attribute.f != 0.0,
        attribute.i != 0,
        !attribute.s.is_empty(),
        attribute.t.is_some(),
        attribute.tp.is_some(),
        attribute.sparse_tensor.is_some(),
        !attribute.floats.is_empty(),
        !attribute.ints.is_empty(),
        !attribute.strings.is_empty(),
        !attribute.tensors.is_empty(),
        !attribute.type_protos.is_empty(),
        !attribute.sparse_tensors.is_empty(),
    ];
    used.into_iter().filter(|used| *used).count()
}
