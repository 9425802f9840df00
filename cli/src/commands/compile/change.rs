//! What numbers of fewer digits change in the outputs of a model: weights and products.

use cardinal_compiler::error::Error as ModelError;
use cardinal_compiler::options::CompileOptions;
use cardinal_compiler::schedule::Bfloat16;
use cardinal_runtime::Artifact;
use cardinal_runtime::manifest::Variant;
use serde_json::{Value, json};

use crate::about;
use crate::compare::{Comparison, compare};
use crate::engine::{self, Model, Settings};
use crate::exit::{Failure, Outcome};
use crate::trial::{self, Trial};

/// The outputs with numbers of fewer digits beside those with f32 alone, for one random input.
pub(super) struct Change {
    /// What has fewer digits.
    what: String,
    outputs: Outputs,
}

enum Outputs {
    /// Each one's name, and how it differs.
    Measured(Vec<(String, Comparison)>),
    /// Why they are not known.
    NotMeasured(String),
}

/// What has fewer digits than f32 in what was compiled with these settings, if anything.
fn fewer_digits(compile: &CompileOptions, compiled: &Artifact) -> Option<String> {
    let is_rounded = |variant: &Variant| variant.precision() != "f32";
    let may_round = compile.schedule.bfloat16 != Bfloat16::Never;
    let products = may_round && compiled.variants().iter().any(is_rounded);
    let parts = [
        compile.weights.map(|narrow| format!("weights in {}", narrow.words())),
        products.then(|| "products of bfloat16".to_owned()),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(" and "))
}

impl Change {
    /// Runs a model as it is compiled, and compiled once more, with f32 alone; `None` where that is what it is
    /// compiled with. Where this machine cannot run it, the answer says so.
    ///
    /// # Errors
    /// What `refused` makes of the compiler's refusal.
    pub(super) fn measure(
        model: &Model,
        settings: &Settings,
        compiled: &Artifact,
        refused: impl FnOnce(Box<ModelError>) -> Failure,
    ) -> Outcome<Option<Change>> {
        let Some(what) = fewer_digits(&settings.compile, compiled) else { return Ok(None) };
        let here = about::runs_here(compiled).and_then(|at| compiled.variants().get(at));
        let is_of_others =
            |here: &Variant| settings.compile.weights.is_none() && here.precision() == "f32";
        if here.is_none_or(is_of_others) {
            let outputs = Outputs::NotMeasured("the code is for other machines".into());
            return Ok(Some(Change { what, outputs }));
        }
        let plain = engine::compile(model, &engine::in_f32(settings));
        let plain = plain.and_then(|compiled| compiled.to_artifact());
        let plain = plain.map_err(refused)?;
        let name = &model.graph.name;
        let both = trial::run(plain, name)
            .and_then(|expected| Ok((trial::run(compiled.clone(), name)?, expected)));
        let outputs = both.map_or_else(
            |failure| Outputs::NotMeasured(failure.to_string()),
            |(actual, expected)| Outputs::of(&actual, &expected),
        );
        Ok(Some(Change { what, outputs }))
    }

    /// A line for each output.
    pub(super) fn lines(&self) -> Vec<String> {
        match &self.outputs {
            Outputs::Measured(outputs) => {
                outputs.iter().map(|output| line(&self.what, output)).collect()
            }
            Outputs::NotMeasured(why) => {
                vec![format!("what {} change is not known: {why}", self.what)]
            }
        }
    }

    pub(super) fn to_json(&self) -> Value {
        match &self.outputs {
            Outputs::Measured(outputs) => {
                let outputs: Vec<Value> = outputs.iter().map(output_json).collect();
                json!({"measured": true, "of": self.what, "outputs": outputs})
            }
            Outputs::NotMeasured(why) => {
                json!({"measured": false, "of": self.what, "why": why})
            }
        }
    }
}

impl Outputs {
    fn of(actual: &Trial, expected: &Trial) -> Outputs {
        let pairs = actual.outputs.iter().zip(&expected.outputs);
        let names = actual.specs.iter().map(|spec| spec.name.clone());
        Outputs::Measured(names.zip(pairs.map(|(a, e)| compare(a, e))).collect())
    }
}

fn line(what: &str, (name, c): &(String, Comparison)) -> String {
    let mut line = format!(
        "{what} change {name} on one random input by up to {:.3e}, {:.3e} of its largest magnitude {:.4}",
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
