//! A log that lives as long as any clone of it does. For tests: a clone stands for the log after a restart.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::groups::Groups;
use crate::log::{Assignments, Log, LogEntry, LogError, LogPosition, LogReader, Partition};

/// Largest record, in bytes.
const RECORD_BYTES: usize = 1024 * 1024;

/// An in-memory log; clones share it.
#[derive(Clone)]
pub struct MemoryLog(Arc<Shared>);

struct Shared {
    partitions: Vec<Arc<PartitionLog>>,
    refusal: Mutex<Option<LogError>>,
    groups: Groups,
}

struct PartitionLog {
    records: Mutex<Records>,
    /// Where the log ends, for those who wait for more.
    end: watch::Sender<LogPosition>,
}

#[derive(Default)]
struct Records {
    first: LogPosition,
    kept: VecDeque<Bytes>,
}

impl Records {
    fn end(&self) -> LogPosition {
        self.first + self.kept.len() as u64
    }
}

impl MemoryLog {
    pub fn new(partitions: u32) -> Self {
        let partition = || Arc::new(PartitionLog { records: Mutex::default(), end: watch::Sender::new(0) });
        Self(Arc::new(Shared {
            partitions: (0..partitions).map(|_| partition()).collect(),
            refusal: Mutex::new(None),
            groups: Groups::new(partitions),
        }))
    }

    /// Makes every append fail with `error` (nothing is kept), until `None` ends it.
    pub fn refuse_appends(&self, error: Option<LogError>) {
        *self.0.refusal.lock() = error;
    }

    fn partition(&self, partition: Partition) -> Result<&Arc<PartitionLog>, LogError> {
        self.0.partitions.get(partition as usize).ok_or(LogError::NoPartition(partition))
    }
}

#[async_trait]
impl Log for MemoryLog {
    fn partitions(&self) -> u32 {
        self.0.partitions.len() as u32
    }

    async fn append(&self, partition: Partition, _key: Bytes, value: Bytes) -> Result<LogPosition, LogError> {
        let log = self.partition(partition)?;
        if value.len() > RECORD_BYTES {
            return Err(LogError::TooLarge { limit: RECORD_BYTES, got: value.len() });
        }
        if let Some(error) = self.0.refusal.lock().clone() {
            return Err(error);
        }
        let mut records = log.records.lock();
        records.kept.push_back(value);
        let end = records.end();
        // Under the lock, so that the end only ever grows.
        log.end.send_replace(end);
        Ok(end - 1)
    }

    fn record_bytes(&self) -> usize {
        RECORD_BYTES
    }

    async fn bounds(&self, partition: Partition) -> Result<(LogPosition, LogPosition), LogError> {
        let records = self.partition(partition)?.records.lock();
        Ok((records.first, records.end()))
    }

    async fn read(&self, partition: Partition, from: LogPosition) -> Result<Box<dyn LogReader>, LogError> {
        let log = Arc::clone(self.partition(partition)?);
        let first = log.records.lock().first;
        if from < first {
            return Err(LogError::Trimmed { asked: from, first });
        }
        let end = log.end.subscribe();
        Ok(Box::new(Reader { log, end, next: from }))
    }

    async fn trim(&self, partition: Partition, before: LogPosition) -> Result<(), LogError> {
        let mut records = self.partition(partition)?.records.lock();
        while records.first < before && records.kept.pop_front().is_some() {
            records.first += 1;
        }
        Ok(())
    }

    async fn join(&self, group: &str) -> Result<Box<dyn Assignments>, LogError> {
        Ok(Box::new(self.0.groups.join(group)))
    }
}

struct Reader {
    log: Arc<PartitionLog>,
    end: watch::Receiver<LogPosition>,
    next: LogPosition,
}

#[async_trait]
impl LogReader for Reader {
    async fn next(&mut self, max: usize) -> Result<Vec<LogEntry>, LogError> {
        let next = self.next;
        // The log holds the sending side as long as this reader holds the log.
        let _ = self.end.wait_for(|end| *end > next).await;
        let records = self.log.records.lock();
        if next < records.first {
            return Err(LogError::Trimmed { asked: next, first: records.first });
        }
        let skip = (next - records.first) as usize;
        let values = records.kept.iter().skip(skip).take(max.max(1)).cloned();
        let entries: Vec<_> =
            (next..).zip(values).map(|(position, value)| LogEntry { position, value }).collect();
        self.next += entries.len() as u64;
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn conforms() {
        let logs = Mutex::new(hashbrown::HashMap::<String, MemoryLog>::new());
        let open =
            async |name: &str| logs.lock().entry(name.into()).or_insert_with(|| MemoryLog::new(3)).clone();
        crate::conformance::log::suite(open).await;
    }

    #[tokio::test]
    async fn a_refused_append_leaves_nothing() {
        let log = MemoryLog::new(1);
        log.refuse_appends(Some(LogError::Full("test".into())));
        assert!(matches!(log.append(0, Bytes::new(), Bytes::new()).await, Err(LogError::Full(_))));
        log.refuse_appends(None);
        assert_eq!(log.append(0, Bytes::new(), Bytes::new()).await, Ok(0));
    }
}
