//! What an operator says about Redis, typed, and its translation into what the client library takes.

use std::path::PathBuf;
use std::time::Duration;

use fred::types::config::{Config, ConnectionConfig, PerformanceConfig, ReconnectPolicy, UnresponsiveConfig};

use crate::connect::RedisError;

/// Everything about a region's Redis. The default is an open server on this machine.
#[derive(Debug, Clone, PartialEq)]
pub struct RedisConfig {
    /// - `redis://HOST:PORT/DATABASE`: one server (or the address of a primary);
    /// - `redis-cluster://HOST:PORT?node=HOST:PORT&…`: a cluster, found through any of the nodes;
    /// - `redis-sentinel://HOST:PORT?node=HOST:PORT&…&sentinelServiceName=NAME`: the primary that the sentinels name.
    ///
    /// `rediss…` is the same with TLS. A user and a password may stand in it (`redis://USER:PASSWORD@…`), but those below
    /// go before them.
    pub url: String,
    pub username: Option<String>,
    pub password: Option<Password>,
    /// Used with a `rediss` address.
    pub tls: RedisTls,
    /// What every key begins with: regions, or stages, that share a server need different ones.
    pub prefix: String,
    /// Connections; requests are pipelined on each.
    pub connections: usize,
    /// Longest time one operation may hold a caller up.
    pub timeout: Duration,
    /// For one attempt to connect.
    pub connect_timeout: Duration,
    pub reconnect: Reconnect,
    /// Failures in a row after which nobody is made to wait for another one.
    pub breaker_failures: u32,
}

/// How a lost connection is made again: for ever, with a pause that doubles and a random part, so that the nodes of a
/// region do not come back all at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconnect {
    pub first: Duration,
    pub longest: Duration,
    /// At most so much is added to each pause.
    pub jitter: Duration,
}

/// Files in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RedisTls {
    /// Who vouches for the server; `None`: whom the system trusts.
    pub authority: Option<PathBuf>,
    /// Certificate and key to show, where the server asks for one.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<redacted>")
    }
}

impl<T: Into<String>> From<T> for Password {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379".into(),
            username: None,
            password: None,
            tls: RedisTls::default(),
            prefix: "skywave".into(),
            connections: 2,
            timeout: Duration::from_millis(200),
            connect_timeout: Duration::from_secs(2),
            reconnect: Reconnect::default(),
            breaker_failures: 5,
        }
    }
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(2),
            jitter: Duration::from_millis(250),
        }
    }
}

impl RedisConfig {
    /// Where Redis is, without a password: for logs.
    pub(crate) fn place(&self) -> &str {
        let rest = self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest);
        let host = rest.split(['/', '?']).next().unwrap_or(rest);
        host.rsplit_once('@').map_or(host, |(_, host)| host)
    }

    /// Refuses what cannot work, as far as that is known without a server.
    pub fn check(&self) -> Result<(), RedisError> {
        self.parse().map(drop)
    }

    /// Checks everything that can be checked without a server.
    pub(crate) fn parse(&self) -> Result<Config, RedisError> {
        let wrong = |what: &str| Err(RedisError::Configuration(what.to_owned()));
        if self.connections == 0 {
            return wrong("at least one connection is needed");
        }
        if self.timeout.is_zero() || self.connect_timeout.is_zero() || self.reconnect.first.is_zero() {
            return wrong("timeouts and pauses are longer than nothing");
        }
        if self.breaker_failures == 0 {
            return wrong("the breaker needs at least one failure");
        }
        // Braces would put every key of a cluster into one slot.
        if self.prefix.is_empty() || self.prefix.contains(['{', '}']) {
            return wrong("the prefix of keys has at least one character, and no braces");
        }
        let Some((scheme, rest)) = self.url.split_once("://") else {
            return wrong("the address of Redis begins with redis:// or rediss://");
        };
        let (secure, kind) = match scheme.strip_prefix("rediss") {
            Some(kind) => (true, kind),
            None => (false, scheme.strip_prefix("redis").unwrap_or("?")),
        };
        if !matches!(kind, "" | "-cluster" | "-sentinel") {
            return wrong(
                "the address of Redis begins with redis://, redis-cluster:// or redis-sentinel:// (rediss… for TLS)",
            );
        }
        // What the library says about an address may quote it, password included.
        let parsed = Config::from_url(&format!("redis{kind}://{rest}"));
        let Ok(mut config) = parsed else {
            return wrong("the address of Redis is not of the form redis://HOST:PORT");
        };
        if secure {
            config.tls = Some(crate::connect::tls(&self.tls)?.into());
        }
        config.username = self.username.clone().or(config.username);
        config.password = self.password.as_ref().map(|password| password.0.clone()).or(config.password);
        if config.username.is_some() && config.password.is_none() {
            return wrong("a user of Redis needs a password");
        }
        Ok(config)
    }

    /// Each operation is written once: its caller has an answer for its failure. (In a cluster a redirection is a second
    /// time.)
    pub(crate) fn attempts(parsed: &Config) -> u32 {
        if parsed.server.is_clustered() { 3 } else { 1 }
    }

    pub(crate) fn connection(&self, parsed: &Config) -> ConnectionConfig {
        ConnectionConfig {
            connection_timeout: self.connect_timeout,
            internal_command_timeout: self.connect_timeout,
            max_command_attempts: Self::attempts(parsed),
            reconnect_on_auth_error: true,
            // A frozen or unreachable server, whose connection nobody closes.
            unresponsive: UnresponsiveConfig {
                max_timeout: Some(self.connect_timeout),
                interval: self.connect_timeout / 4,
            },
            // Callers wait no longer than their timeout; beyond this many at once the queue itself would be the delay.
            max_command_buffer_len: 65_536,
            ..ConnectionConfig::default()
        }
    }

    pub(crate) fn performance(&self) -> PerformanceConfig {
        PerformanceConfig { default_command_timeout: self.timeout, ..PerformanceConfig::default() }
    }

    pub(crate) fn policy(&self) -> ReconnectPolicy {
        let ms = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX).max(1);
        let Reconnect { first, longest, jitter } = self.reconnect;
        let mut policy = ReconnectPolicy::new_exponential(0, ms(first), ms(longest), 2);
        policy.set_jitter(ms(jitter));
        policy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Config, String> {
        RedisConfig { url: url.into(), ..RedisConfig::default() }.parse().map_err(|error| error.to_string())
    }

    #[test]
    fn addresses_name_a_server_a_cluster_or_sentinels() {
        assert!(!parse("redis://h:1/2").unwrap().server.is_clustered());
        assert!(parse("redis-cluster://h:1?node=i:2").unwrap().server.is_clustered());
        assert!(
            parse("redis-sentinel://h:1?node=i:2&sentinelServiceName=main").unwrap().server.is_sentinel()
        );
        assert!(parse("rediss://h").unwrap().tls.is_some());
        for wrong in ["", "h:1", "http://h", "redis+unix:///x", "redisss://h", "redis-sentinel://h:1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let error = parse("redis://me:hidden@h:notaport").unwrap_err();
        assert!(!error.contains("hidden"), "{error}");
        let mut config = RedisConfig { password: Some("hidden".into()), ..RedisConfig::default() };
        assert!(!format!("{config:?}").contains("hidden"));
        config.url = "redis://me:hidden@h:1/3?x".into();
        assert_eq!(config.place(), "h:1");
    }

    #[test]
    fn what_is_said_apart_goes_before_the_address() {
        let config = RedisConfig {
            url: "redis://a:b@h".into(),
            username: Some("me".into()),
            password: Some("secret".into()),
            ..RedisConfig::default()
        };
        let parsed = config.parse().unwrap();
        assert_eq!((parsed.username.as_deref(), parsed.password.as_deref()), (Some("me"), Some("secret")));
        let alone = RedisConfig { username: Some("me".into()), ..RedisConfig::default() };
        assert!(alone.parse().is_err());
    }
}
