//! [`SharedState`] on Redis.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use fred::clients::{Client, Pool, WithOptions};
use fred::error::Error;
use fred::interfaces::{ClientLike, KeysInterface};
use fred::types::config::{Config, Options};
use fred::types::{Builder, ConnectHandle, Expiration, Value};
use prometheus_client::registry::Registry;
use skywave_ports::state::{FEED_NOTICES, FEED_PAGE};
use skywave_ports::{FeedPosition, Notice, Notices, SharedState, StateError, TokenGrant, TokenLoan};
use tokio::task::AbortHandle;

use crate::breaker::Breaker;
use crate::config::RedisConfig;
use crate::connect::{First, RedisError, first_contact};
use crate::keys::{Kind, key};
use crate::metrics::{Metrics, Operation, Outcome};
use crate::probe;
use crate::scripts::Scripts;

/// Longest lifetime that is asked for: beyond it nobody waits.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// A region's Redis; clones share the connections, which end with the last one.
#[derive(Clone)]
pub struct RedisState(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) pool: Pool,
    /// One try, with a limit, and none while there is no connection.
    options: Options,
    scripts: Scripts,
    pub(crate) prefix: Box<str>,
    /// Address, for logs.
    pub(crate) place: Arc<str>,
    /// Shared with the probe, which must not keep the rest alive while it waits.
    pub(crate) breaker: Arc<Breaker>,
    metrics: Metrics,
    connections: Vec<ConnectHandle>,
    tasks: parking_lot::Mutex<Vec<AbortHandle>>,
}

impl RedisState {
    /// Connects. Redis that is not there, or does not answer, is no error: it is looked for again and again, and until it
    /// comes every operation is `Unavailable`. Errors are what an operator has to put right. Needs a runtime that lives as
    /// long as this does.
    pub async fn connect(config: RedisConfig, registry: &mut Registry) -> Result<Self, RedisError> {
        let parsed = config.parse()?;
        let first = first_contact(&config, &parsed).await?;
        let options = Options {
            timeout: Some(config.timeout),
            fail_fast: true,
            max_attempts: Some(RedisConfig::attempts(&parsed)),
            ..Options::default()
        };
        let mut builder = Builder::from_config(Config { fail_fast: false, ..parsed.clone() });
        builder
            .set_connection_config(config.connection(&parsed))
            .set_performance_config(config.performance())
            .set_policy(config.policy());
        let pool = builder.build_pool(config.connections);
        let pool = pool.map_err(|error| RedisError::Configuration(error.to_string()))?;
        let connections = pool.connect_pool();
        let shared = Arc::new(Shared {
            options,
            scripts: Scripts::new(),
            prefix: config.prefix.as_str().into(),
            place: config.place().into(),
            breaker: Arc::new(Breaker::closed(config.breaker_failures)),
            metrics: Metrics::new(),
            connections,
            tasks: parking_lot::Mutex::default(),
            pool,
        });
        shared.metrics.register(registry, &shared);
        match first {
            First::Serves => {
                // It was there a moment ago; whether the pool has it now is found out by those who ask.
                let _ = tokio::time::timeout(config.connect_timeout, shared.pool.wait_for_connect()).await;
            }
            First::Away(reason) => {
                tracing::warn!(
                    redis = %shared.place,
                    reason,
                    "Redis is not there; limits are kept by each node alone, and revocations go by the bus alone, until it is"
                );
                shared.breaker.trip();
            }
        }
        let probing = tokio::spawn(probe::run(shared.breaker.clone(), Arc::downgrade(&shared)));
        let explaining = tokio::spawn(probe::explain(shared.pool.clone(), shared.place.clone()));
        shared.tasks.lock().extend([probing.abort_handle(), explaining.abort_handle()]);
        Ok(Self(shared))
    }

    /// Whether operations are tried at all: for health checks.
    pub fn is_available(&self) -> bool {
        !self.0.breaker.is_open()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.tasks.lock().iter().for_each(AbortHandle::abort);
        self.connections.iter().for_each(ConnectHandle::abort);
    }
}

impl Shared {
    pub(crate) fn client(&self) -> WithOptions<Client> {
        self.pool.next_connected().with_options(&self.options)
    }

    /// Runs one operation, unless the breaker is open.
    async fn run<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, StateError> {
        if self.breaker.is_open() {
            self.metrics.count(operation, Outcome::Refused);
            return Err(StateError::Unavailable("Redis has not answered for a while".into()));
        }
        let started = Instant::now();
        match call.await {
            Ok(answer) => {
                self.breaker.succeeded();
                self.metrics.count(operation, Outcome::Answered);
                self.metrics.answered_after(started.elapsed());
                Ok(answer)
            }
            Err(error) => {
                self.metrics.count(operation, Outcome::Failed);
                if self.breaker.failed() {
                    tracing::warn!(redis = %self.place, %error, "Redis does not answer; it is done without until it does");
                }
                Err(StateError::Unavailable(error.to_string()))
            }
        }
    }

    /// Tokens taken, and microseconds until there are more.
    async fn take(
        &self,
        operation: Operation,
        name: &str,
        wanted: u32,
        (burst, per_second): (u32, f64),
        all: bool,
    ) -> Result<(u32, Duration), StateError> {
        let arguments = vec![
            Value::from(i64::from(wanted)),
            Value::from(i64::from(burst)),
            Value::from(per_second.to_string()),
            Value::from(if all { "1" } else { "0" }),
        ];
        let key = key(&self.prefix, Kind::Bucket, name);
        let client = self.client();
        let (taken, wait): (u32, u64) =
            self.run(operation, self.scripts.take.run(&client, key, arguments)).await?;
        Ok((taken, Duration::from_micros(wait)))
    }
}

#[async_trait]
impl SharedState for RedisState {
    async fn take_tokens(
        &self,
        key: &str,
        cost: u32,
        burst: u32,
        per_second: f64,
    ) -> Result<TokenGrant, StateError> {
        let rate = (burst, per_second);
        let (taken, wait) = self.0.take(Operation::TakeTokens, key, cost, rate, true).await?;
        Ok(if taken == cost && wait.is_zero() { TokenGrant::Granted } else { TokenGrant::Wait(wait) })
    }

    async fn borrow_tokens(
        &self,
        key: &str,
        most: u32,
        burst: u32,
        per_second: f64,
    ) -> Result<TokenLoan, StateError> {
        let rate = (burst, per_second);
        let (tokens, wait) = self.0.take(Operation::BorrowTokens, key, most, rate, false).await?;
        Ok(TokenLoan { tokens, wait })
    }

    async fn remember(&self, name: &str, lifetime: Duration) -> Result<(), StateError> {
        let ends = Some(Expiration::PX(millis(lifetime)));
        let key = key(&self.0.prefix, Kind::Remembered, name);
        let client = self.0.client();
        self.0.run(Operation::Remember, client.set(key, "", ends, None, false)).await
    }

    async fn is_remembered(&self, name: &str) -> Result<bool, StateError> {
        let key = key(&self.0.prefix, Kind::Remembered, name);
        let client = self.0.client();
        let found: i64 = self.0.run(Operation::IsRemembered, client.exists(key)).await?;
        Ok(found > 0)
    }

    async fn forget(&self, name: &str) -> Result<(), StateError> {
        let key = key(&self.0.prefix, Kind::Remembered, name);
        let client = self.0.client();
        self.0.run(Operation::Forget, client.del(key)).await
    }

    async fn keep(&self, name: &str, value: Bytes, lifetime: Duration) -> Result<(), StateError> {
        let ends = Some(Expiration::PX(millis(lifetime)));
        let key = key(&self.0.prefix, Kind::Kept, name);
        let client = self.0.client();
        self.0.run(Operation::Keep, client.set(key, value, ends, None, false)).await
    }

    async fn kept(&self, name: &str) -> Result<Option<Bytes>, StateError> {
        let key = key(&self.0.prefix, Kind::Kept, name);
        let client = self.0.client();
        self.0.run(Operation::Kept, client.get(key)).await
    }

    async fn append_notice(&self, feed: &str, notice: Bytes, lifetime: Duration) -> Result<(), StateError> {
        // Positive, and small enough for every number on the way.
        let generation = rand::random_range(1..=i64::MAX);
        let arguments = vec![
            Value::Bytes(notice),
            Value::from(millis(lifetime)),
            Value::from(FEED_NOTICES as i64),
            Value::from(generation.to_string()),
        ];
        let key = key(&self.0.prefix, Kind::Feed, feed);
        let client = self.0.client();
        self.0.run(Operation::AppendNotice, self.0.scripts.append.run(&client, key, arguments)).await
    }

    async fn read_notices(&self, feed: &str, after: FeedPosition) -> Result<Notices, StateError> {
        let arguments = vec![
            Value::from(after.generation.to_string()),
            Value::from(after.sequence.to_string()),
            Value::from(FEED_PAGE as i64),
        ];
        let key = key(&self.0.prefix, Kind::Feed, feed);
        let client = self.0.client();
        let call = async { page(self.0.scripts.read.run(&client, key, arguments).await?, after) };
        self.0.run(Operation::ReadNotices, call).await
    }
}

fn millis(lifetime: Duration) -> i64 {
    lifetime.min(LONGEST).as_millis().max(1) as i64
}

/// Reads what `read.lua` gives.
fn page(answer: Vec<Value>, after: FeedPosition) -> Result<Notices, Error> {
    let [generation, from, oldest, now, found] = <[Value; 5]>::try_from(answer).map_err(|_| unreadable())?;
    let generation: u64 = generation.convert::<String>()?.parse().map_err(|_| unreadable())?;
    let (from, oldest, now): (u64, u64, u64) = (from.convert()?, oldest.convert()?, now.convert()?);
    let mut position = FeedPosition { generation, sequence: from };
    let mut notices = Vec::new();
    for entry in found.convert::<Vec<Bytes>>()? {
        let (number, added, payload) = entry_parts(&entry).ok_or_else(unreadable)?;
        position.sequence = number;
        notices.push(Notice { payload, age: Duration::from_millis(now.saturating_sub(added)) });
    }
    let begins = after == FeedPosition::default();
    let continues = generation == after.generation && from == after.sequence && from + 1 >= oldest;
    Ok(Notices { notices, position, missed: !begins && !continues })
}

/// `number:added:kept until:payload`.
fn entry_parts(entry: &Bytes) -> Option<(u64, u64, Bytes)> {
    let mut parts = entry.splitn(4, |byte| *byte == b':');
    let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse().ok();
    let (sequence, added, _ends) = (number()?, number()?, number()?);
    let payload: &[u8] = parts.next()?;
    Some((sequence, added, entry.slice_ref(payload)))
}

fn unreadable() -> Error {
    Error::new(fred::error::ErrorKind::Parse, "the feed holds something that is not ours")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_may_hold_any_bytes() {
        let entry = Bytes::from_static(b"12:1000:2000:a:b\0:\xff");
        assert_eq!(entry_parts(&entry), Some((12, 1000, Bytes::from_static(b"a:b\0:\xff"))));
        for wrong in ["", "12", "12:1:2", "x:1:2:payload", "life:77"] {
            assert_eq!(entry_parts(&Bytes::copy_from_slice(wrong.as_bytes())), None, "{wrong}");
        }
    }
}
