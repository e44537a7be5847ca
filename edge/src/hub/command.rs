//! What workers ask of a shard.

use skywave_engine::hub::Subscriber;
use skywave_protocol::message::Member;
use skywave_protocol::{ChannelName, ClientId, Position, WireError};
use tokio::sync::oneshot;

#[derive(Debug)]
pub(crate) enum HubCommand {
    Join(Box<JoinCommand>),
    Leave {
        subscriber: Subscriber,
        channel: ChannelName,
        /// Whom the channel's presence may lose by it.
        client: ClientId,
    },
    /// The subscriber is catching up, and has room for a page.
    More {
        subscriber: Subscriber,
        channel: ChannelName,
    },
    /// Who is present; answered as a reply to the connection's request.
    Members {
        subscriber: Subscriber,
        channel: ChannelName,
        request_id: u32,
    },
    /// The same for a caller that is no connection.
    ReadMembers {
        channel: ChannelName,
        answer: oneshot::Sender<Result<Vec<Member>, WireError>>,
    },
}

#[derive(Debug)]
pub(crate) struct JoinCommand {
    pub(crate) subscriber: Subscriber,
    pub(crate) channel: ChannelName,
    pub(crate) durable: bool,
    pub(crate) recover: Option<Position>,
    /// Whom the channel's presence gains by it; `None`: the namespace has no presence.
    pub(crate) member: Option<Member>,
    /// Presence news are wanted.
    pub(crate) watches: bool,
}

impl HubCommand {
    pub(crate) fn channel(&self) -> &ChannelName {
        match self {
            Self::Join(join) => &join.channel,
            Self::Leave { channel, .. }
            | Self::More { channel, .. }
            | Self::Members { channel, .. }
            | Self::ReadMembers { channel, .. } => channel,
        }
    }
}
