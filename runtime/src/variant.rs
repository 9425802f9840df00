//! Which of an artifact's variants runs: one artifact has code for several kinds of CPU.

use crate::cpu::missing_features;
use crate::error::LoadError;
use crate::manifest::Variant;

/// The position of the best variant for a CPU with the features `present` and the micro-architecture
/// `core`: of those that need as much as the last one that asks for nothing else, the one that was made
/// for this core, or for none in particular, or else the last.
pub fn best(variants: &[Variant], present: &[String], core: Option<&str>) -> Option<usize> {
    let last = variants.iter().rposition(|variant| missing(variant, present).is_empty())?;
    let alike = |variant: &Variant| variant.cpu_features == variants[last].cpu_features;
    let made_for = |core: &str| variants.iter().position(|v| alike(v) && v.core == core);
    core.and_then(made_for).or_else(|| made_for("")).or(Some(last))
}

/// The position of the variant to run: the one of this name, or else the best.
pub(crate) fn choose(
    variants: &[Variant],
    present: &[String],
    core: Option<&str>,
    name: Option<&str>,
) -> Result<usize, LoadError> {
    let Some(name) = name else {
        return best(variants, present, core).ok_or_else(|| none_runs(variants, present));
    };
    let Some(position) = variants.iter().position(|variant| variant.name == name) else {
        let known = variants.iter().map(|variant| variant.name.clone()).collect();
        return Err(LoadError::NoVariant { name: name.into(), known });
    };
    let missing = missing(&variants[position], present);
    if !missing.is_empty() {
        return Err(LoadError::MissingFeatures { variant: name.into(), missing });
    }
    Ok(position)
}

fn missing(variant: &Variant, present: &[String]) -> Vec<String> {
    missing_features(&variant.cpu_features, present)
}

/// Why none runs: what the one that comes closest lacks.
fn none_runs(variants: &[Variant], present: &[String]) -> LoadError {
    let lacking = variants.iter().map(|variant| (variant, missing(variant, present)));
    let (variant, missing) = lacking
        .min_by_key(|(_, missing)| missing.len())
        .map(|(variant, missing)| (variant.name.clone(), missing))
        .unwrap_or_default();
    LoadError::MissingFeatures { variant, missing }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(names: &str) -> Vec<String> {
        names.split_whitespace().map(str::to_owned).collect()
    }

    fn variants() -> Vec<Variant> {
        let of = |(name, needs): &(&str, &str)| Variant {
            name: (*name).into(),
            cpu_features: features(needs),
            ..Variant::default()
        };
        [("plain", "sse2"), ("wide", "avx2 fma sse2"), ("wider", "avx2 avx512f fma sse2")]
            .iter()
            .map(of)
            .collect()
    }

    fn chosen(present: &str, name: Option<&str>) -> Result<String, LoadError> {
        let variants = variants();
        choose(&variants, &features(present), None, name).map(|i| variants[i].name.clone())
    }

    #[test]
    fn the_best_that_the_machine_has_runs() {
        for (present, expected) in [
            ("sse2", "plain"),
            ("sse2 avx2", "plain"),
            ("sse2 avx512f", "plain"),
            ("sse2 avx2 fma", "wide"),
            ("sse2 avx2 fma avx512bw", "wide"),
            ("sse2 avx2 fma avx512f quantum", "wider"),
        ] {
            assert_eq!(chosen(present, None).unwrap(), expected, "{present}");
        }
    }

    #[test]
    fn of_equal_needs_the_one_made_for_the_core_runs() {
        let of = |core: &str| Variant {
            core: core.into(),
            cpu_features: features("avx2 fma"),
            ..Variant::default()
        };
        let plain = Variant { cpu_features: features("sse2"), ..Variant::default() };
        let chosen = |cores: &[&str], here| {
            let variants: Vec<Variant> =
                [plain.clone()].into_iter().chain(cores.iter().map(|core| of(core))).collect();
            best(&variants, &features("avx2 fma sse2"), here)
        };
        assert_eq!(chosen(&["", "znver3", "znver4"], Some("znver3")), Some(2));
        assert_eq!(chosen(&["", "znver3", "znver4"], Some("znver2")), Some(1));
        assert_eq!(chosen(&["", "znver3", "znver4"], None), Some(1));
        assert_eq!(chosen(&["znver3", "znver4"], Some("znver2")), Some(2));
        assert_eq!(chosen(&["znver3", "znver4"], Some("znver3")), Some(1));
    }

    #[test]
    fn a_name_forces_one_that_the_machine_has() {
        let all = "sse2 avx2 fma avx512f";
        for name in ["plain", "wide", "wider"] {
            assert_eq!(chosen(all, Some(name)).unwrap(), name);
        }
        let error = chosen("sse2 fma", Some("wider")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this CPU lacks what the artifact's code for wider needs: avx2, avx512f"
        );
        let error = chosen(all, Some("widest")).unwrap_err();
        assert_eq!(error.to_string(), "the artifact has no code for \"widest\"");
        assert_eq!(error.remedy().as_deref(), Some("it has code for plain, wide, wider"));
    }

    #[test]
    fn a_machine_below_all_is_told_what_the_least_demanding_needs() {
        let error = chosen("avx2 fma avx512f", None).unwrap_err();
        let LoadError::MissingFeatures { variant, missing } = error else { panic!("{error}") };
        assert_eq!((variant.as_str(), missing), ("plain", features("sse2")));
        assert_eq!(best(&[], &features("sse2"), None), None);
    }
}
