//! The types that a model declares for its values, beside those that they have.

use onnx_protobuf::tensor_shape_proto::dimension::Value as Extent;
use onnx_protobuf::{GraphProto, ValueInfoProto, type_proto};

use super::stored::element_type;
use crate::error::{Error, Problem, Result};
use crate::ir::TensorType;

/// What of a declared type must hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Elements,
    Rank,
    Extents,
}

/// Compares declared types with those that `ty` gives, where it gives one: of initializers that are
/// inputs too, of outputs, and of values in between.
///
/// The shapes of values in between are not compared, since tools that edit models leave old ones
/// behind; nor are the extents of outputs where an input leaves some open, which exporters then state
/// as they were when they traced the model.
pub(super) fn check<'t>(
    graph: &GraphProto,
    ty: impl Fn(&str) -> Option<&'t TensorType>,
) -> Result<()> {
    let of_outputs = if graph.input.iter().all(is_fixed) { Part::Extents } else { Part::Rank };
    let lists = [
        ("input", &graph.input, Part::Extents),
        ("output", &graph.output, of_outputs),
        ("value", &graph.value_info, Part::Elements),
    ];
    for (role, values, part) in lists {
        for value in values {
            if let Some(ty) = ty(&value.name) {
                compare(role, value, ty, part)?;
            }
        }
    }
    Ok(())
}

/// Whether every extent of an input is declared.
fn is_fixed(input: &ValueInfoProto) -> bool {
    match &input.type_.value {
        Some(type_proto::Value::TensorType(tensor)) => {
            let fixed = |dim: &Option<Extent>| matches!(dim, Some(Extent::DimValue(1..)));
            tensor.shape.as_ref().is_some_and(|shape| shape.dim.iter().all(|d| fixed(&d.value)))
        }
        Some(_) | None => false,
    }
}

fn compare(role: &str, value: &ValueInfoProto, ty: &TensorType, part: Part) -> Result<()> {
    let Some(type_proto::Value::TensorType(declared)) = &value.type_.value else {
        return Ok(());
    };
    let lie = |what: String| -> Error {
        let what = format!("the {role} `{}` is declared {what}, but it is {ty}", value.name);
        Problem::InvalidGraph(what).into()
    };
    match element_type(declared.elem_type) {
        Ok(dtype) if dtype != ty.dtype => {
            return Err(lie(format!("with elements of {dtype}")));
        }
        // What is stored in a narrow type is computed in f32, and would come out as f32.
        Err((what, remedy)) if role == "output" && declared.elem_type != 0 => {
            let what = format!("the output `{}`: {what}", value.name);
            return Err(Error::from(Problem::Unsupported(what)).with_remedy(remedy));
        }
        Ok(_) | Err(_) => {}
    }
    let Some(shape) = declared.shape.as_ref().filter(|_| part != Part::Elements) else {
        return Ok(());
    };
    let extents = ty.shape();
    if shape.dim.len() != extents.len() {
        return Err(lie(format!("with {} axes", shape.dim.len())));
    }
    for (axis, (dim, extent)) in shape.dim.iter().zip(extents).enumerate() {
        match dim.value {
            // Neither 0 nor a negative extent says anything.
            Some(Extent::DimValue(n @ 1..)) if part == Part::Extents && n as usize != extent => {
                return Err(lie(format!("with {n} elements along axis {axis}")));
            }
            Some(_) | None => {}
        }
    }
    Ok(())
}
