//! What a token allows: patterns of channel names with operations (the claim `cap`).
//!
//! A pattern is an exact channel name, or a prefix ending in `*`. A token that carries the claim is allowed exactly what
//! the claim names; one without it says nothing, and the namespace's access rules decide.

use skywave_protocol::ChannelName;
use skywave_protocol::limits::CHANNEL_NAME_BYTES;

/// One thing a client may do with a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Subscribe,
    Publish,
    History,
    Presence,
}

impl Operation {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Subscribe, "subscribe"),
        (Self::Publish, "publish"),
        (Self::History, "history"),
        (Self::Presence, "presence"),
    ];

    /// Name as it stands in a token.
    pub fn name(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Publish => "publish",
            Self::History => "history",
            Self::Presence => "presence",
        }
    }

    fn bit(self) -> u8 {
        1 << (self as u8)
    }
}

/// What the token says about one operation on one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    Denied,
    /// The token carries no capabilities: the namespace decides.
    Unsaid,
}

/// Why a `cap` claim was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CapabilityError {
    #[error("{0:?} is no operation; use subscribe, publish, history, presence or *")]
    UnknownOperation(String),
    #[error("the pattern {0:?} must be a channel name or a prefix of one followed by a single *")]
    BadPattern(String),
    #[error("a token names at most {MAX_PATTERNS} patterns")]
    TooMany,
}

/// Patterns one token may name: checks are linear in them.
pub const MAX_PATTERNS: usize = 256;

/// The checked claim. The default carries none and leaves everything to the namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capabilities(Option<Box<[Rule]>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// Without the `*`.
    text: Box<str>,
    prefix: bool,
    operations: u8,
}

impl Capabilities {
    /// From pattern → operations, as in a token. An empty map allows nothing.
    pub fn from_claims<P, O, I>(claims: I) -> Result<Self, CapabilityError>
    where
        P: AsRef<str>,
        O: IntoIterator,
        O::Item: AsRef<str>,
        I: IntoIterator<Item = (P, O)>,
    {
        let mut rules = Vec::new();
        for (pattern, operations) in claims {
            if rules.len() == MAX_PATTERNS {
                return Err(CapabilityError::TooMany);
            }
            rules.push(Rule::parse(pattern.as_ref(), operations)?);
        }
        Ok(Self(Some(rules.into())))
    }

    pub fn check(&self, operation: Operation, channel: &ChannelName) -> Verdict {
        let Some(rules) = &self.0 else { return Verdict::Unsaid };
        let allows = |rule: &Rule| rule.operations & operation.bit() != 0 && rule.matches(channel.as_str());
        if rules.iter().any(allows) { Verdict::Allowed } else { Verdict::Denied }
    }
}

impl Rule {
    fn parse<O>(pattern: &str, operations: O) -> Result<Self, CapabilityError>
    where
        O: IntoIterator,
        O::Item: AsRef<str>,
    {
        let (text, prefix) = match pattern.strip_suffix('*') {
            Some(text) => (text, true),
            None => (pattern, false),
        };
        // Everything but the bare `*` must be (the beginning of) a name that could exist.
        let bare = prefix && text.is_empty();
        if !bare && (text.len() > CHANNEL_NAME_BYTES || ChannelName::parse(text).is_err()) {
            return Err(CapabilityError::BadPattern(pattern.to_owned()));
        }
        let mut bits = 0;
        for operation in operations {
            bits |= bits_of(operation.as_ref())?;
        }
        Ok(Self { text: text.into(), prefix, operations: bits })
    }

    fn matches(&self, channel: &str) -> bool {
        if self.prefix { channel.starts_with(&*self.text) } else { channel == &*self.text }
    }
}

fn bits_of(name: &str) -> Result<u8, CapabilityError> {
    if name == "*" {
        return Ok(Operation::ALL.iter().fold(0, |bits, (operation, _)| bits | operation.bit()));
    }
    Operation::ALL
        .iter()
        .find(|(_, known)| *known == name)
        .map(|(operation, _)| operation.bit())
        .ok_or_else(|| CapabilityError::UnknownOperation(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name).unwrap()
    }

    #[test]
    fn exact_names_and_prefixes() {
        let cap = Capabilities::from_claims([
            ("chat:*", vec!["subscribe", "history"]),
            ("user:42", vec!["*"]),
            ("chat:1", vec!["publish"]),
        ])
        .unwrap();
        let check = |operation, name| cap.check(operation, &channel(name));
        assert_eq!(check(Operation::Subscribe, "chat:9"), Verdict::Allowed);
        assert_eq!(check(Operation::Publish, "chat:9"), Verdict::Denied);
        assert_eq!(check(Operation::Publish, "chat:1"), Verdict::Allowed);
        assert_eq!(check(Operation::Presence, "user:42"), Verdict::Allowed);
        assert_eq!(check(Operation::Subscribe, "user:421"), Verdict::Denied);
        assert_eq!(check(Operation::Subscribe, "cha"), Verdict::Denied);
    }

    #[test]
    fn nothing_said_and_nothing_allowed_are_not_the_same() {
        let nothing = Capabilities::from_claims(Vec::<(&str, Vec<&str>)>::new()).unwrap();
        assert_eq!(nothing.check(Operation::Subscribe, &channel("a")), Verdict::Denied);
        assert_eq!(Capabilities::default().check(Operation::Subscribe, &channel("a")), Verdict::Unsaid);
    }

    #[test]
    fn hostile_patterns_are_refused() {
        for pattern in ["", "a.>", "chat:*:x", "**", "a b", "é*", "a\n*", &"a".repeat(300)] {
            let got = Capabilities::from_claims([(pattern, ["subscribe"])]);
            assert!(matches!(got, Err(CapabilityError::BadPattern(_))), "{pattern:?}: {got:?}");
        }
        assert!(Capabilities::from_claims([("*", ["*"])]).is_ok());
        assert!(Capabilities::from_claims([("a", ["write"])]).is_err());
    }

    #[test]
    fn names_and_table_agree() {
        for (operation, name) in Operation::ALL {
            assert_eq!(operation.name(), name);
        }
    }
}
