//! What a transport must give the worker, and what it gets from it.
//!
//! A transport (WebSocket, WebTransport, SSE) terminates one kind of connection. Everything else is shared: the session
//! driver, the subscriber tables, the delivery loop, the outbox for what a client does not take in time.
//!
//! **To plug a transport in** (all of it on the thread of the worker that will own the connection; use
//! [`Remote::run`](crate::worker::Remote::run) to get there from `Send` code such as an axum handler):
//!
//! 1. make an [`Outlet`]: the sending side, with an [`Encoding`] fixed for the life of the connection;
//! 2. [`Worker::open`](crate::worker::Worker::open) it; refusals (server full, draining) come back as an error;
//! 3. hand everything the client sends to [`Handle::receive`](crate::worker::Handle::receive) or
//!    [`Handle::receive_encoded`](crate::worker::Handle::receive_encoded), and await
//!    [`Handle::room`](crate::worker::Handle::room) before reading more;
//! 4. when [`Handle::closed`](crate::worker::Handle::closed) resolves (or [`Outlet::close`] is called), end the transport with the code it names;
//!    when the client goes first, drop the handle. Dropping it leaves every channel.
//!
//! Never: parses client messages, knows channels, or blocks the delivery loop.

use std::task::{Context, Poll};

use bytes::Bytes;
use skywave_protocol::{ChannelName, CloseCode};

pub(crate) mod sse;
pub mod websocket;
pub(crate) mod webtransport;

/// Which transport a connection came by; a label of metrics and logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    WebSocket,
    WebTransport,
    Sse,
}

impl Transport {
    pub const ALL: [Self; 3] = [Self::WebSocket, Self::WebTransport, Self::Sse];

    pub fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::WebTransport => "webtransport",
            Self::Sse => "sse",
        }
    }
}

/// Encoding and framing together: everything that decides the bytes of a frame. A publication is encoded at most once
/// for each, however many connections take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Encoding {
    /// One WebSocket text frame with the JSON object.
    WsJson = 0,
    /// The same, compressed (permessage-deflate, no context) when the payload is worth it.
    WsJsonDeflate = 1,
    /// One WebSocket binary frame with the binary message.
    WsBinary = 2,
    /// The same, compressed when the payload is worth it.
    WsBinaryDeflate = 3,
    /// One SSE event: `data: {…}` and an empty line.
    SseJson = 4,
    /// JSON object and newline, for a WebTransport stream.
    StreamJson = 5,
    /// Binary message with its length in front, for a WebTransport stream.
    StreamBinary = 6,
}

impl Encoding {
    pub const COUNT: usize = 7;
}

/// How a frame may be treated under pressure, and where it may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameClass {
    /// A reply or a push that is no publication; never dropped.
    Control,
    /// A durable publication or a gap of a durable channel; never dropped while the connection lives.
    Durable,
    /// An ephemeral publication: at most once, may travel as a datagram.
    Ephemeral,
}

/// One encoded, framed message, shared by all connections of the same encoding.
#[derive(Debug, Clone)]
pub struct Frame {
    pub bytes: Bytes,
    pub class: FrameClass,
    /// May make room for newer ones when the client does not read (the namespace's slow policy says drop-oldest).
    pub droppable: bool,
    /// The channel a publication belongs to: WebTransport gives each channel a stream of its own. `None` for control.
    pub channel: Option<ChannelName>,
}

/// The client will take nothing more: the connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the transport is closed")]
pub struct OutletClosed;

/// The sending side of a connection. Called by the delivery loop while the worker's state is borrowed: an outlet must
/// not call back into the worker, and must never wait.
pub trait Outlet {
    fn encoding(&self) -> Encoding;

    /// Takes as many whole frames from the front as fit now and says how many. The worker keeps the rest in the
    /// connection's bounded outbox and offers it again after [`Outlet::poll_ready`]; it never offers newer frames before.
    ///
    /// An outlet with queues of its own (a stream per channel) may take everything and return
    /// `Err(OutletClosed)` when one of its queues is full beyond its bound: the connection is then closed as slow.
    fn try_send(&self, frames: &[Frame]) -> Result<usize, OutletClosed>;

    /// Ready when `try_send` may take more than it did. Only polled while something is queued.
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()>;

    /// So many bytes of a recovery follow. An outlet with queues of its own lets them wait beyond its bound, as the
    /// connection's outbox does, until everything is through.
    fn owes(&self, _bytes: usize) {}

    /// Ready when nothing of what was taken waits here any more, so that the next page of a recovery would not pile up behind
    /// it. One task at a time polls it.
    fn poll_drained(&self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    /// The client has left the channel: nothing of it will be sent until it joins again.
    fn left(&self, _channel: &ChannelName) {}

    /// The connection was closed by the server. A transport with a task per connection learns it through
    /// [`Handle::closed`](crate::worker::Handle::closed) as well; this is the place for what can be done at once, and for a
    /// transport without one to note it.
    fn close(&self, _code: CloseCode, _reason: &str) {}
}
