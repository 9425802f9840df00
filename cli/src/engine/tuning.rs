//! What can be chosen for a model's convolutions, and on which CPUs that can be measured.

use cardinal_runtime::cpu;

pub(crate) use cardinal_compiler::kernels::conv::read_choice;
pub(crate) use cardinal_compiler::schedule::tuning::{Timing, Winner, layer_times};
pub(crate) use cardinal_compiler::schedule::{Choice, Choices, Chosen, Estimate, Layer};

use super::{Model, ModelResult, Pipeline, Settings, first_target, targets};

/// One of the CPUs that settings ask for.
pub(crate) struct Cpu {
    /// As artifacts name it.
    pub(crate) name: String,
    /// The settings for it alone.
    pub(crate) settings: Settings,
    /// Why this machine cannot run its code, if it cannot.
    pub(crate) obstacle: Option<String>,
}

/// The CPUs that the settings ask for, each once.
pub(crate) fn cpus(settings: &Settings) -> ModelResult<Vec<Cpu>> {
    let mut all: Vec<Cpu> = Vec::new();
    let each = targets(settings)?.into_iter().enumerate();
    for (i, target) in each {
        let name = target.cpu();
        if all.iter().any(|cpu| cpu.name == name) {
            continue;
        }
        let cpus = settings.cpus.get(i).cloned().into_iter().collect();
        let settings = Settings { cpus, ..settings.clone() };
        let missing = cpu::missing_features(target.features(), &cpu::host_features());
        let obstacle = if !cpu::matches_host(&target.triple()) {
            Some(format!("is {}, not {}", cpu::host_triple(), target.triple()))
        } else if !missing.is_empty() {
            Some(format!("lacks what {name} needs: {}", missing.join(", ")))
        } else {
            None
        };
        all.push(Cpu { name, settings, obstacle });
    }
    Ok(all)
}

/// The convolutions of a model that something can be chosen for, on the first CPU of the settings.
pub(crate) fn layers(model: &Model, settings: &Settings) -> ModelResult<Vec<Layer>> {
    let target = first_target(settings)?;
    let layers = Pipeline::new(model, &settings.compile).layers(&target)?;
    Ok(layers.into_iter().filter(|layer| layer.candidates.len() > 1).collect())
}
