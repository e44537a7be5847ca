//! An edge process: sessions with their outboxes, one hub shard, presence, and the two ordered queues between the worker
//! that owns the sockets and the shard that owns the channels.

mod catching_up;
mod copies;
mod reads;
mod session;
mod shard;
mod worker;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use skywave_engine::hub::{CatchUp, FetchId, Join, Subscriber};
use skywave_engine::{
    Authorization, Hub, HubConfig, Outbox, Presence, PresenceConfig, Rate, Session, SessionConfig,
};
use skywave_protocol::inner::{Excerpt, ReplyTo};
use skywave_protocol::message::{GapReason, Member, Recovery};
use skywave_protocol::{
    ChannelName, ClientId, Epoch, ErrorCode, NamespaceOptions, NodeId, Offset, Position, Publication, Push,
    Reply, ServerMessage, Subject, UserId, WireError,
};

use catching_up::CatchingUp;
pub(super) use copies::Looked;

use super::link::Frame;
use super::{EdgeStep, Event, Time, World};
use crate::history::ConnectionId;
use crate::sabotage::Sabotage;

#[derive(Debug)]
pub(super) struct Edge {
    pub(super) incarnation: u32,
    pub(super) down: bool,
    pub(super) paused: bool,
    pub(super) draining: bool,
    pub(super) deferred: Vec<Event>,
    pub(super) interest: BTreeSet<ChannelName>,
    pub(super) reply: Subject,
    session_config: Arc<SessionConfig>,
    hub: Hub,
    pub(super) presence: Presence,
    pub(super) connections: BTreeMap<ConnectionId, Connection>,
    /// Who gets a channel's publications; only the worker changes it.
    table: BTreeMap<ChannelName, BTreeSet<ConnectionId>>,
    commands: VecDeque<Command>,
    deliveries: VecDeque<Delivery>,
    calls: BTreeMap<u64, Call>,
    /// Reads whose answer is to be kept for the region: of which block, and what there was of it.
    awaited: BTreeMap<FetchId, (u64, Option<Excerpt>)>,
    last_call: u64,
    timer_at: Option<Time>,
}

#[derive(Debug)]
pub(super) struct Connection {
    session: Session,
    outbox: Outbox<Frame>,
    most_queued: usize,
    catching_up: CatchingUp,
    /// Channels this connection is present in, and whether it watches them.
    present: BTreeMap<ChannelName, bool>,
    watches: BTreeMap<ChannelName, bool>,
}

/// Worker → shard.
#[derive(Debug)]
enum Command {
    Join(Join),
    More { subscriber: Subscriber, channel: ChannelName },
    Leave { connection: ConnectionId, channel: ChannelName, present: Option<(ClientId, bool)> },
    Enter { channel: ChannelName, member: Member, watch: bool },
    ReadPresence { connection: ConnectionId, request_id: u32, channel: ChannelName },
}

/// Shard → worker.
#[derive(Debug)]
enum Delivery {
    Joined {
        connection: ConnectionId,
        channel: ChannelName,
        position: Option<Position>,
        recovery: Option<Recovery>,
        missed: Vec<Arc<Publication>>,
        behind: bool,
    },
    CatchUp(Box<CatchUp>),
    JoinFailed {
        connection: ConnectionId,
        channel: ChannelName,
        error: WireError,
    },
    Publication {
        channel: ChannelName,
        publication: Arc<Publication>,
    },
    Gap {
        channel: ChannelName,
        epoch: Epoch,
        from: Offset,
        to: Offset,
        reason: GapReason,
    },
    Presence {
        channel: ChannelName,
        member: Member,
        came: bool,
    },
    Members {
        connection: ConnectionId,
        request_id: u32,
        channel: ChannelName,
        members: Vec<Member>,
    },
}

#[derive(Debug)]
enum Call {
    Publish { connection: ConnectionId, request_id: u32 },
    History { connection: ConnectionId, request_id: u32 },
    Fetch(FetchId),
}

pub(super) const READ_TIMEOUT: Time = 250;
pub(super) const READ_ATTEMPTS: u32 = 4;

fn hub_config() -> HubConfig {
    HubConfig {
        linger_ms: 400,
        ring_publications: 8,
        recovery_margin: 2,
        page: 16,
        page_keep_ms: 100,
        pending_publications: 6,
        fetch_timeout_ms: READ_TIMEOUT,
        attempts: READ_ATTEMPTS,
        backoff_min_ms: 20,
        backoff_max_ms: 400,
        ..HubConfig::default()
    }
}

pub(super) const LEASE: Time = 1_750;

fn presence_config(sabotage: Option<Sabotage>) -> PresenceConfig {
    let lease_ms = if sabotage == Some(Sabotage::NoLeases) { Time::MAX / 8 } else { LEASE };
    PresenceConfig { beat_ms: 500, lease_ms }
}

fn session_config(node: &NodeId) -> SessionConfig {
    let chat = NamespaceOptions { presence: true, ..NamespaceOptions::default() };
    let live = NamespaceOptions {
        durability: skywave_protocol::Durability::Ephemeral,
        slow: skywave_protocol::namespace::SlowPolicy::DropOldest,
        ..NamespaceOptions::default()
    };
    SessionConfig {
        namespaces: BTreeMap::from([("chat".to_owned(), chat), ("live".to_owned(), live)]),
        connect_timeout_ms: 1_000,
        ping_seconds: 2,
        pong_timeout_seconds: 1,
        request_timeout_ms: 600,
        expiry_warning_ms: 2_000,
        publish_rate: Rate::per_second(50, 50),
        ..SessionConfig::new("here", node.clone())
    }
}

impl Edge {
    pub(super) fn new(index: usize, incarnation: u32, sabotage: Option<Sabotage>) -> Self {
        let node = NodeId::parse(&format!("edge-{index}-{incarnation}")).expect("the id is legal");
        Self {
            incarnation,
            down: false,
            paused: false,
            draining: false,
            deferred: Vec::new(),
            interest: BTreeSet::new(),
            reply: Subject::reply(&node, 0),
            session_config: Arc::new(session_config(&node)),
            hub: Hub::new(hub_config()),
            presence: Presence::new(node.clone(), presence_config(sabotage)),

            connections: BTreeMap::new(),
            table: BTreeMap::new(),
            commands: VecDeque::new(),
            deliveries: VecDeque::new(),
            calls: BTreeMap::new(),
            awaited: BTreeMap::new(),
            last_call: 0,
            timer_at: None,
        }
    }

    pub(super) fn accepts(&self, incarnation: u32) -> bool {
        !self.down && self.incarnation == incarnation
    }

    pub(super) fn crash(&mut self) {
        *self = Self { down: true, ..Self::new(0, self.incarnation + 1, None) };
    }

    fn call(&mut self, call: Call) -> ReplyTo {
        self.last_call += 1;
        self.calls.insert(self.last_call, call);
        ReplyTo { subject: self.reply.clone(), correlation: self.last_call }
    }

    fn client_id(&self, connection: ConnectionId) -> ClientId {
        ClientId::parse(&format!("c{connection}")).expect("the id is legal")
    }

    fn next_timeout(&self) -> Option<Time> {
        let sessions = self.connections.values().filter_map(|connection| connection.session.poll_timeout());
        sessions.chain(self.hub.poll_timeout()).chain(self.presence.poll_timeout()).min()
    }
}

/// The name a token stands for; an empty one is anonymous. `expiry` is in seconds.
pub(super) fn token(user: &str, expiry: u64) -> String {
    format!("{user}|{expiry}")
}

fn authorize(token: Option<String>) -> Authorization {
    let token = token.unwrap_or_default();
    let (user, expiry) = token.split_once('|').unwrap_or(("", "0"));
    Authorization {
        user: UserId::parse(user).ok(),
        expires_at_s: expiry.parse().ok().filter(|expiry| *expiry > 0),
        ..Authorization::default()
    }
}

pub(super) fn frame_bytes(message: &ServerMessage) -> usize {
    match message {
        ServerMessage::Push(Push::Publication { publication, .. }) => 40 + publication.data.len(),
        ServerMessage::Reply { reply: Reply::History(page), .. } => {
            40 + page.publications.iter().map(|publication| 40 + publication.data.len()).sum::<usize>()
        }
        _ => 40,
    }
}

impl World {
    pub(super) fn edge_step(&mut self, edge: usize, incarnation: u32, step: EdgeStep) {
        if let EdgeStep::Start = step {
            // Healing may have started it before its time.
            if self.edges[edge].down && self.edges[edge].incarnation == incarnation {
                self.edges[edge] = Edge::new(edge, incarnation, self.sabotage);
            }
            return;
        }
        if !self.edges[edge].accepts(incarnation) {
            return;
        }
        if let EdgeStep::Resume = step {
            self.edges[edge].paused = false;
            for event in std::mem::take(&mut self.edges[edge].deferred) {
                self.after(0, event);
            }
            return;
        }
        if self.edges[edge].paused {
            return self.edges[edge].deferred.push(Event::Edge(edge, incarnation, step));
        }
        match step {
            EdgeStep::Shard => self.edge_shard(edge),
            EdgeStep::Worker => self.edge_worker(edge),
            EdgeStep::Timer => {
                let now = self.now;
                let state = &mut self.edges[edge];
                state.timer_at = None;
                state.hub.handle_timeout(now);
                state.presence.handle_timeout(now);
                for connection in state.connections.values_mut() {
                    connection.session.handle_timeout(now);
                }
            }
            EdgeStep::Interest(channel, stands) => {
                if stands {
                    self.edges[edge].interest.insert(channel.clone());
                } else {
                    self.edges[edge].interest.remove(&channel);
                }
                let error = || WireError::new(ErrorCode::Internal, "the bus is not connected");
                let result = if stands { Ok(()) } else { Err(error()) };
                self.edges[edge].hub.handle_interest(self.now, &channel, result);
            }
            EdgeStep::Looked(looked) => self.copy_was_looked_for(edge, *looked),
            EdgeStep::Start | EdgeStep::Resume => {}
        }
        self.edge_pump(edge);
    }

    pub(super) fn edge_drain(&mut self, edge: usize, within: u32) {
        let now = self.now;
        self.edges[edge].draining = true;
        for connection in self.edges[edge].connections.values_mut() {
            connection.session.drain(now, None, within);
        }
        self.edge_pump(edge);
    }

    /// Does everything the state machines have decided.
    fn edge_pump(&mut self, edge: usize) {
        loop {
            let mut done = true;
            while let Some(output) = self.edges[edge].hub.poll_output() {
                done = false;
                self.hub_output(edge, output);
            }
            while let Some(output) = self.edges[edge].presence.poll_output() {
                done = false;
                self.presence_output(edge, output);
            }
            let connections: Vec<ConnectionId> = self.edges[edge].connections.keys().copied().collect();
            for connection in connections {
                while let Some(output) = self.session_output(edge, connection) {
                    done = false;
                    self.do_session_output(edge, connection, output);
                }
            }
            if done {
                break;
            }
        }
        let state = &mut self.edges[edge];
        if let Some(next) = state.next_timeout() {
            let next = next.max(self.now + 1);
            if state.timer_at.is_none_or(|at| at > next || at <= self.now) {
                state.timer_at = Some(next);
                let incarnation = state.incarnation;
                self.at(next, Event::Edge(edge, incarnation, EdgeStep::Timer));
            }
        }
    }
}
