//! `[redis]`: what a region shares, and its translation into what the adapter takes.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skywave_redis::{RedisConfig, RedisTls};
use skywave_runtime::config::Secret;

use super::secret::SecretSetting;
use super::{Problem, Settings};

/// Field by field in `docs/configuration.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RedisSettings {
    pub(crate) url: String,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) certificate_file: Option<PathBuf>,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) prefix: String,
    pub(crate) connections: usize,
    pub(crate) timeout_ms: u64,
    pub(crate) connect_timeout_ms: u64,
    pub(crate) breaker_failures: u32,
}

impl Default for RedisSettings {
    fn default() -> Self {
        let redis = RedisConfig::default();
        Self {
            url: redis.url,
            user: None,
            password: None,
            password_file: None,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            prefix: redis.prefix,
            connections: redis.connections,
            timeout_ms: redis.timeout.as_millis() as u64,
            connect_timeout_ms: redis.connect_timeout.as_millis() as u64,
            breaker_failures: redis.breaker_failures,
        }
    }
}

impl Settings {
    /// The shared state as the adapter takes it, checked.
    pub(crate) fn redis(&self) -> Result<RedisConfig, Problem> {
        let redis = &self.redis;
        let password =
            SecretSetting { key: "redis.password", text: &redis.password, file: &redis.password_file };
        let authority = redis.url.split_once("://").map_or(redis.url.as_str(), |(_, rest)| rest);
        if authority.split(['/', '?']).next().is_some_and(|authority| authority.contains('@')) {
            let problem = "must hold no user and no password: set redis.user and redis.password";
            return Err(Problem::new("redis.url", problem));
        }
        let files = [
            ("redis.ca_file", &redis.ca_file),
            ("redis.certificate_file", &redis.certificate_file),
            ("redis.key_file", &redis.key_file),
        ];
        for (key, file) in files {
            Problem::unless_readable(key, file.as_deref())?;
        }
        let client = match (redis.certificate_file.clone(), redis.key_file.clone()) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => {
                return Err(Problem::new("redis.key_file", "is missing: a certificate needs its key"));
            }
            (None, Some(_)) => {
                return Err(Problem::new(
                    "redis.certificate_file",
                    "is missing: a key needs its certificate",
                ));
            }
        };
        let config = RedisConfig {
            url: redis.url.clone(),
            username: redis.user.clone(),
            password: password.read()?.map(Into::into),
            tls: RedisTls { authority: redis.ca_file.clone(), client },
            prefix: redis.prefix.clone(),
            connections: redis.connections,
            timeout: Duration::from_millis(redis.timeout_ms),
            connect_timeout: Duration::from_millis(redis.connect_timeout_ms),
            breaker_failures: redis.breaker_failures,
            ..RedisConfig::default()
        };
        config.check().map_err(|error| Problem::new("redis", error.to_string()))?;
        Ok(config)
    }
}
