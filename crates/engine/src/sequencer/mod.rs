//! Log records in, publications with dense offsets out.
//!
//! A deterministic function of the log: two sequencers that read the same records from the same state compute the same
//! offsets, and one restored from a checkpoint goes on exactly as the one that never stopped. Therefore it looks at
//! nothing but records and its own state: no clock, no arrival time, no randomness, no hash map's order.
//!
//! Owns: the head of every channel of its partition and the dedup window. Never: stores, sends or answers.

mod dedup;

use std::sync::Arc;

use hashbrown::HashMap;
use skywave_protocol::inner::LogRecord;
use skywave_protocol::{ChannelName, Epoch, Offset, Publication};

pub use dedup::{DedupRecord, dedup_key};

/// Bounds of the dedup window. Part of the function of the log: all owners of a partition must agree on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequencerConfig {
    /// A message id is remembered for this long, in record time.
    pub dedup_window_ms: u64,
    /// At most so many ids are remembered; the oldest (in log order) are forgotten first.
    pub dedup_entries: usize,
}

impl Default for SequencerConfig {
    fn default() -> Self {
        Self { dedup_window_ms: 3_600_000, dedup_entries: 1_000_000 }
    }
}

/// What became of one record.
#[derive(Debug, Clone, PartialEq)]
pub enum Sequenced {
    /// A new publication, and the dedup entry to be stored with it (`None` for a publication without an id).
    New { publication: Arc<Publication>, dedup: Option<DedupRecord> },
    /// This (channel, publisher, id) already has the given offset.
    Duplicate { offset: Offset },
}

impl Sequenced {
    /// The offset to answer the publisher with.
    pub fn offset(&self) -> Offset {
        match self {
            Self::New { publication, .. } => publication.offset,
            Self::Duplicate { offset } => *offset,
        }
    }
}

/// The sequencer of one partition.
#[derive(Debug)]
pub struct Sequencer {
    epoch: Epoch,
    next_position: u64,
    heads: HashMap<ChannelName, Offset>,
    dedup: dedup::Window,
}

impl Sequencer {
    /// Starts from stored state: everything before `next_position` is in `heads` and `dedup`.
    ///
    /// `dedup` comes in log order and holds at least the entries whose time lies within the window before the *newest
    /// entry's* time (not before the wall clock's: records still to be replayed may be old); more does no harm.
    pub fn restore(
        epoch: Epoch,
        next_position: u64,
        heads: impl IntoIterator<Item = (ChannelName, Offset)>,
        dedup: impl IntoIterator<Item = DedupRecord>,
        config: SequencerConfig,
    ) -> Self {
        let mut window = dedup::Window::new(config);
        for record in dedup {
            window.remember(record);
        }
        Self { epoch, next_position, heads: heads.into_iter().collect(), dedup: window }
    }

    /// Sequences the record at `position`.
    ///
    /// # Panics
    /// If `position` lies before [`Sequencer::next_position`]: applying a record twice would number it twice.
    pub fn apply(&mut self, position: u64, record: &LogRecord) -> Sequenced {
        assert!(position >= self.next_position, "position {position} was already applied");
        self.next_position = position + 1;

        let key = record.id.as_ref().map(|id| dedup_key(&record.channel, record.from.as_ref(), id));
        if let Some(offset) = key.and_then(|key| self.dedup.find(&key, record.time_ms)) {
            return Sequenced::Duplicate { offset };
        }
        let offset = self.advance(&record.channel);
        let dedup = key.map(|key| self.dedup.insert(key, offset, record.time_ms));
        let publication = Arc::new(Publication {
            offset,
            id: record.id.clone(),
            from: record.from.clone(),
            time_ms: record.time_ms,
            data: record.data.clone(),
        });
        Sequenced::New { publication, dedup }
    }

    fn advance(&mut self, channel: &ChannelName) -> Offset {
        if let Some(head) = self.heads.get_mut(channel) {
            *head += 1;
            return *head;
        }
        self.heads.insert(channel.clone(), 1);
        1
    }

    /// Newest offset of a channel; 0 before its first publication.
    pub fn head(&self, channel: &ChannelName) -> Offset {
        self.heads.get(channel).copied().unwrap_or(0)
    }

    pub fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// Position of the next record to apply.
    pub fn next_position(&self) -> u64 {
        self.next_position
    }

    /// Ids remembered at present.
    pub fn dedup_len(&self) -> usize {
        self.dedup.len()
    }
}

#[cfg(test)]
mod tests;
