//! `[events]`: what goes to and comes from Kafka's topics beside the log.

use serde::{Deserialize, Serialize};
use skywave_core::{Mapping, TopicSettings, TopicsConfig};

use super::{Problem, Settings};

/// Field by field in `docs/configuration.md`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EventSettings {
    pub(crate) activity: bool,
    pub(crate) system: bool,
    pub(crate) topics: Vec<TopicSettings>,
}

impl EventSettings {
    /// Whether anything of the relay's own is told.
    pub(crate) fn relayed(&self) -> bool {
        self.activity || self.system
    }
}

impl Settings {
    /// The topics of backends that are published, checked. `None`: there are none.
    pub(crate) fn topics(&self) -> Result<Option<TopicsConfig>, Problem> {
        let namespaces = self.namespaces_by_prefix();
        let settings = &self.events.topics;
        if settings.is_empty() {
            return Ok(None);
        }
        let mut topics = Vec::with_capacity(settings.len());
        for (at, topic) in settings.iter().enumerate() {
            if settings[..at].iter().any(|other| other.topic == topic.topic) {
                let problem = format!("topic {:?} is listed twice; it goes to one channel", topic.topic);
                return Err(Problem::new("events.topics", problem));
            }
            let mapping = Mapping::new(topic, &namespaces).map_err(|error| {
                Problem::new("events.topics", format!("of topic {:?}, {error}", topic.topic))
            })?;
            topics.push(mapping);
        }
        let dedup_window_ms = self.core.dedup_window_seconds.saturating_mul(1_000);
        let region = self.node.region.as_str().into();
        Ok(Some(TopicsConfig { topics, region, namespaces, dedup_window_ms }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(topics: &[(&str, &str)]) -> String {
        let topics = topics.iter().map(|(topic, channel)| {
            serde_json::from_value(serde_json::json!({ "topic": topic, "channel": channel })).unwrap()
        });
        let events = EventSettings { topics: topics.collect(), ..EventSettings::default() };
        Settings { events, ..Settings::default() }.topics().unwrap_err().to_string()
    }

    #[test]
    fn a_topic_that_cannot_work_is_named_with_what_is_wrong() {
        let twice = problem(&[("orders", "user:{key}"), ("orders", "chat:1")]);
        assert!(twice.contains("\"orders\" is listed twice"), "{twice}");
        let live = problem(&[("orders", "live:{key}")]);
        assert!(live.contains("of topic \"orders\", channel must be in a durable namespace"), "{live}");
        let own = problem(&[("user-activity", "chat:1")]);
        assert!(own.contains("topic must be a topic of your own"), "{own}");
        assert_eq!(Settings::default().topics().unwrap().map(|_| ()), None);
    }
}
