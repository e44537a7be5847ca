//! What a session decides.

use skywave_protocol::message::HistoryQuery;
use skywave_protocol::namespace::Access;
use skywave_protocol::{
    ChannelName, CloseCode, MessageId, NamespaceOptions, Payload, PlacementKey, Position, ServerMessage,
    UserId,
};

use crate::capability::{Capabilities, Operation, Verdict};

#[derive(Debug, Clone, PartialEq)]
pub enum SessionOutput {
    Send(ServerMessage),
    /// Check the token and answer with `handle_authorized`. `None`: an anonymous client asks.
    Authenticate {
        token: Option<String>,
    },
    /// The client says where it belongs, or that it was sent here. Comes before its first `Authenticate`.
    Place {
        key: Option<PlacementKey>,
        placed: bool,
    },
    /// Join the channel's hub shard; answer with `handle_joined` or `handle_join_failed`.
    /// `presence`: the client wants the channel's joins and leaves. (Whether it *is* a member others see depends on the
    /// namespace alone: `SessionConfig::namespace`.)
    Join {
        channel: ChannelName,
        durable: bool,
        recover: Option<Position>,
        presence: bool,
    },
    /// From here on nothing of the channel may be sent to the client.
    Leave {
        channel: ChannelName,
    },
    /// Answer with `handle_answer`. With `request_id` 0 nobody waits for the answer.
    Publish {
        request_id: u32,
        channel: ChannelName,
        id: Option<MessageId>,
        data: Payload,
        durable: bool,
    },
    ReadHistory {
        request_id: u32,
        query: HistoryQuery,
    },
    ReadPresence {
        request_id: u32,
        channel: ChannelName,
    },
    /// The last output: close the connection.
    Close {
        code: CloseCode,
        reason: String,
    },
}

/// What a token (or the lack of one) stands for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Authorization {
    /// `None`: anonymous.
    pub user: Option<UserId>,
    /// Seconds since the Unix epoch.
    pub expires_at_s: Option<u64>,
    pub capabilities: Capabilities,
    /// `jti`, for revocation.
    pub token_id: Option<String>,
    /// A backend: may do everything in every channel of a known namespace, speak for users, and end their connections.
    pub admin: bool,
}

impl Authorization {
    /// Whether the token, or the namespace's rule if the token says nothing, allows the operation.
    pub fn allows(&self, operation: Operation, channel: &ChannelName, namespace: &NamespaceOptions) -> bool {
        if self.admin {
            return true;
        }
        let rule = match operation {
            Operation::Publish => namespace.publish,
            Operation::Subscribe | Operation::History | Operation::Presence => namespace.subscribe,
        };
        match self.capabilities.check(operation, channel) {
            Verdict::Allowed => true,
            Verdict::Denied => false,
            Verdict::Unsaid => match (rule, &self.user) {
                (Access::Public, _) | (Access::Authenticated, Some(_)) => true,
                (Access::Owner, Some(user)) => user.as_str() == channel.rest(),
                (Access::Authenticated | Access::Owner, None) | (Access::Token, _) => false,
            },
        }
    }
}
