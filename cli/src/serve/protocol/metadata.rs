//! What the server says of itself and of its models.

use serde_json::{Value, json};

use super::datatype;
use crate::serve::hosted::{Hosted, VERSION};
use crate::tensors::Spec;

/// `GET /v2`
pub(in crate::serve) fn of_server() -> Value {
    json!({
        "name": "cardinal",
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": ["binary_tensor_data"],
    })
}

/// `GET /v2/models/NAME`. An extent of -1 is any number of rows.
pub(in crate::serve) fn of_model(model: &Hosted) -> Value {
    let tensors = |specs: &[Spec]| specs.iter().map(|spec| tensor(model, spec)).collect::<Vec<_>>();
    json!({
        "name": model.name,
        "versions": [VERSION],
        "platform": "cardinal",
        "inputs": tensors(model.program.inputs()),
        "outputs": tensors(model.program.outputs()),
    })
}

fn tensor(model: &Hosted, spec: &Spec) -> Value {
    let mut shape: Vec<Value> = spec.shape.iter().map(|extent| json!(extent)).collect();
    if let (true, Some(first)) = (model.rows.is_open, shape.first_mut()) {
        *first = json!(-1);
    }
    json!({"name": spec.name, "datatype": datatype::name(spec.dtype), "shape": shape})
}

/// `POST /v2/repository/index`, which Triton's clients ask for.
pub(in crate::serve) fn index(models: &[Hosted]) -> Value {
    let entry = |model: &Hosted| json!({"name": model.name, "version": VERSION, "state": "READY", "reason": ""});
    models.iter().map(entry).collect()
}
