//! Which channel a backend's topic goes to, and what a record of it becomes.
//!
//! Owns: the settings of a topic, checked once, and the checks of each record. A record that can never be published is
//! refused here, with the reason.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use skywave_ports::Event;
use skywave_protocol::{ChannelName, Durability, MessageId, NamespaceOptions, Payload, UserId};

use super::found::Name;
use super::template::Template;
use crate::publishable;

/// What an operator says of one topic. Field by field in `docs/configuration.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicSettings {
    pub topic: String,
    /// A template.
    pub channel: String,
    /// A template of the message id; none: made from where the record stands.
    #[serde(default)]
    pub id: Option<String>,
    /// A template of the publishing user; none: nobody.
    #[serde(default)]
    pub from: Option<String>,
    #[serde(default)]
    pub format: TopicFormat,
}

/// What the values of a topic are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TopicFormat {
    #[default]
    Json,
    Binary,
}

/// A setting of a topic that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} must be {must}")]
pub struct MappingError {
    pub field: &'static str,
    pub must: String,
}

/// A topic with what becomes of its records, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    pub(super) topic: String,
    channel: Template,
    id: Option<Template>,
    from: Option<Template>,
    format: TopicFormat,
}

impl Mapping {
    /// Refuses what could never publish anything.
    pub fn new(
        settings: &TopicSettings,
        namespaces: &BTreeMap<String, NamespaceOptions>,
    ) -> Result<Self, MappingError> {
        let fails = |field, must: &str| Err(MappingError { field, must: must.to_owned() });
        let TopicSettings { topic, channel, id, from, format } = settings;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if topic.is_empty() || topic.len() > 249 || !topic.bytes().all(plain) || topic.starts_with('.') {
            return fails("topic", "the name of a topic: letters, digits, `.`, `_` and `-`, at most 249");
        }
        if topic.starts_with("skywave.") || skywave_ports::events::OWN.contains(&topic.as_str()) {
            return fails("topic", "a topic of your own, not one that the relay itself writes");
        }
        let template = |field, text: &str| Template::parse(text).map_err(|must| MappingError { field, must });
        let optional =
            |field, text: &Option<String>| text.as_ref().map(|text| template(field, text)).transpose();
        let mapping = Self {
            topic: topic.clone(),
            channel: template("channel", channel)?,
            id: optional("id", id)?,
            from: optional("from", from)?,
            format: *format,
        };
        mapping.check_channel(namespaces)?;
        let reads_json = mapping.templates().any(|(_, template)| template.reads_json());
        if reads_json && *format == TopicFormat::Binary {
            return fails("format", "json: a template reads a field of the value");
        }
        if mapping.id.as_ref().and_then(Template::fixed).is_some() {
            return fails("id", "different for every record: the second one with the same id is dropped");
        }
        Ok(mapping)
    }

    fn templates(&self) -> impl Iterator<Item = (&'static str, &Template)> {
        let optional = [("id", self.id.as_ref()), ("from", self.from.as_ref())];
        let optional = optional.into_iter().filter_map(|(field, template)| Some((field, template?)));
        [("channel", &self.channel)].into_iter().chain(optional)
    }

    /// As far as it is the same for all records.
    fn check_channel(&self, namespaces: &BTreeMap<String, NamespaceOptions>) -> Result<(), MappingError> {
        let fails = |must| Err(MappingError { field: "channel", must });
        if let Some(name) = self.channel.fixed() {
            return match ChannelName::parse(name) {
                Err(error) => fails(format!("the name of a channel: {error}")),
                Ok(channel) => check_namespace(channel.namespace(), namespaces).or_else(fails),
            };
        }
        match self.channel.beginning().split_once(':') {
            Some((namespace, _)) => check_namespace(namespace, namespaces).or_else(fails),
            None => Ok(()),
        }
    }

    /// What becomes of a record.
    pub(super) fn map(
        &self,
        event: &Event,
        namespaces: &BTreeMap<String, NamespaceOptions>,
        record_bytes: usize,
    ) -> Result<Mapped, Refusal> {
        let data = match self.format {
            TopicFormat::Json if event.value.is_empty() => {
                return Err(Refusal::new("value", "the record has no value"));
            }
            TopicFormat::Json => {
                Payload::from_json(&event.value).map_err(|error| Refusal::new("value", error.to_string()))?
            }
            TopicFormat::Binary => Payload::Binary(event.value.clone()),
        };
        let json = match self.templates().any(|(_, template)| template.reads_json()) {
            true => serde_json::from_slice(data.bytes())
                .map_err(|error| Refusal::new("value", format!("the data is not JSON: {error}")))?,
            false => Value::Null,
        };
        let render = |reason, template: &Template| {
            template.render(event, &json).map_err(|problem| Refusal::new(reason, problem))
        };
        let channel = ChannelName::parse(&render("channel", &self.channel)?)
            .map_err(|error| Refusal::new("channel", error.to_string()))?;
        let id = match &self.id {
            Some(template) => MessageId::parse(&render("id", template)?)
                .map_err(|error| Refusal::new("id", error.to_string()))?,
            None => id_of(event)?,
        };
        let from = self.from.as_ref().map(|template| {
            UserId::parse(&render("from", template)?).map_err(|error| Refusal::new("from", error.to_string()))
        });
        let from = from.transpose()?;
        publishable::check(&channel, &data, namespaces, record_bytes)
            .map_err(|problem| Refusal::new(problem.name(), problem.to_string()))?;
        Ok(Mapped { channel, id, from, data })
    }
}

fn check_namespace(name: &str, namespaces: &BTreeMap<String, NamespaceOptions>) -> Result<(), String> {
    match namespaces.get(name) {
        None => Err(format!("in a namespace that is configured; there is no {name:?}")),
        Some(options) if options.durability == Durability::Ephemeral => {
            Err(format!("in a durable namespace; {name:?} is ephemeral"))
        }
        Some(_) => Ok(()),
    }
}

/// A record as it will be published.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mapped {
    pub(super) channel: ChannelName,
    pub(super) id: MessageId,
    pub(super) from: Option<UserId>,
    pub(super) data: Payload,
}

impl Mapped {
    pub(super) fn name(&self) -> Name {
        (self.id.clone(), self.from.clone())
    }
}

/// Why a record can never be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// For counting.
    pub(super) kind: &'static str,
    /// For people.
    pub(super) reason: String,
}

impl Refusal {
    pub(super) fn new(kind: &'static str, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into() }
    }
}

/// The same whenever the record is read. Its content is in it, so that nobody can guess the id of a record to come and
/// publish something else under it; and its time, so that a topic that is made anew begins with new ids.
fn id_of(event: &Event) -> Result<MessageId, Refusal> {
    let mut hash = Sha256::new();
    // Each with its length: no two records are the same text.
    let numbers = [u64::from(event.partition), event.offset, event.time_ms].map(u64::to_be_bytes).concat();
    for part in [event.topic.as_bytes(), &numbers, &event.key, &event.value] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digits = hash.finalize().iter().take(20).fold(String::from("kafka-"), |mut text, byte| {
        use std::fmt::Write;
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    });
    MessageId::parse(&digits).map_err(|error| Refusal::new("id", error.to_string()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn namespaces() -> BTreeMap<String, NamespaceOptions> {
        let live = NamespaceOptions { durability: Durability::Ephemeral, ..NamespaceOptions::default() };
        let small = NamespaceOptions { payload_bytes: 30, ..NamespaceOptions::default() };
        [("user", NamespaceOptions::default()), ("live", live), ("small", small)]
            .map(|(name, options)| (name.to_owned(), options))
            .into()
    }

    fn settings(topic: &str, channel: &str) -> TopicSettings {
        let (topic, channel) = (topic.to_owned(), channel.to_owned());
        TopicSettings { topic, channel, id: None, from: None, format: TopicFormat::Json }
    }

    fn event(key: &'static str, value: &'static str) -> Event {
        Event {
            topic: "orders".into(),
            partition: 1,
            offset: 7,
            time_ms: 1_000,
            key: Bytes::from_static(key.as_bytes()),
            value: Bytes::from_static(value.as_bytes()),
            headers: vec![("event-id".into(), Bytes::from_static(b"e-1"))],
        }
    }

    fn map(settings: &TopicSettings, event: &Event) -> Result<Mapped, Refusal> {
        Mapping::new(settings, &namespaces()).unwrap().map(event, &namespaces(), 100_000)
    }

    #[test]
    fn a_record_becomes_a_publication() {
        let mut orders = settings("orders", "user:{key}");
        let mapped = map(&orders, &event("ada", " {\"a\": 1} ")).unwrap();
        assert_eq!(mapped.channel.as_str(), "user:ada");
        assert_eq!((mapped.from, mapped.data), (None, Payload::Json(Bytes::from_static(b"{\"a\": 1}"))));
        orders.id = Some("{header:event-id}".into());
        orders.from = Some("{json:user}".into());
        let mapped = map(&orders, &event("ada", "{\"user\":\"bob\"}")).unwrap();
        assert_eq!((mapped.id.as_str(), mapped.from.unwrap().as_str()), ("e-1", "bob"));
    }

    #[test]
    fn the_id_of_a_record_is_its_own() {
        let id = |event: &Event| map(&settings("orders", "user:1"), event).unwrap().id;
        let record = event("ada", "1");
        assert_eq!(id(&record), id(&record.clone()));
        let others = [
            Event { offset: 8, ..record.clone() },
            Event { partition: 2, ..record.clone() },
            Event { time_ms: 1_001, ..record.clone() },
            Event { topic: "order".into(), ..record.clone() },
            event("ada", "2"),
        ];
        for other in &others {
            assert_ne!(id(other), id(&record), "{other:?}");
        }
    }

    #[test]
    fn what_can_never_be_published_is_refused() {
        let kind = |channel: &str, event: Event| map(&settings("orders", channel), &event).unwrap_err().kind;
        assert_eq!(kind("user:{key}", event("", "1")), "channel");
        assert_eq!(kind("user:{key}", event("a b", "1")), "channel");
        assert_eq!(kind("user:{json:to}", event("a", "{}")), "channel");
        assert_eq!(kind("user:1", event("a", "{")), "value");
        assert_eq!(kind("user:1", event("a", "")), "value");
        assert_eq!(kind("{key}", event("nobody:1", "1")), "namespace");
        assert_eq!(kind("{key}", event("live:1", "1")), "namespace");
        assert_eq!(kind("small:1", event("a", "\"0123456789012345678901234567890\"")), "size");
        let mut long = settings("orders", "user:1");
        long.id = Some("{json:id}-0123456789012345678901234567890123456789012345678901234567890123".into());
        assert_eq!(map(&long, &event("a", "{\"id\":1}")).unwrap_err().kind, "id");
    }

    #[test]
    fn settings_that_cannot_work_are_named() {
        let field = |settings: TopicSettings| Mapping::new(&settings, &namespaces()).unwrap_err().field;
        assert_eq!(field(settings("", "user:1")), "topic");
        assert_eq!(field(settings("a b", "user:1")), "topic");
        assert_eq!(field(settings("dead-letter", "user:1")), "topic");
        assert_eq!(field(settings("skywave.log.main", "user:1")), "topic");
        assert_eq!(field(settings("orders", "a b")), "channel");
        assert_eq!(field(settings("orders", "nobody:{key}")), "channel");
        assert_eq!(field(settings("orders", "live:{key}")), "channel");
        assert_eq!(field(settings("orders", "user:{value}")), "channel");
        let binary = TopicSettings { format: TopicFormat::Binary, ..settings("orders", "user:{json:a}") };
        assert_eq!(field(binary), "format");
        let same = TopicSettings { id: Some("1".into()), ..settings("orders", "user:1") };
        assert_eq!(field(same), "id");
    }
}
