//! `[outbox]`: an application's transactional outbox, and its translation into what relay and adapter take.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skywave_core::RelayConfig;
use skywave_postgres::{ConnectError, PostgresConfig};
use skywave_runtime::config::Secret;

use super::postgres::PostgresTls;
use super::secret::SecretSetting;
use super::{Problem, Settings};

/// Field by field in `docs/configuration.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OutboxSettings {
    /// Unset: there is none.
    pub(crate) url: Option<Secret>,
    pub(crate) password: Option<Secret>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) schema: String,
    pub(crate) migrate: bool,
    pub(crate) tls: Option<PostgresTls>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) rows: usize,
    pub(crate) poll_ms: u64,
}

impl Default for OutboxSettings {
    fn default() -> Self {
        let relay = RelayConfig::default();
        Self {
            url: None,
            password: None,
            password_file: None,
            schema: "public".into(),
            migrate: true,
            tls: None,
            ca_file: None,
            rows: relay.rows,
            poll_ms: relay.poll.as_millis() as u64,
        }
    }
}

impl Settings {
    /// Where the outbox is and how it is relayed, if there is one; checked.
    pub(crate) fn outbox(&self) -> Result<Option<(PostgresConfig, RelayConfig)>, Problem> {
        let outbox = &self.outbox;
        let (text, file) = (&outbox.password, &outbox.password_file);
        let password = SecretSetting { key: "outbox.password", text, file }.read()?;
        Problem::unless_readable("outbox.ca_file", outbox.ca_file.as_deref())?;
        let Some(url) = &outbox.url else { return Ok(None) };
        let postgres = PostgresConfig {
            url: url.expose().to_owned(),
            password,
            schema: outbox.schema.clone(),
            migrate: outbox.migrate,
            tls: outbox.tls.map(Into::into),
            ca_file: outbox.ca_file.clone(),
            ..PostgresConfig::default()
        };
        postgres.check().map_err(|error| match error {
            ConnectError::Config { field, must } => Problem::of_field("outbox", field, must.into()),
            other => Problem::new("outbox", other.to_string()),
        })?;
        if !(1..=10_000).contains(&outbox.rows) {
            return Err(Problem::new("outbox.rows", "must lie between 1 and 10000"));
        }
        if !(1..=60_000).contains(&outbox.poll_ms) {
            return Err(Problem::new("outbox.poll_ms", "must lie between 1 and 60000"));
        }
        let relay = RelayConfig {
            region: self.node.region.as_str().into(),
            namespaces: self.namespaces_by_prefix(),
            rows: outbox.rows,
            poll: Duration::from_millis(outbox.poll_ms),
        };
        Ok(Some((postgres, relay)))
    }
}
