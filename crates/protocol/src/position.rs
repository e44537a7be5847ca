//! Where a publication stands in its channel.

use std::fmt;

use arcstr::ArcStr;

use crate::ids::IdError;
use crate::limits::EPOCH_BYTES;

/// Dense per-channel position: 1, 2, 3 … ; 0 stands before the first publication.
pub type Offset = u64;

/// The generation of a log; changes only when a failover (or a wiped data folder) starts a new one. Opaque to clients.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Epoch(ArcStr);

impl Epoch {
    /// Takes 1 to 32 bytes of `[A-Za-z0-9_-]`.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        const WHAT: &str = "an epoch";
        match text {
            "" => Err(IdError::Empty { what: WHAT }),
            _ if text.len() > EPOCH_BYTES => {
                Err(IdError::TooLong { what: WHAT, limit: EPOCH_BYTES, got: text.len() })
            }
            _ if text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') => {
                Ok(Self(text.into()))
            }
            _ => Err(IdError::Forbidden { what: WHAT, ascii: true }),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// (epoch, offset): names one publication of a channel, for ever.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Position {
    pub epoch: Epoch,
    pub offset: Offset,
}
