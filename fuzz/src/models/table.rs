//! The operators of models, with the operands and attributes that they have in one version or another.

/// An operator.
pub(super) struct Operator {
    /// Its name in ONNX.
    pub(super) name: &'static str,
    /// A letter for each operand, capital where it is optional: `x` any value, `w` a convolution's
    /// weights, `m` a matrix, `c` a vector, `s` one number, `i` integers.
    pub(super) operands: &'static str,
    /// The names of its attributes.
    pub(super) attributes: &'static str,
}

const fn row(name: &'static str, operands: &'static str, attributes: &'static str) -> Operator {
    Operator { name, operands, attributes }
}

/// Values of attributes that are words.
pub(super) const WORDS: &[&str] = &[
    "NOTSET",
    "SAME_UPPER",
    "SAME_LOWER",
    "VALID",
    "constant",
    "reflect",
    "edge",
    "nearest",
    "linear",
    "tanh",
    "none",
    "floor",
    "round_prefer_floor",
    "asymmetric",
    "half_pixel",
    "",
];

const WINDOW: &str = "kernel_shape strides pads dilations auto_pad";
const POOL: &str =
    "kernel_shape strides pads dilations auto_pad ceil_mode count_include_pad storage_order";

/// The operators, those of networks more often.
pub(super) const OPERATORS: &[Operator] = &[
    row("Abs", "x", ""),
    row("Add", "xx", ""),
    row("Add", "xc", ""),
    row("And", "xx", ""),
    row("ArgMax", "x", "axis keepdims select_last_index"),
    row("AveragePool", "x", POOL),
    row("BatchNormalization", "xcccc", "epsilon momentum training_mode spatial"),
    row("BatchNormalization", "xcccc", "epsilon"),
    row("Cast", "x", "to saturate"),
    row("CastLike", "xx", "saturate"),
    row("Ceil", "x", ""),
    row("Clip", "xSS", ""),
    row("Clip", "x", "min max"),
    row("Concat", "xxX", "axis"),
    row("Constant", "", "value value_float value_ints"),
    row("ConstantOfShape", "i", "value"),
    row("Conv", "xwC", WINDOW),
    row("Conv", "xwC", "kernel_shape strides pads dilations auto_pad group"),
    row("Conv", "xw", "pads"),
    row("Conv", "xw", ""),
    row("Div", "xx", ""),
    row("Div", "xs", ""),
    row("Dropout", "xS", "ratio seed"),
    row("Equal", "xx", ""),
    row("Erf", "x", ""),
    row("Exp", "x", ""),
    row("Expand", "xi", ""),
    row("Flatten", "x", "axis"),
    row("Floor", "x", ""),
    row("Gather", "xi", "axis"),
    row("Gelu", "x", "approximate"),
    row("Gemm", "xmC", "alpha beta transA transB"),
    row("GlobalAveragePool", "x", ""),
    row("GlobalMaxPool", "x", ""),
    row("Greater", "xx", ""),
    row("GreaterOrEqual", "xx", ""),
    row("HardSigmoid", "x", "alpha beta"),
    row("HardSwish", "x", ""),
    row("Identity", "x", ""),
    row("LeakyRelu", "x", "alpha"),
    row("Less", "xx", ""),
    row("LessOrEqual", "xx", ""),
    row("Log", "x", ""),
    row("LogSoftmax", "x", "axis"),
    row("MatMul", "xx", ""),
    row("MatMul", "xm", ""),
    row("Max", "xxX", ""),
    row("MaxPool", "x", POOL),
    row("Min", "xxX", ""),
    row("Mod", "xx", "fmod"),
    row("Mul", "xx", ""),
    row("Mul", "xs", ""),
    row("Neg", "x", ""),
    row("Not", "x", ""),
    row("Or", "xx", ""),
    row("Pad", "xiSI", "mode pads value"),
    row("Pow", "xs", ""),
    row("Range", "iii", ""),
    row("Reciprocal", "x", ""),
    row("ReduceMax", "xI", "axes keepdims noop_with_empty_axes"),
    row("ReduceMean", "xI", "axes keepdims noop_with_empty_axes"),
    row("ReduceMean", "x", "axes keepdims"),
    row("ReduceMin", "xI", "axes keepdims noop_with_empty_axes"),
    row("ReduceSum", "xI", "axes keepdims noop_with_empty_axes"),
    row("Relu", "x", ""),
    row("Reshape", "xi", "allowzero"),
    row("Resize", "xCCI", "mode nearest_mode coordinate_transformation_mode axes antialias"),
    row("SequenceAt", "xi", ""),
    row("Shape", "x", "start end"),
    row("Sigmoid", "x", ""),
    row("Size", "x", ""),
    row("Slice", "xiiII", ""),
    row("Slice", "x", "starts ends axes"),
    row("Softmax", "x", "axis"),
    row("Split", "xI", "axis split num_outputs"),
    row("SplitToSequence", "xI", "axis keepdims"),
    row("Sqrt", "x", ""),
    row("Squeeze", "xI", "axes"),
    row("Sub", "xx", ""),
    row("Sum", "xxX", ""),
    row("Tanh", "x", ""),
    row("Transpose", "x", "perm"),
    row("Unsqueeze", "xI", "axes"),
    row("Upsample", "xC", "mode scales"),
    row("Where", "xxx", ""),
];
