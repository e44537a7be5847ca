//! What edge and core say to each other over the bus, and what stands in the log.
//!
//! Every message encodes itself (`encode`, `decode`) with the binary primitives of the native protocol; a reader skips
//! unknown trailing bytes of a message, so that two versions can run side by side.

mod codec;
mod live;

use std::sync::Arc;

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

/// On `sw.live.*`.
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
    /// Nothing changed: renews the lease.
    Beat,
    /// Please send `All` (a new subscriber's node, or one that missed something).
    Ask,
}

/// On `sw.ingest.*`, `sw.history.*`: a request with its reply address.
#[derive(Debug, Clone, PartialEq)]
pub enum CoreRequest {
    Publish(LogRecord),
    History { query: HistoryQuery, reply: ReplyTo },
}

/// On `sw.reply.*`.
#[derive(Debug, Clone, PartialEq)]
pub struct CoreReply {
    pub correlation: u64,
    pub result: Result<CoreAnswer, WireError>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum CoreAnswer {
    Published { position: Position, duplicate: bool },
    History(HistoryAnswer),
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

/// On `sw.control`.
#[derive(Debug, Clone, PartialEq)]
pub enum Control {
    /// Close every connection of the user.
    DisconnectUser { user: UserId },
    /// Refuse and close connections with this token id (`jti`) until the given time (seconds since the Unix epoch).
    RevokeToken { token_id: String, until: u64 },
}
