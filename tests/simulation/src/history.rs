//! What happened, as the checkers see it: every publish, answer, delivery, gap and disconnect with its virtual time, and at
//! the end what the log kept and who was present. Nothing here comes from inside a state machine.

use std::collections::BTreeMap;

use skywave_protocol::message::{GapReason, Recovery};
use skywave_protocol::{CloseCode, ErrorCode};

pub type Time = u64;
/// Index of a client, for the whole run.
pub type ClientId = usize;
/// One connection of a client.
pub type ConnectionId = u64;
/// Index of a channel.
pub type Channel = usize;
/// One request of an edge for history.
pub type ReadId = u64;
/// Names one publication of one client, whatever the number of attempts.
pub type PublishId = u64;

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub time: Time,
    pub fact: Fact,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// A client hands a publication in; once per attempt.
    Publish {
        client: ClientId,
        channel: Channel,
        id: PublishId,
        hash: u64,
    },
    Acked {
        client: ClientId,
        channel: Channel,
        id: PublishId,
        offset: u64,
        duplicate: bool,
    },
    Refused {
        client: ClientId,
        channel: Channel,
        id: PublishId,
        code: ErrorCode,
    },
    Connected {
        client: ClientId,
        connection: ConnectionId,
        edge: usize,
    },
    /// `offset` is `None` in ephemeral channels.
    Subscribed {
        client: ClientId,
        connection: ConnectionId,
        channel: Channel,
        asked: Option<u64>,
        offset: Option<u64>,
        recovery: Option<Recovery>,
    },
    Unsubscribed {
        client: ClientId,
        connection: ConnectionId,
        channel: Channel,
    },
    Delivered {
        client: ClientId,
        connection: ConnectionId,
        channel: Channel,
        offset: u64,
        id: PublishId,
        hash: u64,
    },
    Gap {
        client: ClientId,
        connection: ConnectionId,
        channel: Channel,
        from: u64,
        to: u64,
        reason: GapReason,
    },
    Disconnected {
        client: ClientId,
        connection: ConnectionId,
        code: Option<CloseCode>,
    },
    /// A watcher is told of a user's coming or going. Anonymous clients are named by their connection.
    Came {
        client: ClientId,
        connection: ConnectionId,
        channel: Channel,
        who: String,
    },
    Went {
        client: ClientId,
        connection: ConnectionId,
        channel: Channel,
        who: String,
    },
    /// An edge has said so to a watcher. When it is read ([`Fact::Came`], [`Fact::Went`]) is the watcher's affair.
    Told {
        connection: ConnectionId,
        channel: Channel,
        who: String,
        came: bool,
    },
    /// An edge has ended a connection's stay in a channel; the client may learn of it much later.
    Left {
        connection: ConnectionId,
        channel: Channel,
    },
    /// An edge is gone, and every stay at it.
    EdgeGone {
        edge: usize,
    },
    /// An edge asks core for history.
    Read {
        edge: usize,
        channel: Channel,
        read: ReadId,
    },
    /// The answer has come, with what was asked for or without.
    ReadAnswered {
        read: ReadId,
        served: bool,
    },
    /// A message of it was lost or late on the bus, or found its edge stopped: it may go unanswered, or be answered too late.
    ReadHindered {
        read: ReadId,
    },
    /// More bytes than ever before wait for this connection on its edge.
    Queued {
        connection: ConnectionId,
        bytes: usize,
    },
    /// The oldest publication history still serves has become this one.
    Retained {
        channel: Channel,
        first: u64,
    },
    /// Something was broken that may make history unreadable; `Mended` ends it.
    Broken,
    Mended,
    /// All faults are over.
    Healed,
    /// The end: what the log and the store hold.
    Kept {
        channel: Channel,
        offset: u64,
        id: PublishId,
        hash: u64,
    },
    /// The end: who is in the channel, as an edge tells it, and as it is.
    Seen {
        edge: usize,
        channel: Channel,
        connections: Vec<String>,
    },
    Present {
        channel: Channel,
        connections: Vec<String>,
    },
}

/// The recorded run.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub entries: Vec<Entry>,
    /// The user each client connects as; `None`: anonymous.
    pub users: Vec<Option<String>>,
    pub durable: Vec<bool>,
    /// Where clients go on that have been there before the run began.
    pub starts: BTreeMap<(ClientId, Channel), u64>,
    /// Bytes an outbox may hold.
    pub outbox_limit: usize,
    /// When an edge gives up waiting for an answer, and after how many such reads it goes on without.
    pub read_timeout: Time,
    pub read_attempts: usize,
}

impl History {
    pub fn record(&mut self, time: Time, fact: Fact) {
        self.entries.push(Entry { time, fact });
    }

    pub fn healed_at(&self) -> Time {
        let healed = self.entries.iter().find(|entry| entry.fact == Fact::Healed);
        healed.map_or(Time::MAX, |entry| entry.time)
    }

    /// What was kept at the end, by channel and offset.
    pub fn kept(&self) -> BTreeMap<(Channel, u64), (PublishId, u64)> {
        let kept = |entry: &Entry| match entry.fact {
            Fact::Kept { channel, offset, id, hash } => Some(((channel, offset), (id, hash))),
            _ => None,
        };
        self.entries.iter().filter_map(kept).collect()
    }

    /// Newest offset of a channel at the end.
    pub fn final_head(&self, channel: Channel) -> u64 {
        let offsets = self.entries.iter().filter_map(|entry| match entry.fact {
            Fact::Kept { channel: of, offset, .. } if of == channel => Some(offset),
            _ => None,
        });
        offsets.max().unwrap_or(0)
    }
}
