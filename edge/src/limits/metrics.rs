//! What the limits of a region count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;

use super::{Limit, RegionLimits};

/// How a loan ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum Loan {
    Whole,
    /// The shared bucket has less than was wanted.
    Short,
    Unavailable,
}

impl Loan {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Whole, "whole"), (Self::Short, "short"), (Self::Unavailable, "unavailable")];
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    refused: [AtomicU64; Limit::ALL.len()],
    alone: [AtomicU64; Limit::ALL.len()],
    loans: [AtomicU64; Loan::ALL.len()],
}

impl Counts {
    pub(super) fn refused(&self, limit: Limit) {
        self.refused[limit as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn alone(&self, limit: Limit) {
        self.alone[limit as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn loan(&self, loan: Loan) {
        self.loans[loan as usize].fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) struct LimitsCollector(pub(crate) Arc<RegionLimits>);

impl std::fmt::Debug for LimitsCollector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LimitsCollector")
    }
}

impl Collector for LimitsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counts = &self.0.counts;
        let by_limit = |counts: &[AtomicU64; Limit::ALL.len()]| {
            Limit::ALL.map(|limit| (limit.name(), counts[limit as usize].load(Ordering::Relaxed)))
        };
        let loans = Loan::ALL.map(|(loan, name)| (name, counts.loans[loan as usize].load(Ordering::Relaxed)));
        for (name, help, label, values) in [
            (
                "skywave_edge_limit_refused",
                "Refused by a limit that holds over the region",
                "limit",
                by_limit(&counts.refused),
            ),
            (
                "skywave_edge_limit_alone",
                "Let through while the shared state was away and the limit held on this node alone",
                "limit",
                by_limit(&counts.alone),
            ),
            ("skywave_edge_limit_loans", "Tokens borrowed from the region's buckets", "outcome", loans),
        ] {
            let counter = ConstCounter::new(0u64);
            let mut family = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            for (value, count) in values {
                ConstCounter::new(count).encode(family.encode_family(&[(label, value)])?)?;
            }
        }
        Ok(())
    }
}
