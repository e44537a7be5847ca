//! What the adapter counts: state of the connection, messages and bytes, and everything it had to drop or refuse.

use std::fmt;
use std::sync::Weak;

use async_nats::connection::State;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Disconnected,
    QueueFull,
    TooLarge,
}

/// What the server complains of, by the text it sends (`-ERR '…'`, which has no code).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Complaint {
    /// A right that the node's user does not have. The connection stands.
    Permissions,
    /// The node was silent for too long: frozen, or its machine was. The connection ends and is made again.
    Stale,
    Other,
}

impl Complaint {
    pub(crate) fn of(text: &str) -> Self {
        let says = |what: &str| {
            text.as_bytes().windows(what.len()).any(|at| at.eq_ignore_ascii_case(what.as_bytes()))
        };
        match () {
            () if says("permissions violation") => Self::Permissions,
            () if says("stale connection") => Self::Stale,
            () => Self::Other,
        }
    }
}

/// Cheap to clone: every clone counts into the same numbers.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) published: Counter,
    pub(crate) published_bytes: Counter,
    pub(crate) received: Counter,
    pub(crate) received_bytes: Counter,
    /// Came with a wildcard; nobody here wants it.
    pub(crate) unwanted: Counter,
    /// Came twice while a shard changed between exact subscriptions and a wildcard; delivered once.
    pub(crate) twins: Counter,
    /// Dropped because a subscription's queue was full; of a burst at least a part is counted.
    pub(crate) overflowed: Counter,
    /// Changes of a shard, either way.
    pub(crate) switches: Counter,
    pub(crate) subjects: Gauge,
    pub(crate) exact: Gauge,
    pub(crate) wildcards: Gauge,
    refused: [Counter; 3],
    complaints: [Counter; 3],
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let refused = Family::<Reason, Counter>::default();
        let subscriptions = Family::<Kind, Gauge>::default();
        let reason = |reason| refused.get_or_create_owned(&Reason { reason });
        let complaints = Family::<Reason, Counter>::default();
        let complaint = |reason| complaints.get_or_create_owned(&Reason { reason });
        let kind = |kind| subscriptions.get_or_create_owned(&Kind { kind });
        let metrics = Self {
            published: Counter::default(),
            published_bytes: Counter::default(),
            received: Counter::default(),
            received_bytes: Counter::default(),
            unwanted: Counter::default(),
            twins: Counter::default(),
            overflowed: Counter::default(),
            switches: Counter::default(),
            subjects: Gauge::default(),
            exact: kind("exact"),
            wildcards: kind("wildcard"),
            refused: [reason("disconnected"), reason("queue_full"), reason("too_large")],
            complaints: [complaint("permissions"), complaint("stale"), complaint("other")],
        };
        let mut counter = |name: &str, help: &str, metric: &Counter| {
            registry.register(format!("skywave_nats_{name}"), help, metric.clone());
        };
        counter("published", "Messages handed to the connection", &metrics.published);
        counter("published_bytes", "Payload bytes handed to the connection", &metrics.published_bytes);
        counter("received", "Messages that came in", &metrics.received);
        counter("received_bytes", "Payload bytes that came in", &metrics.received_bytes);
        counter(
            "unwanted",
            "Messages that came with a wildcard and that nobody here wants",
            &metrics.unwanted,
        );
        counter("twins", "Second copies dropped while a shard was switched", &metrics.twins);
        counter(
            "overflowed",
            "Messages dropped because a subscription's queue was full",
            &metrics.overflowed,
        );
        counter("switches", "Shards changed between exact subscriptions and a wildcard", &metrics.switches);
        registry.register("skywave_nats_refused", "Messages that publish refused", refused);
        registry.register("skywave_nats_server_errors", "Complaints of the server", complaints);
        registry.register("skywave_nats_subscriptions", "Subscriptions at the server", subscriptions);
        registry.register(
            "skywave_nats_subjects",
            "Subjects with a subscriber here",
            metrics.subjects.clone(),
        );
        metrics
    }

    pub(crate) fn complained(&self, of: Complaint) {
        self.complaints[of as usize].inc();
    }

    pub(crate) fn refuse(&self, reason: Refused) {
        self.refused[reason as usize].inc();
    }
}

/// What only the connection knows, asked when it is scraped. Does not keep it open.
#[derive(Debug)]
pub(crate) struct ConnectionMetrics(pub(crate) Weak<async_nats::Client>);

impl Collector for ConnectionMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let client = self.0.upgrade();
        let connected = client.as_ref().is_some_and(|client| client.connection_state() == State::Connected);
        let connects = client
            .map_or(0, |client| client.statistics().connects.load(std::sync::atomic::Ordering::Relaxed));
        let gauge = ConstGauge::new(i64::from(connected));
        let help = "Whether the connection to NATS stands";
        gauge.encode(encoder.encode_descriptor(
            "skywave_nats_connected",
            help,
            None,
            gauge.metric_type(),
        )?)?;
        let counter = ConstCounter::new(connects.saturating_sub(1));
        let help = "Connections to NATS that followed a lost one";
        counter.encode(encoder.encode_descriptor(
            "skywave_nats_reconnects",
            help,
            None,
            counter.metric_type(),
        )?)
    }
}

#[cfg(test)]
mod tests {
    use super::Complaint;

    #[test]
    fn complaints_are_told_apart_by_their_text() {
        let of = |text| Complaint::of(text);
        assert_eq!(of("Permissions Violation for Publish to \"sw.ingest.main\""), Complaint::Permissions);
        assert_eq!(of("permissions violation for subscription to \">\""), Complaint::Permissions);
        assert_eq!(of("Stale Connection"), Complaint::Stale);
        assert_eq!(of("Maximum Payload Violation"), Complaint::Other);
        assert_eq!(of(""), Complaint::Other);
    }
}
