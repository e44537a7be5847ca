//! What edge and core say to each other over the bus, and what stands in the log.
//!
//! Every message encodes itself (`encode`, `decode`) with the binary primitives of the native protocol; a reader skips
//! unknown trailing bytes of a message, so that two versions can run side by side.

mod codec;
mod events;
mod excerpt;
mod live;

use std::sync::Arc;
use std::time::Duration;

pub use events::{Envelope, EventTopic, RelayEvent, RelayEvents};
pub use excerpt::Excerpt;

use crate::message::{GapReason, HistoryQuery, Member};
use crate::position::{Epoch, Offset, Position};
use crate::publication::{Payload, Publication};
use crate::{ChannelName, MessageId, NodeId, Subject, UserId, WireError};

/// One record of the log: everything the sequencer may look at.
#[derive(Debug, Clone, PartialEq)]
pub struct LogRecord {
    pub channel: ChannelName,
    /// Record time (milliseconds since the Unix epoch), stamped by ingest.
    pub time_ms: u64,
    pub from: Option<UserId>,
    pub id: Option<MessageId>,
    pub region: Arc<str>,
    pub data: Payload,
    /// Where the publisher awaits the answer; a replay answers again, harmlessly.
    pub reply: Option<ReplyTo>,
}

/// A requester's subject and its number for the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyTo {
    pub subject: Subject,
    pub correlation: u64,
}

/// On `sw.live.*.*`.
#[derive(Debug, Clone, PartialEq)]
pub enum Live {
    /// Sequenced (offset > 0, epoch given) or ephemeral (offset 0).
    Publication {
        channel: ChannelName,
        epoch: Option<Epoch>,
        publication: Arc<Publication>,
    },
    /// The newest position of a channel, announced at intervals so that a lost last message is noticed.
    Head {
        channel: ChannelName,
        position: Position,
    },
    Presence {
        channel: ChannelName,
        delta: PresenceDelta,
    },
}

/// News about the members one node holds in a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct PresenceDelta {
    pub node: NodeId,
    /// Counts this node's changes to the channel: 1, 2, 3 …; a hole makes the receiver ask for everything.
    pub version: u64,
    pub change: PresenceChange,
}

#[derive(Debug, Clone, PartialEq)]
pub enum PresenceChange {
    Join(Member),
    Leave(Member),
    /// Everything this node holds; also the lease's renewal and the answer to `Ask`.
    All(Vec<Member>),
    /// A part of the same, where it is too much for one message: `part` of 0 … `parts` − 1, in this order, with one version.
    Part {
        part: u32,
        parts: u32,
        members: Vec<Member>,
    },
    /// Nothing changed: renews the lease.
    Beat,
    /// Please send `All` (a new subscriber's node, or one that missed something).
    Ask,
}

/// On `sw.ingest.*`, `sw.ingest.*.*`, `sw.history.*`: a request with its reply address.
#[derive(Debug, Clone, PartialEq)]
pub enum CoreRequest {
    Publish(LogRecord),
    History {
        query: HistoryQuery,
        reply: ReplyTo,
    },
    /// A publish at its place on a link, which is the stream of one requester's publishes to one core. It counts 1, 2, 3 …; a
    /// requester's next link has a higher number and ends the one before.
    Numbered {
        link: u64,
        number: u64,
        record: LogRecord,
    },
    /// Everything below `next` was sent on the link: is something missing?
    Check {
        link: u64,
        next: u64,
        reply: ReplyTo,
    },
}

/// On `sw.cores.*`, from a core to the edges: I take publishes on a subject of my own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreBeat {
    pub core: NodeId,
    pub phase: CorePhase,
    /// Partitions of the cell's log; 0: not known.
    pub partitions: u32,
    /// Those that this core owns: what it appends to them, it sequences itself. At most [`Self::MAX_OWNED`], each below
    /// `partitions`.
    pub owned: Vec<u32>,
}

impl CoreBeat {
    /// A beat names no more partitions than this; edges place the channels of others by hashing.
    pub const MAX_OWNED: usize = 4_096;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CorePhase {
    Serving,
    /// It still takes what is on its way, and wants nothing new.
    Leaving,
    /// Whatever has reached it is in the log, or was refused; it takes nothing more.
    Gone,
}

/// On `sw.cell.*`, from core to core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CellNews {
    /// The partition's owner cannot sequence more until the store takes what waits for it: refuse publishes to it. Repeated
    /// while it is so; cores forget it when it is not.
    Stalled { partition: u32 },
    /// The partition has an owner again that answers history reads: reads that found none may be passed on once more.
    Serving { partition: u32 },
}

/// On `sw.node.*`, from edge to edge of a region: I am here, and so much is on me.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeBeat {
    pub node: NodeId,
    /// Base URL at which clients reach this very node.
    pub url: Arc<str>,
    /// Counts this node's beats: 1, 2, 3 … An older one than is known says nothing.
    pub sequence: u64,
    /// Open connections, and how many there may be.
    pub connections: u32,
    pub capacity: u32,
    /// It takes nobody in any more.
    pub draining: bool,
}

/// On `sw.reply.*`.
#[derive(Debug, Clone, PartialEq)]
pub struct CoreReply {
    pub correlation: u64,
    pub result: Result<CoreAnswer, WireError>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum CoreAnswer {
    Published {
        position: Position,
        duplicate: bool,
    },
    History(HistoryAnswer),
    /// To a requester as a whole (correlation 0): the link's publish of this number has not arrived, and neither it nor any
    /// later one of this link was taken or will be.
    Missing {
        link: u64,
        number: u64,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct HistoryAnswer {
    pub channel: ChannelName,
    /// Epoch and newest offset at the time of reading.
    pub head: Position,
    /// The oldest offset that could still be had (`head.offset + 1` when nothing is kept).
    pub first: Offset,
    pub publications: Vec<Arc<Publication>>,
    /// The asked range could not be served whole, and why.
    pub gap: Option<GapReason>,
}

/// On `sw.control`, and in the feed of the same name in the shared state: it may come several times.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// Random; a notice that is known by it has been acted upon.
    pub id: u128,
    /// Milliseconds since it was made, when this copy was sent.
    pub age_ms: u64,
    pub control: Control,
}

impl Notice {
    /// One that is made now.
    pub fn new(id: u128, control: Control) -> Self {
        Self { id, age_ms: 0, control }
    }

    /// A copy that is sent so much later.
    #[must_use]
    pub fn aged(&self, by: Duration) -> Self {
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        Self { age_ms: self.age_ms.saturating_add(by), ..self.clone() }
    }

    pub fn age(&self) -> Duration {
        Duration::from_millis(self.age_ms)
    }
}

/// What a [`Notice`] says.
#[derive(Debug, Clone, PartialEq)]
pub enum Control {
    /// Close every connection of the user.
    DisconnectUser { user: UserId },
    /// Refuse and close connections with this token id (`jti`) until the given time (seconds since the Unix epoch).
    RevokeToken { token_id: String, until: u64 },
    /// Put every connection of the user into the channel, whatever its token says, for as long as it lasts.
    Subscribe { user: UserId, channel: ChannelName },
    /// Take every connection of the user out of the channel.
    Unsubscribe { user: UserId, channel: ChannelName },
}
