//! `--selftest`: does the model compute here what it should?

use std::num::NonZeroUsize;

use serde_json::{Value, json};

use super::sample::Sample;
use crate::exit::{Failure, Outcome};
use crate::program::{Program, Session};
use crate::verdict::{self, Verdict};
use crate::{output, random};

/// The schema of `--json`.
const SCHEMA: &str = "cardinal.selftest/v1";

/// Runs the sample and compares the outputs with the stored ones.
///
/// # Errors
/// [`Failure::Mismatch`] when they differ.
pub(super) fn run(
    program: &Program,
    sample: &Sample,
    threads: NonZeroUsize,
    json: bool,
) -> Outcome {
    let expected = sample.expected().filter(|all| all.len() == program.outputs().len());
    let expected = expected.ok_or_else(|| {
        Failure::Mismatch("the stored sample does not have the model's outputs".into())
    })?;
    let inputs = random::arrays(program.inputs(), sample.seed)?;
    let actual = Session::new(program, threads)?.run(inputs)?;
    let verdicts = verdict::judge(program.outputs(), &actual, &expected, sample.tolerance());
    match json {
        true => output::print_json(&to_json(&verdicts))?,
        false => output::print(|out| verdicts.iter().try_for_each(|v| v.print(out)))?,
    }
    verdict::conclude(&verdicts).map_err(explain)
}

fn to_json(verdicts: &[Verdict]) -> Value {
    let output = |v: &Verdict| json!({"same": v.same, "text": v.text()});
    json!({
        "schema": SCHEMA,
        "same": verdicts.iter().all(|v| v.same),
        "outputs": verdicts.iter().map(output).collect::<Vec<_>>(),
    })
}

/// Says what differing outputs mean here.
fn explain(failure: Failure) -> Failure {
    match failure {
        Failure::Mismatch(what) => Failure::Mismatch(format!(
            "the self-test failed: {what} from what was stored when this file was made; do not \
             trust its results on this machine"
        )),
        other => other,
    }
}
