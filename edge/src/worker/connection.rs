//! What one connection costs while it is idle: this entry, its task and its socket. Rare parts are boxed or empty.

use std::rc::Rc;
use std::task::Waker;

use skywave_engine::outbox::Outbox;
use skywave_engine::session::Session;
use skywave_engine::time::Millis;
use skywave_protocol::CloseCode;

use super::batch::Chain;
use super::subscribers::Subscriptions;
use crate::transport::websocket::socket::SocketWriter;
use crate::transport::{Encoding, Frame, Outlet, Transport};

/// Bytes that recoveries may add to a connection's outbox: four of the largest. A client that asks for more before it has
/// taken these is closed as slow; it comes back further on. Without the bound, one that subscribes, leaves and never
/// reads could fill the memory.
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
    pub(crate) subscriptions: Subscriptions,
    /// When the timer wheel will look at this connection next.
    pub(crate) scheduled: Millis,
    /// Set once the connection is closing; the session is not driven any more then.
    pub(crate) ending: Option<Box<Ending>>,
    /// The transport's task, when it waits for the end ([`super::Handle::closed`]).
    pub(crate) waiting: Option<Waker>,
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
