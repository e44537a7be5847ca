//! A worker's tables, and the joints between them: opening, closing, timeouts, control.
//!
//! Everything here is synchronous and runs with the state borrowed. Each entry point ends with a flush, so that what was
//! said in between goes out in one write per connection.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use skywave_engine::hub::FetchId;
use skywave_engine::region::{KeyDigest, MovedRanges};
use skywave_engine::session::{Authorization, Session, SessionConfig};
use skywave_engine::time::Millis;
use skywave_protocol::inner::Control;
use skywave_protocol::{ClientId, CloseCode};
use slab::Slab;
use tokio::sync::{Notify, mpsc};

use super::Worker;
use super::batch::{Batch, Chain};
use super::connection::{Connection, Ending, Line, Standing, slot_of};
use super::flush::Flusher;
use super::subscribers::{ConnectionSlot, Subscribers};
use super::timers::Wheel;
use crate::auth::revocation::TokenEnd;
use crate::core_client::{CoreClient, CoreResult};
use crate::encoding;
use crate::hub::HubCommand;
use crate::metrics::WorkerMetrics;
use crate::region::{Move, UNHURRIED};
use crate::shared::Shared;
use crate::transport::Transport;

pub(crate) struct State {
    /// For tasks that state starts (flushing, slow authorisation).
    pub(crate) worker: Weak<Worker>,
    pub(crate) index: u16,
    pub(crate) shared: Arc<Shared>,
    pub(crate) metrics: Arc<WorkerMetrics>,
    pub(crate) session_config: Arc<SessionConfig>,
    pub(super) started: Instant,
    generation: u32,
    pub(crate) connections: Slab<Connection>,
    pub(crate) subscribers: Subscribers,
    pub(crate) batch: Batch,
    pub(crate) flusher: Flusher,
    pub(crate) wheel: Wheel,
    /// Connections that may have room for a page, since the last flush.
    pub(crate) paged: Vec<u64>,
    due: Vec<u64>,
    pub(crate) hubs: Vec<HubLine>,
    /// Told when an overflow has something, and when it is empty again.
    pub(crate) overflowing: Rc<Notify>,
    pub(crate) drained: Rc<Notify>,
    pub(crate) core: CoreClient,
    /// To the worker's own hub shard: answers to its history reads.
    pub(crate) histories: Histories,
}

pub(crate) type Histories = mpsc::Sender<(FetchId, CoreResult)>;

/// The way to one hub shard.
pub(crate) struct HubLine {
    pub(crate) sender: mpsc::Sender<HubCommand>,
    /// What the queue did not take. Bounded by what the connections may have outstanding: readers stop reading while
    /// anything is here ([`super::Handle::room`]), and a closing connection adds at most its subscriptions.
    pub(crate) overflow: VecDeque<HubCommand>,
}

impl State {
    pub(crate) fn new(
        worker: Weak<Worker>,
        index: u16,
        shared: Arc<Shared>,
        session_config: Arc<SessionConfig>,
        hubs: Vec<mpsc::Sender<HubCommand>>,
        histories: Histories,
    ) -> Self {
        let metrics = shared.metrics[usize::from(index)].clone();
        let core = CoreClient::new(&shared, index);
        Self {
            worker,
            index,
            metrics,
            session_config,
            started: shared.started,
            generation: 0,
            connections: Slab::new(),
            subscribers: Subscribers::default(),
            batch: Batch::default(),
            flusher: Flusher::default(),
            wheel: Wheel::new(0),
            paged: Vec::new(),
            due: Vec::new(),
            hubs: hubs.into_iter().map(|sender| HubLine { sender, overflow: VecDeque::new() }).collect(),
            overflowing: Rc::default(),
            drained: Rc::default(),
            core,
            histories,
            shared,
        }
    }

    pub(crate) fn now(&self) -> Millis {
        self.started.elapsed().as_millis() as Millis
    }

    /// Opens a connection and lets its session speak.
    pub(crate) fn open(
        &mut self,
        transport: Transport,
        encoding: crate::transport::Encoding,
        line: Line,
        client: ClientId,
        network: IpAddr,
    ) -> u64 {
        let now = self.now();
        self.generation = self.generation.wrapping_add(1);
        let entry = self.connections.vacant_entry();
        let key = u64::from(self.generation) << 32 | entry.key() as u64;
        entry.insert(Connection {
            key,
            chain: Chain::default(),
            encoding,
            transport,
            line,
            outbox: None,
            owed_bytes: 0,
            session: Session::new(now, self.session_config.clone(), client),
            network,
            publishes: None,
            place: Standing::default(),
            reported: None,
            opened_at: now,
            catching_up: None,
            subscriptions: Vec::new(),
            scheduled: Millis::MAX,
            ending: None,
            waiting: None,
        });
        self.metrics.connections[transport as usize].add(1);
        self.metrics.opened[transport as usize].add(1);
        if self.shared.is_draining() {
            // Its handshake was under way when the drain began: it is not among those that are asked to move.
            self.connections[slot_of(key) as usize].session.drain(now, None, 0);
        }
        self.pump(slot_of(key));
        self.flush();
        key
    }

    /// The slot of a connection that is still there.
    pub(crate) fn find(&self, key: u64) -> Option<ConnectionSlot> {
        let slot = slot_of(key);
        self.connections.get(slot as usize).is_some_and(|connection| connection.key == key).then_some(slot)
    }

    /// Forgets a connection: its transport has ended.
    pub(crate) fn remove(&mut self, key: u64) {
        let Some(slot) = self.find(key) else { return };
        let ending = self.connections[slot as usize].ending.as_ref();
        let why = ending.map(|ending| (ending.code, ending.reason.clone()));
        // Leaves every channel. Whatever is said on the way reaches nobody.
        self.connections[slot as usize].session.close(CloseCode::Normal, "");
        self.pump(slot);
        self.flush();
        self.report_disconnected(slot, why);
        let connection = self.connections.remove(slot as usize);
        debug_assert!(connection.subscriptions.is_empty(), "a closed session has left its channels");
        if connection.outbox.is_some() {
            self.metrics.blocked.sub(1);
        }
        self.metrics.connections[connection.transport as usize].sub(1);
    }

    /// Begins to close a connection for a reason found outside its session.
    pub(crate) fn end(&mut self, slot: ConnectionSlot, code: CloseCode, reason: &str) {
        self.connections[slot as usize].session.close(code, reason);
        self.pump(slot);
    }

    /// The session has spoken its last word: the client is told, and has until the deadline to answer.
    pub(crate) fn say_goodbye(&mut self, slot: ConnectionSlot, code: CloseCode, reason: String) {
        let deadline = self.close_deadline();
        let connection = &mut self.connections[slot as usize];
        if connection.ending.is_some() {
            return;
        }
        match &connection.line {
            Line::WebSocket(_) => {
                if code == CloseCode::Slow {
                    self.keep_only_begun_frame(slot);
                }
                let frame = self.batch.frame(encoding::ws_close(code, &reason));
                let connection = &mut self.connections[slot as usize];
                self.batch.link(slot, &mut connection.chain, frame);
            }
            Line::Outlet(outlet) => outlet.close(code, &reason),
        }
        self.set_ending(slot, code, reason, deadline);
    }

    fn set_ending(&mut self, slot: ConnectionSlot, code: CloseCode, reason: String, deadline: Millis) {
        let connection = &mut self.connections[slot as usize];
        connection.ending =
            Some(Box::new(Ending { code, reason, deadline, finished: false, answered: false }));
        if let Some(waker) = connection.waiting.take() {
            waker.wake();
        }
        self.schedule(slot, deadline);
    }

    /// Closes without telling the client, which has said goodbye itself.
    pub(crate) fn close_quietly(&mut self, slot: ConnectionSlot) {
        let deadline = self.close_deadline();
        self.set_ending(slot, CloseCode::Normal, String::new(), deadline);
        self.end(slot, CloseCode::Normal, "");
    }

    /// The client's close frame has come, or will not: once ours is out, nothing more is waited for.
    pub(crate) fn expect_no_close(&mut self, slot: ConnectionSlot) {
        let connection = &mut self.connections[slot as usize];
        let (Some(ending), Line::WebSocket(socket)) = (&mut connection.ending, &connection.line) else {
            return;
        };
        ending.answered = true;
        if ending.finished {
            socket.finish();
        }
    }

    fn close_deadline(&self) -> Millis {
        self.now() + self.shared.config.timing.close.as_millis() as Millis
    }

    /// Sends a command to the shard of its channel, in order, whether the queue has room or not.
    pub(crate) fn command(&mut self, command: HubCommand) {
        let shard = self.shared.shard_of(command.channel());
        let line = &mut self.hubs[shard];
        let rest = if line.overflow.is_empty() {
            match line.sender.try_send(command) {
                Ok(()) => return,
                Err(mpsc::error::TrySendError::Full(command)) => command,
                // The shard is gone: the process is stopping.
                Err(mpsc::error::TrySendError::Closed(_)) => return,
            }
        } else {
            command
        };
        line.overflow.push_back(rest);
        self.overflowing.notify_one();
    }

    /// Commands wait for a shard: no more is to be read from clients.
    pub(crate) fn is_congested(&self) -> bool {
        self.hubs.iter().any(|line| !line.overflow.is_empty())
    }

    /// Makes the wheel look at a connection by `due`.
    pub(crate) fn schedule(&mut self, slot: ConnectionSlot, due: Millis) {
        let connection = &mut self.connections[slot as usize];
        if due < connection.scheduled {
            connection.scheduled = self.wheel.schedule(connection.key, due);
        }
    }

    /// One tick: sessions whose time has come, closes that take too long, requests to core without an answer.
    pub(crate) fn tick(&mut self) {
        let now = self.now();
        let mut due = std::mem::take(&mut self.due);
        self.wheel.advance(now, &mut due);
        for key in due.drain(..) {
            let Some(slot) = self.find(key) else { continue };
            let connection = &mut self.connections[slot as usize];
            if connection.scheduled > now {
                // An entry from before the deadline moved nearer and was dealt with.
                continue;
            }
            connection.scheduled = Millis::MAX;
            match &connection.ending {
                Some(ending) if ending.deadline <= now => self.abort(slot),
                Some(ending) => {
                    let deadline = ending.deadline;
                    self.schedule(slot, deadline);
                }
                None => {
                    if connection.session.poll_timeout().is_some_and(|at| at <= now) {
                        connection.session.handle_timeout(now);
                    }
                    self.pump(slot);
                }
            }
            if self.batch.is_full() {
                self.flush();
            }
        }
        self.due = due;
        self.flush();
        for answered in self.core.tick(now, &self.metrics) {
            self.core_answered(answered);
        }
        self.flush();
    }

    /// Cuts the socket; the transport's task sees the end and removes the connection.
    pub(crate) fn abort(&mut self, slot: ConnectionSlot) {
        let connection = &mut self.connections[slot as usize];
        if let Line::WebSocket(socket) = &connection.line {
            socket.abort();
        }
        if let Some(waker) = connection.waiting.take() {
            waker.wake();
        }
    }

    /// All connections there are now.
    pub(crate) fn keys(&self) -> Vec<u64> {
        self.connections.iter().map(|(_, connection)| connection.key).collect()
    }

    /// Tells a connection to go elsewhere within the time.
    pub(crate) fn ask_to_move(&mut self, key: u64, within_ms: u32) {
        let Some(slot) = self.find(key) else { return };
        let now = self.now();
        let connection = &mut self.connections[slot as usize];
        let target = self.shared.config.drain_target.clone().or_else(|| {
            let region = self.shared.region.as_ref()?;
            // One without a key goes anywhere, but not all to one node.
            let key = || KeyDigest::of(connection.session.client().as_str());
            region.elsewhere(connection.place.key.unwrap_or_else(key))
        });
        connection.session.drain(now, target, within_ms);
        self.pump(slot);
        if self.batch.is_full() {
            self.flush();
        }
    }

    /// Connections that were placed here and whose keys are in these ranges.
    pub(crate) fn placed_in(&self, ranges: &MovedRanges) -> Vec<u64> {
        let connections = self.connections.iter().map(|(_, connection)| connection);
        let moved = |key: KeyDigest| ranges.contains(key);
        connections.filter(|connection| connection.place.key.is_some_and(moved)).map(|it| it.key).collect()
    }

    /// Asks a connection to go where its key is now. `false`: it has gone, or its key is here.
    pub(crate) fn follow(&mut self, key: u64) -> bool {
        let Some(slot) = self.find(key) else { return false };
        let connection = &self.connections[slot as usize];
        let (Some(region), Some(place)) = (&self.shared.region, connection.place.key) else { return false };
        if connection.session.authorization().is_none() {
            return false;
        }
        let Some(target) = region.followed(place) else { return false };
        region.count(Move::Followed);
        let now = self.now();
        let within_ms = UNHURRIED.as_millis() as u32;
        self.connections[slot as usize].session.drain(now, Some(target), within_ms);
        self.pump(slot);
        self.flush();
        true
    }

    /// The tokens that are connected.
    pub(crate) fn tokens(&self) -> Vec<TokenEnd> {
        let authorizations =
            self.connections.iter().filter_map(|(_, connection)| connection.session.authorization());
        let token = |who: &Authorization| Some((who.token_id.clone()?, who.expires_at_s.unwrap_or(u64::MAX)));
        authorizations.filter_map(token).collect()
    }

    /// News for every edge, about connections that came before it was made.
    pub(crate) fn control(&mut self, control: &Control, made_at: Millis) {
        let hit: Vec<ConnectionSlot> = self
            .connections
            .iter()
            .filter(|(_, connection)| {
                let authorization = connection.session.authorization();
                connection.opened_at <= made_at && authorization.is_some_and(|who| concerns(control, who))
            })
            .map(|(slot, _)| slot as ConnectionSlot)
            .collect();
        for slot in hit {
            let now = self.now();
            let session = &mut self.connections[slot as usize].session;
            match control {
                Control::DisconnectUser { .. } | Control::RevokeToken { .. } => session.revoke(now),
                Control::Subscribe { channel, .. } => session.grant(channel.clone()),
                Control::Unsubscribe { channel, .. } => session.withdraw(channel),
            }
            self.pump(slot);
            if self.batch.is_full() {
                self.flush();
            }
        }
        self.flush();
    }

    /// Encodes a message for one connection into this round.
    pub(crate) fn send(&mut self, slot: ConnectionSlot, message: &skywave_protocol::ServerMessage) {
        let connection = &mut self.connections[slot as usize];
        let frame = encoding::control(connection.encoding, message, self.shared.config.compression.threshold);
        let frame = self.batch.frame(frame);
        self.batch.link(slot, &mut connection.chain, frame);
    }
}

fn concerns(control: &Control, who: &Authorization) -> bool {
    match control {
        Control::DisconnectUser { user }
        | Control::Subscribe { user, .. }
        | Control::Unsubscribe { user, .. } => who.user.as_ref() == Some(user),
        Control::RevokeToken { token_id, .. } => who.token_id.as_ref() == Some(token_id),
    }
}
