//! What is counted: operations by outcome, their time, and the breaker.

use std::sync::{Arc, Weak};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::state::Shared;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Operation {
    TakeTokens,
    BorrowTokens,
    Remember,
    IsRemembered,
    Forget,
    Keep,
    Kept,
    AppendNotice,
    ReadNotices,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Outcome {
    Answered,
    Failed,
    /// Not tried: the breaker is open.
    Refused,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    operation: Operation,
    outcome: Outcome,
}

pub(crate) struct Metrics {
    operations: Family<Labels, Counter>,
    seconds: Histogram,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        const BUCKETS: [f64; 9] = [0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 1.0];
        Self { operations: Family::default(), seconds: Histogram::new(BUCKETS) }
    }

    pub(crate) fn register(&self, registry: &mut Registry, shared: &Arc<Shared>) {
        let operations = self.operations.clone();
        registry.register("skywave_redis_operations", "Operations on the region's shared state", operations);
        let seconds = self.seconds.clone();
        registry.register("skywave_redis_seconds", "From asking Redis to its answer", seconds);
        registry.register_collector(Box::new(Condition(Arc::downgrade(shared))));
    }

    pub(crate) fn count(&self, operation: Operation, outcome: Outcome) {
        self.operations.get_or_create(&Labels { operation, outcome }).inc();
    }

    pub(crate) fn answered_after(&self, time: Duration) {
        self.seconds.observe(time.as_secs_f64());
    }
}

/// Read at each scrape; weak, so that a registry keeps no connections alive.
#[derive(Debug)]
struct Condition(Weak<Shared>);

impl Collector for Condition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(shared) = self.0.upgrade() else { return Ok(()) };
        let open = ConstGauge::new(i64::from(shared.breaker.is_open()));
        open.encode(encoder.encode_descriptor(
            "skywave_redis_breaker_open",
            "1 while Redis does not answer and operations are refused at once",
            None,
            open.metric_type(),
        )?)?;
        let opened = ConstCounter::new(shared.breaker.opened());
        opened.encode(encoder.encode_descriptor(
            "skywave_redis_breaker_opened",
            "How often Redis was found not to answer",
            None,
            opened.metric_type(),
        )?)
    }
}
