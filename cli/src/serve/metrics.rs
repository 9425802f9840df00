//! What is counted, for Prometheus.
//!
//! Labels are names of models that are served, of endpoints, and statuses: clients cannot add any.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Everything that is counted.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<OfRequest, Counter>,
    in_flight: Gauge,
    taken_on: Gauge,
    durations: Family<OfModel, Histogram, fn() -> Histogram>,
    queued: Family<OfModel, Histogram, fn() -> Histogram>,
    inferences: Family<OfModel, Histogram, fn() -> Histogram>,
    rows: Family<OfModel, Histogram, fn() -> Histogram>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRequest {
    /// Empty where the request is about none.
    model: String,
    endpoint: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfModel {
    model: String,
}

/// From a tenth of a millisecond to seven minutes.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(1e-4, 2., 22))
}

/// From one row to some thousands.
fn rows() -> Histogram {
    Histogram::new(exponential_buckets(1., 2., 13))
}

impl Metrics {
    /// Of nothing yet.
    pub(super) fn new() -> Metrics {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("cardinal"),
            requests: Family::default(),
            in_flight: Gauge::default(),
            taken_on: Gauge::default(),
            durations: Family::new_with_constructor(seconds),
            queued: Family::new_with_constructor(seconds),
            inferences: Family::new_with_constructor(seconds),
            rows: Family::new_with_constructor(rows),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("requests", "Requests that were answered", self.requests.clone());
        let help = "Requests that are not answered yet";
        registry.register("requests_in_flight", help, self.in_flight.clone());
        let help = "Inferences that were asked for and wait or run";
        registry.register("requests_taken_on", help, self.taken_on.clone());
        let timed = [
            ("request_duration", "From a request's header to its answer", &self.durations),
            ("request_queue", "How long a request's first row waited", &self.queued),
            ("inference", "How long an inference took", &self.inferences),
        ];
        for (name, help, family) in timed {
            registry.register_with_unit(name, help, Unit::Seconds, family.clone());
        }
        registry.register("inference_rows", "Rows of requests in an inference", self.rows.clone());
    }

    /// Counts a request that begins, until what it gives is dropped.
    pub(super) fn begin(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// Counts a request that was answered; `model` is one that is served, or empty.
    pub(super) fn add_request(
        &self,
        model: &str,
        endpoint: &'static str,
        status: u16,
        duration: Duration,
    ) {
        let labels = OfRequest { model: cardinal_runtime::text::line(model), endpoint, status };
        self.requests.get_or_create(&labels).inc();
        let labels = OfModel { model: labels.model };
        self.durations.get_or_create(&labels).observe(duration.as_secs_f64());
    }

    /// Counts how long a request waited to be run.
    pub(super) fn add_queued(&self, model: &str, queued: Duration) {
        self.queued.get_or_create(&of(model)).observe(queued.as_secs_f64());
    }

    /// Counts an inference for so many rows of requests.
    pub(super) fn add_inference(&self, model: &str, rows: usize, duration: Duration) {
        self.inferences.get_or_create(&of(model)).observe(duration.as_secs_f64());
        self.rows.get_or_create(&of(model)).observe(rows as f64);
    }

    /// All of it in the text that Prometheus reads, when so many requests wait or run.
    ///
    /// # Errors
    /// None that is known of: those of writing to memory.
    pub(super) fn to_text(&self, taken_on: usize) -> Result<String, fmt::Error> {
        self.taken_on.set(i64::try_from(taken_on).unwrap_or(i64::MAX));
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn of(model: &str) -> OfModel {
    OfModel { model: cardinal_runtime::text::line(model) }
}

/// A request that is not answered yet.
pub(super) struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
