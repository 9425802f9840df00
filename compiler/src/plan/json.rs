//! A plan as JSON.

use serde_json::{Value, json};

use super::{Base, Place, Plan, Port, Role, text};

/// The schema's name.
pub const SCHEMA: &str = "cardinal.plan/v1";

/// The plan with stable keys. Kernels are given by name and by the attributes of their text form.
pub fn to_json(plan: &Plan) -> Value {
    let port = |p: &Port| json!({"name": p.name, "type": p.ty.to_string()});
    let constant = |c: &super::Constant| {
        let hash = format!("{:016x}", c.data.hash());
        json!({"name": c.name, "type": c.ty.to_string(), "offset": c.offset, "hash": hash})
    };
    let buffer = |b: &super::Buffer| {
        let live = [b.first, b.last];
        json!({"name": b.name, "bytes": b.bytes, "offset": b.offset, "live": live})
    };
    let place = |p: &Place| {
        let (kind, index) = match p.base {
            Base::Input(i) => ("input", i),
            Base::Output(i) => ("output", i),
            Base::Constant(i) => ("constant", i),
            Base::Buffer(i) => ("buffer", i),
            Base::Worker => ("worker", 0),
        };
        json!({"in": kind, "index": index, "offset": p.offset, "image": p.image})
    };
    let argument = |(role, p): (Role, Place)| {
        let mut argument = place(&p);
        argument["role"] = role.to_string().into();
        argument
    };
    let step = |s: &super::Step| {
        let attributes: serde_json::Map<String, Value> =
            text::attributes(&s.kernel).into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        json!({
            "name": s.name,
            "kernel": s.kernel.name(),
            "items": s.kernel.items(),
            "attributes": attributes,
            "stage": s.stage,
            "args": s.arguments().map(argument).collect::<Vec<_>>(),
            "why": s.why,
            "from": s.from.iter().map(|f| f.as_ref()).collect::<Vec<&str>>(),
        })
    };
    json!({
        "schema": SCHEMA,
        "name": plan.name,
        "arena_bytes": plan.arena_bytes,
        "worker_bytes": plan.worker_bytes,
        "weight_bytes": plan.weight_bytes,
        "stages": plan.stages,
        "inputs": plan.inputs.iter().map(port).collect::<Vec<_>>(),
        "outputs": plan.outputs.iter().map(port).collect::<Vec<_>>(),
        "constants": plan.constants.iter().map(constant).collect::<Vec<_>>(),
        "buffers": plan.buffers.iter().map(buffer).collect::<Vec<_>>(),
        "steps": plan.steps.iter().map(step).collect::<Vec<_>>(),
    })
}
