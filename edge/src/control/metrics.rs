//! What is counted about notices.

use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;

use super::Way;
use crate::shared::Shared;

const WAYS: [(Way, &str); 3] = [(Way::Own, "own"), (Way::Bus, "bus"), (Way::Feed, "feed")];

#[derive(Debug, Default)]
pub(super) struct Counts {
    acted: [AtomicU64; WAYS.len()],
    repeated: AtomicU64,
    missed: AtomicU64,
}

impl Counts {
    pub(super) fn acted(&self, way: Way) {
        self.acted[way as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn repeated(&self) {
        self.repeated.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn missed(&self) {
        self.missed.fetch_add(1, Ordering::Relaxed);
    }
}

/// Weak: the registry is one of the things that the edge holds.
pub(crate) struct ControlCollector(pub(crate) Weak<Shared>);

impl std::fmt::Debug for ControlCollector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ControlCollector")
    }
}

impl Collector for ControlCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(shared) = self.0.upgrade() else { return Ok(()) };
        let counts = &shared.control.counts;
        let counter = ConstCounter::new(0u64);
        let mut family = encoder.encode_descriptor(
            "skywave_edge_notices",
            "Revocations, disconnects and the like, by the way they came first",
            None,
            counter.metric_type(),
        )?;
        for (way, name) in WAYS {
            let count = ConstCounter::new(counts.acted[way as usize].load(Ordering::Relaxed));
            count.encode(family.encode_family(&[("way", name)])?)?;
        }
        let repeated = ConstCounter::new(counts.repeated.load(Ordering::Relaxed));
        repeated.encode(encoder.encode_descriptor(
            "skywave_edge_notices_repeated",
            "Notices that were published again for those who may have missed them",
            None,
            repeated.metric_type(),
        )?)?;
        let missed = ConstCounter::new(counts.missed.load(Ordering::Relaxed));
        missed.encode(encoder.encode_descriptor(
            "skywave_edge_notices_missed",
            "How often notices had gone before they were read, so that every connected token was looked up",
            None,
            missed.metric_type(),
        )?)
    }
}
