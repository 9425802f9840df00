//! Values that come from no activation: constants and the shapes of values.

use bytes::Bytes;

use crate::error::Result;
use crate::interp::{Data, Tensor};
use crate::ir::{DType, Op, TensorType};
use crate::onnx::context::NodeContext;
use crate::onnx::refusal::{bad, unsupported};
use crate::onnx::stored::element_type;
use crate::onnx::tensor::Constant;

/// Constant, in each of its spellings.
pub(in crate::onnx) fn constant(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let constant = spelled(ctx)?.ok_or_else(|| {
        unsupported("a constant that is sparse, a string, or not there")
            .with_remedy("export constants as dense tensors of numbers")
    })?;
    let id = ctx.stored("value", constant);
    ctx.bind(0, id)
}

fn spelled(ctx: &mut NodeContext<'_, '_>) -> Result<Option<Constant>> {
    let value = ctx.tensor_attribute("value")?;
    let widen = |v: &f32| f64::from(*v);
    let float = ctx.attributes.optional_float("value_float")?;
    let floats = ctx.attributes.floats("value_floats")?;
    let int = ctx.attributes.optional_int("value_int")?;
    let ints = ctx.attributes.ints("value_ints")?;
    let (dtype, shape, data) = match (value, float, floats, int, ints) {
        (Some(constant), None, None, None, None) => return Ok(Some(constant)),
        (None, Some(v), None, None, None) => (DType::F32, vec![], Data::Float(vec![widen(&v)])),
        (None, None, Some(v), None, None) => {
            (DType::F32, vec![v.len()], Data::Float(v.iter().map(widen).collect()))
        }
        (None, None, None, Some(v), None) => (DType::I64, vec![], Data::Int(vec![v])),
        (None, None, None, None, Some(v)) => (DType::I64, vec![v.len()], Data::Int(v.to_vec())),
        (None, None, None, None, None) => return Ok(None),
        _ => return Err(bad("more than one of the attributes that give its value")),
    };
    let tensor = Tensor { dtype, shape, data };
    Ok(Some(Constant { ty: tensor.ty(), bytes: tensor.to_bytes() }))
}

/// ConstantOfShape: one element, expanded.
pub(in crate::onnx) fn constant_of_shape(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let dims = ctx.constant_ints(0)?.unwrap_or_default();
    let dims = dims.iter().map(|&d| usize::try_from(d).map_err(|_| bad(format!("dimension {d}"))));
    let dims = dims.collect::<Result<Vec<_>>>()?;
    let value = match ctx.tensor_attribute("value")? {
        Some(value) if value.ty.elements() == 1 => value,
        Some(value) => {
            return Err(bad(format!("attribute `value` is {}, not one element", value.ty)));
        }
        None => zero(),
    };
    let ty = TensorType::new(value.ty.dtype, &[]);
    let value = ctx.stored("value", Constant { ty, bytes: value.bytes });
    let y = ctx.emit_typed(Op::Expand, value, &dims)?;
    ctx.bind(0, y)
}

fn zero() -> Constant {
    let bytes = Bytes::from_static(&[0; 4]);
    Constant { ty: TensorType::new(DType::F32, &[]), bytes }
}

/// Shape, or a part of it.
pub(in crate::onnx) fn shape(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let shape = ctx.shape(x);
    let rank = i64::try_from(shape.len()).unwrap_or(i64::MAX);
    let clamp = |n: i64| {
        let counted = if n < 0 { n.saturating_add(rank) } else { n };
        usize::try_from(counted.clamp(0, rank)).unwrap_or(0)
    };
    let start = clamp(ctx.attributes.int("start", 0)?);
    let end = clamp(ctx.attributes.int("end", rank)?).max(start);
    let dims: Vec<i64> = shape[start..end].iter().map(|&d| d as i64).collect();
    let id = ctx.ints(&[dims.len()], dims);
    ctx.bind(0, id)
}

/// Size.
pub(in crate::onnx) fn size(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let elements = ctx.ty(x).elements() as i64;
    let id = ctx.ints(&[], vec![elements]);
    ctx.bind(0, id)
}

/// EyeLike: ones on a diagonal of a matrix as large as x.
pub(in crate::onnx) fn eye_like(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let x = ctx.required(0)?;
    let dtype = requested_type(ctx, "dtype", ctx.dtype(x))?;
    let shift = ctx.attributes.int("k", 0)?;
    let [rows, columns] = ctx.shape(x)[..] else {
        return Err(bad(format!("{} is no matrix", ctx.ty(x))));
    };
    let row = ctx.counting(rows, 0, 2);
    let row = ctx.shifted(row, shift as f64)?;
    let column = ctx.counting(columns, 1, 2);
    let is_on = ctx.is_equal(row, column)?;
    let y = ctx.cast(is_on, dtype)?;
    ctx.bind(0, y)
}

/// The element type that an attribute names, or the default.
fn requested_type(ctx: &NodeContext<'_, '_>, attribute: &str, default: DType) -> Result<DType> {
    match ctx.attributes.optional_int(attribute)? {
        Some(code) => {
            let code = i32::try_from(code).unwrap_or(0);
            element_type(code).map_err(|(what, remedy)| unsupported(what).with_remedy(remedy))
        }
        None => Ok(default),
    }
}

/// Larger windows are nonsense.
const MOST: i64 = 1 << 24;

/// HannWindow, HammingWindow and BlackmanWindow: sums of cosines of a known length.
pub(in crate::onnx) fn window(ctx: &mut NodeContext<'_, '_>) -> Result<()> {
    let size = ctx.constant_ints(0)?.and_then(|size| size.first().copied());
    let size = size.filter(|n| (0..=MOST).contains(n)).ok_or_else(|| bad("a size of nothing"))?;
    let dtype = requested_type(ctx, "output_datatype", DType::F32)?;
    let periodic = ctx.attributes.flag("periodic", true)?;
    let period = if periodic { size as f64 } else { (size - 1) as f64 };
    let factors = match ctx.operator() {
        "HannWindow" => [0.5, -0.5, 0.0],
        "HammingWindow" => [25.0 / 46.0, -21.0 / 46.0, 0.0],
        _ => [0.42, -0.5, 0.08],
    };
    let element = |i: i64| {
        let angle = std::f64::consts::TAU * i as f64 / period;
        factors[0] + factors[1] * angle.cos() + factors[2] * (2.0 * angle).cos()
    };
    let elements = (0..size).map(element).collect();
    let id = ctx.floats(&[size as usize], elements);
    let y = ctx.cast(id, dtype)?;
    ctx.bind(0, y)
}
