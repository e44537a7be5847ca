//! Connections to a server: a bounded few for each purpose, so that reading never takes what writing needs.
//!
//! - `server` makes a connection, checks what is at its other end and sets its limits;
//! - `breaker` keeps everybody from waiting for a server that does not answer;
//! - [`Pool`] lends connections. One that met an error, or whose user gave up, is closed and not lent again.

mod breaker;
pub(crate) mod notices;
mod server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::{Connection, PgConnection};
use tokio::sync::Semaphore;

use crate::config::PostgresConfig;
use crate::error::Failure;
use crate::metrics::{Metrics, PoolGauges};
use breaker::Breaker;

pub(crate) use breaker::Circuit;
pub(crate) use server::{Limits, Role, Server};

pub(crate) struct Pool {
    server: Arc<Server>,
    limits: Limits,
    breaker: Breaker,
    /// As many operations as there may be connections; others wait, until their deadline.
    slots: Semaphore,
    /// At most one for each slot.
    idle: Mutex<Vec<Idle>>,
    gauges: PoolGauges,
}

struct Idle {
    connection: PgConnection,
    since: Instant,
}

/// A connection idle for longer is tried out before it is lent: the server may have been restarted meanwhile.
const TRUSTED: Duration = Duration::from_secs(1);

impl Pool {
    pub(crate) fn new(
        name: &'static str,
        server: Arc<Server>,
        connections: usize,
        limits: Limits,
        config: &PostgresConfig,
        metrics: &Metrics,
    ) -> Self {
        let gauges = metrics.pool(name);
        Self {
            server,
            limits,
            breaker: Breaker::new(name, config, gauges.clone()),
            slots: Semaphore::new(connections),
            idle: Mutex::default(),
            gauges,
        }
    }

    /// Runs `work` on one of the connections, for at most `limit` in all.
    pub(crate) async fn with<T>(
        &self,
        limit: Duration,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let admission = self.breaker.admit()?;
        let outcome = match tokio::time::timeout(limit, self.attempt(work)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::TimedOut(limit)),
        };
        match &outcome {
            Err(failure) if failure.is_outage() => {
                // The others are no better.
                self.forget_idle();
                admission.failed(failure);
            }
            _ => admission.answered(),
        }
        outcome
    }

    async fn attempt<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let waiting = self.gauges.waiting();
        let Ok(_slot) = self.slots.acquire().await else { unreachable!("the semaphore is never closed") };
        drop(waiting);
        let _busy = self.gauges.busy();
        let idle = self.take_idle();
        let mut connection = match checked(idle).await {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        // Dropped, and thereby closed, if the work fails or is given up.
        let result = work(&mut connection).await?;
        self.put_idle(connection);
        Ok(result)
    }

    async fn connect(&self) -> Result<PgConnection, Failure> {
        let connected = self.server.connect(&self.limits).await;
        self.gauges.connected(connected.is_ok());
        connected
    }

    fn take_idle(&self) -> Option<Idle> {
        let taken = self.idle.lock().pop();
        if taken.is_some() {
            self.gauges.idle.dec();
        }
        taken
    }

    fn put_idle(&self, connection: PgConnection) {
        self.idle.lock().push(Idle { connection, since: Instant::now() });
        self.gauges.idle.inc();
    }

    fn forget_idle(&self) {
        let forgotten = std::mem::take(&mut *self.idle.lock());
        self.gauges.idle.dec_by(forgotten.len() as i64);
    }
}

/// `None`: another one is needed.
async fn checked(idle: Option<Idle>) -> Option<PgConnection> {
    let Idle { mut connection, since } = idle?;
    if since.elapsed() < TRUSTED {
        return Some(connection);
    }
    connection.ping().await.is_ok().then_some(connection)
}
