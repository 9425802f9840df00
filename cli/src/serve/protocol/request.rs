//! What a request for an inference says.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::{datatype, numbers};
use crate::serve::hosted::Hosted;
use crate::serve::refusal::Refusal;
use crate::serve::rows::Rows;
use crate::tensors::Spec;

/// A request that fits its model.
#[derive(Debug)]
pub(in crate::serve) struct Asked {
    /// What the client calls it.
    pub(in crate::serve) id: Option<String>,
    /// Its inputs.
    pub(in crate::serve) rows: Rows,
    /// Which outputs it wants, as places among the model's, and whether in binary.
    pub(in crate::serve) outputs: Vec<(usize, bool)>,
}

/// The JSON of a request. What is not known of it is left alone: it is for other servers.
#[derive(Deserialize)]
struct Body<'a> {
    id: Option<String>,
    #[serde(default)]
    parameters: Parameters,
    #[serde(borrow)]
    inputs: Vec<Input<'a>>,
    #[serde(default, borrow)]
    outputs: Vec<Output<'a>>,
}

#[derive(Default, Deserialize)]
struct Parameters {
    binary_data_output: Option<bool>,
}

#[derive(Deserialize)]
struct Input<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    datatype: Cow<'a, str>,
    shape: Vec<i64>,
    #[serde(default)]
    parameters: InputParameters,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct InputParameters {
    binary_data_size: Option<u64>,
    shared_memory_region: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(default)]
    parameters: OutputParameters,
}

#[derive(Default, Deserialize)]
struct OutputParameters {
    binary_data: Option<bool>,
    classification: Option<IgnoredAny>,
    shared_memory_region: Option<IgnoredAny>,
}

/// Reads a request for this model, of whose body the first `header` bytes are JSON and the rest binary tensors; all of
/// it is JSON where that is not said. The outputs of a request may take `most` bytes.
///
/// # Errors
/// What is wrong with it, and what was expected.
pub(in crate::serve) fn parse(
    model: &Hosted,
    body: &Bytes,
    header: Option<usize>,
    most: usize,
) -> Result<Asked, Refusal> {
    let length = header.unwrap_or(body.len());
    if length > body.len() {
        let (has, says) = (body.len(), length);
        return Err(Refusal::bad(format!(
            "Inference-Header-Content-Length is {says}, and the body has {has} bytes"
        )));
    }
    let said: Body<'_> = serde_json::from_slice(&body[..length]).map_err(|error| {
        Refusal::bad(format!("the body is no request for an inference: {error}"))
    })?;
    let rows = inputs(model, &said, Binary { all: body, at: length }, most)?;
    Ok(Asked { id: said.id, rows, outputs: outputs(model, &said.outputs, &said.parameters)? })
}

/// The inputs, which the model is to have all of.
fn inputs(
    model: &Hosted,
    said: &Body<'_>,
    mut binary: Binary<'_>,
    most: usize,
) -> Result<Rows, Refusal> {
    let specs = model.program.inputs();
    let mut given = vec![None; specs.len()];
    let mut count = None;
    for input in &said.inputs {
        let (place, spec) = find(specs, &input.name, "input")?;
        let rows = rows_of(model, spec, input, &mut count)?;
        check_size(model, rows, most)?;
        let elements = elements(model, place, rows, spec, input, &mut binary)?;
        if given[place].replace(elements).is_some() {
            return Err(Refusal::bad(format!("input `{}` is given twice", input.name)));
        }
    }
    binary.end()?;
    let missing = |(spec, input): (&Spec, Option<Bytes>)| {
        input.ok_or_else(|| Refusal::bad(format!("input `{}` is not given", takes(model, spec))))
    };
    let inputs = specs.iter().zip(given).map(missing).collect::<Result<_, _>>()?;
    Ok(Rows { count: count.unwrap_or(1), inputs })
}

/// A tensor's place among the model's, by its name.
fn find<'m>(
    specs: &'m [Spec],
    name: &str,
    what: &'static str,
) -> Result<(usize, &'m Spec), Refusal> {
    let found = specs.iter().enumerate().find(|(_, spec)| spec.name == name);
    found.ok_or_else(|| {
        let names: Vec<String> = specs.iter().map(|spec| format!("`{}`", spec.name)).collect();
        Refusal::bad(format!("the model has no {what} `{name}`; it has {}", names.join(", ")))
    })
}

/// `x FP32 [-1, 3, 224, 224]`
fn takes(model: &Hosted, spec: &Spec) -> String {
    let shape: Vec<String> = spec.shape.iter().map(ToString::to_string).collect();
    let shape = match shape.split_first() {
        Some((_, rest)) if model.rows.is_open => [&["-1".to_owned()], rest].concat().join(", "),
        Some(_) | None => shape.join(", "),
    };
    format!("{} {} [{shape}]", spec.name, datatype::name(spec.dtype))
}

/// How many rows an input has: as many as those before it.
fn rows_of(
    model: &Hosted,
    spec: &Spec,
    input: &Input<'_>,
    count: &mut Option<usize>,
) -> Result<usize, Refusal> {
    let misfit = || {
        Refusal::bad(format!(
            "input `{}` is expected, and {} {:?} is given",
            takes(model, spec),
            input.datatype,
            input.shape
        ))
    };
    if input.datatype != datatype::name(spec.dtype) || input.shape.len() != spec.shape.len() {
        return Err(misfit());
    }
    let rows = match input.shape.first() {
        Some(first) if model.rows.is_open => usize::try_from(*first).map_err(|_| misfit())?,
        Some(_) | None => 1,
    };
    let is_same = |(given, wanted): (&i64, usize)| usize::try_from(*given) == Ok(wanted);
    let wanted = model.rows.shape(spec, rows);
    if rows == 0 || !input.shape.iter().zip(wanted).all(is_same) {
        return Err(misfit());
    }
    match *count.get_or_insert(rows) {
        others if others == rows => Ok(rows),
        others => Err(Refusal::bad(format!(
            "input `{}` has {rows} rows, and others have {others}",
            spec.name
        ))),
    }
}

/// Refuses more rows than a request and its answer can have.
fn check_size(model: &Hosted, rows: usize, most: usize) -> Result<(), Refusal> {
    // A row without bytes takes some of the server's memory too.
    let row = model.rows.bytes().max(1);
    match rows.checked_mul(row) {
        Some(bytes) if bytes <= most => Ok(()),
        Some(_) | None => Err(Refusal::bad(format!(
            "inputs and outputs of {rows} rows, of {row} bytes each, take more than the {most} bytes of a \
             request (--max-body); send fewer rows at once"
        ))),
    }
}

/// The elements of an input, from the JSON or from behind it.
fn elements(
    model: &Hosted,
    place: usize,
    rows: usize,
    spec: &Spec,
    input: &Input<'_>,
    binary: &mut Binary<'_>,
) -> Result<Bytes, Refusal> {
    let name = &spec.name;
    if input.parameters.shared_memory_region.is_some() {
        return Err(Refusal::bad(format!("input `{name}` is in shared memory, which is not read")));
    }
    // What fits the limit of a request does not overflow.
    let bytes = model.rows.inputs[place] * rows;
    match (input.parameters.binary_data_size, input.data) {
        (Some(_), Some(_)) => Err(Refusal::bad(format!(
            "input `{name}` has both data and binary_data_size; it is to have one of them"
        ))),
        (None, None) => Err(Refusal::bad(format!(
            "input `{name}` has no data: a list in JSON, or the parameter binary_data_size"
        ))),
        (None, Some(data)) => {
            let shape = model.rows.shape(spec, rows);
            let read = numbers::read(data, spec.dtype, &shape);
            read.map(Bytes::from)
                .map_err(|what| Refusal::bad(format!("data of input `{name}`: {what}")))
        }
        (Some(size), None) if size == bytes as u64 => binary.take(name, bytes),
        (Some(size), None) => Err(Refusal::bad(format!(
            "binary_data_size of input `{name}` is {size}, and {} {:?} takes {bytes} bytes",
            input.datatype, input.shape
        ))),
    }
}

/// The outputs that are asked for: all where none is named.
fn outputs(
    model: &Hosted,
    asked: &[Output<'_>],
    parameters: &Parameters,
) -> Result<Vec<(usize, bool)>, Refusal> {
    let specs = model.program.outputs();
    let by_default = parameters.binary_data_output.unwrap_or(false);
    if asked.is_empty() {
        return Ok((0..specs.len()).map(|place| (place, by_default)).collect());
    }
    let mut found: Vec<(usize, bool)> = Vec::new();
    for Output { name, parameters } in asked {
        let (place, _) = find(specs, name, "output")?;
        if found.iter().any(|(other, _)| *other == place) {
            return Err(Refusal::bad(format!("output `{name}` is asked for twice")));
        }
        let OutputParameters { binary_data, classification, shared_memory_region } = parameters;
        for (other, is_given) in [
            ("classification", classification.is_some()),
            ("shared_memory_region", shared_memory_region.is_some()),
        ] {
            if is_given {
                let message = format!("output `{name}`: the parameter {other} is not supported");
                return Err(Refusal::bad(message));
            }
        }
        found.push((place, binary_data.unwrap_or(by_default)));
    }
    Ok(found)
}

/// The binary tensors behind the JSON.
struct Binary<'a> {
    all: &'a Bytes,
    at: usize,
}

impl Binary<'_> {
    fn take(&mut self, name: &str, bytes: usize) -> Result<Bytes, Refusal> {
        let left = self.all.len() - self.at;
        if bytes > left {
            return Err(Refusal::bad(format!(
                "input `{name}` takes {bytes} bytes behind the JSON, where {left} are left"
            )));
        }
        self.at += bytes;
        Ok(self.all.slice(self.at - bytes..self.at))
    }

    fn end(&self) -> Result<(), Refusal> {
        match self.all.len() - self.at {
            0 => Ok(()),
            more => Err(Refusal::bad(format!(
                "{more} bytes behind the JSON belong to no input: their binary_data_size do not add up"
            ))),
        }
    }
}
