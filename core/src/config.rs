//! What an operator may set about a core, with defaults that suit a single node. Checked as a whole by
//! [`CoreConfig::check`] before anything starts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skywave_protocol::{NamespaceOptions, NodeId};

/// Configuration of a core. `cell` and `namespaces` come from the process's own configuration, the rest from its
/// section `core`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CoreConfig {
    /// The cell this core belongs to: part of the subjects it listens on.
    #[serde(skip)]
    pub cell: String,
    /// The id of this process, under which it tells the edges that it is there. `None`: it is in the process of its only edge, which
    /// need not be told.
    #[serde(skip)]
    pub announced: Option<NodeId>,
    /// What each namespace keeps. A channel of a namespace that is not here is sequenced and kept without limit.
    #[serde(skip)]
    pub namespaces: BTreeMap<String, NamespaceOptions>,
    /// Where a process that runs a core alone serves health checks and metrics.
    pub listen: SocketAddr,
    /// Requests that wait to be read from the bus, publishes and history reads each. When full the bus drops the
    /// request, and the edge answers its client with `timeout`.
    pub request_queue: usize,
    /// Publishes that wait for the log. Beyond it they are refused with `log_unavailable`.
    pub appends_in_flight: usize,
    /// History reads served at a time; more wait in the request queue.
    pub history_in_flight: usize,
    /// Bytes of publications in one history answer: it ends there, whatever number was asked for, but holds at least one
    /// publication. An answer is one message on the bus, which takes no more than its server's limit.
    pub history_page_bytes: usize,
    /// How long a message id is remembered, in seconds of record time.
    pub dedup_window_seconds: u64,
    /// How many message ids are remembered at most, per partition.
    pub dedup_entries: usize,
    /// A batch is written to the store when it has this many records (and with what else waits by then, up to eight times as
    /// many: large batches cost less a record) …
    pub persist_records: usize,
    /// … or when its oldest record has waited this long, in milliseconds.
    pub persist_ms: u64,
    /// Sequenced records that may wait for the store, per partition. Beyond it sequencing goes on only as fast as the store
    /// takes records: acknowledgements come later, and nothing acknowledged is lost.
    pub unpersisted_records: usize,
    /// The same bound in bytes of payload.
    pub unpersisted_bytes: usize,
    /// When the store has taken nothing for this long while so much waits for it, publishes are refused with
    /// `log_unavailable` until it does; in milliseconds.
    pub stall_ms: u64,
    /// An owner answers history reads from what it has while it has seen the end of the log this lately, in milliseconds; else
    /// it asks the log first. Must be shorter than the log takes to give a silent owner's partitions away. 0: it asks for
    /// every read.
    pub history_fresh_ms: u64,
    /// How long a channel must be quiet before its head is announced, in milliseconds.
    pub head_announce_ms: u64,
    /// Channels whose heads wait to be announced. Beyond it the one that has waited longest is announced at once.
    pub head_channels: usize,
    /// Pause between two steps of retention, in milliseconds; a step is bounded work.
    pub retention_pause_ms: u64,
    /// Pause after retention has been through every namespace, in milliseconds.
    pub retention_interval_ms: u64,
    /// What a refused publisher is told to wait, in milliseconds.
    pub retry_after_ms: u64,
    /// How long a graceful stop waits for the store, in milliseconds. What is not stored by then is replayed from the
    /// log at the next start.
    pub stop_ms: u64,
}

impl Default for CoreConfig {
    fn default() -> Self {
        Self {
            cell: "main".into(),
            announced: None,
            namespaces: BTreeMap::new(),
            listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
            request_queue: 8_192,
            appends_in_flight: 16_384,
            history_in_flight: 64,
            history_page_bytes: skywave_protocol::limits::HISTORY_PAGE_BYTES_DEFAULT,
            dedup_window_seconds: 3_600,
            dedup_entries: 1_000_000,
            persist_records: 1_000,
            persist_ms: 100,
            unpersisted_records: 200_000,
            unpersisted_bytes: 128 * 1024 * 1024,
            stall_ms: 1_000,
            history_fresh_ms: 250,
            head_announce_ms: 1_000,
            head_channels: 100_000,
            retention_pause_ms: 50,
            retention_interval_ms: 10_000,
            retry_after_ms: 500,
            stop_ms: 10_000,
        }
    }
}

/// A setting that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("core.{field} must be {must}")]
pub struct ConfigError {
    pub field: &'static str,
    pub must: &'static str,
}

impl CoreConfig {
    /// Refuses settings that cannot work, naming the field.
    pub fn check(&self) -> Result<(), ConfigError> {
        let at_least_one = [
            ("request_queue", self.request_queue),
            ("appends_in_flight", self.appends_in_flight),
            ("history_in_flight", self.history_in_flight),
            ("persist_records", self.persist_records),
            ("unpersisted_records", self.unpersisted_records),
            ("unpersisted_bytes", self.unpersisted_bytes),
            ("head_channels", self.head_channels),
        ];
        if let Some((field, _)) = at_least_one.into_iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError { field, must: "at least 1" });
        }
        if self.unpersisted_records < self.persist_records {
            return Err(ConfigError { field: "unpersisted_records", must: "at least core.persist_records" });
        }
        if self.head_announce_ms == 0 {
            return Err(ConfigError { field: "head_announce_ms", must: "at least 1" });
        }
        Ok(())
    }

    pub(crate) fn dedup_window_ms(&self) -> u64 {
        self.dedup_window_seconds.saturating_mul(1_000)
    }

    pub(crate) fn history_fresh(&self) -> Duration {
        Duration::from_millis(self.history_fresh_ms)
    }

    pub(crate) fn stall_after(&self) -> Duration {
        Duration::from_millis(self.stall_ms)
    }

    pub(crate) fn persist_after(&self) -> Duration {
        Duration::from_millis(self.persist_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_work_and_survive_toml() {
        let config = CoreConfig::default();
        assert_eq!(config.check(), Ok(()));
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<CoreConfig>(&text).unwrap(), config);
    }

    #[test]
    fn unknown_and_impossible_settings_are_refused() {
        assert!(toml::from_str::<CoreConfig>("persist_rows = 3").is_err());
        let config: CoreConfig = toml::from_str("history_in_flight = 0").unwrap();
        assert_eq!(config.check().unwrap_err().to_string(), "core.history_in_flight must be at least 1");
    }
}
