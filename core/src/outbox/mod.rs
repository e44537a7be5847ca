//! The relay: publishes what an application has left in its transactional outbox, each row once.
//!
//! One relay at a time has the outbox's turn. Its round:
//! 1. read the oldest rows; `row` checks them;
//! 2. **mark** those that are new, durably: publishing begins, and the channel's newest stored position was this;
//! 3. append them to the log, those of one channel one after the other, each under its own message id;
//! 4. settle what the log has acknowledged: the rows are removed.
//!
//! A row that has a mark already *may* be in the log: the relay before has died between 2 and 4, or an append had no
//! answer. Then `verify` looks whether it was published, however long ago that was; the dedup window is not relied upon.
//! What cannot be found out any more, because history has forgotten it, is refused and kept aside: it is never
//! published twice.
//!
//! Order: rows of one channel are published in the order in which they come; one that cannot be published now holds up
//! those behind it in its channel, and no others.
//! Never: publishes without the turn, as far as it can know (see `round`).

mod metrics;
mod round;
mod row;
mod verify;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashSet;
use prometheus_client::registry::Registry;
use skywave_ports::{Log, Outbox, OutboxError, OutboxTurn, Store};
use skywave_protocol::NamespaceOptions;
use skywave_runtime::Shutdown;
use tokio::task::JoinHandle;

use crate::backoff::Backoff;
use crate::service::CoreFailed;
use metrics::RelayMetrics;

/// What an operator may set about a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayConfig {
    /// Stamped on records as the region they were published in.
    pub region: Arc<str>,
    /// A row for a namespace that is not here is refused.
    pub namespaces: BTreeMap<String, NamespaceOptions>,
    /// Rows in a round, at most.
    pub rows: usize,
    /// Pause when there are no rows.
    pub poll: Duration,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self { region: "".into(), namespaces: BTreeMap::new(), rows: 500, poll: Duration::from_millis(100) }
    }
}

/// What a relay stands on.
#[derive(Clone)]
pub struct RelayPorts {
    pub outbox: Arc<dyn Outbox>,
    pub log: Arc<dyn Log>,
    pub store: Arc<dyn Store>,
}

/// A running relay.
pub struct OutboxRelay {
    task: JoinHandle<()>,
}

impl OutboxRelay {
    /// Starts it on the current runtime. It ends at once at either phase of `shutdown`: what it was doing is done by the
    /// next one.
    pub fn start(
        config: RelayConfig,
        ports: RelayPorts,
        registry: &mut Registry,
        shutdown: Shutdown,
    ) -> Self {
        let relay = Relay { config, ports, metrics: RelayMetrics::register(registry) };
        let task = tokio::spawn(async move {
            tokio::select! {
                () = relay.run() => {}
                () = shutdown.requested() => {}
            }
        });
        Self { task }
    }

    /// Returns when the relay has ended: after its shutdown, or (with an error) because it has died, and then the process
    /// should end too. Cancel-safe; not to be called again after it returned.
    pub async fn ended(&mut self) -> Result<(), CoreFailed> {
        (&mut self.task).await.map_err(|_| CoreFailed("outbox relay"))
    }
}

struct Relay {
    config: RelayConfig,
    ports: RelayPorts,
    metrics: RelayMetrics,
}

impl Relay {
    /// Takes turn after turn, for ever.
    async fn run(&self) {
        let mut backoff = Backoff::default();
        loop {
            let ended = match self.ports.outbox.turn().await {
                Ok(mut turn) => {
                    self.metrics.turns.inc();
                    tracing::info!("relaying the outbox");
                    self.serve(&mut *turn, &mut backoff).await
                }
                Err(error) => error,
            };
            self.metrics.failures.inc();
            if backoff.failures() == 0 {
                tracing::warn!(error = %ended, "the outbox cannot be relayed; trying on");
            }
            self.metrics.idle();
            backoff.wait().await;
        }
    }

    /// Works until the turn is lost.
    async fn serve(&self, turn: &mut dyn OutboxTurn, failures: &mut Backoff) -> OutboxError {
        let mut unsent = HashSet::new();
        let mut stuck = Backoff::default();
        loop {
            let rows = match turn.rows(self.config.rows).await {
                Ok(rows) => rows,
                Err(error) => return error,
            };
            *failures = Backoff::default();
            self.metrics.waiting(&rows);
            if rows.is_empty() {
                tokio::time::sleep(self.config.poll).await;
                continue;
            }
            match self.round(turn, rows, &mut unsent).await {
                Ok(true) => stuck = Backoff::default(),
                Ok(false) => stuck.wait().await,
                Err(error) => return error,
            }
        }
    }
}
