//! What callers do wrong. Each must be refused with its own error, and leave outputs as they are.

use std::num::NonZeroUsize;
use std::path::Path;
use std::slice::from_ref;
use std::sync::Arc;

use cardinal_runtime::{
    Artifact, DType, LoadError, MAX_THREADS, Program, Role, RunError, Session, Tensor,
};

/// What a mistake is made with.
pub(crate) struct Place<'a> {
    pub(crate) session: &'a mut Session,
    pub(crate) artifact: &'a [u8],
    pub(crate) input: &'a Tensor,
    pub(crate) outputs: &'a mut [Tensor],
}

/// Makes a mistake; whether it was refused as it should be.
type Misuse = fn(&mut Place<'_>) -> bool;

/// All mistakes.
pub(crate) const MISUSES: [Misuse; 12] = [
    another_shape,
    another_type,
    no_input,
    one_input_too_many,
    another_output_shape,
    short_input,
    short_output,
    misaligned_input,
    unknown_cpu,
    damaged_artifact,
    missing_file,
    too_many_threads,
];

fn is_mismatch(result: &Result<(), RunError>, of: Role) -> bool {
    matches!(result, Err(RunError::Mismatch { role, .. }) if *role == of)
}

fn another_shape(place: &mut Place<'_>) -> bool {
    let input = Tensor::zeros(DType::F32, &[1, 2, 3]).expect("a tensor");
    is_mismatch(&place.session.run_into(&[input], place.outputs), Role::Input)
}

fn another_type(place: &mut Place<'_>) -> bool {
    let input = Tensor::zeros(DType::I64, place.input.shape()).expect("a tensor");
    is_mismatch(&place.session.run_into(&[input], place.outputs), Role::Input)
}

fn no_input(place: &mut Place<'_>) -> bool {
    let result = place.session.run_into::<Tensor>(&[], place.outputs);
    matches!(result, Err(RunError::Count { role: Role::Input, given: 0, .. }))
}

fn one_input_too_many(place: &mut Place<'_>) -> bool {
    let result = place.session.run_into(&[place.input, place.input], place.outputs);
    matches!(result, Err(RunError::Count { role: Role::Input, given: 2, .. }))
}

fn another_output_shape(place: &mut Place<'_>) -> bool {
    let mut output = Tensor::zeros(DType::F32, &[7]).expect("a tensor");
    let result = place.session.run_into(from_ref(place.input), std::slice::from_mut(&mut output));
    is_mismatch(&result, Role::Output)
}

fn short_input(place: &mut Place<'_>) -> bool {
    let bytes = place.input.as_bytes();
    let outputs = place.outputs.iter_mut().map(Tensor::as_bytes_mut);
    let result = place.session.run_slices([&bytes[..bytes.len() - 4]], outputs);
    matches!(result, Err(RunError::Bytes { role: Role::Input, .. }))
}

fn short_output(place: &mut Place<'_>) -> bool {
    let outputs = place.outputs.iter_mut().map(|output| &mut output.as_bytes_mut()[4..]);
    let result = place.session.run_slices([place.input.as_bytes()], outputs);
    matches!(result, Err(RunError::Bytes { role: Role::Output, .. }))
}

fn misaligned_input(place: &mut Place<'_>) -> bool {
    let length = place.input.as_bytes().len();
    // Eight bytes more begin at the same rest as the tensor, and so are not aligned one byte later.
    let longer = Tensor::zeros(DType::U8, &[length + 8]).expect("a tensor");
    let outputs = place.outputs.iter_mut().map(Tensor::as_bytes_mut);
    let result = place.session.run_slices([&longer.as_bytes()[1..=length]], outputs);
    matches!(result, Err(RunError::Misaligned { role: Role::Input, .. }))
}

fn unknown_cpu(place: &mut Place<'_>) -> bool {
    let artifact = Artifact::copy(place.artifact).expect("the artifact is good");
    let result = Program::load_variant(artifact, Some("no such CPU"));
    matches!(result, Err(LoadError::NoVariant { name, .. }) if name == "no such CPU")
}

fn damaged_artifact(place: &mut Place<'_>) -> bool {
    let mut bytes = place.artifact.to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 0x40;
    let damaged = matches!(Artifact::copy(&bytes), Err(LoadError::Digest(_)));
    damaged && matches!(Artifact::copy(&bytes[..last]), Err(LoadError::Truncated { .. }))
}

fn missing_file(_: &mut Place<'_>) -> bool {
    matches!(Artifact::open(Path::new("no such file.cardinal")), Err(LoadError::Io { .. }))
}

fn too_many_threads(place: &mut Place<'_>) -> bool {
    let threads = NonZeroUsize::MIN.saturating_add(MAX_THREADS);
    let result = Session::new(Arc::clone(place.session.program()), threads);
    matches!(result, Err(RunError::TooManyThreads { .. }))
}
