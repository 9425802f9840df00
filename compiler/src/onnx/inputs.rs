//! The model's inputs, with every dimension fixed: by the model, by `--batch` or by `--shape`.

use std::collections::{BTreeMap, HashSet};

use onnx_protobuf::tensor_shape_proto::dimension::Value as Extent;
use onnx_protobuf::{GraphProto, ValueInfoProto, type_proto};

use super::stored::element_type;
use super::tensor::counted_type;
use crate::error::{Error, Problem, Result};
use crate::ir::{DType, TensorType};
use crate::onnx::ImportOptions;

/// One dimension as the model declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Dim {
    Fixed(usize),
    Named(String),
    Open,
}

/// An input as the model declares it; without `dims` not even its rank is known.
struct Declared<'m> {
    name: &'m str,
    dtype: DType,
    dims: Option<Vec<Dim>>,
}

/// Names and types of the graph's inputs, those left out that have an initializer.
pub(super) fn inputs<'m>(
    graph: &'m GraphProto,
    options: &ImportOptions,
) -> Result<Vec<(&'m str, TensorType)>> {
    let constants: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let open = graph.input.iter().filter(|input| !constants.contains(input.name.as_str()));
    let mut declared = open.map(declared).collect::<Result<Vec<_>>>()?;
    let mut names = Names::default();
    check_options(&declared, options)?;
    for input in &mut declared {
        if let Some(shape) = options.shapes.get(input.name) {
            names.bind_shape(input, shape)?;
        }
    }
    fix_batch(&mut declared, options, &mut names)?;
    declared.iter().map(|input| Ok((input.name, names.resolve(input)?))).collect()
}

fn declared(input: &ValueInfoProto) -> Result<Declared<'_>> {
    let name = input.name.as_str();
    let refuse = |what: String| Error::from(Problem::Unsupported(what));
    if name.is_empty() {
        return Err(Problem::InvalidGraph("an input has no name".into()).into());
    }
    let Some(type_proto::Value::TensorType(tensor)) = &input.type_.value else {
        return Err(refuse(format!("input `{name}` is not a tensor"))
            .with_remedy("export the model with one tensor for each part of it"));
    };
    let dtype = element_type(tensor.elem_type).and_then(|dtype| match dtype {
        DType::F64 => Err(("element type float64 is for constants only".to_owned(), FLOAT)),
        dtype => Ok(dtype),
    });
    let dtype = dtype
        .map_err(|(what, remedy)| refuse(format!("input `{name}`: {what}")).with_remedy(remedy))?;
    let Some(shape) = tensor.shape.as_ref() else {
        return Ok(Declared { name, dtype, dims: None });
    };
    let dims = shape.dim.iter().map(|d| match &d.value {
        Some(Extent::DimValue(n)) => extent(name, *n),
        Some(Extent::DimParam(p)) if !p.is_empty() => Ok(Dim::Named(p.clone())),
        Some(_) | None => Ok(Dim::Open),
    });
    Ok(Declared { name, dtype, dims: Some(dims.collect::<Result<_>>()?) })
}

const FLOAT: &str = "export the model in float32";

fn extent(input: &str, n: i64) -> Result<Dim> {
    match usize::try_from(n) {
        Ok(n) if n > 0 => Ok(Dim::Fixed(n)),
        // As some exporters, PaddlePaddle's among them, say that it is open.
        Err(_) if n == -1 => Ok(Dim::Open),
        _ => {
            let what = format!("input `{input}` has the dimension {n}");
            Err(Error::from(Problem::InvalidGraph(what))
                .with_remedy("export dynamic dimensions with a name"))
        }
    }
}

fn check_options(declared: &[Declared<'_>], options: &ImportOptions) -> Result<()> {
    if options.batch == Some(0) {
        return Err(Problem::BadOption("the batch must be at least 1".into()).into());
    }
    for (name, shape) in &options.shapes {
        if !declared.iter().any(|input| input.name == name) {
            let known: Vec<String> = declared.iter().map(|i| format!("`{}`", i.name)).collect();
            let what = format!("a shape is given for `{name}`, which is no input of the model");
            return Err(Error::from(Problem::BadOption(what))
                .with_remedy(format!("its inputs are {}", known.join(", "))));
        }
        if shape.contains(&0) {
            let what = format!("the shape given for `{name}` has a dimension 0");
            return Err(Problem::BadOption(what).into());
        }
    }
    Ok(())
}

/// Applies `--batch` to axis 0 of each input that leaves it open.
fn fix_batch(
    declared: &mut [Declared<'_>],
    options: &ImportOptions,
    names: &mut Names,
) -> Result<()> {
    let mut fitting = declared.is_empty();
    let mut other = None;
    for input in declared.iter_mut() {
        let Some(first) = input.dims.as_mut().and_then(|dims| dims.first_mut()) else {
            continue;
        };
        let fixed = match first {
            Dim::Fixed(n) => *n,
            Dim::Named(name) => {
                *names.bound.entry(name.clone()).or_insert(options.batch.unwrap_or(1))
            }
            Dim::Open => options.batch.unwrap_or(1),
        };
        *first = Dim::Fixed(fixed);
        fitting |= options.batch.is_none_or(|batch| batch == fixed);
        other = other.or(Some((input.name, fixed)));
    }
    match (options.batch, other) {
        (Some(asked), Some((name, batch))) if !fitting => {
            let problem = Problem::FixedBatch { input: name.into(), batch, asked };
            let problem = match options.shapes.contains_key(name) {
                true => Problem::BadOption(problem.to_string()),
                false => problem,
            };
            Err(Error::from(problem)
                .with_remedy("export the model with a dynamic batch, or leave the option out"))
        }
        _ => Ok(()),
    }
}

/// Extents of named dimensions.
#[derive(Default)]
struct Names {
    bound: BTreeMap<String, usize>,
}

impl Names {
    /// Applies `--shape` to an input.
    fn bind_shape(&mut self, input: &mut Declared<'_>, shape: &[usize]) -> Result<()> {
        let contradiction = |what: String| -> Error {
            let what = format!("the shape given for `{}` has {what}", input.name);
            Problem::BadOption(what).into()
        };
        if let Some(dims) = &input.dims {
            if dims.len() != shape.len() {
                let (given, rank) = (shape.len(), dims.len());
                return Err(contradiction(format!("{given} dimensions, the model has {rank}")));
            }
            for (axis, (dim, &given)) in dims.iter().zip(shape).enumerate() {
                let fixed = match dim {
                    Dim::Fixed(n) => *n,
                    Dim::Named(name) => *self.bound.entry(name.clone()).or_insert(given),
                    Dim::Open => given,
                };
                if fixed != given && axis == 0 && matches!(dim, Dim::Fixed(_)) {
                    let input = input.name.to_owned();
                    return Err(Problem::FixedBatch { input, batch: fixed, asked: given }.into());
                }
                if fixed != given {
                    let what = format!("{given} at dimension {axis}, the model has {fixed}");
                    return Err(contradiction(what));
                }
            }
        }
        input.dims = Some(shape.iter().map(|&n| Dim::Fixed(n)).collect());
        Ok(())
    }

    fn resolve(&self, input: &Declared<'_>) -> Result<TensorType> {
        let Some(dims) = &input.dims else {
            return Err(unknown(input, "all".to_owned()));
        };
        let mut shape = Vec::with_capacity(dims.len());
        for (axis, dim) in dims.iter().enumerate() {
            shape.push(match dim {
                Dim::Fixed(n) => *n,
                Dim::Named(name) => match self.bound.get(name) {
                    Some(n) => *n,
                    None => return Err(unknown(input, name.clone())),
                },
                Dim::Open => return Err(unknown(input, axis.to_string())),
            });
        }
        counted_type(input.dtype, &shape)
            .map_err(|what| Problem::BadTensor { name: input.name.to_owned(), what }.into())
    }
}

fn unknown(input: &Declared<'_>, dimension: String) -> Error {
    let name = input.name;
    let example = match &input.dims {
        Some(dims) => {
            let known = dims.iter().map(|d| match d {
                Dim::Fixed(n) => n.to_string(),
                Dim::Named(_) | Dim::Open => "224".to_owned(),
            });
            known.collect::<Vec<_>>().join("x")
        }
        None => "1x3x224x224".to_owned(),
    };
    Error::from(Problem::UnknownDimension { input: name.to_owned(), dimension })
        .with_remedy(format!("give the input's shape, such as `--shape {name}={example}`"))
}
