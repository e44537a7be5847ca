//! How far a connection has got, and what its token allows.

use skywave_protocol::{ChannelName, ClientMessage, NamespaceOptions};

use super::Authorization;
use crate::capability::Operation;
use crate::time::Millis;

#[derive(Debug)]
pub(super) enum Phase {
    /// `connect` has not come.
    New {
        until: Millis,
    },
    /// The token is being checked.
    Connecting(Box<Connecting>),
    Open(Box<Open>),
    Closed,
}

#[derive(Debug, Default)]
pub(super) struct Connecting {
    /// The token must be checked by then.
    pub(super) until: Millis,
    pub(super) request_id: u32,
    /// Requests that came behind `connect` in the same breath. Bounded by `BATCH_REQUESTS`; further ones are refused.
    pub(super) held: Vec<ClientMessage>,
}

#[derive(Debug)]
pub(super) struct Open {
    pub(super) authorization: Authorization,
    pub(super) expires_at: Option<Millis>,
    /// Cleared when the warning is sent.
    pub(super) warn_at: Option<Millis>,
    /// A refresh that is being checked.
    pub(super) refreshing: Option<u32>,
}

impl Open {
    pub(super) fn allows(
        &self,
        operation: Operation,
        channel: &ChannelName,
        namespace: &NamespaceOptions,
    ) -> bool {
        self.authorization.allows(operation, channel, namespace)
    }
}
