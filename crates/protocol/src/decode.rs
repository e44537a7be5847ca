//! Why bytes could not be read as a message: one error for every decoder, and its translation into the error a client
//! is answered with. Never holds the offending bytes themselves.

use crate::channel::ChannelNameError;
use crate::error::{ErrorCode, WireError};
use crate::ids::IdError;

/// Why a message could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the message ends inside {0}")]
    Truncated(&'static str),
    #[error("{0} is a number larger than its field can hold")]
    Overflow(&'static str),
    /// A kind of message this version does not know. A client skips such a push.
    #[error("unknown {what} {tag}")]
    UnknownKind { what: &'static str, tag: u64 },
    #[error("{0} is not valid UTF-8")]
    Utf8(&'static str),
    #[error(transparent)]
    Channel(#[from] ChannelNameError),
    #[error(transparent)]
    Id(#[from] IdError),
    /// The payload of a publication is not what it claims to be.
    #[error("{0}")]
    Payload(String),
    /// A field is missing, unexpected, or holds something it must not.
    #[error("{0}")]
    Malformed(String),
    #[error("{what} has at most {limit}")]
    TooLarge { what: &'static str, limit: usize },
}

impl DecodeError {
    /// The code a client is answered with.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Channel(_) => ErrorCode::InvalidChannel,
            Self::Id(_) => ErrorCode::InvalidId,
            Self::Payload(_) => ErrorCode::InvalidData,
            Self::TooLarge { .. } => ErrorCode::TooLarge,
            Self::Truncated(_)
            | Self::Overflow(_)
            | Self::UnknownKind { .. }
            | Self::Utf8(_)
            | Self::Malformed(_) => ErrorCode::BadRequest,
        }
    }
}

impl From<DecodeError> for WireError {
    fn from(error: DecodeError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

/// A client message that could not be decoded, and the request id to answer under (0: none could be made out).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeFailure {
    pub id: u32,
    pub error: WireError,
}

impl DecodeFailure {
    pub(crate) fn new(id: u32, error: DecodeError) -> Self {
        Self { id, error: error.into() }
    }
}
