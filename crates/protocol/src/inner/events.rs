//! What edges tell the cores of a cell about their users and themselves, for Kafka's topics of events.

use bytes::Bytes;
use serde::Serialize;

use crate::decode::DecodeError;
use crate::wire::{Reader, put_bytes, put_str, put_varint};

/// On `sw.events.*`: what has happened lately, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RelayEvents(pub Vec<RelayEvent>);

/// Something that happened, as its topic will hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayEvent {
    pub topic: EventTopic,
    /// What keeps its order: a user, a client, a node.
    pub key: String,
    /// An [`Envelope`] in JSON.
    pub value: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventTopic {
    /// What users did.
    Activity,
    /// What happened to the relay.
    System,
}

/// The JSON that every event is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Envelope<'a> {
    /// Milliseconds since the Unix epoch.
    pub timestamp: u64,
    #[serde(rename = "type")]
    pub kind: &'a str,
    #[serde(rename = "userId")]
    pub user: Option<&'a str>,
    /// The channel.
    #[serde(rename = "conversationId")]
    pub channel: Option<&'a str>,
    pub data: serde_json::Value,
}

impl Envelope<'_> {
    pub fn encode(&self) -> Bytes {
        // Texts and numbers: nothing that JSON has no words for.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

impl RelayEvents {
    /// First byte: the layout's version.
    const V1: u8 = 1;
    const ACTIVITY: u8 = 1;
    const SYSTEM: u8 = 2;

    pub fn encode(&self) -> Bytes {
        let room: usize = self.0.iter().map(|event| event.key.len() + event.value.len() + 8).sum();
        let mut out = Vec::with_capacity(16 + room);
        out.push(Self::V1);
        put_varint(&mut out, self.0.len() as u64);
        for RelayEvent { topic, key, value } in &self.0 {
            out.push(match topic {
                EventTopic::Activity => Self::ACTIVITY,
                EventTopic::System => Self::SYSTEM,
            });
            put_str(&mut out, key);
            put_bytes(&mut out, value);
        }
        out.into()
    }

    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::sharing(&bytes);
        reader.version("events version", Self::V1)?;
        let count = reader.varint("number of events")?;
        let mut events = Vec::new();
        for _ in 0..count {
            let topic = match reader.byte("topic of an event")? {
                Self::ACTIVITY => EventTopic::Activity,
                Self::SYSTEM => EventTopic::System,
                tag => return Err(DecodeError::UnknownKind { what: "topic of an event", tag: tag.into() }),
            };
            let key = reader.str("key of an event")?.to_owned();
            events.push(RelayEvent { topic, key, value: reader.owned_bytes("event")? });
        }
        Ok(Self(events))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn events() -> RelayEvents {
        let envelope = Envelope {
            timestamp: 7,
            kind: "user.subscribed",
            user: Some("ada"),
            channel: Some("chat:1"),
            data: json!({ "client": "c-1" }),
        };
        let event = |topic, key: &str| RelayEvent { topic, key: key.into(), value: envelope.encode() };
        RelayEvents(vec![event(EventTopic::Activity, "ada"), event(EventTopic::System, "n-1")])
    }

    #[test]
    fn what_is_told_is_heard() {
        let events = events();
        assert_eq!(
            events.0[0].value,
            r#"{"timestamp":7,"type":"user.subscribed","userId":"ada","conversationId":"chat:1","data":{"client":"c-1"}}"#
        );
        assert_eq!(RelayEvents::decode(events.encode()), Ok(events));
    }

    #[test]
    fn what_was_cut_off_is_refused() {
        let whole = events().encode();
        for end in 0..whole.len() {
            assert!(RelayEvents::decode(whole.slice(..end)).is_err(), "{end}");
        }
        // A number of events that is not there reserves nothing.
        assert!(RelayEvents::decode(Bytes::from_static(b"\x01\xff\xff\xff\xff\xff\xff\xff\x7f")).is_err());
    }
}
