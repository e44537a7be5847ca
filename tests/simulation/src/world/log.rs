//! The log: records are buffered, become durable with a sync, and only then visible. A crash loses what was not synced.

use skywave_protocol::inner::LogRecord;

use super::{Fault, Time};

#[derive(Debug, Default)]
pub(super) struct Partition {
    /// Durable records first, then buffered ones.
    records: Vec<LogRecord>,
    durable: usize,
}

#[derive(Debug)]
pub(super) struct Log {
    pub(super) partitions: Vec<Partition>,
    pub(super) up: bool,
    pub(super) incarnation: u32,
    pub(super) sync_at: Option<Time>,
    /// What happens as soon as a record is buffered.
    pub(super) doomed: Option<Fault>,
}

impl Log {
    pub(super) fn new(partitions: u32) -> Self {
        let partitions = (0..partitions).map(|_| Partition::default()).collect();
        Self { partitions, up: true, incarnation: 0, sync_at: None, doomed: None }
    }

    pub(super) fn append(&mut self, partition: u32, record: LogRecord) {
        assert!(self.up, "nobody appends to a log that is down");
        self.partitions[partition as usize].records.push(record);
    }

    pub(super) fn sync(&mut self) {
        for partition in &mut self.partitions {
            partition.durable = partition.records.len();
        }
    }

    /// Stops. `survivors` says how many of the buffered records of each partition had reached the disk all the same.
    /// Returns the lost ones.
    pub(super) fn crash(&mut self, mut survivors: impl FnMut(usize) -> usize) -> Vec<LogRecord> {
        self.up = false;
        self.incarnation += 1;
        self.sync_at = None;
        let mut lost = Vec::new();
        for partition in &mut self.partitions {
            let buffered = partition.records.len() - partition.durable;
            partition.durable += survivors(buffered).min(buffered);
            lost.extend(partition.records.split_off(partition.durable));
        }
        lost
    }

    /// The position after the last visible record; `undurable` shows buffered ones too (sabotage).
    pub(super) fn end(&self, partition: u32, undurable: bool) -> u64 {
        let partition = &self.partitions[partition as usize];
        (if undurable { partition.records.len() } else { partition.durable }) as u64
    }

    pub(super) fn record(&self, partition: u32, position: u64) -> &LogRecord {
        &self.partitions[partition as usize].records[position as usize]
    }
}
