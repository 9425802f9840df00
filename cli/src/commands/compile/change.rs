//! What weights in half precision change in the outputs of a model.

use cardinal_compiler::error::Error as ModelError;
use cardinal_compiler::options::{CompileOptions, Precision};
use cardinal_runtime::Artifact;
use serde_json::{Value, json};

use crate::about;
use crate::compare::{Comparison, compare};
use crate::engine::{self, Model, Settings};
use crate::exit::{Failure, Outcome};
use crate::trial::{self, Trial};

/// The outputs with weights in half precision beside those with f32 ones, for one random input.
pub(super) enum Change {
    /// Each output's name, and how it differs.
    Measured(Vec<(String, Comparison)>),
    /// Why they are not known.
    NotMeasured(String),
}

impl Change {
    /// Runs a model with its weights in half precision, and compiled once more, with f32 ones. Where
    /// this machine cannot run it, the answer says so.
    ///
    /// # Errors
    /// What `refused` makes of the compiler's refusal.
    pub(super) fn measure(
        model: &Model,
        settings: &Settings,
        halved: &Artifact,
        refused: impl FnOnce(Box<ModelError>) -> Failure,
    ) -> Outcome<Change> {
        if about::runs_here(halved).is_none() {
            return Ok(Change::NotMeasured("the code is for other machines".into()));
        }
        // What `halved` has proved need not be proved again.
        let (weights, check_rewrites) = (Precision::F32, false);
        let compile = CompileOptions { weights, check_rewrites, ..settings.compile.clone() };
        let plain = Settings { compile, ..settings.clone() };
        let plain = engine::compile(model, &plain).and_then(|compiled| compiled.to_artifact());
        let plain = plain.map_err(refused)?;
        let name = &model.graph.name;
        let both = trial::run(plain, name)
            .and_then(|expected| Ok((trial::run(halved.clone(), name)?, expected)));
        Ok(both.map_or_else(
            |failure| Change::NotMeasured(failure.to_string()),
            |(actual, expected)| Change::of(&actual, &expected),
        ))
    }

    fn of(actual: &Trial, expected: &Trial) -> Change {
        let pairs = actual.outputs.iter().zip(&expected.outputs);
        let names = actual.specs.iter().map(|spec| spec.name.clone());
        Change::Measured(names.zip(pairs.map(|(a, e)| compare(a, e))).collect())
    }

    /// A line for each output.
    pub(super) fn lines(&self) -> Vec<String> {
        match self {
            Change::Measured(outputs) => outputs.iter().map(line).collect(),
            Change::NotMeasured(why) => {
                vec![format!("what weights in half precision change is not known: {why}")]
            }
        }
    }

    pub(super) fn to_json(&self) -> Value {
        match self {
            Change::Measured(outputs) => {
                let outputs: Vec<Value> = outputs.iter().map(output_json).collect();
                json!({"measured": true, "outputs": outputs})
            }
            Change::NotMeasured(why) => json!({"measured": false, "why": why}),
        }
    }
}

fn line((name, c): &(String, Comparison)) -> String {
    let mut line = format!(
        "weights in half precision change {name} on one random input by up to {:.3e}, {:.3e} of its largest magnitude {:.4}",
        c.max_abs, c.max_rel, c.scale
    );
    if let Some((same, rows)) = c.argmax {
        line += &format!("; the top class stays in {same} of {rows}");
    }
    line
}

fn output_json((name, c): &(String, Comparison)) -> Value {
    let mut output = json!({
        "name": name,
        "max_abs": c.max_abs,
        "max_rel": c.max_rel,
        "magnitude": c.scale,
    });
    if let Some((same, rows)) = c.argmax {
        output["top1_same"] = same.into();
        output["top1_of"] = rows.into();
    }
    output
}
