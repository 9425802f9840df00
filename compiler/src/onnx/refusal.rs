//! Refusals of a node, without its place: whoever imports it adds that.

use crate::error::{Error, Problem};

/// What can be done about a model that ONNX Runtime saved with what is not read.
pub(super) const AS_EXPORTED: &str = "use the model as exported, before ONNX Runtime optimised it";

/// An attribute or operand that the operator does not allow.
pub(super) fn bad(what: impl Into<String>) -> Error {
    Problem::BadNode(what.into()).into()
}

/// Something that the operator allows and Cardinal does not.
pub(super) fn unsupported(what: impl Into<String>) -> Error {
    Problem::Unsupported(what.into()).into()
}

/// A refusal of something that Cardinal does not do, with what can be done in any case where nothing better is
/// said.
pub(super) fn advised(error: Error) -> Error {
    let lacks_advice = matches!(error.problem, Problem::Unsupported(_)) && error.remedy.is_none();
    if !lacks_advice {
        return error;
    }
    error.with_remedy(
        "export the model without this, or cut it off before the operator, as with \
         onnx.utils.extract_model",
    )
}

/// An operator of ONNX that is not imported.
pub(super) fn unknown_operator(name: &str) -> Error {
    unsupported(format!("the operator {name}")).with_remedy(remedy(name))
}

/// What to do about an operator of ONNX that is not imported: it depends on why it is not.
pub(super) fn remedy(operator: &str) -> &'static str {
    match operator {
        "NonMaxSuppression" | "NonZero" | "Unique" => {
            "how large its result is depends on values, and sizes are fixed when a model is compiled: \
             cut the model off before it, as with onnx.utils.extract_model, and do the rest in your program"
        }
        "If" => {
            "export the model for fixed shapes and in inference mode, which leaves no If whose condition \
             depends on values"
        }
        "Loop" | "Scan" | "SequenceMap" => {
            "how often it repeats, or what, may depend on values: export the model for fixed shapes and \
             in inference mode, which leaves no Loop or Scan, or cut the model off before it"
        }
        "Bernoulli" | "Multinomial" | "RandomNormal" | "RandomNormalLike" | "RandomUniform"
        | "RandomUniformLike" => {
            "its results are random: export the model in inference mode, or give it the random numbers \
             as an input"
        }
        "RegexFullMatch" | "StringConcat" | "StringNormalizer" | "StringSplit"
        | "TfIdfVectorizer" => {
            "there are no tensors of texts: prepare texts in your program, and cut the model off behind it"
        }
        "ImageDecoder" => "give the model decoded images: cut it off behind the operator",
        "Optional" | "OptionalGetElement" | "OptionalHasElement" => {
            "export the model with tensors in place of optional values"
        }
        "ConcatFromSequence" | "SequenceConstruct" | "SequenceEmpty" | "SequenceErase"
        | "SequenceInsert" | "SequenceLength" => {
            "export the model with tensors in place of sequences, such as with Split and Concat"
        }
        _ => {
            "`cardinal operators` lists what there is: export the model in inference mode with constant \
             folding, or cut it off before the operator, as with onnx.utils.extract_model"
        }
    }
}

/// An operator of a domain that is not imported.
pub(super) fn unknown_domain(domain: &str, name: &str) -> Error {
    let remedy = match domain {
        "com.microsoft" => AS_EXPORTED,
        "com.microsoft.nchwc" => {
            "use the model as exported, or save it with ORT_ENABLE_EXTENDED at most: ONNX Runtime laid this \
             one out for one machine"
        }
        "ai.onnx.ml" => {
            "this domain has models that are no neural networks, and their preparation: cut the model \
             off before the operator, as with onnx.utils.extract_model"
        }
        "ai.onnx.preview.training" | "ai.onnx.training" => {
            "export the model in inference mode, without its optimizer"
        }
        _ => "export the operator as a local function of the model, or without custom operators",
    };
    unsupported(format!("the operator {name} of the domain `{domain}`")).with_remedy(remedy)
}
