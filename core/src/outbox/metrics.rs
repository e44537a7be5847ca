//! What a relay counts, under the prefix `skywave_outbox`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use skywave_ports::{OutboxRow, RowId, Settlement, StoreError};

use super::verify::Verdict;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabel {
    verdict: &'static str,
}

pub(super) struct RelayMetrics {
    pub(super) turns: Counter,
    pub(super) failures: Counter,
    published: Counter,
    refused: Counter,
    verified: Family<VerdictLabel, Counter>,
    waiting: Gauge,
    oldest_ms: Gauge,
}

impl RelayMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            turns: Counter::default(),
            failures: Counter::default(),
            published: Counter::default(),
            refused: Counter::default(),
            verified: Family::default(),
            waiting: Gauge::default(),
            oldest_ms: Gauge::default(),
        };
        let registry = registry.sub_registry_with_prefix("skywave_outbox");
        let counters = [
            ("turns", "Times this process began to relay", &metrics.turns),
            ("failures", "Times the outbox failed and was tried again", &metrics.failures),
            ("published", "Rows published", &metrics.published),
            ("refused", "Rows refused and kept aside", &metrics.refused),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "verified",
            "Rows that might have been published before, by what was found",
            metrics.verified.clone(),
        );
        registry.register(
            "waiting",
            "Rows in the newest round: as many as a round takes, or all there are",
            metrics.waiting.clone(),
        );
        registry.register(
            "oldest_milliseconds",
            "How long the oldest row has waited, by the outbox's clock",
            metrics.oldest_ms.clone(),
        );
        metrics
    }

    pub(super) fn waiting(&self, rows: &[OutboxRow]) {
        self.waiting.set(rows.len() as i64);
        self.oldest_ms.set(rows.first().map_or(0, |row| row.waited_ms as i64));
    }

    /// Nothing is known: somebody else relays, or nobody can.
    pub(super) fn idle(&self) {
        self.waiting(&[]);
    }

    pub(super) fn settled(&self, settled: &[(RowId, Settlement)]) {
        for (id, settlement) in settled {
            match settlement {
                Settlement::Published => _ = self.published.inc(),
                Settlement::Refused(reason) => {
                    tracing::warn!(row = id, reason, "a row of the outbox is refused and kept aside");
                    self.refused.inc();
                }
            }
        }
    }

    pub(super) fn verified(&self, verdict: &Result<Verdict, StoreError>) {
        let verdict = match verdict {
            Ok(Verdict::Published) => "published",
            Ok(Verdict::NotPublished) => "not_published",
            Ok(Verdict::Forgotten) => "forgotten",
            Err(_) => "failed",
        };
        self.verified.get_or_create(&VerdictLabel { verdict }).inc();
    }
}
