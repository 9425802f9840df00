//! Versions of the format and of operator sets.

use std::collections::BTreeMap;

use onnx_protobuf::{ModelProto, OperatorSetIdProto};

use crate::error::{Error, Problem, Result};

/// Versions of ONNX's own operator set that the registry knows in full.
pub(super) const OPSETS: std::ops::RangeInclusive<i64> = 7..=28;
/// Versions of the file format: the older ones lack attribute types and operator sets.
const IR_VERSIONS: std::ops::RangeInclusive<i64> = 3..=14;
const TOO_NEW: &str = "export the model with opset_version=20";
const TOO_OLD: &str = "export the model again, with opset_version=17";

/// Versions of operator sets by domain; `""` is ONNX's own.
pub(super) type Opsets = BTreeMap<String, i64>;

/// `ai.onnx` is another name for `""`.
pub(super) fn canonical(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

/// Checks the version of the file format.
pub(super) fn check_ir_version(model: &ModelProto) -> Result<()> {
    let version = model.ir_version;
    if IR_VERSIONS.contains(&version) {
        return Ok(());
    }
    if version <= 0 {
        return Err(Problem::Malformed("it has no ir_version".into()).into());
    }
    let (first, last) = IR_VERSIONS.into_inner();
    let what = format!("ONNX format (ir_version) {version}; {first} to {last} are known");
    let remedy = if version < first { TOO_OLD } else { TOO_NEW };
    Err(Error::from(Problem::Unsupported(what)).with_remedy(remedy))
}

/// The operator sets that a model or a function declares.
pub(super) fn opsets(declared: &[OperatorSetIdProto]) -> Result<Opsets> {
    let mut opsets = Opsets::new();
    for set in declared {
        let domain = canonical(&set.domain);
        if domain.is_empty() {
            check_opset(set.version)?;
        }
        let earlier = opsets.insert(domain.to_owned(), set.version);
        if earlier.is_some_and(|version| version != set.version) {
            let what = format!("two versions of the operator set `{domain}`");
            return Err(Problem::InvalidGraph(what).into());
        }
    }
    Ok(opsets)
}

fn check_opset(version: i64) -> Result<()> {
    if OPSETS.contains(&version) {
        return Ok(());
    }
    let (first, last) = OPSETS.into_inner();
    let what = format!("ONNX operator set {version}; {first} to {last} are known");
    let remedy = if version < first { TOO_OLD } else { TOO_NEW };
    Err(Error::from(Problem::Unsupported(what)).with_remedy(remedy))
}
