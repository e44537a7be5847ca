//! `[nats]`: the bus, and its translation into what the adapter takes.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skywave_nats::{NatsAuth, NatsConfig, NatsTls};
use skywave_runtime::config::Secret;

use super::secret::SecretSetting;
use super::{Problem, Settings};

/// Field by field in `docs/configuration.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NatsSettings {
    pub(crate) servers: Vec<String>,
    pub(crate) discover_servers: bool,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) token: Option<Secret>,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) credentials_file: Option<PathBuf>,
    pub(crate) tls: bool,
    pub(crate) tls_first: bool,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) certificate_file: Option<PathBuf>,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) connect_timeout_ms: u64,
    pub(crate) reconnect_pause_max_ms: u64,
    pub(crate) ping_interval_ms: u64,
    pub(crate) subscribe_timeout_ms: u64,
    pub(crate) publish_queue: usize,
    pub(crate) publish_queue_bytes: usize,
    pub(crate) subscription_queue: usize,
    pub(crate) exact_subscriptions: usize,
}

impl Default for NatsSettings {
    fn default() -> Self {
        let nats = NatsConfig::default();
        let ms = |duration: Duration| duration.as_millis() as u64;
        Self {
            servers: nats.servers,
            discover_servers: nats.discover_servers,
            user: None,
            password: None,
            password_file: None,
            token: None,
            token_file: None,
            credentials_file: None,
            tls: false,
            tls_first: false,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            connect_timeout_ms: ms(nats.connect_timeout),
            reconnect_pause_max_ms: ms(nats.reconnect_pause_max),
            ping_interval_ms: ms(nats.ping_interval),
            subscribe_timeout_ms: ms(nats.subscribe_timeout),
            publish_queue: nats.publish_queue,
            publish_queue_bytes: nats.publish_queue_bytes,
            subscription_queue: nats.subscription_queue,
            exact_subscriptions: nats.exact_subscriptions,
        }
    }
}

impl Settings {
    /// The bus as the adapter takes it, checked as far as that is possible without a server. `name`: of the connection.
    pub(crate) fn nats(&self, name: &str) -> Result<NatsConfig, Problem> {
        let nats = &self.nats;
        nats.check()?;
        let ms = Duration::from_millis;
        Ok(NatsConfig {
            servers: nats.servers.clone(),
            discover_servers: nats.discover_servers,
            auth: nats.auth()?,
            tls: nats.tls()?,
            name: name.to_owned(),
            start_timeout: self.start_timeout(),
            connect_timeout: ms(nats.connect_timeout_ms),
            reconnect_pause_max: ms(nats.reconnect_pause_max_ms),
            ping_interval: ms(nats.ping_interval_ms),
            subscribe_timeout: ms(nats.subscribe_timeout_ms),
            publish_queue: nats.publish_queue,
            publish_queue_bytes: nats.publish_queue_bytes,
            subscription_queue: nats.subscription_queue,
            exact_subscriptions: nats.exact_subscriptions,
        })
    }
}

impl NatsSettings {
    fn check(&self) -> Result<(), Problem> {
        let scheme = |server: &String| {
            server.strip_prefix("nats://").or_else(|| server.strip_prefix("tls://")).is_some_and(is_place)
        };
        if self.servers.is_empty() || !self.servers.iter().all(scheme) {
            // Not quoted: somebody may have put a password into it.
            let problem =
                "must be one or more of nats://HOST:PORT or tls://HOST:PORT, without user and password";
            return Err(Problem::new("nats.servers", problem));
        }
        let positive = [
            ("connect_timeout_ms", self.connect_timeout_ms),
            ("reconnect_pause_max_ms", self.reconnect_pause_max_ms),
            ("ping_interval_ms", self.ping_interval_ms),
            ("subscribe_timeout_ms", self.subscribe_timeout_ms),
            ("publish_queue", self.publish_queue as u64),
            ("publish_queue_bytes", self.publish_queue_bytes as u64),
            ("subscription_queue", self.subscription_queue as u64),
        ];
        match positive.into_iter().find(|(_, value)| *value == 0) {
            Some((key, _)) => Err(Problem::new(&format!("nats.{key}"), "must be at least 1")),
            None => Ok(()),
        }
    }

    fn auth(&self) -> Result<NatsAuth, Problem> {
        let password =
            SecretSetting { key: "nats.password", text: &self.password, file: &self.password_file };
        let token = SecretSetting { key: "nats.token", text: &self.token, file: &self.token_file };
        let (password, token) = (password.read()?, token.read()?);
        Problem::unless_readable("nats.credentials_file", self.credentials_file.as_deref())?;
        match (self.user.clone(), password, token, self.credentials_file.clone()) {
            (None, None, None, None) => Ok(NatsAuth::Anonymous),
            (Some(user), Some(password), None, None) => Ok(NatsAuth::Password { user, password }),
            (None, None, Some(token), None) => Ok(NatsAuth::Token(token)),
            (None, None, None, Some(file)) => Ok(NatsAuth::Credentials(file)),
            _ => Err(Problem::new(
                "nats",
                "name either user and password, or token, or credentials_file, and nothing beside it",
            )),
        }
    }

    fn tls(&self) -> Result<Option<NatsTls>, Problem> {
        let files = [
            ("nats.ca_file", &self.ca_file),
            ("nats.certificate_file", &self.certificate_file),
            ("nats.key_file", &self.key_file),
        ];
        if !self.tls {
            let stray = files.iter().find(|(_, file)| file.is_some());
            return stray.map_or(Ok(None), |(key, _)| Err(Problem::new(key, "needs nats.tls = true")));
        }
        for (key, file) in files {
            Problem::unless_readable(key, file.as_deref())?;
        }
        let client = match (self.certificate_file.clone(), self.key_file.clone()) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => {
                return Err(Problem::new("nats.key_file", "is missing: a certificate needs its key"));
            }
            (None, Some(_)) => {
                return Err(Problem::new("nats.certificate_file", "is missing: a key needs its certificate"));
            }
        };
        Ok(Some(NatsTls { authorities: self.ca_file.clone(), client, handshake_first: self.tls_first }))
    }
}

/// `HOST:PORT` or `HOST`, and nobody's name before it.
fn is_place(text: &str) -> bool {
    !text.is_empty() && !text.contains(['@', '/', ' ', ','])
}
