//! Channel names: `namespace:rest`, or a bare name in the default namespace.
//!
//! A name is 1 to 255 bytes of `A–Z a–z 0–9 _ - . : @ / = + , ~ #`. Only ASCII is allowed, so that look-alikes and
//! composed forms cannot name two channels that read the same; wildcards, spaces and control characters never reach a
//! subject, a key or a query (see [`crate::subject`] for how the rest is encoded).

use std::fmt;

use arcstr::ArcStr;

use crate::limits::CHANNEL_NAME_BYTES;

/// A checked channel name; cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName(ArcStr);

/// Why a channel name was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChannelNameError {
    #[error("a channel name must not be empty")]
    Empty,
    #[error("a channel name has at most {CHANNEL_NAME_BYTES} bytes; this one has {0}")]
    TooLong(usize),
    #[error(
        "byte {at} of the channel name is not allowed; use letters, digits and _ - . : @ / = + , ~ # (ASCII only)"
    )]
    Forbidden { at: usize },
    #[error("a channel name must not begin with ':' (an empty namespace)")]
    EmptyNamespace,
}

impl ChannelName {
    /// Checks and takes a name. Errors name the first offence.
    pub fn parse(name: &str) -> Result<Self, ChannelNameError> {
        if name.is_empty() {
            return Err(ChannelNameError::Empty);
        }
        if name.len() > CHANNEL_NAME_BYTES {
            return Err(ChannelNameError::TooLong(name.len()));
        }
        if let Some(at) = name.bytes().position(|byte| !is_allowed(byte)) {
            return Err(ChannelNameError::Forbidden { at });
        }
        if name.starts_with(':') {
            return Err(ChannelNameError::EmptyNamespace);
        }
        Ok(Self(name.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the first `:`, or `""` (the default namespace) for a bare name.
    pub fn namespace(&self) -> &str {
        self.0.split_once(':').map_or("", |(namespace, _)| namespace)
    }

    /// The part after the first `:`, or the whole of a bare name.
    pub fn rest(&self) -> &str {
        self.0.split_once(':').map_or(&self.0, |(_, rest)| rest)
    }
}

/// One look-up a byte: names are checked wherever they arrive.
const ALLOWED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let c = byte as u8;
        table[byte] = c.is_ascii_alphanumeric()
            || matches!(c, b'_' | b'-' | b'.' | b':' | b'@' | b'/' | b'=' | b'+' | b',' | b'~' | b'#');
        byte += 1;
    }
    table
};

fn is_allowed(byte: u8) -> bool {
    ALLOWED[usize::from(byte)]
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl std::borrow::Borrow<str> for ChannelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespace_is_what_stands_before_the_first_colon() {
        let name = ChannelName::parse("chat:room:1").unwrap();
        assert_eq!((name.namespace(), name.rest()), ("chat", "room:1"));
        let bare = ChannelName::parse("lobby").unwrap();
        assert_eq!((bare.namespace(), bare.rest()), ("", "lobby"));
    }

    #[test]
    fn exactly_the_documented_bytes_are_allowed() {
        let documented = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:@/=+,~#".contains(&byte);
        assert!((0..=255).all(|byte| is_allowed(byte) == documented(byte)));
    }

    #[test]
    fn hostile_names_are_refused() {
        for name in
            ["", "*", ">", "a.>", "a b", "a\r\nPUB x", "a\0", "é", "e\u{301}", "$SYS.>", ":x", "a\u{202e}b"]
        {
            assert!(ChannelName::parse(name).is_err(), "{name:?}");
        }
        assert_eq!(ChannelName::parse(&"a".repeat(10_000)), Err(ChannelNameError::TooLong(10_000)));
    }
}
