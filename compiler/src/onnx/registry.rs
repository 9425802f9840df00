//! Every operator that Cardinal imports, one row each, and the versions of it that are known.

use super::context::NodeContext;
use super::ops::{
    activation, arrange, attention, batch_norm, bits, compile_time, conv, convert, deform_conv,
    einsum, elementwise, fused, gather, generate, indices, integers, join, logic, loss, matmul,
    normalize, pad, pool, quantize, quantized, recurrent, reduce, resize, roi_align, rotary,
    sample_grid, scatter, sequence, shape, slice, softmax, stateful, transposed_conv, unpool,
};
use super::refusal::{bad, unknown_domain, unknown_operator, unsupported};
use super::versions::OPSETS;
use crate::error::{Error, Result};

/// How an operator is imported.
type Import = fn(&mut NodeContext<'_, '_>) -> Result<()>;

/// One operator.
#[derive(Debug)]
pub(super) struct Operator {
    name: &'static str,
    /// The operator sets that changed it, ascending: all of them up to the last of [`OPSETS`], or
    /// up to `until`.
    versions: &'static [i64],
    /// The operator set that removed it, or changed it in a way that is not known.
    until: i64,
    /// How many operands it may list, in one version or another. Those that the version at hand does
    /// not have are those that its import does not look at.
    inputs: (usize, usize),
    /// How many results it may list.
    outputs: usize,
    /// Translates a node.
    pub(super) import: Import,
}

const fn row(
    name: &'static str,
    versions: &'static [i64],
    inputs: (usize, usize),
    import: Import,
) -> Operator {
    Operator { name, versions, until: *OPSETS.end() + 1, inputs, outputs: 1, import }
}

impl Operator {
    /// The row of an operator with further results.
    const fn with_outputs(self, outputs: usize) -> Operator {
        Operator { outputs, ..self }
    }
}

const ANY: usize = usize::MAX;

/// ONNX's own operators, by name.
const OPERATORS: &[Operator] = &[
    row("Abs", &[6, 13], (1, 1), elementwise::unary),
    row("Acos", &[7, 22], (1, 1), elementwise::unary),
    row("Acosh", &[9, 22], (1, 1), elementwise::unary),
    row("Add", &[7, 13, 14], (2, 2), elementwise::binary),
    row("AffineGrid", &[20], (2, 2), sample_grid::affine_grid),
    row("And", &[7], (2, 2), logic::connective),
    row("ArgMax", &[1, 11, 12, 13], (1, 1), reduce::place_of_extreme),
    row("ArgMin", &[1, 11, 12, 13], (1, 1), reduce::place_of_extreme),
    row("Asin", &[7, 22], (1, 1), elementwise::unary),
    row("Asinh", &[9, 22], (1, 1), elementwise::unary),
    row("Atan", &[7, 22], (1, 1), elementwise::unary),
    row("Atanh", &[9, 22], (1, 1), elementwise::unary),
    row("Attention", &[23, 24, 25], (3, 7), attention::attention).with_outputs(4),
    row("AveragePool", &[7, 10, 11, 19, 22], (1, 1), pool::average),
    row("BatchNormalization", &[7, 9, 14, 15], (5, 5), batch_norm::batch_norm).with_outputs(5),
    row("BitShift", &[11, 28], (2, 2), bits::shift),
    row("BitwiseAnd", &[18], (2, 2), bits::bitwise),
    row("BitwiseNot", &[18], (1, 1), bits::not),
    row("BitwiseOr", &[18], (2, 2), bits::bitwise),
    row("BitwiseXor", &[18], (2, 2), bits::bitwise),
    row("BlackmanWindow", &[17], (1, 1), generate::window),
    row("Cast", &[6, 9, 13, 19, 21, 23, 24, 25, 28], (1, 1), convert::cast),
    row("CastLike", &[15, 19, 21, 23, 24, 25], (2, 2), convert::cast_like),
    row("CausalConvWithState", &[27], (2, 4), stateful::causal_conv).with_outputs(2),
    row("Ceil", &[6, 13], (1, 1), elementwise::rounding),
    row("Celu", &[12, 28], (1, 1), activation::activation),
    row("CenterCropPad", &[18], (2, 2), arrange::center_crop_pad),
    row("Clip", &[6, 11, 12, 13], (1, 3), elementwise::clip),
    row("Col2Im", &[18], (3, 3), transposed_conv::columns_to_image),
    row("Compress", &[9, 11, 28], (2, 2), indices::compress),
    row("Concat", &[4, 11, 13], (1, ANY), join::concat),
    row("Constant", &[1, 9, 11, 12, 13, 19, 21, 23, 24, 25], (0, 0), generate::constant),
    row("ConstantOfShape", &[9, 20, 21, 23, 24, 25], (1, 1), generate::constant_of_shape),
    row("Conv", &[1, 11, 22], (2, 3), conv::conv),
    row("ConvInteger", &[10], (2, 4), integers::conv),
    row("ConvTranspose", &[1, 11, 22], (2, 3), transposed_conv::transposed),
    row("Cos", &[7, 22], (1, 1), elementwise::unary),
    row("Cosh", &[9, 22], (1, 1), elementwise::unary),
    row("CumProd", &[26], (2, 2), indices::cumulative),
    row("CumSum", &[11, 14], (2, 2), indices::cumulative),
    row("DeformConv", &[19, 22], (3, 5), deform_conv::deform_conv),
    row("DepthToSpace", &[1, 11, 13, 28], (1, 1), arrange::depth_to_space),
    row("DequantizeLinear", &[10, 13, 19, 21, 23, 24, 25, 28], (2, 3), quantize::dequantize_linear),
    row("Div", &[7, 13, 14], (2, 2), elementwise::binary),
    row("Dropout", &[7, 10, 12, 13, 22], (1, 3), convert::dropout).with_outputs(2),
    row("DynamicQuantizeLinear", &[11], (1, 1), quantize::dynamic_quantize_linear).with_outputs(3),
    row("Einsum", &[12, 28], (1, ANY), einsum::einsum),
    row("Elu", &[6, 22], (1, 1), activation::activation),
    row("Equal", &[7, 11, 13, 19], (2, 2), elementwise::binary),
    row("Erf", &[9, 13], (1, 1), elementwise::unary),
    row("Exp", &[6, 13], (1, 1), elementwise::unary),
    row("Expand", &[8, 13], (2, 2), shape::expand),
    row("EyeLike", &[9, 22], (1, 1), generate::eye_like),
    row("Flatten", &[1, 9, 11, 13, 21, 23, 24, 25], (1, 1), shape::flatten),
    row("Floor", &[6, 13], (1, 1), elementwise::rounding),
    row("GRU", &[7, 14, 22], (3, 6), recurrent::recurrent).with_outputs(2),
    row("Gather", &[1, 11, 13], (2, 2), gather::gather),
    row("GatherElements", &[11, 13], (2, 2), indices::gather_elements),
    row("GatherND", &[11, 12, 13], (2, 2), indices::gather_nd),
    row("Gelu", &[20], (1, 1), elementwise::unary),
    row("Gemm", &[7, 9, 11, 13], (2, 3), matmul::gemm),
    row("GlobalAveragePool", &[1, 22], (1, 1), reduce::global_pool),
    row("GlobalLpPool", &[2, 22], (1, 1), reduce::global_pool),
    row("GlobalMaxPool", &[1, 22], (1, 1), reduce::global_pool),
    row("Greater", &[7, 9, 13], (2, 2), logic::compare),
    row("GreaterOrEqual", &[12, 16], (2, 2), logic::compare),
    row("GridSample", &[16, 20, 22], (2, 2), sample_grid::grid_sample),
    row("GroupNormalization", &[18, 21], (3, 3), normalize::group),
    row("HammingWindow", &[17], (1, 1), generate::window),
    row("HannWindow", &[17], (1, 1), generate::window),
    row("HardSigmoid", &[6, 22], (1, 1), elementwise::unary),
    row("HardSwish", &[14, 22], (1, 1), elementwise::unary),
    row("Hardmax", &[1, 11, 13], (1, 1), activation::hardmax),
    row("Identity", &[1, 13, 14, 16, 19, 21, 23, 24, 25], (1, 1), convert::identity),
    row("InstanceNormalization", &[6, 22], (3, 3), normalize::instance),
    row("IsInf", &[10, 20], (1, 1), logic::is_infinite),
    row("IsNaN", &[9, 13, 20], (1, 1), logic::is_nan),
    row("LRN", &[1, 13], (1, 1), normalize::local_response),
    row("LSTM", &[7, 14, 22], (3, 8), recurrent::recurrent).with_outputs(3),
    row("LayerNormalization", &[1, 17], (2, 3), normalize::layer).with_outputs(3),
    row("LeakyRelu", &[6, 16], (1, 1), elementwise::unary),
    row("Less", &[7, 9, 13], (2, 2), logic::compare),
    row("LessOrEqual", &[12, 16], (2, 2), logic::compare),
    row("LinearAttention", &[27], (3, 6), stateful::linear_attention).with_outputs(2),
    row("Log", &[6, 13], (1, 1), elementwise::unary),
    row("LogSoftmax", &[1, 11, 13], (1, 1), softmax::softmax),
    row("LpNormalization", &[1, 22], (1, 1), normalize::lp),
    row("LpPool", &[2, 11, 18, 22], (1, 1), pool::lp),
    row("MatMul", &[1, 9, 13], (2, 2), matmul::matmul),
    row("MatMulInteger", &[10], (2, 4), integers::matmul),
    row("Max", &[6, 8, 12, 13], (1, ANY), elementwise::variadic),
    row("MaxPool", &[1, 8, 10, 11, 12, 22], (1, 1), pool::max).with_outputs(2),
    row("MaxUnpool", &[9, 11, 22], (2, 3), unpool::max_unpool),
    row("Mean", &[6, 8, 13], (1, ANY), elementwise::variadic),
    row("MeanVarianceNormalization", &[9, 13], (1, 1), normalize::mean_variance),
    row("Min", &[6, 8, 12, 13], (1, ANY), elementwise::variadic),
    row("Mish", &[18, 22], (1, 1), activation::activation),
    row("Mod", &[10, 13, 28], (2, 2), compile_time::modulo),
    row("Mul", &[7, 13, 14], (2, 2), elementwise::binary),
    row("Neg", &[6, 13], (1, 1), elementwise::unary),
    row("NegativeLogLikelihoodLoss", &[12, 13, 22], (2, 3), loss::negative_log_likelihood),
    row("Not", &[1], (1, 1), logic::not),
    row("OneHot", &[9, 11, 28], (3, 3), indices::one_hot),
    row("Or", &[7], (2, 2), logic::connective),
    row("PRelu", &[7, 9, 16], (2, 2), activation::prelu),
    row("Pad", &[2, 11, 13, 18, 19, 21, 23, 24, 25], (1, 4), pad::pad),
    row("Pow", &[7, 12, 13, 15], (2, 2), elementwise::pow),
    row("QLinearConv", &[10], (8, 9), quantized::conv),
    row("QLinearMatMul", &[10, 21], (8, 8), quantized::matmul),
    row("QuantizeLinear", &[10, 13, 19, 21, 23, 24, 25, 28], (2, 3), quantize::quantize_linear),
    row("RMSNormalization", &[23], (2, 2), normalize::root_mean_square),
    row("RNN", &[7, 14, 22], (3, 6), recurrent::recurrent).with_outputs(2),
    row("Range", &[11, 27], (3, 3), compile_time::range),
    row("Reciprocal", &[6, 13], (1, 1), elementwise::unary),
    row("ReduceL1", &[1, 11, 13, 18], (1, 2), reduce::reduce),
    row("ReduceL2", &[1, 11, 13, 18], (1, 2), reduce::reduce),
    row("ReduceLogSum", &[1, 11, 13, 18, 28], (1, 2), reduce::reduce),
    row("ReduceLogSumExp", &[1, 11, 13, 18, 28], (1, 2), reduce::reduce),
    row("ReduceMax", &[1, 11, 12, 13, 18, 20], (1, 2), reduce::reduce),
    row("ReduceMean", &[1, 11, 13, 18], (1, 2), reduce::reduce),
    row("ReduceMin", &[1, 11, 12, 13, 18, 20], (1, 2), reduce::reduce),
    row("ReduceProd", &[1, 11, 13, 18], (1, 2), reduce::reduce),
    row("ReduceSum", &[1, 11, 13], (1, 2), reduce::reduce),
    row("ReduceSumSquare", &[1, 11, 13, 18], (1, 2), reduce::reduce),
    row("Relu", &[6, 13, 14], (1, 1), elementwise::unary),
    row("Reshape", &[5, 13, 14, 19, 21, 23, 24, 25], (2, 2), shape::reshape),
    row("Resize", &[10, 11, 13, 18, 19], (1, 4), resize::resize),
    row("ReverseSequence", &[10, 28], (2, 2), indices::reverse_sequence),
    row("RoiAlign", &[10, 16, 22], (3, 3), roi_align::roi_align),
    row("RotaryEmbedding", &[23], (3, 4), rotary::rotary),
    row("Round", &[11, 22], (1, 1), elementwise::unary),
    Operator { until: 11, ..row("Scatter", &[9], (3, 3), scatter::scatter_elements) },
    row("ScatterElements", &[11, 13, 16, 18], (3, 3), scatter::scatter_elements),
    row("ScatterND", &[11, 13, 16, 18], (3, 3), scatter::scatter_nd),
    row("Selu", &[6, 22], (1, 1), activation::activation),
    row("SequenceAt", &[11], (2, 2), sequence::at),
    row("Shape", &[1, 13, 15, 19, 21, 23, 24, 25], (1, 1), generate::shape),
    row("Shrink", &[9], (1, 1), activation::shrink),
    row("Sigmoid", &[6, 13], (1, 1), elementwise::unary),
    row("Sign", &[9, 13], (1, 1), logic::sign),
    row("SimplifiedLayerNormalization", &[1], (2, 2), normalize::root_mean_square).with_outputs(2),
    row("Sin", &[7, 22], (1, 1), elementwise::unary),
    row("Sinh", &[9, 22], (1, 1), elementwise::unary),
    row("Size", &[1, 13, 19, 21, 23, 24, 25], (1, 1), generate::size),
    row("Slice", &[1, 10, 11, 13], (1, 5), slice::slice),
    row("Softmax", &[1, 11, 13], (1, 1), softmax::softmax),
    row("SoftmaxCrossEntropyLoss", &[12, 13], (2, 3), loss::softmax_cross_entropy).with_outputs(2),
    row("Softplus", &[1, 22], (1, 1), activation::activation),
    row("Softsign", &[1, 22], (1, 1), activation::activation),
    row("SpaceToDepth", &[1, 13, 28], (1, 1), arrange::space_to_depth),
    row("Split", &[2, 11, 13, 18], (1, 2), slice::split).with_outputs(ANY),
    row("SplitToSequence", &[11, 24], (1, 2), sequence::split),
    row("Sqrt", &[6, 13], (1, 1), elementwise::unary),
    row("Squeeze", &[1, 11, 13, 21, 23, 24, 25], (1, 2), shape::squeeze),
    row("Sub", &[7, 13, 14], (2, 2), elementwise::binary),
    row("Sum", &[6, 8, 13], (1, ANY), elementwise::variadic),
    row("SwiGLU", &[28], (2, 2), activation::swiglu),
    row("Swish", &[24], (1, 1), activation::activation),
    row("Tan", &[7, 22], (1, 1), elementwise::unary),
    row("Tanh", &[6, 13], (1, 1), elementwise::unary),
    row("TensorScatter", &[24], (2, 3), scatter::tensor_scatter),
    row("ThresholdedRelu", &[10, 22], (1, 1), activation::thresholded_relu),
    row("Tile", &[6, 13], (2, 2), arrange::tile),
    row("TopK", &[1, 10, 11, 24], (1, 2), indices::top_k).with_outputs(2),
    row("Transpose", &[1, 13, 21, 23, 24, 25], (1, 1), shape::transpose),
    row("Trilu", &[14], (1, 2), indices::triangle),
    row("Unsqueeze", &[1, 11, 13, 21, 23, 24, 25], (1, 2), shape::unsqueeze),
    Operator { until: 10, ..row("Upsample", &[7, 9], (1, 2), resize::upsample) },
    row("Where", &[9, 16], (3, 3), elementwise::select),
    row("Xor", &[7], (2, 2), logic::connective),
];

/// Operators that ONNX Runtime writes, in its own domain, by name: those of quantized values, and those that its
/// optimizer joins of others.
const RUNTIME_OPERATORS: &[Operator] = &[
    row("BiasGelu", &[1], (2, 2), fused::gelu),
    row("DequantizeLinear", &[1], (2, 3), quantize::dequantize_linear),
    row("FastGelu", &[1], (1, 2), fused::gelu),
    row("FusedConv", &[1], (2, 4), fused::conv),
    row("FusedGemm", &[1], (2, 3), fused::gemm),
    row("FusedMatMul", &[1], (2, 2), fused::matmul),
    row("Gelu", &[1], (1, 1), fused::gelu),
    row("QGemm", &[1], (6, 9), quantized::gemm),
    row("QLinearAdd", &[1], (7, 8), quantized::binary),
    row("QLinearAveragePool", &[1], (4, 5), quantized::average_pool),
    row("QLinearConcat", &[1], (5, ANY), quantized::concat),
    row("QLinearGlobalAveragePool", &[1], (5, 5), quantized::global_average_pool),
    row("QLinearLeakyRelu", &[1], (4, 5), quantized::unary),
    row("QLinearMul", &[1], (7, 8), quantized::binary),
    row("QLinearReduceMean", &[1], (4, 5), quantized::reduce_mean),
    row("QLinearSigmoid", &[1], (4, 5), quantized::unary),
    row("QLinearSoftmax", &[1], (4, 5), quantized::softmax),
    row("QuantizeLinear", &[1], (2, 3), quantize::quantize_linear),
    row("QuickGelu", &[1], (1, 1), fused::gelu),
    row("SkipLayerNormalization", &[1], (3, 5), normalize::skip_layer).with_outputs(4),
    row("SkipSimplifiedLayerNormalization", &[1], (3, 4), normalize::skip_layer).with_outputs(4),
    row("TransposeMatMul", &[1], (2, 2), fused::matmul),
];

/// ONNX Runtime's own domain.
const RUNTIME: &str = "com.microsoft";

/// An operator that models may have, as the registry knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownOperator {
    /// The domain; empty for ONNX's own.
    pub domain: &'static str,
    /// Its name.
    pub name: &'static str,
    /// The first and the last operator set of its domain that it is read in.
    pub opsets: (i64, i64),
    /// The operator sets between these that changed it.
    pub changed: Vec<i64>,
}

/// Every operator that is imported, by domain and name.
pub fn operators() -> Vec<KnownOperator> {
    let known = |domain: &'static str, all: &'static [Operator], last: i64| {
        all.iter().map(move |operator| operator.known(domain, last))
    };
    let own = known("", OPERATORS, *OPSETS.end());
    own.chain(known(RUNTIME, RUNTIME_OPERATORS, 1)).collect()
}

impl Operator {
    fn known(&self, domain: &'static str, last: i64) -> KnownOperator {
        let oldest = if domain.is_empty() { *OPSETS.start() } else { 1 };
        let first = self.versions.first().map_or(oldest, |since| (*since).max(oldest));
        let changed = self.versions.iter().copied().filter(|since| *since > first).collect();
        let opsets = (first, last.min(self.until - 1));
        KnownOperator { domain, name: self.name, opsets, changed }
    }

    /// Checks the numbers of operands and of results that a node lists.
    pub(super) fn check_arity(&self, inputs: usize, outputs: usize) -> Result<()> {
        if !(self.inputs.0..=self.inputs.1).contains(&inputs) {
            let takes = span(self.inputs);
            return Err(bad(format!("{inputs} operands, but {} takes {takes}", self.name)));
        }
        if !(1..=self.outputs).contains(&outputs) {
            let gives = span((1, self.outputs));
            return Err(bad(format!("{outputs} outputs, but {} gives {gives}", self.name)));
        }
        Ok(())
    }
}

/// A range in words.
fn span((least, most): (usize, usize)) -> String {
    match (least, most) {
        (least, ANY) => format!("at least {least}"),
        (least, most) if least == most => format!("{least}"),
        (least, most) => format!("{least} to {most}"),
    }
}

/// The operator `name` of `domain`, and the version of it that operator set `opset` gives.
pub(super) fn find(domain: &str, name: &str, opset: i64) -> Result<(&'static Operator, i64)> {
    let (all, unknown): (_, fn(&str, &str) -> Error) = match domain {
        "" => (OPERATORS, |_, name| unknown_operator(name)),
        RUNTIME => (RUNTIME_OPERATORS, unknown_domain),
        _ => return Err(unknown_domain(domain, name)),
    };
    let found = all.iter().find(|operator| operator.name == name);
    let operator = found.ok_or_else(|| unknown(domain, name))?;
    let since = operator.versions.iter().rev().find(|since| **since <= opset);
    match since {
        Some(&since) if opset < operator.until => Ok((operator, since)),
        Some(_) => {
            let what = format!("{name} of operator set {opset}: it ended with {}", operator.until);
            Err(unsupported(what).with_remedy("export the model with opset_version=20"))
        }
        None => {
            let first = operator.versions.first().copied().unwrap_or(i64::MAX);
            Err(bad(format!("the model uses operator set {opset}; {name} is new in {first}"))
                .with_remedy(format!("export the model with opset_version={first}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_versions_ascend() {
        for all in [OPERATORS, RUNTIME_OPERATORS] {
            assert!(all.windows(2).all(|pair| pair[0].name < pair[1].name));
        }
        for operator in OPERATORS.iter().chain(RUNTIME_OPERATORS) {
            assert!(operator.versions.is_sorted(), "{}", operator.name);
            assert!(operator.versions.iter().all(|v| *v < operator.until), "{}", operator.name);
        }
    }

    #[test]
    fn the_newest_version_not_above_the_operator_set_is_taken() {
        let since = |name, opset| find("", name, opset).map(|(_, since)| since).ok();
        assert_eq!(since("ReduceSum", 12), Some(11));
        assert_eq!(since("ReduceSum", 13), Some(13));
        assert_eq!(since("Gelu", 19), None);
        assert_eq!(since("Upsample", 9), Some(9));
        assert_eq!(since("Upsample", 10), None);
    }
}
