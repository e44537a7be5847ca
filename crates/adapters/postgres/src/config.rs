//! What an operator may set about the store's Postgres.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::error::ConnectError;

/// Where Postgres is and how it is used. The defaults suit one server in the same region.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database?sslmode=…`: the server that takes writes. What the URL does not say comes
    /// from libpq's environment variables and password file.
    pub url: String,
    /// Instead of the URL's password, so that it may come from another place.
    pub password: Option<String>,
    /// A streaming replica that serves pages of history where that cannot be seen (see `docs/postgres.md`). User and
    /// password are its own URL's.
    pub replica_url: Option<String>,
    /// Instead of the replica URL's password.
    pub replica_password: Option<String>,
    /// Schema that holds the tables: small letters, digits and `_`. One for each cell.
    pub schema: String,
    /// Make or upgrade the tables when connecting. Otherwise tables of another version are refused.
    pub migrate: bool,
    /// Instead of the URLs' `sslmode`.
    pub tls: Option<TlsMode>,
    /// File with the certificates (PEM) that may have signed the server's, for [`TlsMode::VerifyCa`] and
    /// [`TlsMode::VerifyFull`]. `None`: the well-known ones.
    pub ca_file: Option<PathBuf>,
    /// Connections for commits: as many partitions are written at the same time. More wait for one of them.
    pub commit_connections: usize,
    /// Connections to the primary for history and for loading partitions.
    pub read_connections: usize,
    /// Connections to the replica.
    pub replica_connections: usize,
    /// How long connecting at the start may take in all, with retries while the server is starting.
    pub start_timeout: Duration,
    /// How long making one connection may take.
    pub connect_timeout: Duration,
    /// How long a commit may take, with the wait for a connection; a commit of many bytes gets more. Beyond it its outcome
    /// is unknown and it is tried again.
    pub commit_timeout: Duration,
    /// How long one read of history, or one step of retention, may take.
    pub read_timeout: Duration,
    /// How long loading a partition may take.
    pub load_timeout: Duration,
    /// Failures in a row after which nothing is sent for a while.
    pub circuit_failures: u32,
    /// The longest such pause; the first one is 250 ms, and each probe that fails doubles it.
    pub circuit_pause_max: Duration,
}

/// How a connection is protected: libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Never encrypted.
    Disable,
    /// Encrypted if the server can; protects against nobody who can change what is sent.
    Prefer,
    /// Encrypted, with whatever certificate the server has.
    Require,
    /// The certificate must be signed by a known authority.
    VerifyCa,
    /// … and be the host's.
    VerifyFull,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self {
            url: "postgres://localhost/skywave".into(),
            password: None,
            replica_url: None,
            replica_password: None,
            schema: "skywave".into(),
            migrate: true,
            tls: None,
            ca_file: None,
            commit_connections: 4,
            read_connections: 8,
            replica_connections: 8,
            start_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            commit_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(5),
            load_timeout: Duration::from_secs(120),
            circuit_failures: 5,
            circuit_pause_max: Duration::from_secs(5),
        }
    }
}

/// Without secrets.
impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { schema, migrate, tls, ca_file, .. } = self;
        f.debug_struct("PostgresConfig")
            .field("url", &"…")
            .field("replica", &self.replica_url.is_some())
            .field("schema", schema)
            .field("migrate", migrate)
            .field("tls", tls)
            .field("ca_file", ca_file)
            .finish_non_exhaustive()
    }
}

impl PostgresConfig {
    /// Refuses settings that cannot work, naming the field and never a secret.
    pub fn check(&self) -> Result<(), ConnectError> {
        self.primary()?;
        self.replica()?;
        let name = self.schema.as_bytes();
        let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_';
        let good = (1..=63).contains(&name.len())
            && name.iter().all(plain)
            && !name[0].is_ascii_digit()
            && !self.schema.starts_with("pg_");
        if !good {
            return Err(bad(
                "schema",
                "must be small letters, digits and _, not beginning with a digit or pg_",
            ));
        }
        let counts = [
            ("commit_connections", self.commit_connections),
            ("read_connections", self.read_connections),
            ("replica_connections", self.replica_connections),
            ("circuit_failures", self.circuit_failures as usize),
        ];
        if let Some((field, _)) = counts.iter().find(|(_, count)| !(1..=1_000).contains(count)) {
            return Err(bad(field, "must be 1 to 1,000"));
        }
        let times = [
            ("start_timeout", self.start_timeout),
            ("connect_timeout", self.connect_timeout),
            ("commit_timeout", self.commit_timeout),
            ("read_timeout", self.read_timeout),
            ("load_timeout", self.load_timeout),
            ("circuit_pause_max", self.circuit_pause_max),
        ];
        let sane = Duration::from_millis(10)..=Duration::from_secs(86_400);
        match times.iter().find(|(_, time)| !sane.contains(time)) {
            Some((field, _)) => Err(bad(field, "must be 10 ms to one day")),
            None => Ok(()),
        }
    }

    pub(crate) fn primary(&self) -> Result<PgConnectOptions, ConnectError> {
        self.options("url", &self.url, self.password.as_deref())
    }

    pub(crate) fn replica(&self) -> Result<Option<PgConnectOptions>, ConnectError> {
        let url = self.replica_url.as_deref();
        url.map(|url| self.options("replica_url", url, self.replica_password.as_deref())).transpose()
    }

    fn options(
        &self,
        field: &'static str,
        url: &str,
        password: Option<&str>,
    ) -> Result<PgConnectOptions, ConnectError> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(bad(field, "must begin with postgres://"));
        }
        let parsed: Result<PgConnectOptions, _> = url.parse();
        // What the parser says may quote what it could not read.
        let mut options =
            parsed.map_err(|_| bad(field, "must be postgres://user:password@host:port/database"))?;
        if let Some(password) = password {
            options = options.password(password);
        }
        if let Some(mode) = self.tls {
            options = options.ssl_mode(mode.into());
        }
        if let Some(file) = &self.ca_file {
            options = options.ssl_root_cert(file);
        }
        if options.get_application_name().is_none() {
            options = options.application_name("skywave");
        }
        Ok(options.disable_statement_logging())
    }
}

fn bad(field: &'static str, must: &'static str) -> ConnectError {
    ConnectError::Config { field, must }
}

impl From<TlsMode> for PgSslMode {
    fn from(mode: TlsMode) -> Self {
        match mode {
            TlsMode::Disable => Self::Disable,
            TlsMode::Prefer => Self::Prefer,
            TlsMode::Require => Self::Require,
            TlsMode::VerifyCa => Self::VerifyCa,
            TlsMode::VerifyFull => Self::VerifyFull,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut PostgresConfig)) -> String {
        let mut config = PostgresConfig::default();
        change(&mut config);
        config.check().unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        PostgresConfig::default().check().unwrap();
        for schema in ["", "Sky", "a-b", "1a", "pg_a", "a\"b", &"a".repeat(64)] {
            let error = refused(|config| config.schema = schema.into());
            assert!(error.starts_with("schema must"), "{error}");
        }
        assert!(refused(|config| config.read_connections = 0).starts_with("read_connections must"));
        assert!(refused(|config| config.commit_timeout = Duration::ZERO).starts_with("commit_timeout must"));
        assert!(refused(|config| config.url = "mysql://a/b".into()).starts_with("url must"));
    }

    #[test]
    fn no_secret_is_shown() {
        let secret = "s3cret%zz";
        let bad_port = format!("postgres://a:{secret}@host:99999999/b");
        let error = refused(|config| config.replica_url = Some(bad_port.clone()));
        assert!(error.starts_with("replica_url must") && !error.contains("s3cret"), "{error}");
        let config = PostgresConfig {
            url: format!("postgres://a:{secret}@host/b"),
            password: Some(secret.into()),
            ..PostgresConfig::default()
        };
        assert!(!format!("{config:?}").contains("s3cret"));
    }
}
