//! What the log on Kafka counts, under the prefix `skywave_kafka`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use rdkafka::statistics::Statistics;
use skywave_ports::log::Partition;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct PartitionLabel {
    pub(crate) partition: Partition,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ClientLabel {
    pub(crate) client: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct BrokerLabel {
    pub(crate) client: String,
    pub(crate) broker: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct GroupLabel {
    pub(crate) group: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ConsumerLabel {
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) partition: i32,
}

/// Cheap to clone: every clone counts into the same numbers.
#[derive(Clone)]
pub(crate) struct KafkaMetrics {
    pub(crate) appended: Counter,
    pub(crate) appends_refused: Counter,
    pub(crate) appends_unknown: Counter,
    pub(crate) append_batches: Counter,
    pub(crate) appends_in_flight: Gauge,
    pub(crate) append_seconds: Histogram,
    pub(crate) producer_restarts: Counter,
    pub(crate) refusing: Family<PartitionLabel, Gauge>,
    pub(crate) records_read: Counter,
    pub(crate) records_own: Counter,
    pub(crate) readers_at_leisure: Gauge,
    pub(crate) readers_stalled: Counter,
    pub(crate) reader_lag: Family<PartitionLabel, Gauge>,
    pub(crate) rebalances: Family<GroupLabel, Counter>,
    pub(crate) owned: Family<GroupLabel, Gauge>,
    pub(crate) broker_up: Family<BrokerLabel, Gauge>,
    pub(crate) client_errors: Family<ClientLabel, Counter>,
    pub(crate) consumer_lag: Family<ConsumerLabel, Gauge>,
}

impl KafkaMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            appended: Counter::default(),
            appends_refused: Counter::default(),
            appends_unknown: Counter::default(),
            append_batches: Counter::default(),
            appends_in_flight: Gauge::default(),
            append_seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
            producer_restarts: Counter::default(),
            refusing: Family::default(),
            records_read: Counter::default(),
            records_own: Counter::default(),
            readers_at_leisure: Gauge::default(),
            readers_stalled: Counter::default(),
            reader_lag: Family::default(),
            rebalances: Family::default(),
            owned: Family::default(),
            broker_up: Family::default(),
            client_errors: Family::default(),
            consumer_lag: Family::default(),
        };
        metrics.register_in(registry.sub_registry_with_prefix("skywave_kafka"));
        metrics
    }

    fn register_in(&self, registry: &mut Registry) {
        let counters = [
            ("appended", "Appends that Kafka has acknowledged", &self.appended),
            ("appends_refused", "Appends that were certainly not sent", &self.appends_refused),
            ("appends_unknown", "Appends whose acknowledgement was not seen in time", &self.appends_unknown),
            (
                "append_batches",
                "Requests that appends were sent with, each for one partition",
                &self.append_batches,
            ),
            ("producer_restarts", "Times the producer was given up for a new one", &self.producer_restarts),
            ("records_read", "Records given to readers", &self.records_read),
            (
                "records_own",
                "Records of this process's own, given to readers with the acknowledgement",
                &self.records_own,
            ),
            (
                "readers_stalled",
                "Times a reader began anew because its consumer brought nothing though there was something",
                &self.readers_stalled,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        let partitions = [
            (
                "refusing",
                "1 while a partition takes no appends because Kafka does not acknowledge them",
                &self.refusing,
            ),
            ("reader_lag", "Records of a partition that its reader has still to read", &self.reader_lag),
        ];
        for (name, help, family) in partitions {
            registry.register(name, help, family.clone());
        }
        registry.register(
            "appends_in_flight",
            "Appends that wait for Kafka's acknowledgement",
            self.appends_in_flight.clone(),
        );
        registry.register(
            "append_seconds",
            "Time from an append to Kafka's acknowledgement",
            self.append_seconds.clone(),
        );
        registry.register(
            "readers_at_leisure",
            "Readers of partitions to which nobody else appends: what they read comes with the acknowledgement",
            self.readers_at_leisure.clone(),
        );
        registry.register("rebalances", "Changes of a group's assignment", self.rebalances.clone());
        registry.register("owned", "Partitions that the group gave to this process", self.owned.clone());
        registry.register("broker_up", "1 while a client is connected to the broker", self.broker_up.clone());
        registry.register("client_errors", "Errors that a client has met", self.client_errors.clone());
        registry.register(
            "consumer_lag",
            "Events of a partition that the group has not confirmed, as its present consumer sees it",
            self.consumer_lag.clone(),
        );
    }

    /// Takes over what a consumer of events reports. A partition that is another's now is that one's to report.
    pub(crate) fn consumer_lag(&self, group: &str, statistics: &Statistics) {
        for (topic, partition) in statistics.topics.values().flat_map(|topic| {
            topic.partitions.values().map(move |partition| (topic.topic.clone(), partition))
        }) {
            let label = ConsumerLabel { group: group.to_owned(), topic, partition: partition.partition };
            // `hi_offset` is what the last answer to a fetch told; nothing confirmed yet counts from the oldest.
            let next = partition.committed_offset.max(partition.lo_offset).max(0);
            match partition.fetch_state == "active" && partition.hi_offset >= 0 {
                true => _ = self.consumer_lag.get_or_create(&label).set((partition.hi_offset - next).max(0)),
                false => _ = self.consumer_lag.remove(&label),
            }
        }
    }
}
