//! The register on NATS: a bucket of JetStream's key-value store, over the bus's connection.
//!
//! A write is a publish that JetStream takes only behind the revision it names (`Nats-Expected-Last-Subject-Sequence`, NATS
//! ADR-8); a bucket of three replicas decides by Raft. [`follow`] keeps those who follow a key up to date.
//!
//! Bounded: a request takes `timeout` at most; what changes faster than it is read is overwritten. Never: keeps a value here,
//! or sends a write later than its connection was there for.

mod follow;
mod metrics;

use std::time::Duration;

use async_nats::jetstream::context::{ContextBuilder, KeyValueErrorKind};
use async_nats::jetstream::kv::{Config, Entry, Operation, Store, UpdateErrorKind};
use async_nats::jetstream::stream::StorageType;
use async_trait::async_trait;
use bytes::Bytes;
use prometheus_client::registry::Registry;
use skywave_ports::register::VALUE_BYTES;
use skywave_ports::{Follow, Held, Register, RegisterError, RegisterKey, Revision};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::bus::NatsBus;
use crate::error::NatsError;
use crate::reconnect::draw;
use metrics::{Outcome, RegisterMetrics, Request};

/// What a write has in its headers counts against the bucket's bound of a value.
const HEADERS: usize = 1024;
/// Longest pause between attempts, when something is tried again.
const PAUSE: Duration = Duration::from_secs(2);

/// A bucket, and how long one waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterConfig {
    /// Name of the bucket: letters, digits, `-` and `_`. It is made if it is not there.
    pub bucket: String,
    /// Servers that keep it, if it is made: 1, 3 or 5. With three the loss of one costs nothing.
    pub replicas: usize,
    /// For reads and writes.
    pub timeout: Duration,
    /// For opening the bucket, whose servers may be electing a leader.
    pub open_timeout: Duration,
}

impl Default for RegisterConfig {
    fn default() -> Self {
        Self {
            bucket: "skywave".into(),
            replicas: 1,
            timeout: Duration::from_secs(2),
            open_timeout: Duration::from_secs(30),
        }
    }
}

/// A register in a bucket; clones share it. It keeps the bus's connection open. Each follower has a task on the runtime that is current
/// when it begins.
#[derive(Clone)]
pub struct NatsRegister {
    bus: NatsBus,
    store: Store,
    timeout: Duration,
    metrics: RegisterMetrics,
}

impl NatsRegister {
    /// Opens the bucket, or makes it, within `open_timeout`. A bucket that is there stays as it is.
    pub async fn open(
        bus: &NatsBus,
        config: RegisterConfig,
        registry: &mut Registry,
    ) -> Result<Self, NatsError> {
        let store = open(bus, &config).await?;
        let metrics = RegisterMetrics::register(registry);
        Ok(Self { bus: bus.clone(), store, timeout: config.timeout, metrics })
    }

    /// Refuses at once without a connection: the library would keep the request, and send it when nobody waits for it any more.
    async fn bounded<T>(
        &self,
        request: impl Future<Output = Result<T, RegisterError>>,
    ) -> Result<T, RegisterError> {
        if !self.bus.connected() {
            return Err(RegisterError::Unavailable("there is no connection to NATS".into()));
        }
        let outcome = timeout(self.timeout, request).await;
        outcome.unwrap_or_else(|_| {
            Err(RegisterError::Unavailable(format!("no answer within {:?}", self.timeout)))
        })
    }

    async fn look(&self, key: &RegisterKey) -> Result<Held, RegisterError> {
        let entry = self.bounded(async { self.store.entry(key.as_str()).await.map_err(unavailable) }).await?;
        Ok(entry.map(held).unwrap_or_default())
    }
}

#[async_trait]
impl Register for NatsRegister {
    async fn read(&self, key: &RegisterKey) -> Result<Held, RegisterError> {
        let result = self.look(key).await;
        self.metrics.count(Request::Read, Outcome::of(&result));
        result
    }

    async fn write(
        &self,
        key: &RegisterKey,
        value: Bytes,
        after: Revision,
    ) -> Result<Revision, RegisterError> {
        if value.len() > VALUE_BYTES {
            return Err(RegisterError::TooLarge(value.len()));
        }
        let update = async {
            self.store.update(key.as_str(), value, after).await.map_err(|error| match error.kind() {
                UpdateErrorKind::WrongLastRevision => RegisterError::Conflict,
                _ => unavailable(error),
            })
        };
        let result = self.bounded(update).await;
        self.metrics.count(Request::Write, Outcome::of(&result));
        result
    }

    fn follow(&self, key: &RegisterKey) -> Follow {
        let (newest, follow) = watch::channel(None);
        tokio::spawn(follow::run(self.clone(), key.clone(), newest));
        Follow::new(follow)
    }
}

/// Until there is a bucket, or the time is over.
async fn open(bus: &NatsBus, config: &RegisterConfig) -> Result<Store, NatsError> {
    let context = ContextBuilder::new().timeout(config.timeout).build(bus.client().clone());
    let wanted = Config {
        bucket: config.bucket.clone(),
        description: "Skywave: what all regions agree on".into(),
        history: 1,
        max_value_size: (VALUE_BYTES + HEADERS) as i32,
        storage: StorageType::File,
        num_replicas: config.replicas,
        ..Config::default()
    };
    let deadline = Instant::now() + config.open_timeout;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let problem = match context.get_key_value(&config.bucket).await {
            Ok(store) => return Ok(store),
            Err(error) if error.kind() == KeyValueErrorKind::InvalidStoreName => {
                let problem = format!(
                    "`{0}` is no name of a bucket (letters, digits, - and _), or the stream KV_{0} is none",
                    config.bucket
                );
                return Err(NatsError::Setting { setting: "bucket", problem });
            }
            Err(_) => match context.create_key_value(wanted.clone()).await {
                Ok(store) => return Ok(store),
                Err(error) => error.to_string(),
            },
        };
        let pause = draw(attempt, PAUSE);
        if Instant::now() + pause >= deadline {
            let (bucket, waited) = (config.bucket.clone(), config.open_timeout);
            return Err(NatsError::Register { bucket, waited, problem });
        }
        sleep(pause).await;
    }
}

fn held(entry: Entry) -> Held {
    let value = (entry.operation == Operation::Put).then_some(entry.value);
    Held { revision: entry.revision, value }
}

fn unavailable(error: impl std::fmt::Display) -> RegisterError {
    RegisterError::Unavailable(error.to_string())
}
