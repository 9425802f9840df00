//! What is answered to a request for an inference.

use bytes::Bytes;
use cardinal_runtime::DType;
use cardinal_runtime::text;
use serde::{Serialize, Serializer};

use super::datatype;
use crate::serve::hosted::{Hosted, VERSION};
use crate::serve::rows::Outputs;
use crate::tensors::Spec;

/// The body of an answer.
pub(in crate::serve) struct Answered {
    /// JSON, and behind it the tensors in binary.
    pub(in crate::serve) body: Bytes,
    /// Bytes of the JSON, where something is behind it.
    pub(in crate::serve) header: Option<usize>,
}

#[derive(Serialize)]
struct Body<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    outputs: Vec<Output<'a>>,
}

#[derive(Serialize)]
struct Output<'a> {
    name: &'a str,
    datatype: &'a str,
    shape: Vec<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<BinarySize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Numbers<'a>>,
}

#[derive(Serialize)]
struct BinarySize {
    binary_data_size: usize,
}

/// The elements of a tensor, flat. What is no number, NaN and infinities, is null, since JSON has no word for it.
struct Numbers<'a>(DType, &'a [u8]);

impl Serialize for Numbers<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Numbers(dtype, bytes) = *self;
        match dtype {
            DType::F32 => {
                to.collect_seq(bytes.as_chunks().0.iter().map(|w| f32::from_le_bytes(*w)))
            }
            DType::F64 => {
                to.collect_seq(bytes.as_chunks().0.iter().map(|w| f64::from_le_bytes(*w)))
            }
            DType::I64 => {
                to.collect_seq(bytes.as_chunks().0.iter().map(|w| i64::from_le_bytes(*w)))
            }
            DType::I32 => {
                to.collect_seq(bytes.as_chunks().0.iter().map(|w| i32::from_le_bytes(*w)))
            }
            DType::U8 => to.collect_seq(bytes),
            DType::I8 => to.collect_seq(bytes.iter().map(|b| b.cast_signed())),
            DType::Bool => to.collect_seq(bytes.iter().map(|b| *b != 0)),
        }
    }
}

/// The answer with these outputs, by places among the model's, in this order.
///
/// # Errors
/// None that is known of: those of writing JSON to memory.
pub(in crate::serve) fn answer(
    model: &Hosted,
    id: Option<&str>,
    outputs: &Outputs,
    wanted: &[(usize, bool)],
) -> serde_json::Result<Answered> {
    let (specs, tensors) = (model.program.outputs(), &outputs.tensors);
    let found = wanted.iter().filter_map(|(place, is_binary)| {
        Some((specs.get(*place)?, tensors.get(*place)?.as_slice(), *is_binary))
    });
    let said = Body {
        model_name: &model.name,
        model_version: VERSION,
        id,
        outputs: found.clone().map(|output| described(model, outputs.count, output)).collect(),
    };
    let mut body = text::json(&serde_json::to_string(&said)?).into_bytes();
    let json = body.len();
    let binary = || found.clone().filter(|(.., is_binary)| *is_binary);
    binary().for_each(|(_, bytes, _)| body.extend_from_slice(bytes));
    let header = binary().next().map(|_| json);
    Ok(Answered { body: body.into(), header })
}

fn described<'a>(
    model: &Hosted,
    rows: usize,
    (spec, bytes, is_binary): (&'a Spec, &'a [u8], bool),
) -> Output<'a> {
    Output {
        name: &spec.name,
        datatype: datatype::name(spec.dtype),
        shape: model.rows.shape(spec, rows),
        parameters: is_binary.then_some(BinarySize { binary_data_size: bytes.len() }),
        data: (!is_binary).then_some(Numbers(spec.dtype, bytes)),
    }
}
