//! What is counted of backends' topics, under the prefix `skywave_topics`. How far behind they are is the adapter's to say.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TopicLabel {
    topic: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    topic: String,
    reason: &'static str,
}

#[derive(Default)]
pub(super) struct TopicMetrics {
    published: Family<TopicLabel, Counter>,
    known: Family<TopicLabel, Counter>,
    dead_letters: Family<ReasonLabel, Counter>,
    pub(super) retries: Counter,
}

impl TopicMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("skywave_topics");
        registry.register(
            "published",
            "Records of backends that were appended to the log",
            metrics.published.clone(),
        );
        registry.register(
            "known",
            "Records of backends that were found to be published already",
            metrics.known.clone(),
        );
        registry.register(
            "dead_letters",
            "Records of backends that cannot be published, by reason",
            metrics.dead_letters.clone(),
        );
        registry.register(
            "retries",
            "Times something did not work and was tried again",
            metrics.retries.clone(),
        );
        metrics
    }

    pub(super) fn published(&self, topic: &str) {
        self.published.get_or_create(&TopicLabel { topic: topic.into() }).inc();
    }

    pub(super) fn known(&self, topic: &str) {
        self.known.get_or_create(&TopicLabel { topic: topic.into() }).inc();
    }

    pub(super) fn dead_letter(&self, topic: &str, reason: &'static str) {
        self.dead_letters.get_or_create(&ReasonLabel { topic: topic.into(), reason }).inc();
    }
}
