//! One thread, one runtime, and everything its connections share.
//!
//! A worker owns the connections it accepted, the table of who is subscribed to what among them, and a hub shard. All of
//! it lives in `RefCell`s that are never held over an await.

use std::net::IpAddr;
use std::rc::Rc;

use skywave_protocol::{ClientId, ClientMessage, CloseCode, WireError};

use crate::transport::{Outlet, Transport};

mod remote;

pub use remote::{Remote, WorkerStopped};

/// Names a connection of one worker: slot and generation; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionKey(pub(crate) u64);

/// One worker thread's state; `Rc` because it never leaves its thread.
pub struct Worker {
    index: u16,
}

/// A connection that wants to be served.
pub struct NewConnection {
    pub transport: Transport,
    /// The client's address, for limits and logs.
    pub peer: IpAddr,
    pub outlet: Rc<dyn Outlet>,
}

/// How a client's bytes are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputFormat {
    /// One JSON object, or several separated by newlines.
    Json,
    /// Length-prefixed binary messages.
    Binary,
}

impl Worker {
    /// `0 ..` number of workers.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Takes a connection in. Errors: `server_full`, `draining`; nothing is kept then.
    pub fn open(self: &Rc<Self>, _new: NewConnection) -> Result<Handle, WireError> {
        Err(WireError::new(skywave_protocol::ErrorCode::ServerFull, "the worker is not built yet"))
    }
}

/// The transport's hold on its connection. Dropping it ends the connection: it leaves every channel.
pub struct Handle {
    _worker: Rc<Worker>,
    key: ConnectionKey,
    client: ClientId,
}

impl Handle {
    pub fn key(&self) -> ConnectionKey {
        self.key
    }

    /// The name the server gave the connection.
    pub fn client(&self) -> &ClientId {
        &self.client
    }

    /// Hands over one decoded message. Answers go to the outlet.
    pub fn receive(&self, _message: ClientMessage) {}

    /// Decodes and hands over a batch. What cannot be decoded is answered with an error, or closes the connection.
    pub fn receive_encoded(&self, _format: InputFormat, _bytes: &[u8]) {}

    /// Some byte came that is no message (a WebSocket pong, an SSE keep-alive answer): the client lives.
    pub fn received(&self) {}

    /// Resolves when the worker can take more from this client. Await it before reading on.
    pub async fn room(&self) {}

    /// Resolves once the server has closed the connection, with the code and reason to tell the client.
    pub async fn closed(&self) -> (CloseCode, String) {
        std::future::pending().await
    }

    /// Closes the connection for a reason the transport found (protocol error, message too large …).
    pub fn close(&self, _code: CloseCode, _reason: &str) {}
}
