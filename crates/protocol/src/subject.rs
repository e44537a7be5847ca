//! Bus subjects, and the one safe encoding of a channel name into a subject token.
//!
//! Tokens hold only `[A-Za-z0-9_:@=+,~#-]`; the two characters a channel name may hold beyond that, `.` and `/`, and the
//! escape character itself travel as `=HH` (upper-case hexadecimal), so that a name is always exactly one token and two
//! names never share one.

use std::fmt;
use std::sync::Arc;

use crate::{ChannelName, NodeId};

/// Longest subject, in bytes: room for a channel name of which every byte is escaped.
const SUBJECT_BYTES: usize = 1024;

/// A concrete subject (no wildcards), e.g. `sw.live.chat:1`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject(Arc<str>);

impl Subject {
    /// Live publications, heads and presence deltas of a channel: [`crate::inner::Live`].
    pub fn live(channel: &ChannelName) -> Self {
        Self(format!("sw.live.{}", token(channel.as_str())).into())
    }

    /// Durable publishes to the core of a cell, queue group `core`.
    pub fn ingest(cell: &str) -> Self {
        Self(format!("sw.ingest.{}", token(cell)).into())
    }

    /// History reads from the core of a cell, queue group `core`.
    pub fn history(cell: &str) -> Self {
        Self(format!("sw.history.{}", token(cell)).into())
    }

    /// Where one requester of a node awaits its answers.
    pub fn reply(node: &NodeId, requester: u32) -> Self {
        Self(format!("sw.reply.{}.{requester}", token(node.as_str())).into())
    }

    /// Control news for every edge: revocations, disconnects.
    pub fn control() -> Self {
        Self("sw.control".into())
    }

    /// Takes a subject that came over the wire (a reply address in a log record).
    /// `None` unless it is `sw.`-prefixed, at most 1024 bytes and free of wildcards, spaces and control characters.
    pub fn from_wire(text: &str) -> Option<Self> {
        let safe = |byte: u8| byte.is_ascii_graphic() && byte != b'*' && byte != b'>';
        (text.len() <= SUBJECT_BYTES && text.starts_with("sw.") && text.bytes().all(safe))
            .then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn token(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"_:@+,~#-".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("={byte:02X}"));
        }
    }
    out
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_one_token_and_names_stay_apart() {
        let subject = |name| Subject::live(&ChannelName::parse(name).unwrap()).to_string();
        assert_eq!(subject("chat:1"), "sw.live.chat:1");
        assert_eq!(subject("a..b/c"), "sw.live.a=2E=2Eb=2Fc");
        assert_ne!(subject("a.b"), subject("a=2Eb"));
    }

    #[test]
    fn the_longest_subject_reads_back() {
        let name = ChannelName::parse(&"/".repeat(crate::limits::CHANNEL_NAME_BYTES)).unwrap();
        let subject = Subject::live(&name);
        assert_eq!(Subject::from_wire(subject.as_str()), Some(subject));
    }
}
