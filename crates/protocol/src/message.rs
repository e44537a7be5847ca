//! The native protocol's messages, one set of types for both encodings (`json`, `binary`).
//!
//! A client sends [`ClientMessage`]s; the server answers each request that carries a non-zero `id` with exactly one
//! [`Reply`] under that id, and sends [`Push`]es whenever it has something to say. `docs/protocol.md` is the reference.

use std::sync::Arc;

use crate::close::CloseCode;
use crate::error::WireError;
use crate::position::{Epoch, Offset, Position};
use crate::publication::{Payload, Publication};
use crate::{ChannelName, ClientId, MessageId, NodeId, PlacementKey, UserId};

/// One request. `id` 0 (or absent) means: no reply wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientMessage {
    pub id: u32,
    pub request: Request,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    Connect(Connect),
    Subscribe(Subscribe),
    Unsubscribe {
        channel: ChannelName,
    },
    Publish(Publish),
    History(HistoryQuery),
    Presence {
        channel: ChannelName,
    },
    /// A fresh token for the same user, before the old one expires.
    Refresh {
        token: String,
    },
    /// Answer to the server's ping, or the client's own ping; answered with `Pong` only when it carries an id.
    Ping,
}

/// First message of every connection.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Connect {
    /// JWT; absent: anonymous, where configuration allows it.
    pub token: Option<String>,
    /// What the client software calls itself, for logs and metrics (at most 64 bytes are kept).
    pub name: Option<String>,
    /// Which node of the region the connection belongs to (see `GET /v1/route`); absent: the user's.
    pub key: Option<PlacementKey>,
    /// The client was sent to this node, by a route or a `move`: it is served here, and may be moved when nodes come.
    pub placed: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Subscribe {
    pub channel: ChannelName,
    /// The last position the client has seen: everything after it is wanted.
    pub recover: Option<Position>,
    /// Send joins and leaves of this channel (needs the namespace's presence).
    pub presence: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Publish {
    pub channel: ChannelName,
    /// Idempotency key; without one a retry may publish twice.
    pub id: Option<MessageId>,
    pub data: Payload,
}

/// A page of history. Ascending from `after`, or with `reverse` descending from below `before`.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryQuery {
    pub channel: ChannelName,
    /// Exclusive lower bound; 0: from the beginning of retention.
    pub after: Offset,
    /// Exclusive upper bound; 0: up to the head.
    pub before: Offset,
    /// 1 ..= `HISTORY_PAGE_MAX`.
    pub limit: u32,
    pub reverse: bool,
}

/// What the server sends.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerMessage {
    Reply {
        id: u32,
        reply: Reply,
    },
    Push(Push),
    /// Application-level ping: an empty object in JSON.
    Ping,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    Connected(Connected),
    Subscribed(Subscribed),
    Unsubscribed { channel: ChannelName },
    Published(Published),
    History(HistoryPage),
    Presence { channel: ChannelName, members: Vec<Member> },
    Refreshed { expires_in_seconds: Option<u64> },
    Pong,
    Error(WireError),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Connected {
    pub client: ClientId,
    pub user: Option<UserId>,
    pub region: String,
    pub node: NodeId,
    /// The server pings after this many idle seconds …
    pub ping_seconds: u32,
    /// … and closes when no byte has come for this many seconds after that.
    pub pong_timeout_seconds: u32,
    /// Seconds until the token expires.
    pub expires_in_seconds: Option<u64>,
    /// Largest client message in bytes.
    pub message_bytes: u32,
}

/// The subscription stands. With recovery, the missed publications follow as pushes before any newer one.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscribed {
    pub channel: ChannelName,
    /// `None` for ephemeral channels.
    pub position: Option<Position>,
    /// `None` when no recovery was asked for.
    pub recovery: Option<Recovery>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovery {
    /// Every publication after the asked position follows.
    Exact,
    /// Publications `from ..= to` cannot be had; those after `to` follow.
    Gap { from: Offset, to: Offset, reason: GapReason },
}

/// Why publications cannot be had. In a reply and in the `gap` push alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapReason {
    /// Older than the namespace keeps, or more than one recovery replays.
    Retention,
    /// The position belongs to another generation of the log.
    Epoch,
    /// The position lies beyond the point at which a failover cut the log.
    Failover,
    /// The history could not be read in time; a later history request may fill the hole.
    Unavailable,
}

impl GapReason {
    /// Every reason: name in JSON, number in the binary encodings (0 is kept for "no gap").
    pub const TABLE: &'static [(Self, &'static str, u8)] = &[
        (Self::Retention, "retention", 1),
        (Self::Epoch, "epoch", 2),
        (Self::Failover, "failover", 3),
        (Self::Unavailable, "unavailable", 4),
    ];

    fn row(self) -> &'static (Self, &'static str, u8) {
        // Invariant: TABLE holds every variant; a test checks it against an exhaustive match.
        Self::TABLE.iter().find(|row| row.0 == self).unwrap_or(&Self::TABLE[3])
    }

    pub fn name(self) -> &'static str {
        self.row().1
    }

    pub fn number(self) -> u8 {
        self.row().2
    }

    /// A reason of a newer version reads as `Unavailable`: the hole is real, whatever made it.
    pub fn from_name(name: &str) -> Self {
        Self::TABLE.iter().find(|row| row.1 == name).map_or(Self::Unavailable, |row| row.0)
    }

    /// As [`Self::from_name`].
    pub fn from_number(number: u64) -> Self {
        Self::TABLE.iter().find(|row| u64::from(row.2) == number).map_or(Self::Unavailable, |row| row.0)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// `None` for ephemeral channels.
    pub position: Option<Position>,
    /// This id had been published before; `position` is the first one's.
    pub duplicate: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct HistoryPage {
    pub channel: ChannelName,
    pub epoch: Epoch,
    /// The channel's newest offset when the page was read.
    pub head: Offset,
    /// In the asked direction.
    pub publications: Vec<Arc<Publication>>,
}

/// One connection present in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub client: ClientId,
    pub user: Option<UserId>,
}

/// Unasked-for news.
#[derive(Debug, Clone, PartialEq)]
pub enum Push {
    Publication {
        channel: ChannelName,
        epoch: Option<Epoch>,
        publication: Arc<Publication>,
    },
    /// Publications `from ..= to` of the channel will not come; the next push continues after `to`.
    Gap {
        channel: ChannelName,
        epoch: Epoch,
        from: Offset,
        to: Offset,
        reason: GapReason,
    },
    /// A user's first connection entered the channel / its last one left.
    Join {
        channel: ChannelName,
        member: Member,
    },
    Leave {
        channel: ChannelName,
        member: Member,
    },
    /// The server put this connection into a channel that it had not asked for.
    Subscribed(Subscribed),
    /// The server ended a subscription (capability lost with a refresh, namespace removed …).
    Unsubscribed {
        channel: ChannelName,
        error: WireError,
    },
    /// The node is draining: connect elsewhere within the time, then leave. `target` is a base URL, if one is known.
    Move {
        target: Option<String>,
        within_ms: u32,
    },
    /// The token expires in this many seconds; send `refresh`.
    Expiring {
        seconds: u32,
    },
    /// The connection is about to close, for transports whose close carries no code and reason.
    Close {
        code: CloseCode,
        reason: String,
    },
}
