//! One message in a channel, as every part of Skywave hands it on.

use bytes::Bytes;

use crate::ids::{MessageId, UserId};
use crate::position::Offset;

/// What the publisher sent; Skywave never looks inside.
///
/// JSON text is checked once, where it enters, and then carried as the very bytes it came in. A JSON client receives
/// `Binary` as base64 in the field `data64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// One valid JSON value, UTF-8, without leading or trailing white space and without raw newlines.
    Json(Bytes),
    /// Any bytes.
    Binary(Bytes),
}

impl Payload {
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Json(bytes) | Self::Binary(bytes) => bytes,
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.bytes().len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }
}

/// A publication. `offset` 0 marks an ephemeral one: no position, at most once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    pub offset: Offset,
    /// The publisher's idempotency key.
    pub id: Option<MessageId>,
    /// The publishing user; `None` for anonymous publishers.
    pub from: Option<UserId>,
    /// Record time in milliseconds since the Unix epoch.
    pub time_ms: u64,
    pub data: Payload,
}

impl Publication {
    pub fn is_ephemeral(&self) -> bool {
        self.offset == 0
    }
}
