//! What all sessions of a node share.

use std::collections::BTreeMap;

use skywave_protocol::{ChannelName, NamespaceOptions, NodeId, limits};

use crate::bucket::Rate;
use crate::time::Millis;

#[derive(Debug, Clone, PartialEq)]
pub struct SessionConfig {
    pub region: String,
    pub node: NodeId,
    /// By name; `""` is the default namespace.
    pub namespaces: BTreeMap<String, NamespaceOptions>,
    /// `connect` must come within this time.
    pub connect_timeout_ms: Millis,
    /// The server pings after so many seconds without a byte from the client …
    pub ping_seconds: u32,
    /// … and closes after so many more.
    pub pong_timeout_seconds: u32,
    /// Largest client message in bytes; told to the client, enforced by the transport.
    pub message_bytes: u32,
    pub subscriptions: usize,
    /// Requests waiting for an answer. When full, further ones are refused.
    pub requests: usize,
    /// A request without an answer for so long is answered with `timeout`.
    pub request_timeout_ms: Millis,
    /// Publications of one connection.
    pub publish_rate: Rate,
    /// All other requests of one connection.
    pub request_rate: Rate,
    /// How long before the token expires the client is warned (at once, if it lives shorter).
    pub expiry_warning_ms: Millis,
    /// Unreadable messages before the connection is closed.
    pub invalid_messages: u8,
}

impl SessionConfig {
    /// Defaults, without a namespace.
    pub fn new(region: impl Into<String>, node: NodeId) -> Self {
        Self {
            region: region.into(),
            node,
            namespaces: BTreeMap::new(),
            connect_timeout_ms: 10_000,
            ping_seconds: 25,
            pong_timeout_seconds: 10,
            message_bytes: limits::MESSAGE_BYTES_DEFAULT as u32,
            subscriptions: limits::SUBSCRIPTIONS_DEFAULT,
            requests: 256,
            request_timeout_ms: 10_000,
            publish_rate: Rate::per_second(100, 200),
            request_rate: Rate::per_second(200, 2_000),
            expiry_warning_ms: 60_000,
            invalid_messages: 16,
        }
    }

    /// The options of the channel's namespace, if there is such a namespace.
    pub fn namespace(&self, channel: &ChannelName) -> Option<&NamespaceOptions> {
        self.namespaces.get(channel.namespace())
    }
}
