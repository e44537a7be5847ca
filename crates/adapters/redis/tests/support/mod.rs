//! A Redis of one's own, and a state on it.

// Each test program uses a part of this.
#![allow(dead_code)]

use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use skywave_ports::{SharedState, StateError};
use skywave_redis::{RedisConfig, RedisState};
use skywave_servers::redis::{Redis, RedisOptions};

/// Generous, so that a busy machine is not taken for a dead Redis.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct Server {
    pub redis: Redis,
    _folder: tempfile::TempDir,
}

/// One with nothing on disk, changed as the test likes.
pub(crate) fn start(change: impl FnOnce(RedisOptions) -> RedisOptions) -> Server {
    let folder = tempfile::tempdir().expect("a folder");
    let options = change(RedisOptions::new(folder.path()).expect("a free port"));
    Server { redis: Redis::start(options).expect("a Redis"), _folder: folder }
}

pub(crate) fn config(server: &Server) -> RedisConfig {
    RedisConfig { url: server.redis.url(), timeout: TIMEOUT, ..RedisConfig::default() }
}

/// With limits so short that a Redis that does not answer is noticed soon.
pub(crate) fn hasty(server: &Server) -> RedisConfig {
    RedisConfig { timeout: Duration::from_secs(1), connect_timeout: Duration::from_secs(1), ..config(server) }
}

pub(crate) async fn connect(config: RedisConfig) -> (RedisState, Registry) {
    let mut registry = Registry::default();
    let state = RedisState::connect(config, &mut registry).await.expect("a good configuration");
    (state, registry)
}

/// The value of a metric without labels.
pub(crate) fn metric(registry: &Registry, name: &str) -> f64 {
    let mut text = String::new();
    encode(&mut text, registry).expect("metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in:\n{text}")).parse().expect("a number")
}

/// Waits until an operation succeeds again.
pub(crate) async fn back(state: &RedisState) {
    let deadline = tokio::time::Instant::now() + skywave_servers::wait::PATIENCE;
    while let Err(StateError::Unavailable(reason)) = state.is_remembered("anything").await {
        assert!(tokio::time::Instant::now() < deadline, "Redis never came back: {reason}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until something can be remembered, and is.
pub(crate) async fn wrote(state: &RedisState, key: &str) {
    let deadline = tokio::time::Instant::now() + skywave_servers::wait::PATIENCE;
    while let Err(error) = state.remember(key, Duration::from_secs(600)).await {
        assert!(tokio::time::Instant::now() < deadline, "nothing can be written: {error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until operations are refused at once.
pub(crate) async fn gone(state: &RedisState) {
    let deadline = tokio::time::Instant::now() + skywave_servers::wait::PATIENCE;
    while state.is_available() {
        assert!(tokio::time::Instant::now() < deadline, "nobody noticed");
        let _ = state.is_remembered("anything").await;
    }
}
