//! The store: rows, heads, dedup entries and the checkpoint of each partition, changed together by conditional commits.

use std::collections::BTreeMap;
use std::sync::Arc;

use skywave_engine::DedupRecord;
use skywave_protocol::{ChannelName, Publication};

#[derive(Debug, Default, Clone)]
pub(super) struct Stored {
    pub(super) checkpoint: u64,
    pub(super) dedup: Vec<DedupRecord>,
}

#[derive(Debug)]
pub(super) struct Store {
    pub(super) partitions: Vec<Stored>,
    /// Rows of every channel, offsets 1, 2, 3 … (all are kept; retention only limits what is served).
    rows: BTreeMap<ChannelName, Vec<Arc<Publication>>>,
    pub(super) up: bool,
    /// Publications served per channel.
    pub(super) retention: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub(super) expected: u64,
    pub(super) next: u64,
    pub(super) rows: Vec<(ChannelName, Arc<Publication>)>,
    pub(super) dedup: Vec<DedupRecord>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct CheckpointMoved {
    pub(super) found: u64,
}

impl Store {
    pub(super) fn new(partitions: u32, retention: usize) -> Self {
        let partitions = vec![Stored::default(); partitions as usize];
        Self { partitions, rows: BTreeMap::new(), up: true, retention }
    }

    /// All or nothing, if the checkpoint is the expected one. `torn` leaves the rows out (sabotage).
    pub(super) fn commit(
        &mut self,
        partition: u32,
        batch: &Batch,
        torn: bool,
    ) -> Result<(), CheckpointMoved> {
        let stored = &mut self.partitions[partition as usize];
        if stored.checkpoint != batch.expected {
            return Err(CheckpointMoved { found: stored.checkpoint });
        }
        stored.checkpoint = batch.next;
        if torn {
            return Ok(());
        }
        stored.dedup.extend(&batch.dedup);
        for (channel, publication) in &batch.rows {
            self.rows.entry(channel.clone()).or_default().push(publication.clone());
        }
        Ok(())
    }

    pub(super) fn head(&self, channel: &ChannelName) -> u64 {
        self.rows(channel).last().map_or(0, |publication| publication.offset)
    }

    pub(super) fn rows(&self, channel: &ChannelName) -> &[Arc<Publication>] {
        self.rows.get(channel).map_or(&[], Vec::as_slice)
    }

    /// The rows history may serve.
    pub(super) fn retained(&self, channel: &ChannelName) -> &[Arc<Publication>] {
        let rows = self.rows(channel);
        &rows[rows.len().saturating_sub(self.retention)..]
    }
}
