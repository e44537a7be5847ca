//! How far a connection has got, and what its token allows.

use skywave_protocol::namespace::Access;
use skywave_protocol::{ChannelName, ClientMessage, NamespaceOptions};

use super::Authorization;
use crate::capability::{Operation, Verdict};
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
    /// Whether the token, or the namespace's rule if the token says nothing, allows the operation.
    pub(super) fn allows(
        &self,
        operation: Operation,
        channel: &ChannelName,
        namespace: &NamespaceOptions,
    ) -> bool {
        let rule = match operation {
            Operation::Publish => namespace.publish,
            Operation::Subscribe | Operation::History | Operation::Presence => namespace.subscribe,
        };
        match self.authorization.capabilities.check(operation, channel) {
            Verdict::Allowed => true,
            Verdict::Denied => false,
            Verdict::Unsaid => match (rule, &self.authorization.user) {
                (Access::Public, _) | (Access::Authenticated, Some(_)) => true,
                (Access::Owner, Some(user)) => user.as_str() == channel.rest(),
                (Access::Authenticated | Access::Owner, None) | (Access::Token, _) => false,
            },
        }
    }
}
