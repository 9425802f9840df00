//! `compile --tune`: measures what each convolution can be computed as, and keeps what was fastest.
//!
//! Candidates run in the whole model, where caches are in the state that they will be in: a round
//! compiles it with another candidate of every layer, and runs it in turns with what the estimates
//! choose. What won in its round must win again, all winners together. So only two programs are in
//! memory at a time, and a layer is judged by a ratio of times that were measured side by side.

mod cache;
mod race;
mod report;
mod rounds;

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use indicatif::ProgressBar;

use crate::args::TuningOptions;
use crate::engine::{self, Choices, Chosen, Cpu, Layer, Model, Settings, Winner};
use crate::exit::{Failure, Outcome};
use crate::model_file::ModelFile;
use crate::stdio::is_dash;
use crate::{loading, program, render};

use cache::{Cache, Useless};
use report::CpuReport;
pub(crate) use report::Report;
use rounds::{Rounds, Timings};

/// Where measurements come from and go to.
struct Store {
    /// Absent where there is no place for a file.
    path: Option<PathBuf>,
    cache: Cache,
    threads: NonZeroUsize,
    /// What the user should know of the file.
    warnings: Vec<String>,
}

impl Store {
    /// Reads the cache; what cannot be read is ignored with a warning.
    fn open(options: &TuningOptions) -> Outcome<Store> {
        let threads = options.tune_threads.unwrap_or(NonZeroUsize::MIN);
        if options.tune_cache.as_deref().is_some_and(is_dash) {
            return Err(Failure::usage("the cache of measurements is a file")
                .with_help("for a file called -, write --tune-cache ./-"));
        }
        let path = options.tune_cache.clone().or_else(cache::default_path);
        let mut store = Store { path, cache: Cache::default(), threads, warnings: Vec::new() };
        if let Some(path) = &store.path {
            match Cache::read(path) {
                Ok(cache) => store.cache = cache,
                Err(Useless::Foreign) => {
                    return Err(Failure::usage(format!(
                        "`{}` is no cache of measurements, and would be lost",
                        path.display()
                    ))
                    .with_help("name another file: --tune-cache tune.json"));
                }
                Err(why) => {
                    let warning = format!("the cache `{}` is ignored: {why}", path.display());
                    store.warnings.push(warning);
                }
            }
        }
        Ok(store)
    }

    /// Writes the cache. Without one the next tuning takes as long again, which is no failure.
    fn save(&mut self, options: &TuningOptions) {
        let Some(path) = &self.path else {
            return self
                .warn("measurements are not kept: there is no home folder; use --tune-cache");
        };
        if let (None, Some(folder)) = (&options.tune_cache, path.parent()) {
            // Whether it is there is seen when the file is written.
            let _ = fs::create_dir_all(folder);
        }
        if let Err(failure) = self.cache.write(path) {
            self.warn(&format!("measurements are not kept: {failure}"));
        }
    }

    /// Says it once, as it may be the same after each round.
    fn warn(&mut self, what: &str) {
        if !self.warnings.iter().any(|said| said == what) {
            self.warnings.push(what.to_owned());
        }
    }

    /// What was measured of these layers before tuning was stopped.
    fn timings(&self, machine: &str, layers: &[&Layer]) -> Timings {
        let known = |layer: &&Layer| (layer.key.clone(), self.cache.timings(machine, layer));
        layers.iter().map(known).collect()
    }

    /// Keeps what a round has measured, for a tuning that goes on after this one was stopped.
    fn keep(
        &mut self,
        options: &TuningOptions,
        machine: &str,
        layers: &[&Layer],
        timings: &Timings,
    ) {
        for layer in layers {
            if let Some(timings) = timings.get(&layer.key) {
                self.cache.keep(machine, layer, timings.clone());
            }
        }
        self.save(options);
    }

    /// What the cache calls this machine with code for a CPU.
    fn machine(&self, cpu: &str) -> String {
        let threads = self.threads;
        format!("{}, {cpu}, threads {threads}", program::cpu_model())
    }

    /// What the cache says of these layers.
    fn winners(&self, machine: &str, layers: &[Layer]) -> BTreeMap<String, Winner> {
        let found = |layer: &Layer| Some((layer.key.clone(), self.cache.winner(machine, layer)?));
        layers.iter().filter_map(found).collect()
    }
}

/// What the cache has for a model and the first CPU of the settings, without measuring.
///
/// # Errors
/// Those of the compiler.
pub(crate) fn recall(
    file: &ModelFile,
    model: &Model,
    settings: &Settings,
    options: &TuningOptions,
) -> Outcome<Choices> {
    let refused = |error| loading::refused(file, error);
    let store = Store::open(options)?;
    let layers = engine::layers(model, settings).map_err(refused)?;
    let cpu = engine::cpus(settings).map_err(refused)?.into_iter().next();
    let machine = store.machine(cpu.as_ref().map_or("", |cpu| &cpu.name));
    let winners = store.winners(&machine, &layers);
    let kinds = kinds(&layers).len();
    store.warnings.iter().for_each(|warning| render::note(format_args!("warning: {warning}")));
    render::note(format_args!("{} of {kinds} kinds of convolutions are tuned", winners.len()));
    Ok(choices(&winners))
}

/// Tunes a model for every CPU of the settings that this machine can run.
///
/// # Errors
/// [`Failure::Usage`] where it can run none, and those of compiling and running.
pub(crate) fn tune(
    file: &ModelFile,
    model: &Model,
    settings: &Settings,
    options: &TuningOptions,
    progress: &ProgressBar,
) -> Outcome<(Choices, Report)> {
    let cpus = engine::cpus(settings).map_err(|error| loading::refused(file, error))?;
    let (cpus, skipped) = runnable(cpus)?;
    let mut store = Store::open(options)?;
    let (mut all, mut reports) = (Choices::new(), Vec::new());
    for cpu in cpus {
        let settings = &cpu.settings;
        let layers = engine::layers(model, settings);
        let layers = layers.map_err(|error| loading::refused(file, error))?;
        let machine = store.machine(&cpu.name);
        let mut winners = store.winners(&machine, &layers);
        let cached = winners.len();
        let missing = kinds(&layers).into_iter().filter(|layer| !winners.contains_key(&layer.key));
        let missing: Vec<&Layer> = missing.collect();
        if !missing.is_empty() {
            let rounds = Rounds { file, model, settings, layers: &layers, threads: store.threads };
            let say = |what: String| {
                progress.set_message(format!("tuning {} for {}: {what}", file.name(), cpu.name));
            };
            let known = store.timings(&machine, &missing);
            let mut keep = |timings: &Timings| store.keep(options, &machine, &missing, timings);
            for (key, winner) in
                rounds.winners(&choices(&winners), &missing, known, &say, &mut keep)?
            {
                store.cache.put(&machine, key.clone(), winner.clone());
                winners.insert(key, winner);
            }
            store.save(options);
        }
        reports.push(report(cpu.name, &layers, &winners, cached));
        all.extend(choices(&winners));
    }
    let Store { path: cache, threads, mut warnings, .. } = store;
    warnings.extend(skipped);
    Ok((all, Report { threads, cache, warnings, cpus: reports }))
}

/// The CPUs that this machine can run, and what to say of the others.
fn runnable(cpus: Vec<Cpu>) -> Outcome<(Vec<Cpu>, Vec<String>)> {
    let (mut can, mut cannot) = (Vec::new(), Vec::new());
    for cpu in cpus {
        match &cpu.obstacle {
            None => can.push(cpu),
            Some(why) => cannot.push(format!("not tuned for {}: this machine {why}", cpu.name)),
        }
    }
    match cannot.first() {
        Some(why) if can.is_empty() => Err(Failure::usage(why)
            .with_help("tune where the model will run, or compile without --tune")),
        Some(_) | None => Ok((can, cannot)),
    }
}

/// One layer of each key.
fn kinds(layers: &[Layer]) -> Vec<&Layer> {
    let by_key: BTreeMap<&str, &Layer> =
        layers.iter().map(|layer| (layer.key.as_str(), layer)).collect();
    by_key.into_values().collect()
}

/// Winners as the compiler takes them, with their times for the reader of the plan.
fn choices(winners: &BTreeMap<String, Winner>) -> Choices {
    let chosen = |(key, winner): (&String, &Winner)| {
        let Winner { choice, us, estimate, estimate_us } = winner;
        let [us, estimate_us] = [*us, *estimate_us].map(cache::tenths);
        let instead = match winner.is_changed() {
            true => format!("{estimate} {estimate_us:.1} us"),
            false => "nothing faster".into(),
        };
        let because = format!("{choice} {us:.1} us, {instead}");
        (key.clone(), Chosen { choice: choice.clone(), because })
    };
    winners.iter().map(chosen).collect()
}

fn report(
    cpu: String,
    layers: &[Layer],
    winners: &BTreeMap<String, Winner>,
    cached: usize,
) -> CpuReport {
    let each = || layers.iter().filter_map(|layer| winners.get(&layer.key));
    CpuReport {
        cpu,
        measured: winners.len() - cached,
        cached,
        changed: winners.values().filter(|winner| winner.is_changed()).count(),
        estimate_us: each().map(|winner| winner.estimate_us).sum(),
        tuned_us: each().map(|winner| winner.us).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_is_tuned_and_of_the_rest_it_is_said_why_not() {
        let cpu = |name: &str, obstacle: Option<&str>| Cpu {
            name: name.into(),
            settings: loading::settings(&Default::default()),
            obstacle: obstacle.map(str::to_owned),
        };
        let lacks = Some("lacks what v4 needs: avx512f");
        let (can, warnings) = runnable(vec![cpu("v3", None), cpu("v4", lacks)]).unwrap();
        let names: Vec<&str> = can.iter().map(|cpu| cpu.name.as_str()).collect();
        assert_eq!(names, ["v3"]);
        assert_eq!(warnings, ["not tuned for v4: this machine lacks what v4 needs: avx512f"]);
        let Err(failure) = runnable(vec![cpu("v4", lacks)]) else { panic!("nothing runs") };
        assert!(matches!(failure, Failure::Usage { .. }), "{failure}");
        assert_eq!(failure.to_string(), warnings[0]);
    }
}
