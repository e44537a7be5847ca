//! A session and what it said, in short.

use std::collections::BTreeMap;
use std::sync::Arc;

use skywave_protocol::message::{Connect, Published, Recovery, Request, Subscribe};
use skywave_protocol::namespace::Access;
use skywave_protocol::{
    ChannelName, ClientId, ClientMessage, CloseCode, Durability, Epoch, ErrorCode, NamespaceOptions, NodeId,
    Position, Push, Reply, ServerMessage, UserId,
};

use super::super::{Authorization, Session, SessionConfig, SessionOutput};
use crate::bucket::Rate;
use crate::time::Millis;

pub(super) const UNIX_NOW: u64 = 1_700_000_000;

pub(super) fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

pub(super) fn config() -> SessionConfig {
    let durable = NamespaceOptions { presence: true, ..NamespaceOptions::default() };
    let owner =
        NamespaceOptions { subscribe: Access::Owner, publish: Access::Token, ..NamespaceOptions::default() };
    let live = NamespaceOptions { durability: Durability::Ephemeral, ..NamespaceOptions::default() };
    let members = NamespaceOptions {
        subscribe: Access::Authenticated,
        payload_bytes: 4,
        ..NamespaceOptions::default()
    };
    let namespaces = [("chat", durable), ("user", owner), ("live", live), ("members", members)];
    SessionConfig {
        namespaces: BTreeMap::from(namespaces.map(|(name, options)| (name.to_owned(), options))),
        subscriptions: 3,
        requests: 2,
        publish_rate: Rate::per_second(10, 3),
        request_rate: Rate::per_second(100, 50),
        ..SessionConfig::new("here", NodeId::parse("n1").unwrap())
    }
}

pub(super) fn user(name: &str) -> Authorization {
    Authorization { user: UserId::parse(name).ok(), ..Authorization::default() }
}

/// What a session decided.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Out {
    Authenticate(Option<String>),
    Place(Option<String>, bool),
    Join(&'static str, Option<u64>),
    Leave(String),
    Publish(u32, bool),
    History(u32, u32),
    Presence(u32),
    Connected(u32),
    Subscribed(u32),
    Unsubscribed(u32),
    Published(u32),
    Refreshed(u32),
    Pong(u32),
    Error(u32, ErrorCode),
    Ping,
    Move,
    Expiring(u32),
    Ended(String),
    Put(String),
    Close(CloseCode),
}

pub(super) struct World {
    pub(super) session: Session,
    pub(super) now: Millis,
    /// `retry_after_ms` of the last error.
    pub(super) retry_after_ms: Option<u64>,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(config())
    }

    pub(super) fn with(config: SessionConfig) -> Self {
        let session = Session::new(1_000, Arc::new(config), ClientId::parse("c1").unwrap());
        Self { session, now: 1_000, retry_after_ms: None }
    }

    /// A connected session.
    pub(super) fn open(authorization: Authorization) -> Self {
        Self::open_with(config(), authorization)
    }

    pub(super) fn open_with(config: SessionConfig, authorization: Authorization) -> Self {
        let mut world = Self::with(config);
        world.request(1, Request::Connect(Connect { token: Some("t".into()), ..Connect::default() }));
        world.session.handle_authorized(world.now, UNIX_NOW, Ok(authorization));
        assert_eq!(world.take(), [Out::Authenticate(Some("t".into())), Out::Connected(1)]);
        world
    }

    pub(super) fn request(&mut self, id: u32, request: Request) {
        self.session.handle_message(self.now, ClientMessage { id, request });
    }

    pub(super) fn subscribe(&mut self, id: u32, name: &str) {
        self.subscribe_with(id, name, None, false);
    }

    pub(super) fn subscribe_with(&mut self, id: u32, name: &str, recover: Option<u64>, presence: bool) {
        let recover = recover.map(|offset| Position { epoch: Epoch::parse("e1").unwrap(), offset });
        self.request(id, Request::Subscribe(Subscribe { channel: channel(name), recover, presence }));
    }

    pub(super) fn unsubscribe(&mut self, id: u32, name: &str) {
        self.request(id, Request::Unsubscribe { channel: channel(name) });
    }

    pub(super) fn joined(&mut self, name: &str) -> bool {
        self.session.handle_joined(self.now, &channel(name), None, Some(Recovery::Exact))
    }

    pub(super) fn publish(&mut self, id: u32, name: &str, bytes: usize) {
        let data = skywave_protocol::Payload::Binary(vec![0; bytes].into());
        let publish = skywave_protocol::message::Publish { channel: channel(name), id: None, data };
        self.request(id, Request::Publish(publish));
    }

    pub(super) fn published(&mut self, id: u32) {
        let reply = Reply::Published(Published { position: None, duplicate: false });
        self.session.handle_answer(self.now, id, reply);
    }

    pub(super) fn refresh(&mut self, id: u32, authorization: Authorization) {
        self.request(id, Request::Refresh { token: "fresh".into() });
        self.session.handle_authorized(self.now, UNIX_NOW + self.now / 1_000, Ok(authorization));
    }

    pub(super) fn wait(&mut self) {
        self.now = self.session.poll_timeout().expect("something is to happen");
        self.session.handle_timeout(self.now);
    }

    pub(super) fn take(&mut self) -> Vec<Out> {
        let mut outs = Vec::new();
        while let Some(output) = self.session.poll_output() {
            outs.push(self.short(output));
        }
        outs
    }

    fn short(&mut self, output: SessionOutput) -> Out {
        match output {
            SessionOutput::Authenticate { token } => Out::Authenticate(token),
            SessionOutput::Place { key, placed } => Out::Place(key.map(|key| key.to_string()), placed),
            SessionOutput::Join { durable, recover, .. } => Out::Join(
                if durable { "durable" } else { "ephemeral" },
                recover.map(|position| position.offset),
            ),
            SessionOutput::Leave { channel } => Out::Leave(channel.to_string()),
            SessionOutput::Publish { request_id, durable, .. } => Out::Publish(request_id, durable),
            SessionOutput::ReadHistory { request_id, query } => Out::History(request_id, query.limit),
            SessionOutput::ReadPresence { request_id, .. } => Out::Presence(request_id),
            SessionOutput::Close { code, .. } => Out::Close(code),
            SessionOutput::Send(ServerMessage::Ping) => Out::Ping,
            SessionOutput::Send(ServerMessage::Reply { id, reply }) => match reply {
                Reply::Connected(_) => Out::Connected(id),
                Reply::Subscribed(_) => Out::Subscribed(id),
                Reply::Unsubscribed { .. } => Out::Unsubscribed(id),
                Reply::Published(_) => Out::Published(id),
                Reply::Refreshed { .. } => Out::Refreshed(id),
                Reply::Pong => Out::Pong(id),
                Reply::Error(error) => {
                    self.retry_after_ms = error.retry_after_ms;
                    Out::Error(id, error.code)
                }
                other => panic!("{other:?} was not expected"),
            },
            SessionOutput::Send(ServerMessage::Push(push)) => match push {
                Push::Move { .. } => Out::Move,
                Push::Expiring { seconds } => Out::Expiring(seconds),
                Push::Subscribed(subscribed) => Out::Put(subscribed.channel.to_string()),
                Push::Unsubscribed { channel, .. } => Out::Ended(channel.to_string()),
                other => panic!("{other:?} was not expected"),
            },
        }
    }
}
