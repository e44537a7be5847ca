//! What one connection costs while it is idle: this entry, its task and its socket. Rare parts are boxed or empty.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use skywave_engine::outbox::Outbox;
use skywave_engine::region::KeyDigest;
use skywave_engine::session::Session;
use skywave_engine::time::Millis;
use skywave_protocol::CloseCode;

use super::batch::Chain;
use super::catching_up::CatchingUp;
use super::subscribers::Subscriptions;
use crate::limits::Account;
use crate::reporting::Whose;
use crate::transport::websocket::socket::SocketWriter;
use crate::transport::{Encoding, Frame, Outlet, Transport};

/// Bytes that recoveries may add to a connection's outbox. What is handed over at once with the answer to `subscribe` is
/// small; a client that asks for so much of it before it has taken these is closed as slow, and comes back further on.
/// Without the bound, one that subscribes, leaves and never reads could fill the memory.
pub(crate) const OWED_BYTES: u32 = 16 * 1024 * 1024;

pub(crate) struct Connection {
    /// Slot in the low half, generation in the high half.
    pub(crate) key: u64,
    pub(crate) chain: Chain,
    pub(crate) encoding: Encoding,
    pub(crate) transport: Transport,
    pub(crate) line: Line,
    /// What the client has not taken yet; `None` as long as it takes everything at once.
    pub(crate) outbox: Option<Box<Outbox<Frame>>>,
    /// Bytes the outbox may hold beyond its usual limit: those of recoveries under way, which the server owes at once
    /// whatever the client's pace is. At most [`OWED_BYTES`].
    pub(crate) owed_bytes: u32,
    pub(crate) session: Session,
    /// The network it comes from.
    pub(crate) network: IpAddr,
    /// What its user, or its network, may publish in the region; `None`: no limit, or not known yet.
    pub(crate) publishes: Option<Arc<Account>>,
    pub(crate) place: Standing,
    /// Whose it was reported to be, if that was reported: its session forgets it when it ends.
    pub(crate) reported: Option<Box<Whose>>,
    /// When it came.
    pub(crate) opened_at: Millis,
    /// `None`: no subscription is behind.
    pub(crate) catching_up: Option<Box<CatchingUp>>,
    pub(crate) subscriptions: Subscriptions,
    /// When the timer wheel will look at this connection next.
    pub(crate) scheduled: Millis,
    /// Set once the connection is closing; the session is not driven any more then.
    pub(crate) ending: Option<Box<Ending>>,
    /// The transport's task, when it waits for the end ([`super::Handle::closed`]).
    pub(crate) waiting: Option<Waker>,
}

/// How a connection came to this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Standing {
    /// Decides which node serves it best; `None`: no node does.
    pub(crate) key: Option<KeyDigest>,
    /// It was sent here.
    pub(crate) placed: bool,
}

/// Where frames go.
pub(crate) enum Line {
    /// Straight into the socket.
    WebSocket(SocketWriter),
    Outlet(Rc<dyn Outlet>),
}

#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) code: CloseCode,
    pub(crate) reason: String,
    /// When the socket is cut, whatever the client does.
    pub(crate) deadline: Millis,
    /// Our close frame is out; TCP is half closed.
    pub(crate) finished: bool,
    /// The client's close frame has come: nothing more is waited for once ours is out.
    pub(crate) answered: bool,
}

pub(crate) fn slot_of(key: u64) -> u32 {
    key as u32
}
