//! One thread, one runtime, and everything its connections share.
//!
//! A worker owns the connections it accepted, the table of who is subscribed to what among them, and a hub shard. All of
//! it lives in `RefCell`s that are never held over an await.

use std::cell::{Cell, RefCell, RefMut};
use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use skywave_engine::session::SessionConfig;
use skywave_protocol::{ClientId, ClientMessage, CloseCode, ErrorCode, WireError, binary, json};
use tokio::sync::mpsc;

use crate::admission::network;
use crate::delivery::Delivery;
use crate::hub::HubCommand;
use crate::metrics::WorkerMetrics;
use crate::shared::Shared;
use crate::transport::websocket::deflate::Inflater;
use crate::transport::{Outlet, Transport};

mod activity;
mod batch;
mod catching_up;
mod connection;
mod driver;
mod flush;
mod remote;
mod state;
mod subscribers;
mod tasks;
mod timers;

pub(crate) use connection::{Line, OWED_BYTES};
pub(crate) use remote::Job;
pub use remote::{Remote, WorkerStopped};
pub(crate) use state::State;
pub(crate) use tasks::{Inputs, WorkerFailed, run};

/// Bytes read from a socket at once. One buffer a worker: whatever it holds is used up before anything else is read.
const SCRATCH_BYTES: usize = 64 * 1024;

/// Names a connection of one worker: slot and generation; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionKey(pub(crate) u64);

/// One worker thread's state; `Rc` because it never leaves its thread.
pub struct Worker {
    index: u16,
    shared: Arc<Shared>,
    router: axum::Router,
    state: RefCell<State>,
    scratch: RefCell<Vec<u8>>,
    inflating: RefCell<Inflating>,
    clients: Cell<u64>,
}

/// The inflater all compressed messages of a worker go through, one after the other.
#[derive(Default)]
pub(crate) struct Inflating {
    pub(crate) inflater: Inflater,
    pub(crate) message: Vec<u8>,
}

/// A connection that wants to be served.
pub struct NewConnection {
    pub transport: Transport,
    pub outlet: Rc<dyn Outlet>,
    /// The client's.
    pub address: IpAddr,
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
    pub(crate) fn new(
        index: u16,
        shared: Arc<Shared>,
        session_config: Arc<SessionConfig>,
        hubs: Vec<mpsc::Sender<HubCommand>>,
        histories: state::Histories,
        router: axum::Router,
    ) -> Rc<Self> {
        Rc::new_cyclic(|weak| Self {
            index,
            state: RefCell::new(State::new(
                weak.clone(),
                index,
                shared.clone(),
                session_config,
                hubs,
                histories,
            )),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES]),
            router,
            inflating: RefCell::default(),
            clients: Cell::new(0),
            shared,
        })
    }

    /// `0 ..` number of workers.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// What all workers share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn router(&self) -> &axum::Router {
        &self.router
    }

    pub(crate) fn metrics(&self) -> &WorkerMetrics {
        &self.shared.metrics[usize::from(self.index)]
    }

    /// Takes a connection in. Errors: `draining`; nothing is kept then. (Whether there is room at all is asked first:
    /// [`Shared::admit`].)
    pub fn open(self: &Rc<Self>, new: NewConnection) -> Result<Handle, WireError> {
        if self.shared.is_draining() {
            let error = WireError::new(ErrorCode::Draining, "this node is leaving; connect elsewhere");
            return Err(error.retry_after_ms(1_000));
        }
        let NewConnection { transport, outlet, address } = new;
        let client = self.next_client();
        let encoding = outlet.encoding();
        let key =
            self.state().open(transport, encoding, Line::Outlet(outlet), client.clone(), network(address));
        Ok(Handle { worker: self.clone(), key, client })
    }

    /// A name no other connection of the cluster has: the node's is unique, and numbers are never reused.
    pub(crate) fn next_client(&self) -> ClientId {
        let number = self.clients.get() + 1;
        self.clients.set(number);
        let node = &self.shared.config.node;
        let name = format!("{node}.{}.{number}", self.index);
        // A node id leaves less room than its longest form when a number follows: then the number alone must do, with
        // the worker's index it is unique on the node.
        ClientId::parse(&name)
            .or_else(|_| ClientId::parse(&format!("{}.{number}", self.index)))
            .unwrap_or_else(|_| unreachable!("digits and a dot make a client id"))
    }

    pub(crate) fn state(&self) -> RefMut<'_, State> {
        self.state.borrow_mut()
    }

    /// The worker's read buffer. Must be given back before the next await.
    pub(crate) fn scratch(&self) -> RefMut<'_, Vec<u8>> {
        self.scratch.borrow_mut()
    }

    pub(crate) fn inflating(&self) -> RefMut<'_, Inflating> {
        self.inflating.borrow_mut()
    }

    /// Delivers until the hand-overs are used up (`false`) or a batch is full and written (`true`).
    pub(crate) fn deliver(&self, hand_overs: &mut impl Iterator<Item = Delivery>) -> bool {
        self.state().deliver(hand_overs)
    }

    /// Resolves when no hub shard is behind with this worker's commands.
    pub(crate) async fn room(&self) {
        loop {
            let drained = {
                let state = self.state();
                if !state.is_congested() {
                    return;
                }
                state.drained.clone()
            };
            drained.notified().await;
        }
    }
}

/// The transport's hold on its connection. Dropping it ends the connection: it leaves every channel.
pub struct Handle {
    worker: Rc<Worker>,
    key: u64,
    client: ClientId,
}

impl Handle {
    pub fn key(&self) -> ConnectionKey {
        ConnectionKey(self.key)
    }

    /// The name the server gave the connection.
    pub fn client(&self) -> &ClientId {
        &self.client
    }

    /// Hands over one decoded message. Answers go to the outlet.
    pub fn receive(&self, message: ClientMessage) {
        self.with(|state, slot| state.received(slot, Ok(message)));
    }

    /// Decodes and hands over a batch. What cannot be decoded is answered with an error, or closes the connection.
    pub fn receive_encoded(&self, format: InputFormat, bytes: &[u8]) {
        self.with(|state, slot| {
            let each = |message| state.received(slot, message);
            match format {
                InputFormat::Json => json::decode_client_batch(bytes).for_each(each),
                InputFormat::Binary => binary::decode_client_batch(bytes).for_each(each),
            }
        });
    }

    /// Some byte came that is no message (a WebSocket pong, an SSE keep-alive answer): the client lives.
    pub fn received(&self) {
        self.with(|state, slot| {
            let now = state.now();
            state.connections[slot as usize].session.handle_received(now);
        });
    }

    /// Resolves when the worker can take more from this client. Await it before reading on.
    pub async fn room(&self) {
        self.worker.room().await;
    }

    /// Resolves once the server has closed the connection, with the code and reason to tell the client.
    pub async fn closed(&self) -> (CloseCode, String) {
        poll_fn(|cx| {
            let mut state = self.worker.state();
            let gone = (CloseCode::Normal, String::new());
            let Some(slot) = state.find(self.key) else { return Poll::Ready(gone) };
            let connection = &mut state.connections[slot as usize];
            match &connection.ending {
                Some(ending) => Poll::Ready((ending.code, ending.reason.clone())),
                None => {
                    connection.waiting = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Closes the connection for a reason the transport found (protocol error, message too large …).
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.with(|state, slot| state.end(slot, code, reason));
    }

    fn with(&self, act: impl FnOnce(&mut State, u32)) {
        let mut state = self.worker.state();
        if let Some(slot) = state.find(self.key) {
            act(&mut state, slot);
            state.flush();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.worker.state().remove(self.key);
    }
}
