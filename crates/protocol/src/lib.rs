//! The words Skywave's parts exchange: with clients (native protocol, JSON and binary), between edge and core
//! (`inner`), and on the wire below (RFC 6455 frames).
//!
//! Owns: every name, limit, code and encoding, each in one place. Never: performs I/O, reads a clock, allocates ahead
//! of the data that arrived, or knows what a message will be used for.

pub mod binary;
pub mod channel;
pub mod close;
pub mod decode;
pub mod error;
pub mod hash;
pub mod ids;
pub mod inner;
pub mod json;
pub mod limits;
pub mod message;
pub mod namespace;
pub mod position;
pub mod publication;
pub mod subject;
pub mod websocket;
mod wire;

pub use channel::ChannelName;
pub use close::CloseCode;
pub use decode::{DecodeError, DecodeFailure};
pub use error::{ErrorCode, WireError};
pub use ids::{ClientId, MessageId, NodeId, PlacementKey, UserId};
pub use message::{ClientMessage, Push, Reply, Request, ServerMessage};
pub use namespace::{Durability, NamespaceOptions};
pub use position::{Epoch, Offset, Position};
pub use publication::{Payload, Publication};
pub use subject::{Subject, SubjectKind};
