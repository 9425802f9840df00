//! The whole pipeline: an imported model to an artifact, and what happened on the way.
//!
//! ```text
//! Model --passes--> Graph --schedule--> Schedule --lower--> Plan --code--> Code --assemble--> Compiled
//!                          '------------ for each target ------------'
//! ```
//!
//! This is the only way through the compiler. What compiles, relinks, inspects, times or tunes goes as
//! far along it as it needs, and finds in the [`Trace`] what it asked to [`Keep`].

mod assemble;
mod trace;

pub use assemble::Compiled;
pub(crate) use assemble::{VERSION, VariantCode};
pub use trace::{Keep, PassTrace, Trace, VariantTrace};

use crate::codegen::{Code, Listing, Target};
use crate::error::{Error, Problem, Result};
use crate::ir::verify;
use crate::kernels;
use crate::machine::Vectors;
use crate::onnx::Model;
use crate::options::CompileOptions;
use crate::passes::{self, Run};
use crate::plan::{self, Plan};
use crate::schedule::{Bfloat16, Layer, Preferences, Schedule};

/// Compiles a model for one or more CPUs of one kind of machine, whatever their order. All read one
/// weights section, and each has the kernels that it would have alone, and so gives the same bits.
///
/// The result depends on the model, the targets, the options and the version of the compiler alone.
///
/// # Errors
/// What the model asks for and generated code cannot do, as [`crate::error::Problem`] describes;
/// [`Problem::Target`] for no target, and for targets of different triples.
pub fn compile(model: &Model, targets: &[Target], options: &CompileOptions) -> Result<Compiled> {
    Pipeline::new(model, options).compile(targets)
}

impl Model {
    /// Compiles the model with default options, as [`compile`] describes.
    ///
    /// # Errors
    /// Those of [`compile`].
    pub fn compile(&self, targets: &[Target]) -> Result<Compiled> {
        compile(self, targets, &CompileOptions::default())
    }
}

/// A model before its way through the compiler.
#[derive(Debug, Clone, Copy)]
pub struct Pipeline<'m> {
    model: &'m Model,
    options: &'m CompileOptions,
    keep: Keep,
}

impl<'m> Pipeline<'m> {
    /// The way of this model with these options. Nothing but results is kept.
    pub fn new(model: &'m Model, options: &'m CompileOptions) -> Pipeline<'m> {
        Pipeline { model, options, keep: Keep::default() }
    }

    /// The same way, on which this is kept too.
    pub fn keeping(self, keep: Keep) -> Pipeline<'m> {
        Pipeline { keep, ..self }
    }

    /// The model, as it was imported.
    pub fn model(&self) -> &'m Model {
        self.model
    }

    /// Runs the passes, all of them or up to and with `until`.
    ///
    /// # Errors
    /// Those of [`passes::run_with`].
    pub fn passes(&self, until: Option<&str>) -> Result<Trace> {
        let Keep { graphs, changes } = self.keep;
        let check_rewrites = self.options.check_rewrites;
        let run = Run { until, check_rewrites, changes, rewrites: None };
        let mut graph = self.model.graph.clone();
        let mut passes = Vec::new();
        passes::run_with(&mut graph, run, &mut |done| {
            let after = graphs.then(|| done.graph.clone());
            let (near_misses, changes) = (done.near_misses, done.changes);
            passes.push(PassTrace { pass: done.pass, after, changes, near_misses });
        })?;
        Ok(Trace { passes, graph, variants: Vec::new() })
    }

    /// Runs all passes, and makes a schedule for each target.
    ///
    /// # Errors
    /// Those of the passes, and [`Problem::Target`] for targets that do not go together.
    pub fn schedules(&self, targets: &[Target]) -> Result<Trace> {
        let targets = in_order(targets)?;
        let preferences = &self.preferences();
        check_portable(&targets, preferences)?;
        check_bfloats(&targets, preferences)?;
        let mut trace = self.passes(None)?;
        verify(&trace.graph)?;
        let scheduled = |target: Target| {
            let schedule = kernels::schedule(&trace.graph, &target.machine(), preferences);
            // An artifact asks for no more than its code needs.
            let target = match schedule.multiplies_bytes() {
                true => target,
                false => target.without_dots(),
            };
            let target = match schedule.multiplies_bfloats() {
                true => target,
                false => target.without_bfloats(),
            };
            VariantTrace { target, schedule, plan: None }
        };
        trace.variants = targets.into_iter().map(scheduled).collect();
        // Some may ask for the same now.
        let order = |v: &VariantTrace| {
            (v.target.features().len(), v.target.features().to_vec(), v.target.core())
        };
        trace.variants.sort_by_cached_key(order);
        trace.variants.dedup_by_key(|variant| variant.target.cpu());
        Ok(trace)
    }

    /// What is asked for, and what the model's file allows.
    fn preferences(&self) -> Preferences {
        let asked = &self.options.schedule;
        let winograd_of_bytes = asked.winograd_of_bytes || self.model.allows_winograd_of_bytes();
        Preferences { winograd_of_bytes, ..asked.clone() }
    }

    /// The same, with a plan for each target.
    ///
    /// # Errors
    /// Those of [`compile`], but for what only generating code finds.
    pub fn plans(&self, targets: &[Target]) -> Result<Trace> {
        let mut trace = self.schedules(targets)?;
        let schedules: Vec<Schedule> =
            trace.variants.iter().map(|variant| variant.schedule.clone()).collect();
        // Nothing below knows ONNX: errors there name nodes of the file, but not their operators.
        let located = |error| self.model.operators.locate(error);
        let plans = kernels::lower_all(&trace.graph, &schedules).map_err(located)?;
        for (variant, plan) in trace.variants.iter_mut().zip(plans) {
            plan::check_memory(&plan, self.options.memory).map_err(located)?;
            variant.plan = Some(plan);
        }
        Ok(trace)
    }

    /// The convolutions that a target's plan has in blocks, with what each can be computed as, in the
    /// order of the plan.
    ///
    /// # Errors
    /// Those of the passes.
    pub fn layers(&self, target: &Target) -> Result<Vec<Layer>> {
        let trace = self.schedules(std::slice::from_ref(target))?;
        Ok(trace.variants.iter().flat_map(|v| v.schedule.layers(&trace.graph)).collect())
    }

    /// Goes the whole way, as [`compile`] describes.
    ///
    /// # Errors
    /// Those of [`compile`].
    pub fn compile(&self, targets: &[Target]) -> Result<Compiled> {
        let trace = self.plans(targets)?;
        let code = trace.variants.iter().map(|variant| {
            let Code { bytes, entry, functions } = variant.code(Listing::default())?;
            Ok(VariantCode { bytes, entry: entry as u64, functions, reasons: None })
        });
        let code = code.collect::<Result<_>>()?;
        self.assemble(trace, code)
    }

    /// Puts everything together, with the code of each variant in order.
    ///
    /// # Errors
    /// [`Problem::Internal`] where there is no plan.
    pub(crate) fn assemble(&self, trace: Trace, code: Vec<VariantCode>) -> Result<Compiled> {
        assemble::assemble(self.model, self.options, trace, code)
    }
}

impl VariantTrace {
    /// The plan, if the way went as far.
    ///
    /// # Errors
    /// [`Problem::Internal`] if it did not.
    pub fn plan(&self) -> Result<&Plan> {
        self.plan.as_ref().ok_or_else(|| Error::internal("there is no plan yet"))
    }

    /// Generates this variant's code, with the texts that are asked for.
    ///
    /// # Errors
    /// Those of [`plan::generate`].
    pub fn code(&self, listing: Listing) -> Result<Code> {
        plan::generate(self.plan()?, &self.target, listing)
    }
}

/// The targets without repetitions, in the order of an artifact's variants: none asks for less than
/// one before it.
fn in_order(targets: &[Target]) -> Result<Vec<Target>> {
    let mut targets = targets.to_vec();
    targets.sort_by_cached_key(|t| (t.features().len(), t.features().to_vec(), t.core()));
    targets.dedup();
    let Some(first) = targets.first() else {
        return Err(Problem::Target("there is none to compile for".into()).into());
    };
    match targets.iter().find(|target| target.triple() != first.triple()) {
        Some(other) => {
            let what = format!("{} and {} in one artifact", first.triple(), other.triple());
            Err(Error::from(Problem::Target(what)).with_remedy("compile once for each"))
        }
        None => Ok(targets),
    }
}

/// Refuses CPUs that multiply no bfloat16, where that is asked for.
fn check_bfloats(targets: &[Target], preferences: &Preferences) -> Result<()> {
    if preferences.bfloat16 != Bfloat16::Required {
        return Ok(());
    }
    if preferences.portable_bits {
        let what =
            "portable bits are computed in f32, and products of bfloat16 are asked for".into();
        return Err(Error::from(Problem::Target(what)).with_remedy("leave out one of the two"));
    }
    let Some(target) = targets.iter().find(|target| !target.machine().bfloats) else {
        return Ok(());
    };
    let (what, remedy) = match target.vectors() {
        Vectors::Neon => (
            format!(
                "products of bfloat16 are made for x86-64 only, and not for {}",
                target.triple()
            ),
            "compile with --precision auto, which computes in f32 there",
        ),
        Vectors::Sse | Vectors::Avx2 | Vectors::Avx512 => (
            format!(
                "{} multiplies no bfloat16: it lacks avx512bf16, or AVX-512 altogether",
                target.cpu()
            ),
            "compile with --precision auto, or for znver4, znver5, sapphirerapids or x86-64-v4+avx512bf16 with --cpu",
        ),
    };
    Err(Error::from(Problem::Target(what)).with_remedy(remedy))
}

/// Refuses CPUs that cannot give the bits of those with fused multiply-adds, where these are asked for.
fn check_portable(targets: &[Target], preferences: &Preferences) -> Result<()> {
    let without = targets.iter().find(|target| !target.has_fma());
    let Some(target) = without.filter(|_| preferences.portable_bits) else { return Ok(()) };
    let what = format!("{} has no fused multiply-add, which portable bits need", target.cpu());
    Err(Error::from(Problem::Target(what)).with_remedy("compile for x86-64-v3 or aarch64"))
}
