//! The way of a thing as JSON.

use serde_json::{Value, json};

use super::code::Function;
use super::{Argument, Rewrite, StepStory, Story};

const SCHEMA: &str = "cardinal.explain/v1";

impl Story {
    /// One object of the schema cardinal.explain/v1.
    pub(crate) fn to_json(&self) -> Value {
        let onnx = self.onnx.iter();
        let onnx = onnx.map(|node| json!({ "name": node.name, "imported": node.imported }));
        let rewrites = self.rewrites.as_ref();
        let rewrites = rewrites.map(|all| Value::from_iter(all.iter().map(rewrite)));
        let fused = self
            .fused
            .iter()
            .map(|node| json!({ "name": node.name, "text": node.text, "schedule": node.schedule }));
        json!({
            "schema": SCHEMA,
            "name": self.name,
            "kind": self.kind,
            "onnx": Value::from_iter(onnx),
            "rewrites": rewrites,
            "fused": Value::from_iter(fused),
            "steps": Value::from_iter(self.steps.iter().map(step)),
            "functions": Value::from_iter(self.functions.iter().map(function)),
        })
    }
}

fn rewrite(rewrite: &Rewrite) -> Value {
    json!({
        "pass": rewrite.pass,
        "summary": rewrite.summary,
        "at": rewrite.at,
        "removed": rewrite.removed,
        "made": rewrite.made,
    })
}

fn step(step: &StepStory) -> Value {
    json!({
        "number": step.number,
        "headline": step.headline,
        "why": step.why,
        "arguments": Value::from_iter(step.arguments.iter().map(argument)),
        "function": step.function,
    })
}

fn argument(argument: &Argument) -> Value {
    json!({
        "role": argument.role,
        "name": argument.name,
        "memory": argument.memory,
        "offset": argument.offset,
        "bytes": argument.bytes,
        "lives": argument.lives,
    })
}

fn function(function: &Function) -> Value {
    let lines = function.lines.iter();
    let lines = lines.map(|line| json!({ "text": line.text, "hot": line.is_hot }));
    json!({
        "name": function.name,
        "offset": function.offset,
        "bytes": function.bytes,
        "calls": function.calls,
        "assembly": Value::from_iter(lines),
    })
}
