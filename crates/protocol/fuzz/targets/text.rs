//! Names that reach subjects, keys and queries.

use skywave_protocol::{ChannelName, ClientId, Epoch, MessageId, NodeId, Subject, UserId};

pub(crate) fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(name) = ChannelName::parse(text) {
        assert_eq!(name.as_str(), text);
        assert!(name.as_str().is_ascii() && name.as_str().len() <= 255);
        let subject = Subject::live(&name);
        let shard = subject.live_shard().unwrap();
        let token = subject.as_str().strip_prefix(&format!("sw.live.{shard}.")).unwrap();
        assert!(!token.contains(['.', '*', '>', ' ', '/']), "one token, no wildcard");
        assert_eq!(decode_token(token), text, "the name can be read back, so no two names share a subject");
        assert_eq!(Subject::from_wire(subject.as_str()).as_ref(), Some(&subject));
        let joined = format!("{}:{}", name.namespace(), name.rest());
        assert!(joined == text || (name.namespace().is_empty() && name.rest() == text));
    }
    if let Some(subject) = Subject::from_wire(text) {
        assert!(!subject.as_str().contains(['*', '>', ' ', '\r', '\n']));
        assert!(subject.as_str().split('.').all(|token| !token.is_empty()));
    }
    if let Ok(id) = MessageId::parse(text) {
        assert!(id.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
    }
    if let Ok(epoch) = Epoch::parse(text) {
        assert!(epoch.as_str().len() <= 32);
    }
    for accepted in [
        UserId::parse(text).map(|id| id.to_string()),
        ClientId::parse(text).map(|id| id.to_string()),
        NodeId::parse(text).map(|id| id.to_string()),
    ]
    .into_iter()
    .flatten()
    {
        assert!(!accepted.is_empty() && !accepted.contains(|c: char| c.is_control()));
    }
}

/// The inverse of a subject token's escapes, written from their description.
fn decode_token(token: &str) -> String {
    let mut out = String::new();
    let mut rest = token;
    while let Some((before, after)) = rest.split_once('=') {
        out.push_str(before);
        out.push(char::from(u8::from_str_radix(&after[..2], 16).unwrap()));
        rest = &after[2..];
    }
    out + rest
}
