//! What is counted about the region: its nodes, and who was asked to move and why.

use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::shared::Shared;

/// Why a connection was asked to move.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Move {
    /// It arrived at another node than its key's.
    Redirect,
    /// Its key went to another node.
    Followed,
}

impl Move {
    const ALL: [(Self, &'static str); 2] = [(Self::Redirect, "redirect"), (Self::Followed, "followed")];
}

#[derive(Debug, Default)]
pub(super) struct Counts([AtomicU64; Move::ALL.len()]);

impl Counts {
    pub(super) fn moved(&self, reason: Move) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// Says nothing on a node that takes no part in a region.
/// Weak: the registry is one of the things that the edge holds.
pub(crate) struct RegionCollector(pub(crate) Weak<Shared>);

impl std::fmt::Debug for RegionCollector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RegionCollector")
    }
}

impl Collector for RegionCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(shared) = self.0.upgrade() else { return Ok(()) };
        let Some(region) = &shared.region else { return Ok(()) };
        let (nodes, settled) = {
            let machine = region.machine.lock();
            (machine.serving_nodes() as i64, i64::from(machine.is_settled()))
        };
        let nodes = ConstGauge::new(nodes);
        nodes.encode(encoder.encode_descriptor(
            "skywave_edge_region_nodes",
            "Nodes of the region that take clients, as this one sees it",
            None,
            nodes.metric_type(),
        )?)?;
        let settled = ConstGauge::new(settled);
        settled.encode(encoder.encode_descriptor(
            "skywave_edge_region_settled",
            "1 when these nodes have not changed for a while; before, nobody is asked to move",
            None,
            settled.metric_type(),
        )?)?;
        let counter = ConstCounter::new(0u64);
        let mut family = encoder.encode_descriptor(
            "skywave_edge_moves",
            "Connections asked to move to another node that serves their key better",
            None,
            counter.metric_type(),
        )?;
        for (reason, name) in Move::ALL {
            let count = ConstCounter::new(region.counts.0[reason as usize].load(Ordering::Relaxed));
            count.encode(family.encode_family(&[("reason", name)])?)?;
        }
        Ok(())
    }
}
