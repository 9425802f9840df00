//! The machine that code is generated for.

use std::sync::Arc;

use cranelift_codegen::isa::{self, OwnedTargetIsa, TargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use target_lexicon::{Architecture, Triple};

use crate::error::{Error, Problem, Result};
use crate::machine::{Core, Machine, Vectors};

/// A triple, the CPU features that code may use, and the micro-architecture that estimates are for. The
/// caller decides; nothing probes the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    triple: Triple,
    features: Vec<String>,
    core: Option<Core>,
}

/// Features by named x86-64 level, in the names that artifacts use.
const X86_64_V2: &[&str] = &["popcnt", "sse3", "sse4.1", "sse4.2", "ssse3"];
const X86_64_V3: &[&str] = &["avx", "avx2", "bmi1", "bmi2", "fma", "lzcnt"];
const X86_64_V4: &[&str] = &["avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"];

/// The x86-64 levels, with what each adds to the one before.
const LEVELS: [(&str, &[&str]); 4] =
    [("x86-64", &[]), ("x86-64-v2", X86_64_V2), ("x86-64-v3", X86_64_V3), ("x86-64-v4", X86_64_V4)];

/// The names by which [`Target::named`] knows CPUs, besides those of [`Core`].
pub const CPUS: &[&str] = &["x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4", "generic"];

/// What stands between the features and the micro-architecture in names, where the one does not say
/// the other: `x86-64-v3@znver4`.
const AT: char = '@';

/// Features that change generated code, and Cranelift's names for those that it is told of: the
/// others are for code that it does not make.
pub(super) const USED: &[(&str, Option<&str>)] = &[
    ("avx", Some("has_avx")),
    ("avx2", Some("has_avx2")),
    ("avx512bf16", None),
    ("avx512bw", None),
    ("avx512cd", None),
    ("avx512dq", None),
    ("avx512f", None),
    ("avx512vl", None),
    ("avx512vnni", None),
    ("avxvnni", None),
    ("bmi1", Some("has_bmi1")),
    ("bmi2", Some("has_bmi2")),
    ("fma", Some("has_fma")),
    ("lzcnt", Some("has_lzcnt")),
    ("popcnt", Some("has_popcnt")),
    ("sse3", Some("has_sse3")),
    ("sse4.1", Some("has_sse41")),
    ("sse4.2", Some("has_sse42")),
    ("ssse3", Some("has_ssse3")),
];

impl Target {
    /// A target from a triple such as `x86_64-unknown-linux-gnu` and the features a CPU has, by
    /// Rust's names for them. Features that generated code does not use are left out, so that an
    /// artifact asks for no more than it needs.
    pub fn new(triple: &str, features: &[String]) -> Result<Target> {
        let triple: Triple = triple.parse().map_err(|e| {
            Error::from(Problem::Target(format!("`{triple}` is not a triple: {e}")))
        })?;
        match triple.architecture {
            Architecture::X86_64 | Architecture::Aarch64(_) => {}
            other => {
                let problem = Problem::Target(format!("`{other}` is not supported"));
                let why = match other {
                    // Nor has the architecture a mode in which denormals are zero.
                    Architecture::Riscv64(_) => {
                        "; kernels compute in 128-bit vectors, which the code generator has on \
                         RISC-V with the V extension alone"
                    }
                    _ => "",
                };
                let remedy = format!("x86_64 and aarch64 are{why}");
                return Err(Error::from(problem).with_remedy(remedy));
            }
        }
        let used = USED.iter().map(|(name, _)| (*name).to_owned());
        let features = used.filter(|f| features.contains(f)).collect();
        let mut target = Target { triple, features, core: None };
        // Bytes and bfloat16 are multiplied in the vectors that convolutions use, and in no others.
        let own = narrow_features(target.vectors());
        let all = Vectors::X86_64.map(narrow_features);
        let others: Vec<&str> =
            all.into_iter().flatten().filter(|feature| !own.contains(feature)).flatten().collect();
        target.features.retain(|feature| !others.contains(&feature.as_str()));
        Ok(target)
    }

    /// A target from a triple and a CPU: one of [`CPUS`], also with features that it has besides, as in
    /// `x86-64-v3+avxvnni`; a [`Core`] with all of its features, or features and a core, as in
    /// `x86-64-v3@znver4`.
    ///
    /// # Errors
    /// [`Problem::Target`] for other names, for features that code for the CPU cannot use, and for CPUs of
    /// another architecture.
    pub fn named(triple: &str, cpu: &str) -> Result<Target> {
        let Named { levels, beyond, core } = Named::read(cpu)?;
        let features = levels.iter().flat_map(|(_, added)| *added).chain(&beyond);
        let features: Vec<String> = features.map(|f| (*f).into()).collect();
        let target = Target::new(triple, &features)?;
        if (!levels.is_empty() || core.is_some()) && !target.is_x86() {
            let problem = Problem::Target(format!("CPU `{cpu}` does not fit {}", target.triple));
            return Err(Error::from(problem).with_remedy("use --cpu generic"));
        }
        match beyond.iter().find(|feature| !target.has(feature)) {
            Some(feature) => Err(target.cannot_use(feature, cpu)),
            None => Ok(target.for_core(core.map(Core::name))),
        }
    }

    /// That a feature of a CPU's name multiplies bytes, or bfloat16, in other vectors than the CPU's own.
    fn cannot_use(&self, feature: &str, cpu: &str) -> Error {
        let has = |v: &Vectors| narrow_features(*v).contains(&Some(feature));
        let of = Vectors::X86_64.into_iter().find(has);
        let of = of.map_or("other", Vectors::name);
        let problem = format!(
            "CPU `{cpu}` cannot use `{feature}`, which is for {of} vectors: its own are {}",
            self.vectors().name()
        );
        Error::from(Problem::Target(problem)).with_remedy(format!("leave out +{feature}"))
    }

    /// The same target with estimates for the [`Core`] of this name, where that is one: what is fast on
    /// a core is not on every CPU with its features.
    pub fn for_core(self, name: Option<&str>) -> Target {
        let core = name.and_then(Core::named).filter(|_| self.is_x86());
        Target { core, ..self }
    }

    fn is_x86(&self) -> bool {
        self.triple.architecture == Architecture::X86_64
    }

    /// The triple.
    pub fn triple(&self) -> String {
        self.triple.to_string()
    }

    /// The CPU's name: that of a core with the features of its level, whether or not what it has beyond them
    /// is used; or else the highest level that the features reach, with what they are beyond that and the
    /// core, as in `x86-64-v2+avx@znver2`. For one model, equal names have equal features and estimates.
    pub fn cpu(&self) -> String {
        let Some(core) = self.core else { return self.features_name(&[]) };
        let features = self.features_name(core.beyond_level());
        match features == core.level() {
            true => core.to_string(),
            false => format!("{features}{AT}{core}"),
        }
    }

    /// The name of the features, without these.
    fn features_name(&self, without: &[&str]) -> String {
        if !self.is_x86() {
            return "generic".into();
        }
        let reached = |(_, added): &&(&str, &[&str])| added.iter().all(|f| self.has(f));
        let levels: Vec<_> = LEVELS.iter().take_while(reached).collect();
        let named = |f: &str| levels.iter().any(|(_, added)| added.contains(&f));
        let beyond = |f: &&String| !named(f) && !without.contains(&f.as_str());
        let level = levels.last().map_or("", |(name, _)| name);
        let beyond = self.features.iter().filter(beyond).map(String::as_str);
        std::iter::once(level).chain(beyond).collect::<Vec<_>>().join("+")
    }

    /// The features that generated code uses, sorted.
    pub fn features(&self) -> &[String] {
        &self.features
    }

    /// The micro-architecture that estimates are for, where it has a name.
    pub fn core(&self) -> Option<Core> {
        self.core
    }

    /// The triple, parsed.
    pub(crate) fn machine_triple(&self) -> &Triple {
        &self.triple
    }

    /// The same without what only dot products of bytes need, for code that has none.
    pub(crate) fn without_dots(mut self) -> Target {
        let feature = self.vectors().dots_feature();
        self.features.retain(|f| Some(f.as_str()) != feature);
        self
    }

    /// The same without what only products of bfloat16 need.
    pub(crate) fn without_bfloats(mut self) -> Target {
        let feature = self.vectors().bfloats_feature();
        self.features.retain(|f| Some(f.as_str()) != feature);
        self
    }

    /// Whether the feature may be used.
    pub(super) fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|f| f == feature)
    }

    /// What schedules depend on.
    pub fn machine(&self) -> Machine {
        let vectors = self.vectors();
        let dots = vectors.dots(vectors.dots_feature().is_some_and(|feature| self.has(feature)));
        let bfloats = vectors.bfloats_feature().is_some_and(|feature| self.has(feature));
        Machine { vectors, core: self.core, dots, bfloats }
    }

    /// The vector instructions that convolutions use.
    pub fn vectors(&self) -> Vectors {
        if !self.is_x86() {
            return Vectors::Neon;
        }
        let has = |vectors: &Vectors| vectors.features().iter().all(|f| self.has(f));
        Vectors::X86_64.into_iter().find(has).unwrap_or(Vectors::Sse)
    }

    /// Whether a fused multiply-add is one instruction: always on aarch64.
    pub(crate) fn has_fma(&self) -> bool {
        self.triple.architecture != Architecture::X86_64 || (self.has("fma") && self.has("avx"))
    }

    /// Cranelift for this machine. `optimize` runs its mid-end, which hoists loads over the
    /// multiply-adds of a contraction until the sums spill: contractions go without.
    pub(super) fn isa(&self, optimize: bool) -> Result<Arc<dyn TargetIsa>> {
        self.build_isa(optimize).map_err(|e| Problem::Target(e).into())
    }

    fn build_isa(&self, optimize: bool) -> std::result::Result<OwnedTargetIsa, String> {
        let mut flags = settings::builder();
        let options = [
            ("opt_level", if optimize { "speed" } else { "none" }),
            ("is_pic", "true"),
            ("enable_probestack", "false"),
            ("unwind_info", "false"),
            ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
        ];
        for (name, value) in options {
            flags.set(name, value).map_err(|e| e.to_string())?;
        }
        let mut builder = isa::lookup(self.triple.clone()).map_err(|e| e.to_string())?;
        if self.triple.architecture == Architecture::X86_64 {
            for (name, setting) in USED {
                let Some(setting) = setting else { continue };
                let value = if self.has(name) { "true" } else { "false" };
                builder.set(setting, value).map_err(|e| e.to_string())?;
            }
        }
        builder.finish(settings::Flags::new(flags)).map_err(|e| e.to_string())
    }
}

/// The features with which a CPU multiplies what is narrower than f32 in these vectors.
fn narrow_features(vectors: Vectors) -> [Option<&'static str>; 2] {
    [vectors.dots_feature(), vectors.bfloats_feature()]
}

/// What a CPU's name says.
struct Named<'n> {
    /// Each with what it adds to the one before.
    levels: &'static [(&'static str, &'static [&'static str])],
    /// Features beyond these.
    beyond: Vec<&'n str>,
    core: Option<Core>,
}

impl<'n> Named<'n> {
    fn read(cpu: &'n str) -> Result<Named<'n>> {
        let unknown = || {
            let cores = Core::ALL.map(Core::name);
            let known: Vec<&str> = CPUS.iter().copied().chain(cores).collect();
            let problem = Problem::Target(format!("unknown CPU `{cpu}`"));
            Error::from(problem).with_remedy(format!("known are native, {}", known.join(", ")))
        };
        let (level, beyond, core) = match (cpu.split_once(AT), Core::named(cpu)) {
            (Some((features, core)), _) => {
                let (level, beyond) = split_features(features);
                (level, beyond, Some(Core::named(core).ok_or_else(unknown)?))
            }
            (None, Some(core)) => (core.level(), core.beyond_level().to_vec(), Some(core)),
            (None, None) => {
                let (level, beyond) = split_features(cpu);
                (level, beyond, None)
            }
        };
        let levels = match LEVELS.iter().position(|(name, _)| *name == level) {
            Some(level) => &LEVELS[..=level],
            None if level == "generic" && beyond.is_empty() => &[],
            None => return Err(unknown()),
        };
        let is_unknown = |feature: &&&str| USED.iter().all(|(used, _)| used != *feature);
        match beyond.iter().find(is_unknown) {
            Some(feature) => Err(unknown_feature(feature, cpu)),
            None => Ok(Named { levels, beyond, core }),
        }
    }
}

fn unknown_feature(feature: &str, cpu: &str) -> Error {
    let used: Vec<&str> = USED.iter().map(|(name, _)| *name).collect();
    let problem = Problem::Target(format!("unknown feature `{feature}` of CPU `{cpu}`"));
    Error::from(problem).with_remedy(format!("features that code can use are {}", used.join(", ")))
}

/// A level and the features beyond it: `x86-64-v3+avxvnni`.
fn split_features(name: &str) -> (&str, Vec<&str>) {
    let mut parts = name.split('+');
    (parts.next().unwrap_or_default(), parts.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_of_vectors_and_levels_are_used() {
        let needed = Vectors::X86_64.iter().flat_map(|vectors| vectors.features());
        for feature in needed.chain(LEVELS.iter().flat_map(|(_, added)| *added)) {
            assert!(USED.iter().any(|(name, _)| name == feature), "{feature}");
        }
    }

    #[test]
    fn names_with_features_are_read_back() {
        use crate::machine::Dots;
        for (name, dots) in [
            ("x86-64", None),
            ("x86-64-v3", Some(Dots::Pairs)),
            ("x86-64-v3@znver4", Some(Dots::Pairs)),
            ("znver3", Some(Dots::Pairs)),
            ("x86-64-v3+avxvnni", Some(Dots::Words)),
            ("x86-64-v4", None),
            ("x86-64-v4+avx512vnni", Some(Dots::Words)),
            ("x86-64-v4+avx512vnni@skylake-avx512", Some(Dots::Words)),
            ("x86-64-v4+avx512bf16+avx512vnni@skylake-avx512", Some(Dots::Words)),
            ("znver4", Some(Dots::Words)),
        ] {
            let target = Target::named("x86_64-unknown-linux-gnu", name).unwrap();
            assert_eq!((target.cpu().as_str(), target.machine().dots), (name, dots));
        }
        for (name, says) in [
            ("x86-64-v3+", "unknown feature ``"),
            ("x86-64-v3+telepathy", "unknown feature `telepathy`"),
            ("generic+avxvnni", "unknown CPU"),
            ("znver3+avxvnni", "unknown CPU"),
            ("x86-64-v3+avx512vnni", "cannot use `avx512vnni`, which is for avx512 vectors"),
            ("x86-64-v4+avxvnni@znver4", "cannot use `avxvnni`, which is for avx2 vectors"),
            ("x86-64+avxvnni", "its own are sse"),
        ] {
            let error = Target::named("x86_64-unknown-linux-gnu", name).unwrap_err().to_string();
            assert!(error.contains(says), "{name}: {error}");
        }
        let unknown = Target::named("x86_64-unknown-linux-gnu", "x86-64-v3+vnni").unwrap_err();
        assert!(unknown.remedy.is_some_and(|remedy| remedy.contains("avxvnni")));
    }

    /// A CPU may have dot products in narrower vectors too.
    #[test]
    fn dot_products_of_other_vectors_are_not_asked_for() {
        let features = LEVELS.iter().flat_map(|(_, added)| *added);
        let all: Vec<String> =
            features.chain(&["avx512bf16", "avx512vnni", "avxvnni"]).map(|f| (*f).into()).collect();
        let target = Target::new("x86_64-unknown-linux-gnu", &all).unwrap();
        assert_eq!(target.cpu(), "x86-64-v4+avx512bf16+avx512vnni");
        let target = target.without_dots();
        assert_eq!(target.cpu(), "x86-64-v4+avx512bf16");
        assert_eq!(target.without_bfloats().cpu(), "x86-64-v4");
    }

    #[test]
    fn used_features_are_sorted() {
        assert!(USED.is_sorted());
    }

    /// Without that, no machine would ever have them.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn used_features_are_detected() {
        let detected: Vec<&str> = cardinal_runtime::cpu::detectable_features().collect();
        for (name, _) in USED {
            assert!(detected.contains(name), "`host_features` does not know `{name}`");
        }
    }
}
