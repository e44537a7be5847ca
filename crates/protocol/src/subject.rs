//! Bus subjects, and the one safe encoding of a channel name into a subject token.
//!
//! Tokens hold only `[A-Za-z0-9_:@=+,~#-]`; the two characters a channel name may hold beyond that, `.` and `/`, and the
//! escape character itself travel as `=HH` (upper-case hexadecimal), so that a name is always exactly one token and two
//! names never share one.
//!
//! Live subjects carry a shard before the channel, a stable hash of its name: a node that follows very many channels may
//! then follow a shard with one wildcard instead. Who follows one channel need not know the hash: `sw.live.*.chat:1`.

use std::borrow::Borrow;
use std::fmt;

use arcstr::ArcStr;

use crate::hash::fnv1a;
use crate::{ChannelName, NodeId};

/// Longest subject, in bytes: room for a channel name of which every byte is escaped.
const SUBJECT_BYTES: usize = 1024;
/// Shards of live subjects. Every node must agree on it, so it never changes.
pub const LIVE_SHARDS: u16 = 512;
const LIVE: &str = "sw.live.";

/// Declares the kinds together with the list of them all: none can be left out.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $root:literal,)*) => {
        /// What a subject is for. Whoever gives rights to subjects goes through [`SubjectKind::ALL`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum SubjectKind {
            $($(#[$doc])* $kind,)*
        }

        impl SubjectKind {
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// Its first tokens.
            const fn root(self) -> &'static str {
                match self {
                    $(Self::$kind => $root,)*
                }
            }
        }
    };
}

kinds! {
    /// [`Subject::live`]
    Live = "sw.live",
    /// [`Subject::json`]
    Json = "sw.json",
    /// [`Subject::json_head`]
    JsonHead = "sw.head",
    /// [`Subject::ingest`]
    Ingest = "sw.ingest",
    /// [`Subject::core_ingest`]
    CoreIngest = "sw.ingest",
    /// [`Subject::cores`]
    Cores = "sw.cores",
    /// [`Subject::history`]
    History = "sw.history",
    /// [`Subject::partition_history`]
    PartitionHistory = "sw.history",
    /// [`Subject::cell`]
    Cell = "sw.cell",
    /// [`Subject::events`]
    Events = "sw.events",
    /// [`Subject::reply`]
    Reply = "sw.reply",
    /// [`Subject::node`]
    Node = "sw.node",
    /// [`Subject::control`]
    Control = "sw.control",
}

/// A concrete subject (no wildcards), e.g. `sw.live.310.chat:1`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject(ArcStr);

impl Subject {
    /// A kind's root and one token for each text. Live subjects are made by hand, because they are on the path of every
    /// publication.
    fn of(kind: SubjectKind, texts: &[&str]) -> Self {
        let mut subject = kind.root().to_owned();
        for text in texts {
            subject.push('.');
            push_token(&mut subject, text);
        }
        Self(subject.into())
    }

    /// Live publications, heads and presence deltas of a channel: [`crate::inner::Live`].
    pub fn live(channel: &ChannelName) -> Self {
        let name = channel.as_str();
        // Below a `u16`, as the divisor is one.
        let shard = (fnv1a(name.as_bytes()) % u64::from(LIVE_SHARDS)) as u16;
        // Room for the shard's digits; escapes may add to it.
        let mut subject = String::with_capacity(LIVE.len() + 5 + name.len());
        subject.push_str(LIVE);
        push_number(&mut subject, shard);
        subject.push('.');
        push_token(&mut subject, name);
        Self(subject.into())
    }

    /// The shard of a live subject; `None` for any other subject.
    pub fn live_shard(&self) -> Option<u16> {
        let (shard, channel) = self.0.strip_prefix(LIVE)?.split_once('.')?;
        let number: u16 = shard.parse().ok()?;
        // As it was written: `+7` and `07` are other subjects.
        let mut digits = String::new();
        push_number(&mut digits, number);
        (digits == shard && number < LIVE_SHARDS && !channel.contains('.')).then_some(number)
    }

    /// A channel's publications as JSON, for backends ([`crate::json::live_publication`]): `sw.json.NAMESPACE.CHANNEL`, so that
    /// rights can be given by namespace. That of a name without one is `default`.
    pub fn json(channel: &ChannelName) -> Self {
        Self::of(SubjectKind::Json, &[namespace_token(channel), channel.as_str()])
    }

    /// A channel's newest position as JSON, for backends ([`crate::json::live_head`]).
    pub fn json_head(channel: &ChannelName) -> Self {
        Self::of(SubjectKind::JsonHead, &[namespace_token(channel), channel.as_str()])
    }

    /// Durable publishes to the core of a cell, queue group `core`.
    pub fn ingest(cell: &str) -> Self {
        Self::of(SubjectKind::Ingest, &[cell])
    }

    /// Durable publishes to one core of a cell, by the id of its process.
    pub fn core_ingest(cell: &str, core: &NodeId) -> Self {
        Self::of(SubjectKind::CoreIngest, &[cell, core.as_str()])
    }

    /// Where the cores of a cell tell the edges that they are there: [`crate::inner::CoreBeat`].
    pub fn cores(cell: &str) -> Self {
        Self::of(SubjectKind::Cores, &[cell])
    }

    /// History reads from the core of a cell, queue group `core`.
    pub fn history(cell: &str) -> Self {
        Self::of(SubjectKind::History, &[cell])
    }

    /// History reads that a core passes on to the owner of a partition, which alone knows what is not stored yet.
    pub fn partition_history(cell: &str, partition: u32) -> Self {
        Self::of(SubjectKind::PartitionHistory, &[cell, &partition.to_string()])
    }

    /// What the cores of a cell tell each other: [`crate::inner::CellNews`].
    pub fn cell(cell: &str) -> Self {
        Self::of(SubjectKind::Cell, &[cell])
    }

    /// What edges tell the cores of a cell about users and themselves, queue group `core`: [`crate::inner::RelayEvents`].
    pub fn events(cell: &str) -> Self {
        Self::of(SubjectKind::Events, &[cell])
    }

    /// Where one requester of a node awaits its answers.
    pub fn reply(node: &NodeId, requester: u32) -> Self {
        Self::of(SubjectKind::Reply, &[node.as_str(), &requester.to_string()])
    }

    /// Heartbeats of a region's edges: [`crate::inner::NodeBeat`].
    pub fn node(region: &str) -> Self {
        Self::of(SubjectKind::Node, &[region])
    }

    /// Control news for every edge: revocations, disconnects.
    pub fn control() -> Self {
        Self::of(SubjectKind::Control, &[])
    }

    /// Takes a subject that came over the wire (a reply address in a log record).
    /// `None` unless it is `sw.`-prefixed, at most 1024 bytes and free of empty tokens, wildcards, spaces and control
    /// characters.
    pub fn from_wire(text: &str) -> Option<Self> {
        let safe = |byte: u8| byte.is_ascii_graphic() && byte != b'*' && byte != b'>';
        let whole = !text.ends_with('.') && !text.contains("..");
        (text.len() <= SUBJECT_BYTES && text.starts_with("sw.") && whole && text.bytes().all(safe))
            .then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn namespace_token(channel: &ChannelName) -> &str {
    match channel.namespace() {
        "" => "default",
        namespace => namespace,
    }
}

fn push_token(out: &mut String, text: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"_:@+,~#-".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('=');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// Decimal; by hand, because it is on the path of every publication.
fn push_number(out: &mut String, number: u16) {
    if number >= 10 {
        push_number(out, number / 10);
    }
    out.push(char::from(b'0' + (number % 10) as u8));
}

/// A subject is found in a table by its text. (Its hash is that of the text.)
impl Borrow<str> for Subject {
    fn borrow(&self) -> &str {
        &self.0
    }
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

    fn live(name: &str) -> Subject {
        Subject::live(&ChannelName::parse(name).unwrap())
    }

    #[test]
    fn a_channel_is_one_token_and_names_stay_apart() {
        let token = |name| live(name).as_str().rsplit_once('.').unwrap().1.to_owned();
        assert_eq!(token("chat:1"), "chat:1");
        assert_eq!(token("a..b/c"), "a=2E=2Eb=2Fc");
        assert_ne!(token("a.b"), token("a=2Eb"));
    }

    #[test]
    fn the_shard_of_a_channel_never_changes() {
        // Every node, of whatever version, must compute these.
        assert_eq!(live("chat:1").as_str(), "sw.live.310.chat:1");
        assert_eq!(live("a").as_str(), "sw.live.140.a");
        assert_eq!(live("chat:1").live_shard(), Some(310));
    }

    #[test]
    fn backends_are_given_rights_by_namespace() {
        let json = |name| Subject::json(&ChannelName::parse(name).unwrap()).to_string();
        assert_eq!(json("chat:1"), "sw.json.chat.chat:1");
        assert_eq!(json("plain"), "sw.json.default.plain");
        assert_eq!(json("a.b:c/d"), "sw.json.a=2Eb.a=2Eb:c=2Fd");
        let head = Subject::json_head(&ChannelName::parse("chat:1").unwrap());
        assert_eq!(head.as_str(), "sw.head.chat.chat:1");
    }

    #[test]
    fn only_live_subjects_have_a_shard() {
        for other in
            ["sw.control", "sw.live.x", "sw.live.x.y", "sw.live.512.y", "sw.live.1.y.z", "sw.reply.1.2"]
        {
            assert_eq!(Subject::from_wire(other).unwrap().live_shard(), None, "{other}");
        }
    }

    #[test]
    fn the_longest_subject_reads_back() {
        let subject = live(&"/".repeat(crate::limits::CHANNEL_NAME_BYTES));
        assert_eq!(Subject::from_wire(subject.as_str()), Some(subject));
    }

    #[test]
    fn what_is_no_subject_is_refused() {
        for text in ["", "sw.", "sw..a", "sw.a.", "sw.a b", "sw.*", "sw.>", "sw.a\r\n", "_INBOX.a", "$SYS.a"]
        {
            assert_eq!(Subject::from_wire(text), None, "{text:?}");
        }
    }
}
