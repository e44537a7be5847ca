//! What backends ask of a node, whatever carries the question: HTTP ([`crate::http`]) and the NATS micro service call the
//! same operations with the same JSON bodies, and get the same answers.
//!
//! - `publish`, `read`: what clients may ask as well, under the same capabilities;
//! - `users`: what only an administrator may ([`Authorization::admin`]): ending connections, revoking tokens, putting a
//!   user's connections into a channel.
//!
//! Owns: the bodies of requests and answers, and who may ask what. Never: knows what carried them, or counts rates.

mod publish;
mod read;
mod users;

use std::sync::Arc;

use serde::Deserialize;
use skywave_engine::capability;
use skywave_engine::session::Authorization;
use skywave_protocol::message::Reply;
use skywave_protocol::{ChannelName, ErrorCode, UserId, WireError, json};

use crate::relay::Relay;
use crate::shared::Shared;

pub(crate) use publish::requests as publish_requests;

/// Everything a backend may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `{"channel", "id", "data", "from"}` or `{"batch": […]}`.
    Publish,
    /// `{"channels": […], "id", "data", "from"}`.
    Broadcast,
    /// `{"channel", "after", "before", "limit", "reverse"}`.
    History,
    /// `{"channel"}`.
    Presence,
    /// `{"user", "channel"}`.
    Subscribe,
    /// `{"user", "channel"}`.
    Unsubscribe,
    /// `{"user"}`.
    Disconnect,
    /// `{"token_id", "until"}`.
    Revoke,
    /// No body.
    Info,
}

impl Operation {
    /// Every operation with the name it has on the bus and in paths, and what it does in one line.
    pub const TABLE: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Publish, "publish", "publish one publication, or a batch"),
        (Self::Broadcast, "broadcast", "publish the same to many channels"),
        (Self::History, "history", "a page of a channel's history"),
        (Self::Presence, "presence", "who is in a channel"),
        (Self::Subscribe, "subscribe", "put a user's connections into a channel"),
        (Self::Unsubscribe, "unsubscribe", "take a user's connections out of a channel"),
        (Self::Disconnect, "disconnect", "close a user's connections"),
        (Self::Revoke, "revoke", "refuse a token from now on"),
        (Self::Info, "info", "what node answers, and how it is"),
    ];
}

/// Answers backends. Cheap to clone.
#[derive(Clone)]
pub struct Backend {
    relay: Relay,
}

impl Backend {
    pub fn new(relay: Relay) -> Self {
        Self { relay }
    }

    /// Answers one request: JSON in, JSON out.
    pub async fn call(
        &self,
        operation: Operation,
        who: &Authorization,
        body: &[u8],
    ) -> Result<Vec<u8>, WireError> {
        match operation {
            Operation::Publish => self.publish(who, body).await,
            Operation::Broadcast => self.broadcast(who, body).await,
            Operation::History => self.history(who, body).await,
            Operation::Presence => self.presence(who, body).await,
            Operation::Subscribe => self.subscribe(who, body).await,
            Operation::Unsubscribe => self.unsubscribe(who, body).await,
            Operation::Disconnect => self.disconnect(who, body).await,
            Operation::Revoke => self.revoke(who, body).await,
            Operation::Info => self.info(who),
        }
    }

    fn shared(&self) -> &Arc<Shared> {
        self.relay.shared()
    }

    /// Checks an operation on a channel. What the namespace allows to nobody is the relay's to refuse.
    pub(crate) fn may(
        &self,
        who: &Authorization,
        operation: capability::Operation,
        channel: &ChannelName,
    ) -> Result<(), WireError> {
        let shared = self.shared();
        let namespace = shared.config.namespace(channel).ok_or_else(|| {
            let message = format!("there is no namespace {:?}", channel.namespace());
            WireError::new(ErrorCode::UnknownNamespace, message)
        })?;
        if who.allows(operation, channel, namespace) {
            return Ok(());
        }
        let message = format!("{} is not allowed in this channel", operation.name());
        Err(WireError::new(self.refused(who), message))
    }

    fn must_be_admin(&self, who: &Authorization) -> Result<(), WireError> {
        if who.admin {
            return Ok(());
        }
        Err(WireError::new(self.refused(who), "only a token with the claim admin may do this"))
    }

    /// Somebody who has shown no token may be more than nobody.
    fn refused(&self, who: &Authorization) -> ErrorCode {
        let unknown = who.user.is_none() && who.token_id.is_none() && !who.admin;
        if unknown && !self.shared().ports.auth.allows_anonymous() {
            ErrorCode::Unauthorized
        } else {
            ErrorCode::Forbidden
        }
    }
}

/// Reads a body; unknown fields are ignored, as everywhere.
fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, WireError> {
    serde_json::from_slice(body).map_err(|error| WireError::new(ErrorCode::BadRequest, error.to_string()))
}

fn user(name: &str) -> Result<UserId, WireError> {
    UserId::parse(name).map_err(|error| WireError::new(ErrorCode::BadRequest, format!("user: {error}")))
}

fn channel(name: &str) -> Result<ChannelName, WireError> {
    ChannelName::parse(name).map_err(|error| WireError::new(ErrorCode::InvalidChannel, error.to_string()))
}

/// A reply as the native protocol writes it, without id and name.
fn object(reply: &Reply) -> Vec<u8> {
    let mut out = Vec::new();
    json::encode_reply(reply, &mut out);
    out
}
