//! Identifiers that travel: message ids, users, clients (connections) and nodes. Each is checked once, where it enters.

use std::fmt;

use arcstr::ArcStr;

use crate::limits::{MESSAGE_ID_BYTES, NODE_ID_BYTES, PLACEMENT_KEY_BYTES, USER_ID_BYTES};

/// Why an identifier was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("{what} must not be empty")]
    Empty { what: &'static str },
    #[error("{what} has at most {limit} bytes; this one has {got}")]
    TooLong { what: &'static str, limit: usize, got: usize },
    #[error("{what} must not hold control characters{}", if *ascii { ", spaces or non-ASCII characters" } else { "" })]
    Forbidden { what: &'static str, ascii: bool },
}

fn check(text: &str, what: &'static str, limit: usize, ascii: bool) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty { what });
    }
    if text.len() > limit {
        return Err(IdError::TooLong { what, limit, got: text.len() });
    }
    let allowed = |c: char| if ascii { c.is_ascii_graphic() } else { !c.is_control() };
    if text.chars().all(allowed) { Ok(()) } else { Err(IdError::Forbidden { what, ascii }) }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $limit:expr, ascii: $ascii:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(ArcStr);

        impl $name {
            /// Checks and takes an identifier. Errors say what is wrong with it.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                check(text, $what, $limit, $ascii)?;
                Ok(Self(text.into()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

id!(
    /// The idempotency key of a publication, chosen by its publisher: 1 to 64 printable ASCII bytes (ULID, UUID …).
    MessageId, "a message id", MESSAGE_ID_BYTES, ascii: true
);
id!(
    /// The user a token names (`sub`): 1 to 128 bytes, no control characters.
    UserId, "a user id", USER_ID_BYTES, ascii: false
);
id!(
    /// One connection, named by the node that serves it; never reused.
    ClientId, "a client id", NODE_ID_BYTES, ascii: true
);
id!(
    /// What decides which node of a region serves a connection best: 1 to 255 bytes, no control characters. Connections of
    /// one key meet on one node.
    PlacementKey, "a placement key", PLACEMENT_KEY_BYTES, ascii: false
);
id!(
    /// One process of the cluster; a restarted process takes a new one.
    NodeId, "a node id", NODE_ID_BYTES, ascii: true
);
