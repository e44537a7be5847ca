//! Dedup entries as stores keep them: those of one commit in one value, so that writing, loading and forgetting them costs a
//! row and not a row each.

use bytes::{Buf, BufMut};
use skywave_protocol::Offset;

/// (channel, publisher, id) → position, by a 128-bit digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DedupEntry {
    pub key: [u8; 16],
    pub offset: Offset,
    pub time_ms: u64,
}

impl DedupEntry {
    /// Of one entry in a row: key, offset and time (u64, little endian).
    const BYTES: usize = 32;

    /// What [`Self::decode_row`] reads. Part of the stored format.
    pub fn encode_row(entries: &[Self]) -> Vec<u8> {
        let mut row = Vec::with_capacity(entries.len() * Self::BYTES);
        for entry in entries {
            row.put_slice(&entry.key);
            row.put_u64_le(entry.offset);
            row.put_u64_le(entry.time_ms);
        }
        row
    }

    /// In the order in which they were encoded; a part of an entry at the end is passed over.
    pub fn decode_row(row: &[u8]) -> impl Iterator<Item = Self> + '_ {
        row.chunks_exact(Self::BYTES).map(|mut entry| {
            let mut key = [0; 16];
            entry.copy_to_slice(&mut key);
            Self { key, offset: entry.get_u64_le(), time_ms: entry.get_u64_le() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_as_they_were() {
        let entries: Vec<_> =
            (0..9u8).map(|n| DedupEntry { key: [n; 16], offset: n.into(), time_ms: u64::MAX - 1 }).collect();
        let row = DedupEntry::encode_row(&entries);
        assert_eq!(row.len(), 9 * DedupEntry::BYTES);
        assert_eq!(DedupEntry::decode_row(&row).collect::<Vec<_>>(), entries);
    }
}
