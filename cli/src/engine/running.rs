//! What became of a model in the variant that runs.

use cardinal_compiler::codegen::Target;
use cardinal_compiler::error::Error as ModelError;
use cardinal_compiler::ir::Graph;
use cardinal_compiler::pipeline::VariantTrace;
use cardinal_compiler::plan::Plan;
use cardinal_compiler::record::Record;
use cardinal_compiler::schedule::{Choice, Summary};

use super::{Model, ModelResult, Pipeline, Settings, targets};
use crate::program::Program;

/// A graph after all passes, and what was made of it for the CPU whose code runs.
pub(crate) struct Running {
    pub(crate) graph: Graph,
    pub(crate) target: Target,
    schedule: Summary,
    pub(crate) plan: Plan,
}

impl Running {
    /// What the program was compiled to, from this model with these settings.
    ///
    /// # Errors
    /// Those of the compiler.
    pub(crate) fn of_model(
        model: &Model,
        settings: &Settings,
        program: &Program,
    ) -> ModelResult<Running> {
        let trace = Pipeline::new(model, &settings.compile).plans(&targets(settings)?)?;
        // What a target asks for depends on what was made for it.
        let of_program = |variant: &&VariantTrace| variant.target.cpu() == program.isa();
        let variant = trace.variants.iter().find(of_program);
        let variant = variant.ok_or_else(|| ModelError::internal("no variant is what runs"))?;
        Ok(Running {
            target: variant.target.clone(),
            schedule: Summary::of(&trace.graph, &variant.schedule),
            plan: variant.plan()?.clone(),
            graph: trace.graph,
        })
    }

    /// What the program's artifact says of it.
    ///
    /// # Errors
    /// Where it says nothing, or what is not of its code.
    pub(crate) fn of_artifact(program: &Program) -> ModelResult<Running> {
        let (artifact, position) = program.running();
        let Record { graph, target, schedule, plan, .. } = Record::read(artifact, position)?;
        Ok(Running { graph, target, schedule, plan })
    }

    /// How convolutions in blocks are computed, by the values that they make.
    pub(crate) fn taken(&self) -> impl Iterator<Item = (&str, &Choice)> {
        let nodes = self.schedule.nodes.iter();
        nodes.filter_map(|node| Some((node.name.as_str(), &node.conv.as_ref()?.by)))
    }
}
