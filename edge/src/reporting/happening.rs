//! What is worth telling, and how it reads.

use serde_json::{Value, json};
use skywave_protocol::inner::{Envelope, EventTopic, RelayEvent};
use skywave_protocol::{ChannelName, ClientId, CloseCode, NodeId, UserId};

use super::Report;
use crate::config::EdgeConfig;
use crate::transport::Transport;

/// One connection of a user.
#[derive(Debug, Clone)]
pub(crate) struct Whose {
    pub(crate) client: ClientId,
    /// `None`: anonymous.
    pub(crate) user: Option<UserId>,
}

#[derive(Debug, Clone)]
pub(crate) enum Happening {
    Connected {
        whose: Whose,
        transport: Transport,
    },
    /// `None`: the connection was lost without a word.
    Disconnected {
        whose: Whose,
        why: Option<(CloseCode, String)>,
    },
    Subscribed {
        whose: Whose,
        channel: ChannelName,
    },
    Unsubscribed {
        whose: Whose,
        channel: ChannelName,
    },
    /// This node: `up`, `draining`, `down`.
    Node(&'static str),
    /// Another node of the region is not heard of any more, and did not say that it leaves.
    NodeLost(NodeId),
    /// A backend ended a user's connections.
    Expelled(UserId),
    Revoked {
        token_id: String,
        until: u64,
    },
    /// Something that this node leans on is away, or back.
    Circuit {
        name: &'static str,
        trouble: Option<String>,
    },
}

impl Happening {
    pub(super) fn is_activity(&self) -> bool {
        match self {
            Self::Connected { .. }
            | Self::Disconnected { .. }
            | Self::Subscribed { .. }
            | Self::Unsubscribed { .. } => true,
            Self::Node(_)
            | Self::NodeLost(_)
            | Self::Expelled(_)
            | Self::Revoked { .. }
            | Self::Circuit { .. } => false,
        }
    }

    fn whose(&self) -> Option<&Whose> {
        match self {
            Self::Connected { whose, .. }
            | Self::Disconnected { whose, .. }
            | Self::Subscribed { whose, .. }
            | Self::Unsubscribed { whose, .. } => Some(whose),
            _ => None,
        }
    }
}

impl Report {
    pub(super) fn encode(&self, config: &EdgeConfig) -> RelayEvent {
        let Self { time_ms, happening } = self;
        let here = json!({ "node": config.node.as_str(), "region": config.region });
        let (kind, mut data) = described(happening);
        for (name, value) in here.as_object().into_iter().flatten() {
            data[name] = value.clone();
        }
        let whose = happening.whose();
        if let Some(whose) = whose {
            data["client"] = whose.client.as_str().into();
        }
        let user = whose.and_then(|whose| whose.user.as_ref());
        let user = user.or(match happening {
            Happening::Expelled(user) => Some(user),
            _ => None,
        });
        let channel = match happening {
            Happening::Subscribed { channel, .. } | Happening::Unsubscribed { channel, .. } => Some(channel),
            _ => None,
        };
        let key = match (user, whose, happening) {
            (Some(user), ..) => user.as_str(),
            (None, Some(whose), _) => whose.client.as_str(),
            (None, None, Happening::NodeLost(node)) => node.as_str(),
            (None, None, _) => config.node.as_str(),
        };
        let envelope = Envelope {
            timestamp: *time_ms,
            kind,
            user: user.map(UserId::as_str),
            channel: channel.map(ChannelName::as_str),
            data,
        };
        let topic = if happening.is_activity() { EventTopic::Activity } else { EventTopic::System };
        RelayEvent { topic, key: key.to_owned(), value: envelope.encode() }
    }
}

/// The event's type, and what is to be said beside who, where and when.
fn described(happening: &Happening) -> (&'static str, Value) {
    match happening {
        Happening::Connected { transport, .. } => {
            ("user.connected", json!({ "transport": transport.name() }))
        }
        Happening::Disconnected { why: Some((code, reason)), .. } => {
            ("user.disconnected", json!({ "code": code.number(), "reason": reason }))
        }
        Happening::Disconnected { why: None, .. } => {
            ("user.disconnected", json!({ "code": null, "reason": "connection lost" }))
        }
        Happening::Subscribed { .. } => ("user.subscribed", json!({})),
        Happening::Unsubscribed { .. } => ("user.unsubscribed", json!({})),
        Happening::Node("up") => ("node.up", json!({ "role": "edge" })),
        Happening::Node("draining") => ("node.draining", json!({ "role": "edge" })),
        Happening::Node(_) => ("node.down", json!({ "role": "edge" })),
        Happening::NodeLost(node) => ("node.lost", json!({ "role": "edge", "lost": node.as_str() })),
        Happening::Expelled(_) => ("user.expelled", json!({})),
        Happening::Revoked { token_id, until } => {
            ("token.revoked", json!({ "tokenId": token_id, "until": until }))
        }
        Happening::Circuit { name, trouble: Some(reason) } => {
            ("circuit.opened", json!({ "circuit": name, "reason": reason }))
        }
        Happening::Circuit { name, trouble: None } => ("circuit.closed", json!({ "circuit": name })),
    }
}
