//! A batch: the records of one commit, in memory and as the bytes of its row.
//!
//! Layout: a version byte, then for each record its length (u32, little endian) and its bytes.

use bytes::{Buf, Bytes};
use skywave_ports::log::{LogEntry, LogPosition};

const VERSION: u8 = 1;

/// Records at consecutive positions.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Batch {
    /// Position of the first record.
    pub(super) base: LogPosition,
    pub(super) values: Vec<Bytes>,
}

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("the batch at {base} is damaged")]
pub(super) struct DamagedBatch {
    base: LogPosition,
}

impl Batch {
    /// Position after the last record.
    pub(super) fn end(&self) -> LogPosition {
        self.base + self.values.len() as u64
    }

    /// What it takes in memory, in bytes.
    pub(super) fn weight(&self) -> usize {
        self.values.iter().map(|value| value.len() + size_of::<Bytes>()).sum()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(1 + self.values.iter().map(|value| 4 + value.len()).sum::<usize>());
        row.push(VERSION);
        for value in &self.values {
            // Invariant: `append` refuses what is larger than a u32 can count.
            row.extend_from_slice(&(value.len() as u32).to_le_bytes());
            row.extend_from_slice(value);
        }
        row
    }

    /// The values share the row's memory.
    pub(super) fn decode(base: LogPosition, count: u64, row: Vec<u8>) -> Result<Self, DamagedBatch> {
        let damaged = || DamagedBatch { base };
        let mut row = Bytes::from(row);
        if row.try_get_u8().ok() != Some(VERSION) {
            return Err(damaged());
        }
        let mut values = Vec::new();
        while row.has_remaining() {
            let length = row.try_get_u32_le().map_err(|_| damaged())? as usize;
            if length > row.remaining() {
                return Err(damaged());
            }
            values.push(row.split_to(length));
        }
        if values.len() as u64 != count {
            return Err(damaged());
        }
        Ok(Self { base, values })
    }

    /// At most `max` entries from `from` on, which lies inside.
    pub(super) fn entries(&self, from: LogPosition, max: usize) -> impl Iterator<Item = LogEntry> + '_ {
        let skip = (from - self.base) as usize;
        let values = self.values.iter().skip(skip).take(max).cloned();
        (from..).zip(values).map(|(position, value)| LogEntry { position, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_were() {
        let values = vec![Bytes::from_static(b"one"), Bytes::new(), Bytes::from(vec![7; 70_000])];
        let batch = Batch { base: 9, values };
        assert_eq!(Batch::decode(9, 3, batch.encode()), Ok(batch.clone()));
        let entries: Vec<_> = batch.entries(10, 1).collect();
        assert_eq!(entries, [LogEntry { position: 10, value: Bytes::new() }]);
    }

    #[test]
    fn damage_is_noticed() {
        let batch = Batch { base: 0, values: vec![Bytes::from_static(b"abc"); 3] };
        let row = batch.encode();
        for cut in 0..row.len() {
            assert!(Batch::decode(0, 3, row[..cut].to_vec()).is_err(), "cut at {cut}");
        }
        assert!(Batch::decode(0, 2, row.clone()).is_err());
        let mut long = row.clone();
        long[1..5].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Batch::decode(0, 3, long).is_err());
        let mut version = row;
        version[0] = 9;
        assert!(Batch::decode(0, 3, version).is_err());
    }
}
