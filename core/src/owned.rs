//! Which partitions this core owns and in what state, for those who answer requests about them.
//!
//! Written by the owners (`partition`) and by the one who starts and ends them (`assigned`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use skywave_ports::log::Partition;

use crate::freshness::Freshness;
use crate::tail::Tail;

/// What a partition's owner can do.
#[derive(Clone)]
pub(crate) enum Ownership {
    /// The log is being read up to its end.
    Replaying,
    /// It cannot begin, or has failed, and tries again.
    Failing {
        since: Instant,
        reason: Arc<str>,
    },
    Serving(Arc<Serving>),
}

/// What history needs of an owner that serves.
pub(crate) struct Serving {
    pub(crate) tail: Arc<Tail>,
    pub(crate) freshness: Freshness,
}

impl Ownership {
    /// Nothing more can be sequenced for now: what is published would wait without a bound. An owner that fails is given
    /// the time a full tail is given.
    fn is_stalled(&self, stall_after: Duration) -> bool {
        match self {
            Self::Replaying => false,
            Self::Failing { since, .. } => since.elapsed() >= stall_after,
            Self::Serving(serving) => serving.tail.is_stalled(),
        }
    }
}

/// The partitions this process owns.
#[derive(Default)]
pub(crate) struct Owned {
    partitions: RwLock<BTreeMap<Partition, Ownership>>,
}

impl Owned {
    /// `None`: not owned here.
    pub(crate) fn get(&self, partition: Partition) -> Option<Ownership> {
        self.partitions.read().get(&partition).cloned()
    }

    /// The partition is owned here from now on.
    pub(crate) fn begin(&self, partition: Partition) {
        self.partitions.write().insert(partition, Ownership::Replaying);
    }

    /// The owner serves. Means nothing when the partition has been given up in between.
    pub(crate) fn serve(&self, partition: Partition, serving: Arc<Serving>) {
        if let Some(ownership) = self.partitions.write().get_mut(&partition) {
            *ownership = Ownership::Serving(serving);
        }
    }

    /// The owner has failed. Keeps the time of the first failure in a row.
    pub(crate) fn fail(&self, partition: Partition, reason: &str) {
        let mut partitions = self.partitions.write();
        let Some(ownership) = partitions.get_mut(&partition) else { return };
        let since = match ownership {
            Ownership::Failing { since, .. } => *since,
            Ownership::Replaying | Ownership::Serving(_) => Instant::now(),
        };
        *ownership = Ownership::Failing { since, reason: reason.into() };
    }

    pub(crate) fn remove(&self, partition: Partition) {
        self.partitions.write().remove(&partition);
    }

    /// Whatever their state.
    pub(crate) fn names(&self) -> Vec<Partition> {
        self.partitions.read().keys().copied().collect()
    }

    pub(crate) fn all(&self) -> Vec<(Partition, Ownership)> {
        self.partitions.read().iter().map(|(partition, ownership)| (*partition, ownership.clone())).collect()
    }

    /// Whether every owned partition is served.
    pub(crate) fn all_serving(&self) -> bool {
        self.partitions.read().values().all(|ownership| matches!(ownership, Ownership::Serving(_)))
    }

    /// Whether publishes to the partition would pile up behind its owner here.
    pub(crate) fn is_stalled(&self, partition: Partition, stall_after: Duration) -> Option<bool> {
        Some(self.partitions.read().get(&partition)?.is_stalled(stall_after))
    }

    /// Owned partitions that can take nothing.
    pub(crate) fn stalled(&self, stall_after: Duration) -> Vec<Partition> {
        let partitions = self.partitions.read();
        let stalled = partitions.iter().filter(|(_, ownership)| ownership.is_stalled(stall_after));
        stalled.map(|(partition, _)| *partition).collect()
    }
}
