//! How far results may be from what is right, for the commands that compare.

use clap::Args;

use crate::verdict::Tolerance;

/// What differences are allowed.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct ToleranceOptions {
    /// Difference allowed, relative to the largest magnitude in the expected output
    ///
    /// Products of bfloat16, by --precision bf16, need some hundredths.
    ///
    /// Example: --rtol 1e-4
    #[arg(long, value_name = "R", default_value = "1e-3", value_parser = parse_tolerance)]
    rtol: f64,
    /// Difference allowed besides that
    ///
    /// Example: --atol 1e-5
    #[arg(long, value_name = "A", default_value = "1e-6", value_parser = parse_tolerance)]
    atol: f64,
}

impl From<ToleranceOptions> for Tolerance {
    fn from(options: ToleranceOptions) -> Tolerance {
        let ToleranceOptions { rtol, atol } = options;
        Tolerance { rtol, atol }
    }
}

fn parse_tolerance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value >= 0. && value.is_finite() => Ok(value),
        _ => Err("a tolerance is a number that is not negative".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        tolerance: ToleranceOptions,
    }

    fn parsed(arguments: &[&str]) -> Option<Tolerance> {
        let all = std::iter::once(&"alone").chain(arguments);
        Some(Alone::try_parse_from(all).ok()?.tolerance.into())
    }

    #[test]
    fn without_options_it_is_what_is_allowed_elsewhere() {
        assert_eq!(parsed(&[]), Some(Tolerance::DEFAULT));
        let given = Tolerance { rtol: 0.5, atol: 0.0 };
        assert_eq!(parsed(&["--rtol", "0.5", "--atol", "0"]), Some(given));
        assert!(["-1", "NaN", "inf", "x"].iter().all(|text| parsed(&["--rtol", text]).is_none()));
    }
}
