//! One connection: what it may ask, what it is answered, and when it ends.
//!
//! - `connect` comes first; the token is checked outside (`Authenticate` → `handle_authorized`).
//! - Every request with a non-zero id gets exactly one reply, refusals and timeouts included.
//! - Channels are joined and left through the hub (`Join`, `Leave` → `handle_joined`, `handle_join_failed`).
//! - Silence is answered with a ping, then with a close; a token that expires with a warning, then with a close.
//!
//! Owns: rights, subscriptions, limits and timers of one connection. Never: encodes, writes, or sees publications on their
//! way to the client (the delivery loop writes those straight to the socket).

mod authorize;
mod channels;
mod config;
mod output;
mod requests;
mod state;
mod subscriptions;
mod timers;

use std::collections::VecDeque;
use std::sync::Arc;

use skywave_protocol::{ClientId, ClientMessage, CloseCode, Push, Reply, ServerMessage, UserId, WireError};

pub use config::SessionConfig;
pub use output::{Authorization, SessionOutput};

use crate::bucket::TokenBucket;
use crate::time::Millis;
use state::Phase;
use subscriptions::{State, Subscriptions};

/// Call `poll_output` until it is empty after every `handle_*`. After `Close` nothing more comes out.
#[derive(Debug)]
pub struct Session {
    config: Arc<SessionConfig>,
    client: ClientId,
    phase: Phase,
    subscriptions: Subscriptions,
    /// Requests whose answer comes from outside, with the time at which `timeout` is answered instead; oldest first.
    waiting: Vec<(u32, Millis)>,
    /// Bounded by what one event can cause, as long as the driver polls everything after each event. Empty, it holds no
    /// heap memory.
    out: VecDeque<SessionOutput>,
    received_at: Millis,
    pinged_at: Option<Millis>,
    /// A draining node closes the connection then.
    drain_at: Option<Millis>,
    publishes: TokenBucket,
    requests: TokenBucket,
    invalid: u8,
}

impl Session {
    pub fn new(now: Millis, config: Arc<SessionConfig>, client: ClientId) -> Self {
        Self {
            phase: Phase::New { until: now + config.connect_timeout_ms },
            publishes: TokenBucket::full(now, config.publish_rate),
            requests: TokenBucket::full(now, config.request_rate),
            config,
            client,
            subscriptions: Subscriptions::default(),
            waiting: Vec::new(),
            out: VecDeque::new(),
            received_at: now,
            pinged_at: None,
            drain_at: None,
            invalid: 0,
        }
    }

    /// A message from the client.
    pub fn handle_message(&mut self, now: Millis, message: ClientMessage) {
        self.handle_received(now);
        self.request(now, message);
    }

    /// Something from the client that is no message. `request_id` is what could be read of its id (else 0).
    pub fn handle_invalid(&mut self, now: Millis, request_id: u32, error: WireError) {
        self.handle_received(now);
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        self.invalid = self.invalid.saturating_add(1);
        // Answered even without an id: the client cannot know which request was meant, but it should know of it.
        self.send(ServerMessage::Reply { id: request_id, reply: Reply::Error(error) });
        if matches!(self.phase, Phase::New { .. }) || self.invalid >= self.config.invalid_messages {
            self.close(CloseCode::ProtocolError, "messages that cannot be read");
        }
    }

    /// The answer to a `Publish`, `ReadHistory` or `ReadPresence`. One that comes late or twice is ignored.
    pub fn handle_answer(&mut self, _now: Millis, request_id: u32, reply: Reply) {
        if let Some(at) = self.waiting.iter().position(|(id, _)| *id == request_id) {
            self.waiting.remove(at);
            self.forget_if_idle();
            self.reply(request_id, reply);
        }
    }

    /// Bytes came from the client, whatever they were. May only postpone what `poll_timeout` says.
    pub fn handle_received(&mut self, now: Millis) {
        self.received_at = now;
        self.pinged_at = None;
    }

    /// The client is to leave this node: tells it where to go, and closes when it has not gone in time.
    pub fn drain(&mut self, now: Millis, target: Option<String>, within_ms: u32) {
        match self.phase {
            // Asked again only to go sooner.
            Phase::Open(_) if self.drain_at.is_none_or(|at| now + Millis::from(within_ms) < at) => {
                self.drain_at = Some(now + Millis::from(within_ms));
                self.push(Push::Move { target, within_ms });
            }
            Phase::New { .. } | Phase::Connecting(_) => self.close(CloseCode::Drain, "the node is draining"),
            Phase::Open(_) | Phase::Closed => {}
        }
    }

    /// The user or token was revoked.
    pub fn revoke(&mut self, _now: Millis) {
        self.close(CloseCode::Revoked, "revoked");
    }

    /// The connection is to be closed for a reason found outside (slow client, protocol error of the transport …), or is
    /// gone: leaves all channels. Nothing happens if it is closed already.
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        self.phase = Phase::Closed;
        self.waiting = Vec::new();
        for subscription in self.subscriptions.take() {
            self.out.push_back(SessionOutput::Leave { channel: subscription.channel });
        }
        self.out.push_back(SessionOutput::Close { code, reason: reason.to_owned() });
    }

    pub fn poll_output(&mut self) -> Option<SessionOutput> {
        let output = self.out.pop_front();
        if self.out.is_empty() {
            self.out = VecDeque::new();
        }
        output
    }

    pub fn client(&self) -> &ClientId {
        &self.client
    }

    /// The authorization in force; `None` before `connect` has succeeded and after the close.
    pub fn authorization(&self) -> Option<&Authorization> {
        match &self.phase {
            Phase::Open(open) => Some(&open.authorization),
            _ => None,
        }
    }

    pub fn user(&self) -> Option<&UserId> {
        self.authorization().and_then(|authorization| authorization.user.as_ref())
    }

    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Subscriptions that stand.
    pub fn subscriptions(&self) -> impl Iterator<Item = &skywave_protocol::ChannelName> {
        let standing = |state: &State| matches!(state, State::Standing);
        self.subscriptions.iter().filter(move |entry| standing(&entry.state)).map(|entry| &entry.channel)
    }

    fn send(&mut self, message: ServerMessage) {
        self.out.push_back(SessionOutput::Send(message));
    }

    fn push(&mut self, push: Push) {
        self.send(ServerMessage::Push(push));
    }

    /// The one reply to a request; none is wanted for id 0.
    fn reply(&mut self, id: u32, reply: Reply) {
        if id != 0 {
            self.send(ServerMessage::Reply { id, reply });
        }
    }

    fn refuse(&mut self, id: u32, error: WireError) {
        self.reply(id, Reply::Error(error));
    }

    fn forget_if_idle(&mut self) {
        if self.waiting.is_empty() {
            self.waiting = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests;
