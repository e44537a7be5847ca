//! The dedup window: which (channel, publisher, id) already has an offset.
//!
//! The window's clock is the newest *entry's* time and nothing else, and entry times never decrease (a record stamped
//! earlier than its predecessor counts as simultaneous with it). So the entries alone determine the clock, and a window
//! rebuilt from stored entries equals the one that was never lost.

use std::collections::VecDeque;
use std::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashMap;
use sha2::{Digest, Sha256};
use skywave_protocol::{ChannelName, MessageId, Offset, UserId};

use super::SequencerConfig;

/// One remembered id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DedupRecord {
    /// [`dedup_key`].
    pub key: [u8; 16],
    pub offset: Offset,
    /// The window's clock when the entry was made: the record's time, or the previous entry's if that is later.
    pub time_ms: u64,
}

/// First 128 bits of SHA-256 over the length-prefixed (u32, big endian) channel, publisher and id. Anonymous publishers
/// count as one (the empty name, which no user can have).
pub fn dedup_key(channel: &ChannelName, from: Option<&UserId>, id: &MessageId) -> [u8; 16] {
    let mut digest = Sha256::new();
    for part in [channel.as_str(), from.map_or("", UserId::as_str), id.as_str()] {
        // Invariant: names are bounded by `protocol::limits`, far below 4 GiB.
        digest.update((part.len() as u32).to_be_bytes());
        digest.update(part.as_bytes());
    }
    let mut key = [0; 16];
    key.copy_from_slice(&digest.finalize()[..16]);
    key
}

/// Entries in log order with an index by key. Bounded by time and count: the oldest are forgotten.
#[derive(Debug)]
pub(super) struct Window {
    config: SequencerConfig,
    order: VecDeque<DedupRecord>,
    /// Offset and time by key.
    entries: HashMap<[u8; 16], (Offset, u64), BuildHasherDefault<KeyHasher>>,
}

impl Window {
    pub(super) fn new(config: SequencerConfig) -> Self {
        Self { config, order: VecDeque::new(), entries: HashMap::default() }
    }

    /// The offset this key has, seen from a record of time `time_ms`. An entry the record would push out does not count.
    pub(super) fn find(&self, key: &[u8; 16], time_ms: u64) -> Option<Offset> {
        let (offset, made_ms) = *self.entries.get(key)?;
        self.within(made_ms, self.clock().max(time_ms)).then_some(offset)
    }

    /// Makes an entry for a new publication and returns it as it must be stored.
    pub(super) fn insert(&mut self, key: [u8; 16], offset: Offset, time_ms: u64) -> DedupRecord {
        let record = DedupRecord { key, offset, time_ms: self.clock().max(time_ms) };
        self.remember(record);
        record
    }

    /// Takes over an entry (new, or restored in log order) and forgets what falls out of the window.
    pub(super) fn remember(&mut self, record: DedupRecord) {
        let now = self.clock().max(record.time_ms);
        while self.order.front().is_some_and(|oldest| !self.within(oldest.time_ms, now)) {
            self.forget_oldest();
        }
        if self.config.dedup_entries == 0 {
            return;
        }
        if self.order.len() >= self.config.dedup_entries {
            self.forget_oldest();
        }
        self.order.push_back(DedupRecord { time_ms: now, ..record });
        self.entries.insert(record.key, (record.offset, now));
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.order.pop_front() {
            self.entries.remove(&oldest.key);
        }
    }

    fn clock(&self) -> u64 {
        self.order.back().map_or(0, |newest| newest.time_ms)
    }

    fn within(&self, time_ms: u64, now: u64) -> bool {
        now.saturating_sub(time_ms) < self.config.dedup_window_ms
    }
}

/// The key is a cryptographic digest already: its first eight bytes are the hash.
#[derive(Debug, Default)]
pub(super) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut head = [0; 8];
        let taken = bytes.len().min(8);
        head[..taken].copy_from_slice(&bytes[..taken]);
        self.0 ^= u64::from_le_bytes(head);
    }

    // Arrays hash their length first; it is the same for every key.
    fn write_usize(&mut self, _: usize) {}
}
