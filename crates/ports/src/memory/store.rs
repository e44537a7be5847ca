//! A store that lives as long as any clone of it does. For tests: a clone stands for the store after a restart.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use skywave_protocol::message::HistoryQuery;
use skywave_protocol::{ChannelName, Epoch, Offset, Publication};

use crate::dedup::DedupEntry;
use crate::log::Partition;
use crate::store::{Checkpoint, Commit, HistoryRows, Retained, Retention, Snapshot, Store, StoreError};

/// Publications one call of `retain` removes at most.
const RETAIN_MAX: usize = 1_000;

/// An in-memory store; clones share it.
#[derive(Clone)]
pub struct MemoryStore(Arc<Mutex<Contents>>);

struct Contents {
    epoch: Epoch,
    partitions: BTreeMap<Partition, PartitionState>,
    channels: BTreeMap<ChannelName, Channel>,
    failure: Option<Failure>,
    commits: u64,
}

#[derive(Default)]
struct PartitionState {
    checkpoint: Checkpoint,
    dedup: VecDeque<DedupEntry>,
}

struct Channel {
    partition: Partition,
    head: Offset,
    kept: VecDeque<Arc<Publication>>,
}

/// What a test makes of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Nothing works.
    Down,
    /// Commits take place and are reported as `Unavailable`: the ambiguous case.
    AnswerLost,
}

impl MemoryStore {
    /// An empty store of the given epoch.
    pub fn new(epoch: Epoch) -> Self {
        Self(Arc::new(Mutex::new(Contents {
            epoch,
            partitions: BTreeMap::new(),
            channels: BTreeMap::new(),
            failure: None,
            commits: 0,
        })))
    }

    /// Makes the store fail, until `None` ends it.
    pub fn fail(&self, failure: Option<Failure>) {
        self.0.lock().failure = failure;
    }

    /// Commits that took place.
    pub fn commits(&self) -> u64 {
        self.0.lock().commits
    }

    pub fn checkpoint(&self, partition: Partition) -> Checkpoint {
        self.0.lock().partitions.get(&partition).map_or(0, |state| state.checkpoint)
    }
}

impl Contents {
    fn available(&self) -> Result<(), StoreError> {
        match self.failure {
            Some(Failure::Down) => Err(StoreError::Unavailable("told to be down".into())),
            Some(Failure::AnswerLost) | None => Ok(()),
        }
    }

    fn write(&mut self, partition: Partition, batch: Commit) {
        let state = self.partitions.entry(partition).or_default();
        state.checkpoint = batch.next;
        state.dedup.extend(batch.dedup);
        while state.dedup.len() > batch.dedup_keep.entries
            || state.dedup.front().is_some_and(|entry| entry.time_ms < batch.dedup_keep.not_before_ms)
        {
            state.dedup.pop_front();
        }
        for row in batch.publications {
            let channel = self.channels.entry(row.channel).or_insert_with(|| Channel {
                partition,
                head: 0,
                kept: VecDeque::new(),
            });
            channel.head = row.publication.offset;
            channel.kept.push_back(row.publication);
        }
        self.commits += 1;
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn load(&self, partition: Partition, dedup_since_ms: u64) -> Result<Snapshot, StoreError> {
        let contents = self.0.lock();
        contents.available()?;
        let heads = contents.channels.iter().filter(|(_, channel)| channel.partition == partition);
        let state = contents.partitions.get(&partition);
        let dedup = state.into_iter().flat_map(|state| &state.dedup);
        Ok(Snapshot {
            epoch: contents.epoch.clone(),
            checkpoint: state.map_or(0, |state| state.checkpoint),
            heads: heads.map(|(name, channel)| (name.clone(), channel.head)).collect(),
            dedup: dedup.filter(|entry| entry.time_ms >= dedup_since_ms).cloned().collect(),
        })
    }

    async fn commit(&self, partition: Partition, batch: Commit) -> Result<(), StoreError> {
        let mut contents = self.0.lock();
        contents.available()?;
        let found = contents.partitions.get(&partition).map_or(0, |state| state.checkpoint);
        if found != batch.expected {
            return Err(StoreError::CheckpointMoved { expected: batch.expected, found });
        }
        contents.write(partition, batch);
        match contents.failure {
            Some(_) => Err(StoreError::Unavailable("told to lose the answer".into())),
            None => Ok(()),
        }
    }

    async fn history(&self, query: &HistoryQuery) -> Result<HistoryRows, StoreError> {
        let contents = self.0.lock();
        contents.available()?;
        let Some(channel) = contents.channels.get(&query.channel) else {
            return Ok(HistoryRows {
                epoch: contents.epoch.clone(),
                head: 0,
                first: 1,
                publications: Vec::new(),
            });
        };
        let inside = |publication: &&Arc<Publication>| {
            publication.offset > query.after && (query.before == 0 || publication.offset < query.before)
        };
        let rows = channel.kept.iter().filter(inside).cloned();
        let limit = query.limit as usize;
        Ok(HistoryRows {
            epoch: contents.epoch.clone(),
            head: channel.head,
            first: channel.kept.front().map_or(channel.head + 1, |publication| publication.offset),
            publications: match query.reverse {
                false => rows.take(limit).collect(),
                true => rows.rev().take(limit).collect(),
            },
        })
    }

    async fn retain(&self, namespace: &str, retention: Retention) -> Result<Retained, StoreError> {
        let mut contents = self.0.lock();
        contents.available()?;
        let mut removed = 0;
        for (_, channel) in contents.channels.iter_mut().filter(|(name, _)| name.namespace() == namespace) {
            while removed < RETAIN_MAX
                && channel.kept.front().is_some_and(|oldest| {
                    channel.kept.len() > retention.size as usize || oldest.time_ms < retention.not_before_ms
                })
            {
                channel.kept.pop_front();
                removed += 1;
            }
        }
        Ok(Retained { removed: removed as u64, complete: removed < RETAIN_MAX })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn conforms() {
        let stores = Mutex::new(hashbrown::HashMap::<String, MemoryStore>::new());
        let open = async |name: &str| {
            let epoch = Epoch::parse(&format!("epoch-{}", stores.lock().len())).unwrap();
            stores.lock().entry(name.into()).or_insert_with(|| MemoryStore::new(epoch)).clone()
        };
        crate::conformance::store::suite(open).await;
    }
}
