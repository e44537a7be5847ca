//! What concerns a user's connections, on every node: announced on the bus, done by each node for its own.
//!
//! The answer says that the news is on its way, not that it has arrived: nodes act within a moment of hearing it.

use serde::Deserialize;
use skywave_engine::session::Authorization;
use skywave_protocol::inner::Control;
use skywave_protocol::{ErrorCode, WireError};

use super::{Backend, channel, parse, user};
use crate::reporting::Happening;

/// The answer to what has nothing to tell.
const DONE: &[u8] = b"{}";

#[derive(Deserialize)]
struct User<'a> {
    #[serde(borrow)]
    user: std::borrow::Cow<'a, str>,
}

#[derive(Deserialize)]
struct Membership<'a> {
    #[serde(borrow)]
    user: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    channel: std::borrow::Cow<'a, str>,
}

#[derive(Deserialize)]
struct Token {
    token_id: String,
    /// Seconds since the Unix epoch: when the token expires anyway.
    until: u64,
}

impl Backend {
    /// Closes every connection of the user. They may come back: revoke their tokens as well, or sign no new ones.
    pub(super) async fn disconnect(&self, who: &Authorization, body: &[u8]) -> Result<Vec<u8>, WireError> {
        self.must_be_admin(who)?;
        let User { user: name } = parse(body)?;
        self.announce(Control::DisconnectUser { user: user(&name)? }).await
    }

    /// Closes the token's connections, and refuses it from now on, everywhere and also at nodes that start later.
    pub(super) async fn revoke(&self, who: &Authorization, body: &[u8]) -> Result<Vec<u8>, WireError> {
        self.must_be_admin(who)?;
        let Token { token_id, until } = parse(body)?;
        if token_id.is_empty() || token_id.len() > 256 {
            return Err(WireError::new(ErrorCode::BadRequest, "token_id has 1 to 256 bytes"));
        }
        self.announce(Control::RevokeToken { token_id, until }).await
    }

    /// Puts the user's present connections into the channel, whatever their tokens say; for as long as they last.
    pub(super) async fn subscribe(&self, who: &Authorization, body: &[u8]) -> Result<Vec<u8>, WireError> {
        self.must_be_admin(who)?;
        let Membership { user: name, channel: place } = parse(body)?;
        let channel = self.known(&place)?;
        self.announce(Control::Subscribe { user: user(&name)?, channel }).await
    }

    pub(super) async fn unsubscribe(&self, who: &Authorization, body: &[u8]) -> Result<Vec<u8>, WireError> {
        self.must_be_admin(who)?;
        let Membership { user: name, channel: place } = parse(body)?;
        let channel = self.known(&place)?;
        self.announce(Control::Unsubscribe { user: user(&name)?, channel }).await
    }

    fn known(&self, name: &str) -> Result<skywave_protocol::ChannelName, WireError> {
        let channel = channel(name)?;
        if self.shared().config.namespace(&channel).is_none() {
            let message = format!("there is no namespace {:?}", channel.namespace());
            return Err(WireError::new(ErrorCode::UnknownNamespace, message));
        }
        Ok(channel)
    }

    async fn announce(&self, control: Control) -> Result<Vec<u8>, WireError> {
        let reported = match &control {
            Control::DisconnectUser { user } => Some(Happening::Expelled(user.clone())),
            Control::RevokeToken { token_id, until } => {
                Some(Happening::Revoked { token_id: token_id.clone(), until: *until })
            }
            Control::Subscribe { .. } | Control::Unsubscribe { .. } => None,
        };
        self.relay.announce(control).await?;
        if let Some(happening) = reported {
            self.shared().reporter.report(happening);
        }
        Ok(DONE.to_vec())
    }
}
