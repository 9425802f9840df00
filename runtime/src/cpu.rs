//! What the machine that runs the code is: its triple, its instructions and its cores.

use std::env::consts::{ARCH, OS};
use std::num::NonZeroUsize;
use std::thread;

/// The host's architecture as target triples spell it: `x86_64`, `aarch64`, …
pub fn host_triple_arch() -> &'static str {
    ARCH
}

/// The host's target triple, such as `x86_64-unknown-linux-gnu`.
pub fn host_triple() -> String {
    let environment = if cfg!(target_env = "musl") { "musl" } else { "gnu" };
    match OS {
        "linux" => format!("{ARCH}-unknown-linux-{environment}"),
        "android" => format!("{ARCH}-linux-android"),
        "macos" => format!("{ARCH}-apple-darwin"),
        "windows" => format!("{ARCH}-pc-windows-msvc"),
        other => format!("{ARCH}-unknown-{other}"),
    }
}

/// Whether code for `triple` is for the host's architecture and operating system.
///
/// The vendor and the C library do not matter: generated code calls neither.
pub fn matches_host(triple: &str) -> bool {
    let mut parts = triple.split('-');
    parts.next() == Some(ARCH) && operating_system(parts) == Some(OS)
}

/// The operating system that the parts of a triple name, as [`OS`] spells it.
fn operating_system<'a>(parts: impl Iterator<Item = &'a str>) -> Option<&'static str> {
    parts.filter_map(operating_system_part).last()
}

/// `aarch64-linux-android` names two, of which the last counts; Apple's carry a version.
fn operating_system_part(part: &str) -> Option<&'static str> {
    match part {
        "linux" => Some("linux"),
        "android" => Some("android"),
        "windows" => Some("windows"),
        "freebsd" => Some("freebsd"),
        _ if part.starts_with("darwin") || part.starts_with("macos") => Some("macos"),
        _ => None,
    }
}

/// The model of the host's first CPU as Linux describes it, such as
/// `AMD EPYC, cpu family 26, model 2, stepping 1`; elsewhere the architecture.
pub fn model() -> String {
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    described(&about).unwrap_or_else(|| ARCH.to_owned())
}

/// What the first paragraph of `/proc/cpuinfo` says that another model would not.
fn described(about: &str) -> Option<String> {
    const NAME: &str = "model name";
    const REST: [&str; 7] = [
        "cpu family",
        "model",
        "stepping",
        "CPU implementer",
        "CPU variant",
        "CPU part",
        "CPU revision",
    ];
    let pairs = about.lines().take_while(|line| !line.is_empty());
    let pairs: Vec<(&str, &str)> = pairs
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.trim(), value.trim()))
        .collect();
    let value = |key: &str| pairs.iter().find(|(k, _)| *k == key).map(|(_, value)| *value);
    let rest = REST.iter().filter_map(|key| Some(format!("{key} {}", value(key)?)));
    let words: Vec<String> = value(NAME).map(str::to_owned).into_iter().chain(rest).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// Pairs of a feature's name and whether the detecting macro finds it.
#[allow(unused_macros)] // Used on the architectures that have a detecting macro.
macro_rules! detect {
    ($detected:ident: $($name:tt)*) => { [$(($name, std::arch::$detected!($name))),*] };
}

#[cfg(target_arch = "x86_64")]
fn detected() -> impl IntoIterator<Item = (&'static str, bool)> {
    detect!(is_x86_feature_detected:
        "sse" "sse2" "sse3" "ssse3" "sse4.1" "sse4.2" "popcnt" "cmpxchg16b" "movbe" "adx" "aes"
        "pclmulqdq" "avx" "avx2" "fma" "f16c" "bmi1" "bmi2" "lzcnt" "avxvnni" "gfni" "vaes"
        "vpclmulqdq" "avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl" "avx512ifma"
        "avx512vbmi" "avx512vbmi2" "avx512vnni" "avx512bitalg" "avx512vpopcntdq" "avx512bf16"
        "avx512fp16"
    )
}

#[cfg(target_arch = "aarch64")]
fn detected() -> impl IntoIterator<Item = (&'static str, bool)> {
    detect!(is_aarch64_feature_detected:
        "neon" "fp16" "fhm" "dotprod" "bf16" "i8mm" "rdm" "lse" "crc" "aes" "sha2" "sve" "sve2"
    )
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn detected() -> impl IntoIterator<Item = (&'static str, bool)> {
    []
}

/// The features of the host's CPU that its operating system lets programs use, sorted.
///
/// The names are those of Rust's `target_feature` (`sse4.1`, `avx2`, `fma`, `avx512vl`, `neon`).
pub fn host_features() -> Vec<String> {
    let mut features: Vec<String> =
        detected().into_iter().filter(|(_, has)| *has).map(|(name, _)| name.to_owned()).collect();
    features.sort();
    features
}

/// All features that [`host_features`] knows on this architecture.
pub fn detectable_features() -> impl Iterator<Item = &'static str> {
    detected().into_iter().map(|(name, _)| name)
}

/// The micro-architecture of the host's CPU by the name that compilers give it, such as `znver4`; `None`
/// for one that is not known here.
#[cfg(target_arch = "x86_64")]
pub fn host_core() -> Option<&'static str> {
    use std::arch::x86_64::__cpuid;
    let (names, about) = (__cpuid(0), __cpuid(1).eax);
    let maker: Vec<u8> =
        [names.ebx, names.edx, names.ecx].into_iter().flat_map(u32::to_le_bytes).collect();
    core(&maker, about)
}

/// The same on other architectures, where none has a name here.
#[cfg(not(target_arch = "x86_64"))]
pub fn host_core() -> Option<&'static str> {
    None
}

/// The micro-architecture of a maker's CPU, given EAX of CPUID leaf 1: families and models as in AMD's
/// and Intel's manuals, and named as in LLVM's `Host.cpp`.
#[cfg(any(target_arch = "x86_64", test))]
fn core(maker: &[u8], about: u32) -> Option<&'static str> {
    let bits = |from: u32, count: u32| (about >> from) & ((1 << count) - 1);
    let (family, model) = (bits(8, 4) + bits(20, 8), bits(4, 4) | bits(16, 4) << 4);
    match (maker, family) {
        (b"AuthenticAMD", 0x17) if model >= 0x30 => Some("znver2"),
        (b"AuthenticAMD", 0x19) => match model {
            0x00..=0x0f | 0x20..=0x5f => Some("znver3"),
            0x10..=0x1f | 0x60..=0x7f | 0xa0..=0xaf => Some("znver4"),
            _ => None,
        },
        // Those for notebooks (0x20 to 0x3f, 0x60 to 0x77) have half the vector units.
        (b"AuthenticAMD", 0x1a) => match model {
            0x00..=0x1f | 0x40..=0x4f => Some("znver5"),
            _ => None,
        },
        (b"GenuineIntel", 6) => match model {
            0x55 => Some("skylake-avx512"),
            0x6a | 0x6c => Some("icelake-server"),
            0x8f | 0xcf => Some("sapphirerapids"),
            _ => None,
        },
        _ => None,
    }
}

/// Those of `needed` that are not among `present`.
pub fn missing_features(needed: &[String], present: &[String]) -> Vec<String> {
    needed.iter().filter(|name| !present.contains(name)).cloned().collect()
}

/// What each x86-64 level adds to the one before it (System V psABI for x86-64, section 3.1.1), so
/// far as [`host_features`] reports it.
const LEVELS: [(&str, &[&str]); 4] = [
    ("x86-64", &["sse", "sse2"]),
    ("x86-64-v2", &["cmpxchg16b", "popcnt", "sse3", "sse4.1", "sse4.2", "ssse3"]),
    ("x86-64-v3", &["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "lzcnt", "movbe"]),
    ("x86-64-v4", &["avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"]),
];

/// The highest x86-64 level that the host supports, where it is one.
pub(crate) fn host_level() -> Option<&'static str> {
    (ARCH == "x86_64").then(|| level(&host_features()))
}

/// The highest x86-64 level whose features are all among `present`.
fn level(present: &[String]) -> &'static str {
    let has = |name: &&str| present.iter().any(|feature| feature == name);
    LEVELS
        .into_iter()
        .take_while(|(_, features)| features.iter().all(has))
        .last()
        .map_or("x86-64", |(name, _)| name)
}

/// How many threads can run at once: respects the affinity mask and, on Linux, cgroup quotas.
pub fn available_threads() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_matches_itself() {
        assert!(matches_host(&host_triple()));
        assert!(!matches_host(""));
        assert!(!matches_host(ARCH));
        assert!(!matches_host(&format!("{ARCH}-unknown-none")));
        assert!(!matches_host(&host_triple().replace(ARCH, "riscv64gc")));
    }

    #[test]
    fn operating_systems_are_read_from_triples() {
        let of = |triple: &str| operating_system(triple.split('-').skip(1)).map(str::to_owned);
        assert_eq!(of("aarch64-apple-darwin").as_deref(), Some("macos"));
        assert_eq!(of("aarch64-apple-macosx11.0.0").as_deref(), Some("macos"));
        assert_eq!(of("aarch64-linux-android").as_deref(), Some("android"));
        assert_eq!(of("x86_64-unknown-linux-musl").as_deref(), Some("linux"));
        assert_eq!(of("x86_64-pc-windows-msvc").as_deref(), Some("windows"));
    }

    #[test]
    fn models_are_read_from_the_first_paragraph() {
        let x86 = "processor\t: 0\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n\
                   cpu MHz\t: 2600.1\n\nprocessor\t: 1\nstepping\t: 9\n";
        assert_eq!(described(x86).as_deref(), Some("AMD EPYC, cpu family 26, model 2"));
        let arm = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n";
        assert_eq!(described(arm).as_deref(), Some("CPU implementer 0x41, CPU part 0xd0c"));
        assert_eq!(described(""), None);
        assert!(!model().is_empty());
    }

    #[test]
    fn cores_are_known_by_maker_family_and_model() {
        for (maker, about, expected) in [
            ("AuthenticAMD", 0x0083_0f10, Some("znver2")),
            ("AuthenticAMD", 0x0080_0f12, None),
            ("AuthenticAMD", 0x00a0_0f11, Some("znver3")),
            ("AuthenticAMD", 0x00a1_0f11, Some("znver4")),
            ("AuthenticAMD", 0x00b0_0f21, Some("znver5")),
            ("AuthenticAMD", 0x00b2_0f40, None),
            ("GenuineIntel", 0x0005_0657, Some("skylake-avx512")),
            ("GenuineIntel", 0x0006_06a6, Some("icelake-server")),
            ("GenuineIntel", 0x000c_06f2, Some("sapphirerapids")),
            ("GenuineIntel", 0x0005_06e3, None),
            ("CentaurHauls", 0x00a1_0f11, None),
        ] {
            assert_eq!(core(maker.as_bytes(), about), expected, "{maker} {about:#x}");
        }
    }

    #[test]
    fn levels_need_all_their_features() {
        let up_to = |n: usize| -> Vec<String> {
            LEVELS[..n].iter().flat_map(|(_, f)| f.iter().map(|s| (*s).to_owned())).collect()
        };
        for n in 1..=4 {
            assert_eq!(level(&up_to(n)), LEVELS[n - 1].0);
        }
        let mut lacking = up_to(4);
        lacking.retain(|feature| feature != "fma");
        assert_eq!(level(&lacking), "x86-64-v2");
        assert_eq!(level(&[]), "x86-64");
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_baseline_is_detected() {
        let features = host_features();
        assert!(features.contains(&"sse2".to_owned()));
        assert!(features.is_sorted());
    }
}
