//! Attributes that only some versions of their operators have, from ONNX's schemas of operator sets 7
//! to 28. Those that no version has are refused by [`super::attributes`].

use std::ops::Range;

use onnx_protobuf::AttributeProto;

use super::refusal::bad;
use crate::error::Result;

/// No version has ended it yet.
const NEVER: i64 = i64::MAX;

/// An operator, attributes of it, and the since-versions of the operator that have them.
type Row = (&'static str, &'static [&'static str], Range<i64>);

/// The table, by operator.
const ROWS: &[Row] = &[
    ("ArgMax", &["select_last_index"], 12..NEVER),
    ("ArgMin", &["select_last_index"], 12..NEVER),
    ("Attention", &["left_window_size", "right_window_size"], 25..NEVER),
    ("AveragePool", &["ceil_mode"], 10..NEVER),
    ("AveragePool", &["dilations"], 19..NEVER),
    ("BatchNormalization", &["spatial"], 7..9),
    ("BatchNormalization", &["training_mode"], 14..NEVER),
    ("Cast", &["round_mode"], 24..NEVER),
    ("Cast", &["saturate"], 19..NEVER),
    ("CastLike", &["round_mode"], 24..NEVER),
    ("CastLike", &["saturate"], 19..NEVER),
    ("Clip", &["max", "min"], 6..11),
    ("Constant", &["sparse_value"], 11..NEVER),
    ("Constant", &["value_float", "value_floats", "value_int", "value_ints"], 12..NEVER),
    ("Constant", &["value_string", "value_strings"], 12..NEVER),
    ("DepthToSpace", &["mode"], 11..NEVER),
    ("DequantizeLinear", &["axis"], 13..NEVER),
    ("DequantizeLinear", &["block_size"], 21..NEVER),
    ("DequantizeLinear", &["output_dtype"], 23..NEVER),
    ("Dropout", &["ratio"], 7..12),
    ("Dropout", &["seed"], 12..NEVER),
    ("GRU", &["layout"], 14..NEVER),
    ("GatherND", &["batch_dims"], 12..NEVER),
    ("GroupNormalization", &["stash_type"], 21..NEVER),
    ("LSTM", &["layout"], 14..NEVER),
    ("LpPool", &["ceil_mode", "dilations"], 18..NEVER),
    ("MaxPool", &["ceil_mode", "dilations"], 10..NEVER),
    ("MaxPool", &["storage_order"], 8..NEVER),
    ("Pad", &["pads", "value"], 2..11),
    ("QuantizeLinear", &["axis"], 13..NEVER),
    ("QuantizeLinear", &["block_size", "output_dtype"], 21..NEVER),
    ("QuantizeLinear", &["precision"], 23..NEVER),
    ("QuantizeLinear", &["saturate"], 19..NEVER),
    ("RNN", &["layout"], 14..NEVER),
    ("Range", &["stash_type"], 27..NEVER),
    ("ReduceL1", &["axes"], 1..18),
    ("ReduceL1", &["noop_with_empty_axes"], 18..NEVER),
    ("ReduceL2", &["axes"], 1..18),
    ("ReduceL2", &["noop_with_empty_axes"], 18..NEVER),
    ("ReduceLogSum", &["axes"], 1..18),
    ("ReduceLogSum", &["noop_with_empty_axes"], 18..NEVER),
    ("ReduceLogSumExp", &["axes"], 1..18),
    ("ReduceLogSumExp", &["noop_with_empty_axes"], 18..NEVER),
    ("ReduceMax", &["axes"], 1..18),
    ("ReduceMax", &["noop_with_empty_axes"], 18..NEVER),
    ("ReduceMean", &["axes"], 1..18),
    ("ReduceMean", &["noop_with_empty_axes"], 18..NEVER),
    ("ReduceMin", &["axes"], 1..18),
    ("ReduceMin", &["noop_with_empty_axes"], 18..NEVER),
    ("ReduceProd", &["axes"], 1..18),
    ("ReduceProd", &["noop_with_empty_axes"], 18..NEVER),
    ("ReduceSum", &["axes"], 1..13),
    ("ReduceSum", &["noop_with_empty_axes"], 13..NEVER),
    ("ReduceSumSquare", &["axes"], 1..18),
    ("ReduceSumSquare", &["noop_with_empty_axes"], 18..NEVER),
    ("Reshape", &["allowzero"], 14..NEVER),
    ("Resize", &["antialias", "axes", "keep_aspect_ratio_policy"], 18..NEVER),
    ("Resize", &["coordinate_transformation_mode", "nearest_mode"], 11..NEVER),
    ("Resize", &["cubic_coeff_a", "exclude_outside", "extrapolation_value"], 11..NEVER),
    ("RoiAlign", &["coordinate_transformation_mode"], 16..NEVER),
    ("ScatterElements", &["reduction"], 16..NEVER),
    ("ScatterND", &["reduction"], 16..NEVER),
    ("Shape", &["end", "start"], 15..NEVER),
    ("Slice", &["axes", "ends", "starts"], 1..10),
    ("SpaceToDepth", &["mode"], 28..NEVER),
    ("Split", &["num_outputs"], 18..NEVER),
    ("Split", &["split"], 2..13),
    ("Squeeze", &["axes"], 1..13),
    ("TopK", &["k"], 1..10),
    ("TopK", &["largest", "sorted"], 11..NEVER),
    ("Unsqueeze", &["axes"], 1..13),
    ("Upsample", &["scales"], 7..9),
];

/// Refuses an attribute that another version of ONNX's operator has, and not the one of operator set
/// `since`.
pub(super) fn check(
    operator: &str,
    since: i64,
    attributes: &[(&str, &AttributeProto)],
) -> Result<()> {
    let rows =
        ROWS.iter().filter(|(name, _, versions)| *name == operator && !versions.contains(&since));
    let absent: Vec<&str> = rows.flat_map(|(_, names, _)| names.iter().copied()).collect();
    match attributes.iter().find(|(name, _)| absent.contains(name)) {
        Some((name, _)) => {
            let what = format!("attribute `{name}`, which {operator} of operator set {since}");
            Err(bad(format!("{what} does not have")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_have_versions() {
        assert!(ROWS.is_sorted_by_key(|(operator, ..)| *operator));
        assert!(ROWS.iter().all(|(_, names, versions)| !names.is_empty() && !versions.is_empty()));
    }
}
