//! The C header of an object: `template.h` with its blanks filled in.

use std::fmt::Write as _;

use cardinal_runtime::abi::ALIGNMENT;
use cardinal_runtime::manifest::Variant;
use cardinal_runtime::{Artifact, DType, TensorSpec};

use super::{Name, images};
use crate::codegen::status;

/// A blank is a word between two `@`.
const TEMPLATE: &str = include_str!("template.h");

pub(super) fn text(artifact: &Artifact, variant: &Variant, name: &Name) -> String {
    let parts = TEMPLATE.split('@').enumerate();
    parts.fold(String::new(), |text, (i, part)| {
        text + &if i % 2 == 0 { part.to_owned() } else { blank(part, artifact, variant, name) }
    })
}

/// What goes into a blank.
fn blank(blank: &str, artifact: &Artifact, variant: &Variant, name: &Name) -> String {
    let manifest = artifact.manifest();
    let base = variant.arena_bytes.next_multiple_of(ALIGNMENT as u64);
    let worker = variant.worker_bytes;
    match blank {
        "name" => name.to_string(),
        "model" => literal(&manifest.model_name),
        "digest" => {
            let digits = manifest.model_digest.iter().map(|byte| format!("{byte:02x}"));
            literal(&digits.collect::<String>())
        }
        "compiler" => literal(&format!("Cardinal {}", manifest.compiler_version)),
        "target" => literal(&manifest.target),
        "features" => literal(&variant.cpu_features.join(",")),
        "tensors" => tensors(artifact, name),
        "alignment" => ALIGNMENT.to_string(),
        // C has no arrays of no bytes.
        "arena" => number((base + worker).max(ALIGNMENT as u64)),
        "base" => number(base.max(ALIGNMENT as u64)),
        "worker" => number(worker),
        "arguments" => parameters(artifact, |_, variable| variable.to_owned()),
        "parameters" => {
            parameters(artifact, |qualified, variable| format!("{qualified}{variable}"))
        }
        "ok" => status::OK.to_string(),
        "null" => status::NULL.to_string(),
        "arena_align" => status::ARENA.to_string(),
        "tensor_align" => status::TENSOR.to_string(),
        "threads" => status::THREADS.to_string(),
        "parallel_for" => status::PARALLEL_FOR.to_string(),
        "images" => status::IMAGES.to_string(),
        "least" => number(*images(artifact, variant).start() as u64),
        "most" => number(*images(artifact, variant).end() as u64),
        unknown => unreachable!("the template has a blank `{unknown}`"),
    }
}

/// `const float *in, float *out`; with numbers where there are several.
fn parameters(artifact: &Artifact, parameter: impl Fn(&str, &str) -> String) -> String {
    let list = |specs: &[TensorSpec], word: &str, qualifier: &str| {
        let one = |(i, spec): (usize, &TensorSpec)| {
            let index = if specs.len() == 1 { String::new() } else { i.to_string() };
            let ty = element(spec.dtype);
            parameter(&format!("{qualifier}{ty} *"), &format!("{word}{index}"))
        };
        specs.iter().enumerate().map(one).collect::<Vec<_>>()
    };
    let inputs = list(artifact.inputs(), "in", "const ");
    let outputs = list(artifact.outputs(), "out", "");
    [inputs, outputs].concat().join(", ")
}

/// The macros that describe inputs and outputs.
fn tensors(artifact: &Artifact, name: &Name) -> String {
    let mut text = String::new();
    for (role, specs) in [("INPUT", artifact.inputs()), ("OUTPUT", artifact.outputs())] {
        let _ = writeln!(text, "#define {name}_{role}S {}", specs.len());
        for (i, spec) in specs.iter().enumerate() {
            describe(&mut text, &format!("{name}_{role}{i}"), spec);
        }
    }
    text
}

fn describe(text: &mut String, prefix: &str, spec: &TensorSpec) {
    let extents: Vec<String> = spec.shape.iter().map(|n| number(*n as u64)).collect();
    let extents = if extents.is_empty() { "1".to_owned() } else { extents.join(", ") };
    let elements: u64 = spec.shape.iter().map(|n| *n as u64).product();
    let lines = [
        ("NAME", literal(&spec.name)),
        ("TYPE", element(spec.dtype).to_owned()),
        ("RANK", spec.shape.len().to_string()),
        ("SHAPE", format!("{{{extents}}}")),
        ("ELEMENTS", number(elements)),
        ("BYTES", number(elements * spec.dtype.size() as u64)),
    ];
    for (what, value) in lines {
        let _ = writeln!(text, "#define {prefix}_{what} {value}");
    }
}

/// The C type of an element. A bool is a byte that is 0 or 1.
fn element(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float",
        DType::F64 => "double",
        DType::I64 => "int64_t",
        DType::I32 => "int32_t",
        DType::U8 | DType::Bool => "uint8_t",
        DType::I8 => "int8_t",
    }
}

/// An integer constant that is no `int` where it does not fit one.
fn number(value: u64) -> String {
    if value <= i32::MAX as u64 { value.to_string() } else { format!("{value}ULL") }
}

/// A C string literal of the text's UTF-8. Names may hold anything; question marks could make
/// trigraphs.
fn literal(text: &str) -> String {
    let mut out = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' | b'?' => out.extend(['\\', byte as char]),
            b' '..=b'~' => out.push(byte as char),
            _ => {
                let _ = write!(out, "\\{byte:03o}");
            }
        }
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_a_literal() {
        assert_eq!(literal("a b"), r#""a b""#);
        assert_eq!(literal("\"\\??/\n*/é1\0"), r#""\"\\\?\?/\012*/\303\2511\000""#);
    }

    #[test]
    fn large_numbers_are_no_ints() {
        assert_eq!(number(2147483647), "2147483647");
        assert_eq!(number(2147483648), "2147483648ULL");
    }
}
