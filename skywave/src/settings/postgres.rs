//! `[postgres]`: the store of a cell, and its translation into what the adapter takes.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skywave_postgres::{ConnectError, PostgresConfig, TlsMode};
use skywave_runtime::config::Secret;

use super::secret::SecretSetting;
use super::{Problem, Settings};

/// Field by field in `docs/configuration.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PostgresSettings {
    /// Secret, for many write the password into it.
    pub(crate) url: Option<Secret>,
    pub(crate) password: Option<Secret>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) replica_url: Option<Secret>,
    pub(crate) replica_password: Option<Secret>,
    pub(crate) replica_password_file: Option<PathBuf>,
    pub(crate) schema: String,
    pub(crate) migrate: bool,
    pub(crate) tls: Option<PostgresTls>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) commit_connections: usize,
    pub(crate) read_connections: usize,
    pub(crate) replica_connections: usize,
    pub(crate) connect_timeout_ms: u64,
    pub(crate) commit_timeout_ms: u64,
    pub(crate) read_timeout_ms: u64,
    pub(crate) load_timeout_ms: u64,
    pub(crate) circuit_failures: u32,
    pub(crate) circuit_pause_max_ms: u64,
}

/// As libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PostgresTls {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl Default for PostgresSettings {
    fn default() -> Self {
        let postgres = PostgresConfig::default();
        let ms = |duration: Duration| duration.as_millis() as u64;
        Self {
            url: None,
            password: None,
            password_file: None,
            replica_url: None,
            replica_password: None,
            replica_password_file: None,
            schema: postgres.schema,
            migrate: postgres.migrate,
            tls: None,
            ca_file: None,
            commit_connections: postgres.commit_connections,
            read_connections: postgres.read_connections,
            replica_connections: postgres.replica_connections,
            connect_timeout_ms: ms(postgres.connect_timeout),
            commit_timeout_ms: ms(postgres.commit_timeout),
            read_timeout_ms: ms(postgres.read_timeout),
            load_timeout_ms: ms(postgres.load_timeout),
            circuit_failures: postgres.circuit_failures,
            circuit_pause_max_ms: ms(postgres.circuit_pause_max),
        }
    }
}

impl Settings {
    /// The store as the adapter takes it, checked.
    pub(crate) fn postgres(&self) -> Result<PostgresConfig, Problem> {
        let postgres = &self.postgres;
        let ms = Duration::from_millis;
        let (text, file) = (&postgres.password, &postgres.password_file);
        let password = SecretSetting { key: "postgres.password", text, file }.read()?;
        let (text, file) = (&postgres.replica_password, &postgres.replica_password_file);
        let replica_password = SecretSetting { key: "postgres.replica_password", text, file }.read()?;
        let text = |url: &Option<Secret>| url.as_ref().map(|url| url.expose().to_owned());
        Problem::unless_readable("postgres.ca_file", postgres.ca_file.as_deref())?;
        let config = PostgresConfig {
            url: text(&postgres.url).unwrap_or_else(|| PostgresConfig::default().url),
            password,
            replica_url: text(&postgres.replica_url),
            replica_password,
            schema: postgres.schema.clone(),
            migrate: postgres.migrate,
            tls: postgres.tls.map(Into::into),
            ca_file: postgres.ca_file.clone(),
            commit_connections: postgres.commit_connections,
            read_connections: postgres.read_connections,
            replica_connections: postgres.replica_connections,
            start_timeout: self.start_timeout(),
            connect_timeout: ms(postgres.connect_timeout_ms),
            commit_timeout: ms(postgres.commit_timeout_ms),
            read_timeout: ms(postgres.read_timeout_ms),
            load_timeout: ms(postgres.load_timeout_ms),
            circuit_failures: postgres.circuit_failures,
            circuit_pause_max: ms(postgres.circuit_pause_max_ms),
        };
        config.check().map_err(|error| match error {
            ConnectError::Config { field: "start_timeout", must } => Problem::new("node.start_seconds", must),
            ConnectError::Config { field, must } => Problem::of_field("postgres", field, must.into()),
            other => Problem::new("postgres", other.to_string()),
        })?;
        Ok(config)
    }
}

impl From<PostgresTls> for TlsMode {
    fn from(mode: PostgresTls) -> Self {
        match mode {
            PostgresTls::Disable => Self::Disable,
            PostgresTls::Prefer => Self::Prefer,
            PostgresTls::Require => Self::Require,
            PostgresTls::VerifyCa => Self::VerifyCa,
            PostgresTls::VerifyFull => Self::VerifyFull,
        }
    }
}
