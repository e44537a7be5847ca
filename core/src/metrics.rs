//! What a core counts. Registered once with the process's registry, under the prefix the caller gave it.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct PartitionLabel {
    pub(crate) partition: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabel {
    pub(crate) reason: &'static str,
}

/// Cheap to clone: every clone counts into the same numbers.
#[derive(Clone)]
pub(crate) struct CoreMetrics {
    pub(crate) requests_malformed: Counter,
    pub(crate) appended: Counter,
    pub(crate) refused: Family<ReasonLabel, Counter>,
    pub(crate) holes: Counter,
    pub(crate) appends_in_flight: Gauge,
    pub(crate) sequenced: Counter,
    pub(crate) duplicates: Counter,
    pub(crate) records_unreadable: Counter,
    pub(crate) dead_letters: Counter,
    pub(crate) dead_letters_lost: Counter,
    pub(crate) position: Family<PartitionLabel, Gauge>,
    pub(crate) checkpoint: Family<PartitionLabel, Gauge>,
    pub(crate) unpersisted: Family<PartitionLabel, Gauge>,
    pub(crate) pauses: Counter,
    pub(crate) owner_failures: Counter,
    pub(crate) persisted: Counter,
    pub(crate) commit_seconds: Histogram,
    pub(crate) commit_failures: Counter,
    pub(crate) checkpoint_conflicts: Counter,
    pub(crate) history_reads: Counter,
    pub(crate) history_failures: Counter,
    pub(crate) history_passed_on: Counter,
    pub(crate) history_strays: Counter,
    pub(crate) history_stale: Counter,
    pub(crate) heads_announced: Counter,
    pub(crate) live_json: Counter,
    pub(crate) not_emitted: Counter,
    pub(crate) retention_removed: Counter,
}

impl CoreMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests_malformed: Counter::default(),
            appended: Counter::default(),
            refused: Family::default(),
            holes: Counter::default(),
            appends_in_flight: Gauge::default(),
            sequenced: Counter::default(),
            duplicates: Counter::default(),
            records_unreadable: Counter::default(),
            dead_letters: Counter::default(),
            dead_letters_lost: Counter::default(),
            position: Family::default(),
            checkpoint: Family::default(),
            unpersisted: Family::default(),
            pauses: Counter::default(),
            owner_failures: Counter::default(),
            persisted: Counter::default(),
            commit_seconds: Histogram::new(exponential_buckets(0.000_5, 2.0, 14)),
            commit_failures: Counter::default(),
            checkpoint_conflicts: Counter::default(),
            history_reads: Counter::default(),
            history_failures: Counter::default(),
            history_passed_on: Counter::default(),
            history_strays: Counter::default(),
            history_stale: Counter::default(),
            heads_announced: Counter::default(),
            live_json: Counter::default(),
            not_emitted: Counter::default(),
            retention_removed: Counter::default(),
        };
        metrics.register_in(registry.sub_registry_with_prefix("skywave_core"));
        metrics
    }

    fn register_in(&self, registry: &mut Registry) {
        let counters = [
            ("requests_malformed", "Requests that could not be decoded", &self.requests_malformed),
            ("appended", "Publishes the log has acknowledged", &self.appended),
            (
                "holes",
                "Times an edge was told that a publish had not arrived, and sent it and those behind it again",
                &self.holes,
            ),
            ("sequenced", "Publications given an offset", &self.sequenced),
            ("duplicates", "Records dropped as duplicates", &self.duplicates),
            (
                "records_unreadable",
                "Log records that could not be decoded and were passed over",
                &self.records_unreadable,
            ),
            ("dead_letters", "Such records that were kept as dead letters", &self.dead_letters),
            (
                "dead_letters_lost",
                "Such records that were not kept, because no dead letter was taken for too long",
                &self.dead_letters_lost,
            ),
            ("pauses", "Times sequencing waited for the store", &self.pauses),
            ("owner_failures", "Times a partition's owner stopped and began again", &self.owner_failures),
            ("persisted", "Log records committed to the store", &self.persisted),
            ("commit_failures", "Store commits that failed and were tried again", &self.commit_failures),
            (
                "checkpoint_conflicts",
                "Store commits refused because another owner had written",
                &self.checkpoint_conflicts,
            ),
            ("history_reads", "History requests answered", &self.history_reads),
            ("history_failures", "History requests answered with an error", &self.history_failures),
            (
                "history_passed_on",
                "History requests passed on to the core that owns the partition",
                &self.history_passed_on,
            ),
            (
                "history_strays",
                "History requests passed on to this core after it had lost the partition",
                &self.history_strays,
            ),
            (
                "history_stale",
                "History requests refused because the end of the log could not be reached in time",
                &self.history_stale,
            ),
            ("heads_announced", "Channel heads announced", &self.heads_announced),
            ("live_json", "Publications that also went out as JSON, for backends", &self.live_json),
            (
                "not_emitted",
                "Live messages, heads and answers that the bus did not take; who misses them finds out by offset",
                &self.not_emitted,
            ),
            ("retention_removed", "Publications forgotten by retention", &self.retention_removed),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register("refused", "Publishes refused, by reason", self.refused.clone());
        registry.register(
            "appends_in_flight",
            "Publishes that wait for the log",
            self.appends_in_flight.clone(),
        );
        registry.register("position", "Next log position to be sequenced", self.position.clone());
        registry.register(
            "checkpoint",
            "Log position up to which the store has everything",
            self.checkpoint.clone(),
        );
        registry.register(
            "unpersisted",
            "Sequenced records that wait for the store",
            self.unpersisted.clone(),
        );
        registry.register("commit_seconds", "Duration of store commits", self.commit_seconds.clone());
    }

    /// The partition is no longer owned here: its figures are another core's.
    pub(crate) fn forget(&self, partition: u32) {
        let label = PartitionLabel { partition };
        for gauge in [&self.position, &self.checkpoint, &self.unpersisted] {
            gauge.remove(&label);
        }
    }

    pub(crate) fn refuse(&self, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabel { reason }).inc();
    }
}
