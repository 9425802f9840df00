//! How models are served: the options that `cardinal serve` shares with executables that serve theirs.

use std::num::NonZeroUsize;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;

#[cfg(feature = "compiler")]
use crate::exit::Failure;
use crate::image_input::ImageOptions;
use crate::request::{ClassOptions, IsaOption};

/// Everything of `serve` that is not about where models come from.
#[derive(Debug, Args)]
pub(crate) struct ServingOptions {
    #[cfg_attr(feature = "compiler", doc = "Address or name of this machine to listen at")]
    #[cfg_attr(
        not(feature = "compiler"),
        doc = "Address of this machine to listen at, and no name"
    )]
    ///
    /// There is neither a password nor encryption, so beyond the own machine a proxy should stand before it.
    ///
    /// Example: --host 0.0.0.0
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1", value_parser = parse_host)]
    pub(crate) host: Host,
    /// Port to listen at; with 0 the system chooses a free one
    ///
    /// Example: --port 8080
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    pub(crate) port: u16,
    /// Threads to run on, for all requests together [default: all of this machine]
    ///
    /// The results do not depend on it.
    ///
    /// Example: --threads 4
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Inferences at once, which share the threads [default: as many as threads]
    ///
    /// Each takes a model's memory once more. With 1, each has all threads and the others wait.
    ///
    /// Example: --sessions 1
    #[arg(long, value_name = "N")]
    pub(crate) sessions: Option<NonZeroUsize>,
    /// Requests that may wait or run at once; further ones are told to come again (503)
    ///
    /// Example: --queue 64
    #[arg(long, value_name = "N", default_value = "256")]
    pub(crate) queue: NonZeroUsize,
    /// Milliseconds that a batch which is not full waits for other requests
    ///
    /// For models that were compiled with a batch of more than 1.
    ///
    /// Example: --batch-delay 5
    #[arg(long, value_name = "MS", default_value = "1", value_parser = parse_milliseconds)]
    pub(crate) batch_delay: Duration,
    /// Seconds that a request may take, from its header to its answer
    ///
    /// So much time requests have to finish, too, when the server is ended.
    ///
    /// Example: --timeout 2.5
    #[arg(long, value_name = "S", default_value = "30", value_parser = parse_seconds)]
    pub(crate) timeout: Duration,
    /// Most bytes of a request's body, and of its tensors and those of its answer
    ///
    /// All requests together take eight times as much of both at most.
    ///
    /// Example: --max-body 16MiB
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_size)]
    pub(crate) max_body: usize,
    /// Say nothing on stderr but what goes wrong: no line for each request
    ///
    /// Example: --quiet
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Which classes `classify` gives, and how they are called.
    #[command(flatten)]
    pub(crate) classes: ClassOptions,
    /// Which code to run.
    #[command(flatten)]
    pub(crate) isa: IsaOption,
    /// How images are made inputs.
    #[command(flatten)]
    pub(crate) image: ImageOptions,
}

/// Where to listen: whatever the system resolves.
#[cfg(feature = "compiler")]
pub(crate) type Host = String;
/// Where to listen. Programs that are linked statically have nothing that resolves names.
#[cfg(not(feature = "compiler"))]
pub(crate) type Host = std::net::IpAddr;

#[cfg(feature = "compiler")]
fn parse_host(text: &str) -> Result<Host, std::convert::Infallible> {
    Ok(text.to_owned())
}

#[cfg(not(feature = "compiler"))]
fn parse_host(text: &str) -> Result<Host, &'static str> {
    text.parse().map_err(|_| "executables take an address, such as 127.0.0.1 or ::1, and no name")
}

/// `8GiB`
pub(crate) fn parse_size(text: &str) -> Result<usize, String> {
    let size: ByteSize = text.parse()?;
    match usize::try_from(size.as_u64()) {
        Ok(bytes) if bytes > 0 => Ok(bytes),
        _ => Err("expected a size such as 8GiB".into()),
    }
}

#[cfg(feature = "serving")]
impl ServingOptions {
    /// Whether an option is about images or about classes, so that it is to have an effect.
    pub(crate) fn speaks_of_images(&self) -> bool {
        let ClassOptions { top, labels, .. } = &self.classes;
        top.is_some() || labels.is_some() || self.image.says_anything()
    }
}

/// The refusal of what this build does not have.
#[cfg(feature = "compiler")]
pub(crate) fn left_out() -> Failure {
    Failure::usage("this Cardinal was built without its server")
        .with_help("build it with: cargo install --path cli --features full")
}

/// At most a day, which no clock overflows by.
const LONGEST: f64 = 86_400.;

fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if seconds > 0. && seconds <= LONGEST => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("expected a number of seconds, more than 0 and at most 86400".into()),
    }
}

fn parse_milliseconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(ms) if (0. ..=10_000.).contains(&ms) => Ok(Duration::from_secs_f64(ms / 1e3)),
        _ => Err("expected a number of milliseconds from 0 to 10000".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("8GiB"), Ok(8 << 30));
        assert_eq!(parse_size("1.5 MB"), Ok(1_500_000));
        assert_eq!(parse_size("4096"), Ok(4096));
        for bad in ["", "0", "-1GiB", "GiB", "8 gibs", "nan"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_within_what_a_clock_counts() {
        assert_eq!(parse_seconds("2.5"), Ok(Duration::from_millis(2500)));
        assert_eq!(parse_milliseconds("0"), Ok(Duration::ZERO));
        for bad in ["", "0", "-1", "nan", "inf", "1e9", "3s"] {
            assert!(parse_seconds(bad).is_err(), "{bad}");
        }
        for bad in ["", "-1", "nan", "10001"] {
            assert!(parse_milliseconds(bad).is_err(), "{bad}");
        }
    }
}
