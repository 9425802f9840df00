//! Findings as JSON.

use cardinal_compiler::onnx::{DeclaredTensor, OperatorUse};
use serde_json::{Value, json};

use super::contents::Unusual;
use super::{Findings, Imported};

const SCHEMA: &str = "cardinal.doctor/v2";

impl Findings {
    /// One object of the schema cardinal.doctor/v2. What could not be found out is null.
    pub(crate) fn to_json(&self) -> Value {
        let survey = &self.survey;
        let mut value = json!({
            "schema": SCHEMA,
            "model": self.model,
            "compiles": self.refusal.is_none(),
            "problem": self.refusal.as_ref().map(ToString::to_string),
            "help": self.refusal.as_ref().and_then(|refusal| refusal.help()),
            "producer": survey.producer,
            "ir_version": survey.ir_version,
            "opsets": survey.opsets,
            "functions": survey.functions,
            "operators": Value::from_iter(survey.operators.iter().map(operator)),
            "inputs": Value::from_iter(survey.inputs.iter().map(|input| self.declared_input(input))),
            "outputs": Value::from_iter(survey.outputs.iter().map(declared)),
            "stored": survey.stored,
            "external": survey.external,
        });
        if let (Value::Object(all), Some(imported)) = (&mut value, &self.imported) {
            all.extend(imported.to_json());
        }
        value
    }

    /// With the shape that it is fixed to.
    fn declared_input(&self, input: &DeclaredTensor) -> Value {
        let mut value = declared(input);
        let spec = self.imported.iter().flat_map(|imported| &imported.inputs);
        let spec = spec.into_iter().find(|spec| spec.name == input.name);
        value["fixed_to"] = json!(spec.map(|spec| &spec.shape));
        value
    }
}

fn operator(found: &OperatorUse) -> Value {
    let refusal = found.refusal.as_ref();
    json!({
        "domain": found.domain,
        "name": found.name,
        "count": found.nodes.len(),
        "supported": refusal.is_none(),
        "problem": refusal.map(|error| error.problem.to_string()),
        "help": refusal.and_then(|error| error.remedy.as_ref()),
        "nodes": if refusal.is_some() { json!(found.nodes) } else { json!([]) },
    })
}

fn declared(tensor: &DeclaredTensor) -> Value {
    let dims = tensor.dims.as_ref();
    let dims = dims.map(|dims| Value::from_iter(dims.iter().map(|dim| dimension(dim))));
    json!({ "name": tensor.name, "element": tensor.element, "dims": dims })
}

/// A number, or the name of what is open.
fn dimension(dim: &str) -> Value {
    dim.parse::<u64>().map_or_else(|_| dim.into(), Value::from)
}

impl Imported {
    fn to_json(&self) -> serde_json::Map<String, Value> {
        let unusual = |Unusual { name, nan, infinite, denormal }: &Unusual| json!({ "name": name, "nan": nan, "infinite": infinite, "denormal": denormal });
        let passes = self.passes.iter().map(
            |pass| json!({ "name": pass.name, "summary": pass.summary, "rewrites": pass.rewrites }),
        );
        let misses = self
            .near_misses
            .iter()
            .map(|miss| json!({ "pass": miss.pass, "node": miss.node, "because": miss.because }));
        let memory = self.memory.as_ref();
        let estimates = self.estimates.iter();
        let estimates =
            estimates.map(|estimate| (estimate.precision.to_owned(), json!(estimate.ms)));
        let contents = &self.contents;
        let all = [
            ("nodes_imported", json!(contents.imported)),
            ("nodes_after_passes", json!(memory.map(|_| contents.fused))),
            ("multiply_adds", json!(contents.multiply_adds)),
            ("parameters", json!(contents.parameters)),
            ("weight_bytes", json!(memory.map(|memory| memory.weights))),
            ("arena_bytes", json!(memory.map(|memory| memory.arena))),
            ("worker_bytes", json!(memory.map(|memory| memory.worker))),
            ("attention", json!(contents.attention)),
            ("near_misses", Value::from_iter(misses)),
            ("passes", Value::from_iter(passes)),
            ("unusual_weights", Value::from_iter(contents.unusual.iter().map(unusual))),
            ("estimated_conv_ms", Value::Object(estimates.collect())),
            ("images", json!(self.images.what.as_ref().ok())),
            ("no_images_because", json!(self.images.what.as_ref().err())),
            ("image_warnings", json!(self.images.warnings)),
        ];
        all.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}
