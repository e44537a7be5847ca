//! A client as the protocol wants it: connects, subscribes with its last positions, publishes with ids and retries until
//! acknowledged, answers pings, reconnects after silence. Some share a user, some are slow, some stop reading.

use std::collections::BTreeMap;

use bytes::Bytes;
use skywave_protocol::message::{Connect, GapReason, Publish, Recovery, Request, Subscribe, Subscribed};
use skywave_protocol::{
    ClientMessage, CloseCode, MessageId, Payload, Position, Publication, Push, Reply, ServerMessage,
};

use super::core::epoch;
use super::edge::token;
use super::link::Frame;
use super::{Event, HEAL_AT, Time, Up, World};
use crate::history::{Channel, ConnectionId, Fact, PublishId};

const TICK: Time = 60;
/// Longer than the server's ping interval and the answer to it.
const SILENCE: Time = 3_300;

#[derive(Debug)]
pub(super) struct Client {
    user: Option<String>,
    subscriptions: Vec<Subscription>,
    /// Chance per tick, in per mille.
    publishes: u64,
    wanders: u64,
    hesitates: u64,
    /// Frames read per tick; `None`: everything at once.
    reads: Option<usize>,
    pub(super) paused_until: Time,
    lifetime: u64,

    connection: Option<ConnectionId>,
    open: bool,
    reconnect_at: Time,
    heard_at: Time,
    last_request: u32,
    waiting: BTreeMap<u32, Waiting>,
    pending: Vec<Pending>,
    published: u64,
    last_words: bool,
}

#[derive(Debug)]
struct Subscription {
    channel: Channel,
    watches: bool,
    /// Where to go on; `None` before the first subscription.
    last: Option<Position>,
    standing: Standing,
    /// Unsubscribe requests the server has not answered: what still comes before is not wanted.
    deaf: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    No,
    Asked,
    Yes,
}

#[derive(Debug, Clone)]
enum Waiting {
    Connect,
    Subscribe { index: usize, asked: Option<u64> },
    Unsubscribe { index: usize },
    Publish { id: PublishId },
    Other,
}

#[derive(Debug)]
struct Pending {
    channel: Channel,
    id: PublishId,
    data: Bytes,
    try_at: Time,
}

pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The publication's number, from its message id.
pub(super) fn publish_id(publication: &Publication) -> PublishId {
    publication.id.as_ref().and_then(|id| id.as_str().parse().ok()).unwrap_or(0)
}

impl Client {
    /// Gone for a while.
    pub(super) fn sleeps_until(&mut self, until: Time) {
        self.reconnect_at = until;
    }

    pub(super) fn reads_at_once(&self) -> bool {
        self.reads.is_none() && self.paused_until == 0
    }

    pub(super) fn connection(&self) -> Option<ConnectionId> {
        self.connection
    }
}

impl World {
    pub(super) fn start_clients(&mut self) {
        let count = self.random.between(4, 7) as usize;
        for index in 0..count {
            // Some users have two tabs; some clients are anonymous.
            let user = match index {
                0 | 1 => Some("ann".to_owned()),
                _ if self.random.chance(250) => None,
                _ => Some(format!("user{}", self.random.between(1, 4))),
            };
            let mut subscriptions = Vec::new();
            for channel in 0..self.channels.len() {
                if channel == 0 || self.random.chance(600) {
                    let watches = self.channels[channel].durable && self.random.chance(500);
                    let (standing, deaf) = (Standing::No, 0);
                    let start = self.starts_at(channel);
                    let last = start.map(|offset| Position { epoch: epoch(), offset });
                    if let Some(start) = start {
                        self.history.starts.insert((index, channel), start);
                    }
                    subscriptions.push(Subscription { channel, watches, last, standing, deaf });
                }
            }
            let slow = self.random.chance(150);
            let lifetime = if self.random.chance(200) { self.random.between(3, 6) } else { 0 };
            self.history.users.push(user.clone());
            self.clients.push(Client {
                user,
                subscriptions,
                publishes: self.random.between(50, 400),
                wanders: self.random.between(0, 8),
                hesitates: self.random.between(0, 8),
                reads: slow.then_some(1),
                paused_until: 0,
                lifetime,
                connection: None,
                open: false,
                reconnect_at: 0,
                heard_at: 0,
                last_request: 0,
                waiting: BTreeMap::new(),
                pending: Vec::new(),
                published: if index == 0 { self.past } else { 0 },
                last_words: false,
            });
            let delay = self.random.between(1, 200);
            self.after(delay, Event::ClientTick(index));
        }
    }

    pub(super) fn client_tick(&mut self, client: usize) {
        let jitter = self.random.between(0, TICK / 2);
        self.after(TICK + jitter, Event::ClientTick(client));
        let now = self.now;
        let state = &mut self.clients[client];
        if state.paused_until > now {
            return;
        }
        if state.paused_until > 0 {
            state.paused_until = 0;
            if let Some(connection) = state.connection {
                self.client_reads(connection, usize::MAX);
            }
        } else if let (Some(frames), Some(connection)) = (state.reads, state.connection) {
            self.client_reads(connection, frames);
        }
        self.client_new_publication(client);
        let state = &self.clients[client];
        match state.connection {
            None if state.reconnect_at <= now => self.client_connects(client),
            None => {}
            Some(connection) if state.heard_at + SILENCE < now => {
                self.cut_link(connection, false);
                self.client_lost(connection, None);
            }
            Some(connection) if state.open => {
                self.client_roams(client, connection);
                if self.clients[client].connection.is_some() {
                    self.client_subscribes(client);
                    self.client_publishes(client);
                }
            }
            Some(_) => {}
        }
    }

    fn client_new_publication(&mut self, client: usize) {
        let goes_on = self.publish_until > HEAL_AT;
        let last_words = goes_on && self.healed && !self.clients[client].last_words;
        let chance = self.clients[client].publishes;
        let now = self.now;
        let busy = self.clients[client].pending.len() >= 10;
        if !last_words && (now > self.publish_until || busy || !self.random.chance(chance)) {
            return;
        }
        let channel = match self.random.chance(300) {
            true => self.random.below(self.channels.len()),
            false => 0,
        };
        let size = if self.random.chance(50) { 600 } else { self.random.between(20, 60) as usize };
        let state = &mut self.clients[client];
        state.last_words |= last_words;
        state.published += 1;
        let id = (client as u64 + 1) << 32 | state.published;
        let mut data = id.to_be_bytes().to_vec();
        data.resize(size, 0);
        state.pending.push(Pending { channel, id, data: data.into(), try_at: now });
    }

    fn client_connects(&mut self, client: usize) {
        let edges: Vec<usize> = (0..self.edges.len())
            .filter(|edge| !self.edges[*edge].down && !self.edges[*edge].draining)
            .collect();
        let Some(edge) = self.random.pick(&edges).copied() else {
            self.clients[client].reconnect_at = self.now + 100;
            return;
        };
        let connection = self.open_link(client, edge);
        self.clients[client].connection = Some(connection);
        self.clients[client].heard_at = self.now;
        let now_s = self.now / 1_000;
        let state = &self.clients[client];
        let expiry = if state.lifetime > 0 && !self.healed { now_s + state.lifetime } else { 0 };
        let token = Some(token(state.user.as_deref().unwrap_or(""), expiry));
        self.client_requests(
            client,
            Waiting::Connect,
            Request::Connect(Connect { token, ..Connect::default() }),
        );
        self.record(Fact::Connected { client, connection, edge });
    }

    fn client_requests(&mut self, client: usize, waiting: Waiting, request: Request) {
        let state = &mut self.clients[client];
        state.last_request += 1;
        let id = state.last_request;
        state.waiting.insert(id, waiting);
        if let Some(connection) = state.connection {
            self.client_sends(connection, ClientMessage { id, request });
        }
    }

    /// Moves to another edge, or leaves a channel and comes back, for no reason.
    fn client_roams(&mut self, client: usize, connection: ConnectionId) {
        if self.healed {
            return;
        }
        let (wanders, hesitates) = (self.clients[client].wanders, self.clients[client].hesitates);
        if self.random.chance(wanders) {
            self.tally.count("clients that reconnected at will");
            self.send_up(connection, Up::Closed);
            self.client_lost(connection, None);
            self.clients[client].reconnect_at = self.now;
        } else if self.random.chance(hesitates) {
            let index = self.random.below(self.clients[client].subscriptions.len());
            let channel = self.clients[client].subscriptions[index].channel;
            if self.clients[client].subscriptions[index].standing != Standing::No {
                let name = self.channels[channel].name.clone();
                self.clients[client].subscriptions[index].standing = Standing::No;
                self.clients[client].subscriptions[index].deaf += 1;
                let request = Request::Unsubscribe { channel: name };
                self.client_requests(client, Waiting::Unsubscribe { index }, request);
                self.tally.count("unsubscribed and subscribed again");
            }
        }
    }

    fn client_subscribes(&mut self, client: usize) {
        for index in 0..self.clients[client].subscriptions.len() {
            let subscription = &mut self.clients[client].subscriptions[index];
            if subscription.standing != Standing::No {
                continue;
            }
            subscription.standing = Standing::Asked;
            let recover = subscription.last.clone();
            let asked = recover.as_ref().map(|position| position.offset);
            let channel = self.channels[subscription.channel].name.clone();
            let presence = subscription.watches;
            let request = Request::Subscribe(Subscribe { channel, recover, presence });
            self.client_requests(client, Waiting::Subscribe { index, asked }, request);
        }
    }

    fn client_publishes(&mut self, client: usize) {
        let now = self.now;
        for at in 0..self.clients[client].pending.len() {
            let retry_in = 700 + self.random.between(0, 300);
            let pending = &mut self.clients[client].pending[at];
            if pending.try_at > now {
                continue;
            }
            pending.try_at = now + retry_in;
            let (channel, id, data) = (pending.channel, pending.id, pending.data.clone());
            self.record(Fact::Publish { client, channel, id, hash: hash(&data) });
            let publish = Publish {
                channel: self.channels[channel].name.clone(),
                id: MessageId::parse(&id.to_string()).ok(),
                data: Payload::Binary(data),
            };
            self.client_requests(client, Waiting::Publish { id }, Request::Publish(publish));
        }
    }

    /// The connection is over, as far as the client is concerned.
    pub(super) fn client_lost(&mut self, connection: ConnectionId, code: Option<CloseCode>) {
        let Some(client) = self.links.get(&connection).map(|link| link.client) else { return };
        if self.clients[client].connection != Some(connection) {
            return;
        }
        self.record(Fact::Disconnected { client, connection, code });
        let backoff = self.random.between(10, 300);
        let now = self.now;
        let state = &mut self.clients[client];
        state.connection = None;
        state.open = false;
        state.reconnect_at = now + backoff;
        state.waiting.clear();
        for subscription in &mut state.subscriptions {
            subscription.standing = Standing::No;
            subscription.deaf = 0;
        }
        for pending in &mut state.pending {
            pending.try_at = now;
        }
    }

    pub(super) fn client_receives(&mut self, client: usize, connection: ConnectionId, frame: Frame) {
        if self.clients[client].connection != Some(connection) {
            return;
        }
        self.clients[client].heard_at = self.now;
        match frame {
            Frame::Close(code) => self.client_lost(connection, Some(code)),
            Frame::Message(ServerMessage::Ping) => {
                self.client_sends(connection, ClientMessage { id: 0, request: Request::Ping });
            }
            Frame::Message(ServerMessage::Reply { id, reply }) => {
                if let Some(waiting) = self.clients[client].waiting.remove(&id) {
                    self.client_reply(client, connection, waiting, reply);
                }
            }
            Frame::Message(ServerMessage::Push(push)) => self.client_push(client, connection, push),
        }
    }

    fn client_reply(&mut self, client: usize, connection: ConnectionId, waiting: Waiting, reply: Reply) {
        match (waiting, reply) {
            (Waiting::Connect, Reply::Connected(_)) => {
                self.clients[client].open = true;
                self.client_subscribes(client);
                self.client_publishes(client);
            }
            (Waiting::Subscribe { index, asked }, Reply::Subscribed(subscribed)) => {
                self.client_subscribed(client, connection, index, asked, subscribed);
            }
            (Waiting::Subscribe { index, .. }, Reply::Error(_)) => {
                let subscription = &mut self.clients[client].subscriptions[index];
                if subscription.deaf == 0 && subscription.standing == Standing::Asked {
                    subscription.standing = Standing::No;
                }
            }
            (Waiting::Unsubscribe { index }, Reply::Unsubscribed { .. }) => {
                self.clients[client].subscriptions[index].deaf -= 1;
                let channel = self.clients[client].subscriptions[index].channel;
                self.record(Fact::Unsubscribed { client, connection, channel });
            }
            (Waiting::Unsubscribe { index }, Reply::Error(_)) => {
                self.clients[client].subscriptions[index].deaf -= 1;
            }
            (Waiting::Publish { id }, Reply::Published(published)) => {
                let pending = &mut self.clients[client].pending;
                let Some(at) = pending.iter().position(|pending| pending.id == id) else { return };
                let channel = pending.remove(at).channel;
                if let Some(position) = published.position {
                    let (offset, duplicate) = (position.offset, published.duplicate);
                    self.record(Fact::Acked { client, channel, id, offset, duplicate });
                }
            }
            (Waiting::Publish { id }, Reply::Error(error)) => {
                let now = self.now;
                let pending = self.clients[client].pending.iter_mut().find(|pending| pending.id == id);
                if let Some(pending) = pending {
                    let channel = pending.channel;
                    pending.try_at = now + error.retry_after_ms.unwrap_or(100).max(50);
                    self.record(Fact::Refused { client, channel, id, code: error.code });
                }
            }
            _ => {}
        }
    }

    fn client_subscribed(
        &mut self,
        client: usize,
        connection: ConnectionId,
        index: usize,
        asked: Option<u64>,
        subscribed: Subscribed,
    ) {
        let Subscribed { position, recovery, .. } = subscribed;
        let subscription = &mut self.clients[client].subscriptions[index];
        if subscription.deaf > 0 {
            return;
        }
        subscription.standing = Standing::Yes;
        subscription.last = match (&recovery, &position) {
            (Some(Recovery::Exact), _) => subscription.last.take(),
            (Some(Recovery::Gap { to, reason, .. }), Some(position)) if *reason != GapReason::Failover => {
                Some(Position { epoch: position.epoch.clone(), offset: *to })
            }
            _ => position.clone(),
        };
        let channel = subscription.channel;
        let offset = position.map(|position| position.offset);
        self.record(Fact::Subscribed { client, connection, channel, asked, offset, recovery });
    }

    fn client_push(&mut self, client: usize, connection: ConnectionId, push: Push) {
        if let Push::Publication { channel, .. }
        | Push::Gap { channel, .. }
        | Push::Join { channel, .. }
        | Push::Leave { channel, .. } = &push
        {
            let channel = self.channel_index(channel);
            let mut subscriptions = self.clients[client].subscriptions.iter();
            if subscriptions.any(|subscription| subscription.channel == channel && subscription.deaf > 0) {
                return;
            }
        }
        match push {
            Push::Publication { channel, publication, .. } => {
                let channel = self.channel_index(&channel);
                let offset = publication.offset;
                if offset > 0 {
                    self.client_position(client, channel, |position| position.offset = offset);
                }
                let (id, hash) = (publish_id(&publication), hash(publication.data.bytes()));
                self.record(Fact::Delivered { client, connection, channel, offset, id, hash });
            }
            Push::Gap { channel, epoch, from, to, reason } => {
                let channel = self.channel_index(&channel);
                self.client_position(client, channel, |position| *position = Position { epoch, offset: to });
                self.record(Fact::Gap { client, connection, channel, from, to, reason });
            }
            Push::Join { channel, member } => {
                let (channel, who) = (self.channel_index(&channel), who(&member));
                self.record(Fact::Came { client, connection, channel, who });
            }
            Push::Leave { channel, member } => {
                let (channel, who) = (self.channel_index(&channel), who(&member));
                self.record(Fact::Went { client, connection, channel, who });
            }
            Push::Expiring { .. } => {
                self.tally.count("expiry warnings");
                // Every other client forgets, and is closed.
                if client.is_multiple_of(2) {
                    let expiry = self.now / 1_000 + self.clients[client].lifetime;
                    let token = token(self.clients[client].user.as_deref().unwrap_or(""), expiry);
                    self.client_requests(client, Waiting::Other, Request::Refresh { token });
                }
            }
            Push::Move { .. } => {
                self.send_up(connection, Up::Closed);
                self.client_lost(connection, None);
                self.clients[client].reconnect_at = self.now;
            }
            Push::Subscribed(_) | Push::Unsubscribed { .. } | Push::Close { .. } => {}
        }
    }

    fn client_position(&mut self, client: usize, channel: Channel, change: impl FnOnce(&mut Position)) {
        let subscription = self.clients[client]
            .subscriptions
            .iter_mut()
            .find(|subscription| subscription.channel == channel);
        if let Some(position) = subscription.and_then(|subscription| subscription.last.as_mut()) {
            change(position);
        }
    }

    /// From now on everybody reads.
    pub(super) fn clients_heal(&mut self) {
        for client in 0..self.clients.len() {
            self.clients[client].reads = None;
            if self.clients[client].paused_until > HEAL_AT {
                self.clients[client].paused_until = HEAL_AT;
            }
        }
    }

    /// Channels in which the client is present at the moment.
    pub(super) fn client_channels(&self, client: usize) -> Vec<Channel> {
        let standing = |subscription: &&Subscription| subscription.standing == Standing::Yes;
        let subscriptions = self.clients[client].subscriptions.iter().filter(standing);
        subscriptions.map(|subscription| subscription.channel).collect()
    }
}

/// What a member is called: a user, or a connection.
pub(super) fn who(member: &skywave_protocol::message::Member) -> String {
    member.user.as_ref().map_or_else(|| member.client.to_string(), ToString::to_string)
}
