//! An edge process: sessions with their outboxes, one hub shard, presence, and the two ordered queues between the worker
//! that owns the sockets and the shard that owns the channels.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use skywave_engine::hub::{FetchId, Join, Subscriber};
use skywave_engine::{
    Authorization, Hub, HubConfig, HubOutput, Outbox, Presence, PresenceConfig, PresenceOutput, Pushed, Rate,
    Session, SessionConfig, SessionOutput,
};
use skywave_protocol::inner::{CoreAnswer, CoreReply, CoreRequest, Live, LogRecord, ReplyTo};
use skywave_protocol::message::{GapReason, HistoryPage, Member, Published, Recovery};
use skywave_protocol::{
    ChannelName, ClientId, CloseCode, Epoch, ErrorCode, NamespaceOptions, NodeId, Offset, Payload, Position,
    Publication, Push, Reply, ServerMessage, Subject, UserId, WireError,
};

use super::link::Frame;
use super::{EdgeStep, Event, Message, Node, Time, Up, World};
use crate::history::{ConnectionId, Fact};
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
    last_call: u64,
    timer_at: Option<Time>,
}

#[derive(Debug)]
pub(super) struct Connection {
    session: Session,
    outbox: Outbox<Frame>,
    most_queued: usize,
    /// Channels this connection is present in, and whether it watches them.
    present: BTreeMap<ChannelName, bool>,
    watches: BTreeMap<ChannelName, bool>,
}

/// Worker → shard.
#[derive(Debug)]
enum Command {
    Join(Join),
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
    },
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

fn hub_config() -> HubConfig {
    HubConfig {
        linger_ms: 400,
        ring_publications: 8,
        recovery_margin: 2,
        page: 16,
        pending_publications: 6,
        fetch_timeout_ms: 250,
        attempts: 4,
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
            let incarnation = self.edges[edge].incarnation;
            self.edges[edge] = Edge::new(edge, incarnation, self.sabotage);
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
            EdgeStep::Start | EdgeStep::Resume => {}
        }
        self.edge_pump(edge);
    }

    pub(super) fn edge_receives(&mut self, edge: usize, connection: ConnectionId, up: Up) {
        let now = self.now;
        match up {
            Up::Open => {
                let state = &mut self.edges[edge];
                let session = Session::new(now, state.session_config.clone(), state.client_id(connection));
                let unbounded = self.sabotage == Some(Sabotage::OutboxUnbounded);
                let limit = if unbounded { usize::MAX / 2 } else { self.outbox_limit };
                state.connections.insert(
                    connection,
                    Connection {
                        session,
                        outbox: Outbox::new(limit),
                        most_queued: 0,
                        present: BTreeMap::new(),
                        watches: BTreeMap::new(),
                    },
                );
            }
            Up::Message(message) => {
                if let Some(state) = self.edges[edge].connections.get_mut(&connection) {
                    state.session.handle_message(now, *message);
                }
            }
            Up::Closed => return self.edge_lost(edge, connection),
        }
        self.edge_pump(edge);
    }

    /// The socket is gone.
    pub(super) fn edge_lost(&mut self, edge: usize, connection: ConnectionId) {
        if let Some(state) = self.edges[edge].connections.get_mut(&connection) {
            state.session.close(CloseCode::Normal, "gone");
            self.edge_pump(edge);
        }
    }

    pub(super) fn edge_drain(&mut self, edge: usize, within: u32) {
        let now = self.now;
        self.edges[edge].draining = true;
        for connection in self.edges[edge].connections.values_mut() {
            connection.session.drain(now, None, within);
        }
        self.edge_pump(edge);
    }

    /// The bus connection of this edge flaps: all interest is lost.
    pub(super) fn edge_loses_interest(&mut self, edge: usize) {
        let incarnation = self.edges[edge].incarnation;
        for channel in self.edges[edge].interest.clone() {
            self.edge_step(edge, incarnation, EdgeStep::Interest(channel, false));
        }
    }

    pub(super) fn edge_message(&mut self, edge: usize, message: Message) {
        let now = self.now;
        match message {
            Message::Live(Live::Presence { channel, delta }) => {
                self.edges[edge].presence.handle_delta(now, &channel, delta);
            }
            Message::Live(Live::Publication { channel, publication, .. })
                if self.sabotaged(Sabotage::GapCheckOff) =>
            {
                self.edges[edge].deliveries.push_back(Delivery::Publication { channel, publication });
                self.wake_worker(edge);
            }
            Message::Live(live) => self.edges[edge].hub.handle_live(now, live),
            Message::Reply(reply) => self.edge_reply(edge, reply),
            Message::Request(_) => {}
        }
        self.edge_pump(edge);
    }

    fn edge_reply(&mut self, edge: usize, reply: CoreReply) {
        let now = self.now;
        let state = &mut self.edges[edge];
        let Some(call) = state.calls.remove(&reply.correlation) else { return };
        match call {
            Call::Fetch(id) => {
                let result = reply.result.map(|answer| match answer {
                    CoreAnswer::History(history) => history,
                    CoreAnswer::Published { .. } => unreachable!("core answers what it is asked"),
                });
                state.hub.handle_history(now, id, result);
            }
            Call::Publish { connection, request_id } | Call::History { connection, request_id } => {
                let answer = match reply.result {
                    Ok(CoreAnswer::Published { position, duplicate }) => {
                        Reply::Published(Published { position: Some(position), duplicate })
                    }
                    Ok(CoreAnswer::History(history)) => Reply::History(HistoryPage {
                        channel: history.channel,
                        epoch: history.head.epoch,
                        head: history.head.offset,
                        publications: history.publications,
                    }),
                    Err(error) => Reply::Error(error),
                };
                if let Some(connection) = state.connections.get_mut(&connection) {
                    connection.session.handle_answer(now, request_id, answer);
                }
            }
        }
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

    fn session_output(&mut self, edge: usize, connection: ConnectionId) -> Option<SessionOutput> {
        self.edges[edge].connections.get_mut(&connection)?.session.poll_output()
    }

    fn wake_worker(&mut self, edge: usize) {
        let (delay, incarnation) = (self.random.between(0, 1), self.edges[edge].incarnation);
        self.after(delay, Event::Edge(edge, incarnation, EdgeStep::Worker));
    }

    fn deliver(&mut self, edge: usize, delivery: Delivery) {
        if self.edges[edge].deliveries.is_empty() {
            self.wake_worker(edge);
        }
        self.edges[edge].deliveries.push_back(delivery);
    }

    fn command(&mut self, edge: usize, command: Command) {
        if self.edges[edge].commands.is_empty() {
            let (delay, incarnation) = (self.random.between(0, 1), self.edges[edge].incarnation);
            self.after(delay, Event::Edge(edge, incarnation, EdgeStep::Shard));
        }
        self.edges[edge].commands.push_back(command);
    }

    fn hub_output(&mut self, edge: usize, output: HubOutput) {
        let incarnation = self.edges[edge].incarnation;
        match output {
            HubOutput::AddInterest(channel) => {
                let (delay, fails) = (self.random.between(0, 3), !self.healed && self.random.chance(20));
                self.after(delay, Event::Edge(edge, incarnation, EdgeStep::Interest(channel, !fails)));
            }
            HubOutput::DropInterest(channel) => {
                self.edges[edge].interest.remove(&channel);
            }
            HubOutput::Fetch { id, query } => {
                self.tally.count("history reads");
                let partition = self.channels[self.channel_index(&query.channel)].partition;
                let reply = self.edges[edge].call(Call::Fetch(id));
                let owners: Vec<usize> = self.assigned[partition as usize].iter().copied().collect();
                if let Some(core) = self.random.pick(&owners).copied() {
                    let request = CoreRequest::History { query, reply };
                    self.send(Node::Edge(edge), Node::Core(core), Message::Request(request));
                }
            }
            HubOutput::Joined { subscriber, channel, position, recovery, mut missed, .. } => {
                if self.sabotaged(Sabotage::RecoveryOffByOne) && !missed.is_empty() {
                    missed.remove(0);
                }
                let connection = subscriber.connection;
                self.deliver(edge, Delivery::Joined { connection, channel, position, recovery, missed });
            }
            HubOutput::JoinFailed { subscriber, channel, error } => {
                let connection = subscriber.connection;
                self.deliver(edge, Delivery::JoinFailed { connection, channel, error });
            }
            HubOutput::Deliver { channel, publication, .. } => {
                if !self.sabotaged(Sabotage::GapCheckOff) {
                    self.deliver(edge, Delivery::Publication { channel, publication });
                }
            }
            HubOutput::Gap { channel, epoch, from, to, reason } => {
                if !self.sabotaged(Sabotage::GapsSilent) {
                    self.deliver(edge, Delivery::Gap { channel, epoch, from, to, reason });
                }
            }
        }
    }

    fn presence_output(&mut self, edge: usize, output: PresenceOutput) {
        match output {
            PresenceOutput::Publish { channel, delta } => {
                let live = Live::Presence { channel: channel.clone(), delta };
                self.publish_live(Node::Edge(edge), &channel, &live);
            }
            PresenceOutput::Join { channel, member } => {
                self.deliver(edge, Delivery::Presence { channel, member, came: true });
            }
            PresenceOutput::Leave { channel, member } => {
                self.deliver(edge, Delivery::Presence { channel, member, came: false });
            }
        }
    }

    fn edge_shard(&mut self, edge: usize) {
        let now = self.now;
        while let Some(command) = self.edges[edge].commands.pop_front() {
            let state = &mut self.edges[edge];
            match command {
                Command::Join(join) => state.hub.join(now, join),
                Command::Leave { connection, channel, present } => {
                    state.hub.leave(now, Subscriber { worker: 0, connection }, &channel);
                    if let Some((client, watched)) = present {
                        state.presence.leave(now, &channel, &client);
                        if watched {
                            state.presence.unwatch(now, &channel);
                        }
                    }
                }
                Command::Enter { channel, member, watch } => {
                    if watch {
                        state.presence.watch(now, &channel);
                    }
                    state.presence.enter(now, &channel, member);
                }
                Command::ReadPresence { connection, request_id, channel } => {
                    let members = state.presence.members(&channel);
                    self.deliver(edge, Delivery::Members { connection, request_id, channel, members });
                }
            }
        }
    }

    fn edge_worker(&mut self, edge: usize) {
        while let Some(delivery) = self.edges[edge].deliveries.pop_front() {
            self.edge_delivery(edge, delivery);
        }
    }

    fn edge_delivery(&mut self, edge: usize, delivery: Delivery) {
        match delivery {
            Delivery::Joined { connection, channel, position, recovery, missed } => {
                self.edge_joined(edge, connection, channel, position, recovery, missed);
            }
            Delivery::JoinFailed { connection, channel, error } => {
                if let Some(state) = self.edges[edge].connections.get_mut(&connection) {
                    state.session.handle_join_failed(self.now, &channel, error);
                }
                self.flush_session(edge, connection);
            }
            Delivery::Publication { channel, publication } => {
                self.fan_out(edge, &channel, |channel| Push::Publication {
                    channel,
                    epoch: None,
                    publication: publication.clone(),
                });
            }
            Delivery::Gap { channel, epoch, from, to, reason } => {
                self.tally.count("gaps announced to members");
                self.fan_out(edge, &channel, |channel| Push::Gap {
                    channel,
                    epoch: epoch.clone(),
                    from,
                    to,
                    reason,
                });
            }
            Delivery::Presence { channel, mut member, came } => {
                if self.sabotaged(Sabotage::TabsCountApart) {
                    member.user = self.user_of(&member.client);
                }
                let watchers: Vec<ConnectionId> = self.edges[edge]
                    .connections
                    .iter()
                    .filter(|(_, state)| state.present.get(&channel).copied() == Some(true))
                    .map(|(connection, _)| *connection)
                    .collect();
                for connection in watchers {
                    let (channel, member) = (channel.clone(), member.clone());
                    let push =
                        if came { Push::Join { channel, member } } else { Push::Leave { channel, member } };
                    self.edge_sends(edge, connection, ServerMessage::Push(push), false);
                }
            }
            Delivery::Members { connection, request_id, channel, members } => {
                if let Some(state) = self.edges[edge].connections.get_mut(&connection) {
                    let reply = Reply::Presence { channel, members };
                    state.session.handle_answer(self.now, request_id, reply);
                }
                self.flush_session(edge, connection);
            }
        }
    }

    /// The user behind a connection id (sabotage only: edges know it from the session).
    fn user_of(&self, client: &ClientId) -> Option<UserId> {
        let connection: ConnectionId = client.as_str().trim_start_matches('c').parse().ok()?;
        let user = self.history.users[self.links.get(&connection)?.client].as_deref()?;
        UserId::parse(user).ok()
    }

    fn fan_out(&mut self, edge: usize, channel: &ChannelName, push: impl Fn(ChannelName) -> Push) {
        let subscribers: Vec<ConnectionId> =
            self.edges[edge].table.get(channel).into_iter().flatten().copied().collect();
        let droppable = !self.channels[self.channel_index(channel)].durable;
        for connection in subscribers {
            self.edge_sends(edge, connection, ServerMessage::Push(push(channel.clone())), droppable);
        }
    }

    fn edge_joined(
        &mut self,
        edge: usize,
        connection: ConnectionId,
        channel: ChannelName,
        position: Option<Position>,
        recovery: Option<Recovery>,
        missed: Vec<Arc<Publication>>,
    ) {
        let now = self.now;
        let Some(state) = self.edges[edge].connections.get_mut(&connection) else { return };
        let stands = state.session.handle_joined(now, &channel, position, recovery);
        self.flush_session(edge, connection);
        if !stands {
            return;
        }
        for publication in missed {
            let push = Push::Publication { channel: channel.clone(), epoch: None, publication };
            self.edge_sends(edge, connection, ServerMessage::Push(push), false);
        }
        let Some(state) = self.edges[edge].connections.get_mut(&connection) else { return };
        if state.session.is_closed() {
            return;
        }
        let user = match self.sabotage {
            Some(Sabotage::TabsCountApart) => None,
            _ => state.session.user().cloned(),
        };
        let presence = channel.namespace() == "chat";
        let watch = state.watches.remove(&channel).unwrap_or(false);
        if presence {
            state.present.insert(channel.clone(), watch);
        }
        let member = Member { client: state.session.client().clone(), user };
        self.edges[edge].table.entry(channel.clone()).or_default().insert(connection);
        if presence {
            self.command(edge, Command::Enter { channel, member, watch });
        }
    }

    /// Does what one session has decided, before anything else is written to its socket.
    fn flush_session(&mut self, edge: usize, connection: ConnectionId) {
        while let Some(output) = self.session_output(edge, connection) {
            self.do_session_output(edge, connection, output);
        }
    }

    fn do_session_output(&mut self, edge: usize, connection: ConnectionId, output: SessionOutput) {
        let now = self.now;
        match output {
            SessionOutput::Send(message) => self.edge_sends(edge, connection, message, false),
            SessionOutput::Authenticate { token } => {
                if let Some(state) = self.edges[edge].connections.get_mut(&connection) {
                    state.session.handle_authorized(now, now / 1_000, Ok(authorize(token)));
                }
            }
            SessionOutput::Join { channel, durable, recover, presence } => {
                if self.sabotaged(Sabotage::SeamOpen) {
                    self.edges[edge].table.entry(channel.clone()).or_default().insert(connection);
                }
                if let Some(state) = self.edges[edge].connections.get_mut(&connection) {
                    state.watches.insert(channel.clone(), presence);
                }
                let subscriber = Subscriber { worker: 0, connection };
                self.command(edge, Command::Join(Join { subscriber, channel, durable, recover }));
            }
            SessionOutput::Leave { channel } => self.edge_leaves(edge, connection, channel),
            SessionOutput::Publish { request_id, channel, id, data, durable } => {
                let user =
                    self.edges[edge].connections.get(&connection).and_then(|state| state.session.user());
                let from = user.cloned();
                if durable {
                    let reply = Some(self.edges[edge].call(Call::Publish { connection, request_id }));
                    let (time_ms, region) = (now, "here".into());
                    let record = LogRecord { channel, time_ms, from, id, region, data, reply };
                    let alive: Vec<usize> =
                        (0..self.cores.len()).filter(|core| !self.cores[*core].down).collect();
                    if let Some(core) = self.random.pick(&alive).copied() {
                        let message = Message::Request(CoreRequest::Publish(record));
                        self.send(Node::Edge(edge), Node::Core(core), message);
                    }
                } else {
                    self.edge_publishes_ephemeral(edge, connection, request_id, channel, id, from, data);
                }
            }
            SessionOutput::ReadHistory { request_id, query } => {
                let partition = self.channels[self.channel_index(&query.channel)].partition;
                let reply = self.edges[edge].call(Call::History { connection, request_id });
                let owners: Vec<usize> = self.assigned[partition as usize].iter().copied().collect();
                if let Some(core) = self.random.pick(&owners).copied() {
                    let message = Message::Request(CoreRequest::History { query, reply });
                    self.send(Node::Edge(edge), Node::Core(core), message);
                }
            }
            SessionOutput::ReadPresence { request_id, channel } => {
                self.command(edge, Command::ReadPresence { connection, request_id, channel });
            }
            SessionOutput::Close { code, .. } => self.edge_closes(edge, connection, code),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one publish")]
    fn edge_publishes_ephemeral(
        &mut self,
        edge: usize,
        connection: ConnectionId,
        request_id: u32,
        channel: ChannelName,
        id: Option<skywave_protocol::MessageId>,
        from: Option<UserId>,
        data: Payload,
    ) {
        let publication = Arc::new(Publication { offset: 0, id, from, time_ms: self.now, data });
        let live = Live::Publication { channel: channel.clone(), epoch: None, publication };
        self.publish_live(Node::Edge(edge), &channel, &live);
        let reply = Reply::Published(Published { position: None, duplicate: false });
        if let Some(state) = self.edges[edge].connections.get_mut(&connection) {
            state.session.handle_answer(self.now, request_id, reply);
        }
    }

    fn edge_leaves(&mut self, edge: usize, connection: ConnectionId, channel: ChannelName) {
        let state = &mut self.edges[edge];
        if let Some(subscribers) = state.table.get_mut(&channel) {
            subscribers.remove(&connection);
        }
        let client = state.client_id(connection);
        let watched = state.connections.get_mut(&connection).and_then(|state| state.present.remove(&channel));
        let present = watched.map(|watched| (client, watched));
        self.command(edge, Command::Leave { connection, channel, present });
    }

    fn edge_sends(&mut self, edge: usize, connection: ConnectionId, message: ServerMessage, droppable: bool) {
        let bytes = frame_bytes(&message);
        let Some(state) = self.edges[edge].connections.get_mut(&connection) else { return };
        if state.session.is_closed() && matches!(message, ServerMessage::Push(_)) {
            return;
        }
        match state.outbox.push(Frame::Message(message), bytes, droppable) {
            Pushed::Queued => {}
            Pushed::DroppedOldest(dropped) => self.tally.add("ephemeral frames dropped", dropped as u64),
            Pushed::Full => {
                self.tally.count("slow clients closed");
                state.session.close(CloseCode::Slow, "too slow");
                return self.flush_session(edge, connection);
            }
        }
        self.edge_flush(edge, connection);
    }

    /// Writes what the socket takes.
    pub(super) fn edge_flush(&mut self, edge: usize, connection: ConnectionId) {
        while let Some(state) = self.edges[edge].connections.get_mut(&connection) {
            let Some(frame) = state.outbox.frames().next() else { break };
            let Frame::Message(message) = frame else { break };
            let bytes = frame_bytes(message);
            let rest = bytes - state.outbox.written();
            let room = self.links.get(&connection).map_or(0, |link| link.room());
            if room < rest {
                if room > 0 {
                    state.outbox.consume(room);
                    self.write_part(connection, room);
                }
                break;
            }
            let frame = frame.clone();
            state.outbox.consume(rest);
            self.write_frame(connection, frame, rest, bytes);
        }
        let Some(state) = self.edges[edge].connections.get_mut(&connection) else { return };
        if state.outbox.bytes() > state.most_queued {
            state.most_queued = state.outbox.bytes();
            let bytes = state.most_queued;
            self.record(Fact::Queued { connection, bytes });
        }
    }

    fn edge_closes(&mut self, edge: usize, connection: ConnectionId, code: CloseCode) {
        self.edges[edge].connections.remove(&connection);
        self.edges[edge].calls.retain(|_, call| match call {
            Call::Publish { connection: of, .. } | Call::History { connection: of, .. } => *of != connection,
            Call::Fetch(_) => true,
        });
        for subscribers in self.edges[edge].table.values_mut() {
            subscribers.remove(&connection);
        }
        self.write_frame(connection, Frame::Close(code), 0, 0);
    }
}
