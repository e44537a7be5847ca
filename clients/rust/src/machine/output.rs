//! What the machine asks its driver to do, and how a driver says that a connection is gone.

use skywave_protocol::message::{HistoryPage, Member, Published};
use skywave_protocol::{ChannelName, PlacementKey};

use super::{LinkId, Ticket};
use crate::error::{ClosedError, PublishError, RequestError};
use crate::event::{GrantEvent, State, SubscriptionEvent};

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Output {
    /// Open a connection to this base address.
    Open {
        link: LinkId,
        url: String,
    },
    /// Ask the relay at this base address which nodes to go to; answer with `handle_route`.
    Route {
        url: String,
        key: Option<PlacementKey>,
        token: Option<String>,
    },
    /// Close this connection; nothing about it needs to be reported any more.
    Shut(LinkId),
    /// Ask the application for a token.
    FetchToken,
    State(State),
    Event {
        channel: ChannelName,
        event: SubscriptionEvent,
    },
    Granted(GrantEvent),
    Published {
        ticket: Ticket,
        result: Result<Published, PublishError>,
    },
    Answered {
        ticket: Ticket,
        result: Result<Answer, RequestError>,
    },
    /// The client is closed for good. Last output.
    Closed(ClosedError),
}

/// An answer to a request of the application.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    History(HistoryPage),
    Presence(Vec<Member>),
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Broken {
    /// The close code the server sent.
    pub(crate) code: Option<u16>,
    pub(crate) reason: String,
    /// What the server asked to wait (Retry-After of a refused handshake).
    pub(crate) retry_after_ms: Option<u64>,
    /// Trying again cannot help: the address is wrong, or no relay lives there.
    pub(crate) hopeless: bool,
}
