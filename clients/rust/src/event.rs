//! What an application hears: the state of the connection, and the events of a subscription.

use std::sync::Arc;
use std::time::Duration;

use skywave_protocol::message::{GapReason, Member, Recovery};
use skywave_protocol::{ChannelName, ClientId, Epoch, NodeId, Offset, Position, Publication, WireError};

use crate::error::ClosedError;

/// Where the connection stands. A lost connection is made again without asking, until [`State::Closed`].
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    Connecting,
    Connected {
        client: ClientId,
        node: NodeId,
        region: String,
    },
    /// Waiting before the next attempt.
    Disconnected {
        reason: String,
        retry_in: Duration,
    },
    /// For good: closed by the application, or refused in a way that trying again cannot mend.
    Closed(ClosedError),
}

/// What happens in a subscription, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum SubscriptionEvent {
    /// The subscription stands (again). `position` is where it goes on from; `None` for ephemeral channels.
    Subscribed { position: Option<Position>, recovery: Option<Recovery> },
    /// The next publication. `position` is `None` for ephemeral ones.
    Publication { position: Option<Position>, publication: Arc<Publication> },
    /// Publications `from ..= to` cannot be had; what follows comes after them. With [`GapReason::Epoch`] the log began anew:
    /// `from` is 1, `to` may be 0, and nothing is known of what else the old one had.
    Gap { epoch: Epoch, from: Offset, to: Offset, reason: GapReason },
    /// A user's first connection entered the channel.
    Join(Member),
    /// A user's last connection left the channel.
    Leave(Member),
    /// The server ended or refused the subscription for good; nothing follows.
    Ended(WireError),
}

/// What happens in the channels that a backend has put this client into, in order: each durable publication once, and what is
/// left out as a gap. They last as long as the connection: after a reconnect the backend has to do it again, if the client
/// should be there. A move to another node goes on without a word if the backend makes the grant there while the old
/// connection still stands.
#[derive(Debug, Clone, PartialEq)]
pub enum GrantEvent {
    /// A backend put this client into a channel. `position` is where it goes on from; `None` for ephemeral channels.
    Granted { channel: ChannelName, position: Option<Position> },
    /// The next publication. `position` is `None` for ephemeral ones.
    Publication { channel: ChannelName, position: Option<Position>, publication: Arc<Publication> },
    /// Publications `from ..= to` do not come; what follows comes after them. As in [`SubscriptionEvent::Gap`], a new epoch
    /// may have an empty range.
    Gap { channel: ChannelName, epoch: Epoch, from: Offset, to: Offset, reason: GapReason },
    /// A backend took the client out again (`error` says so). Without one, the connection has ended, or the server has taken
    /// the application's own subscription, which goes on right behind what was told here; or the application has left.
    Withdrawn { channel: ChannelName, error: Option<WireError> },
}
