//! What the store counts, under the prefix `skywave_postgres`.

use std::time::Instant;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::connections::Circuit;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OperationLabel {
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct PoolLabel {
    pool: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ServedLabel {
    by: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabel {
    reason: &'static str,
}

/// Cheap to clone: every clone counts into the same numbers.
#[derive(Clone)]
pub(crate) struct Metrics {
    seconds: Family<OperationLabel, Histogram, fn() -> Histogram>,
    failures: Family<OperationLabel, Counter>,
    pub(crate) rows_written: Counter,
    pub(crate) bytes_written: Counter,
    pub(crate) commits_moved: Counter,
    pub(crate) commits_warned: Counter,
    pub(crate) rows_deleted: Counter,
    served: Family<ServedLabel, Counter>,
    replica_passed_over: Family<ReasonLabel, Counter>,
    pools: Pools,
}

#[derive(Clone, Default)]
struct Pools {
    busy: Family<PoolLabel, Gauge>,
    idle: Family<PoolLabel, Gauge>,
    waiting: Family<PoolLabel, Gauge>,
    opened: Family<PoolLabel, Counter>,
    open_failures: Family<PoolLabel, Counter>,
    circuit: Family<PoolLabel, Gauge>,
    circuit_opened: Family<PoolLabel, Counter>,
    circuit_refused: Family<PoolLabel, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_5, 2.0, 16))),
            failures: Family::default(),
            rows_written: Counter::default(),
            bytes_written: Counter::default(),
            commits_moved: Counter::default(),
            commits_warned: Counter::default(),
            rows_deleted: Counter::default(),
            served: Family::default(),
            replica_passed_over: Family::default(),
            pools: Pools::default(),
        }
    }
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("skywave_postgres");
        registry.register(
            "operation_seconds",
            "Duration of operations that succeeded, with the wait for a connection",
            metrics.seconds.clone(),
        );
        registry.register("operation_failures", "Operations that failed", metrics.failures.clone());
        let counters = [
            ("rows_written", "Publications committed", &metrics.rows_written),
            ("bytes_written", "Bytes of payload committed", &metrics.bytes_written),
            ("commits_moved", "Commits refused because the checkpoint had moved", &metrics.commits_moved),
            (
                "commits_warned",
                "Commits whose wait for a standby was cut short, taken for unknown",
                &metrics.commits_warned,
            ),
            ("rows_deleted", "Publications deleted by retention", &metrics.rows_deleted),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register("history_served", "Pages of history, by who served them", metrics.served.clone());
        registry.register(
            "replica_passed_over",
            "Pages of history that the replica could not serve, by reason",
            metrics.replica_passed_over.clone(),
        );
        metrics.pools.register(registry);
        metrics
    }

    pub(crate) fn pool(&self, name: &'static str) -> PoolGauges {
        let (label, pools) = (PoolLabel { pool: name }, &self.pools);
        PoolGauges {
            busy: pools.busy.get_or_create_owned(&label),
            idle: pools.idle.get_or_create_owned(&label),
            waiting: pools.waiting.get_or_create_owned(&label),
            connections: pools.opened.get_or_create_owned(&label),
            connection_failures: pools.open_failures.get_or_create_owned(&label),
            circuit: pools.circuit.get_or_create_owned(&label),
            opened: pools.circuit_opened.get_or_create_owned(&label),
            refused: pools.circuit_refused.get_or_create_owned(&label),
        }
    }

    /// Notes how an operation that began at `started` ended.
    pub(crate) fn ended(&self, operation: &'static str, started: Instant, succeeded: bool) {
        let label = OperationLabel { operation };
        if succeeded {
            self.seconds.get_or_create(&label).observe(started.elapsed().as_secs_f64());
        } else {
            self.failures.get_or_create(&label).inc();
        }
    }

    /// `by`: `primary` or `replica`.
    pub(crate) fn served(&self, by: &'static str) {
        self.served.get_or_create(&ServedLabel { by }).inc();
    }

    pub(crate) fn passed_over(&self, reason: &'static str) {
        self.replica_passed_over.get_or_create(&ReasonLabel { reason }).inc();
    }
}

impl Pools {
    fn register(&self, registry: &mut Registry) {
        let gauges = [
            ("connections_busy", "Connections in use", &self.busy),
            ("connections_idle", "Connections open and not in use", &self.idle),
            ("connections_awaited", "Operations that wait for a connection", &self.waiting),
            ("circuit", "State of the circuit breaker: 0 closed, 1 half open, 2 open", &self.circuit),
        ];
        for (name, help, family) in gauges {
            registry.register(name, help, family.clone());
        }
        let counters = [
            ("connections_made", "Connections made", &self.opened),
            ("connections_failed", "Connections that could not be made", &self.open_failures),
            ("circuit_opened", "Times the circuit breaker opened", &self.circuit_opened),
            ("circuit_refused", "Operations refused by an open circuit breaker", &self.circuit_refused),
        ];
        for (name, help, family) in counters {
            registry.register(name, help, family.clone());
        }
    }
}

/// The numbers of one pool.
#[derive(Clone)]
pub(crate) struct PoolGauges {
    busy: Gauge,
    pub(crate) idle: Gauge,
    waiting: Gauge,
    connections: Counter,
    connection_failures: Counter,
    circuit: Gauge,
    pub(crate) opened: Counter,
    pub(crate) refused: Counter,
}

/// Counts one for as long as it lives.
pub(crate) struct Counted<'a>(&'a Gauge);

impl PoolGauges {
    pub(crate) fn busy(&self) -> Counted<'_> {
        Counted::new(&self.busy)
    }

    pub(crate) fn waiting(&self) -> Counted<'_> {
        Counted::new(&self.waiting)
    }

    pub(crate) fn connected(&self, succeeded: bool) {
        if succeeded {
            self.connections.inc()
        } else {
            self.connection_failures.inc()
        };
    }

    pub(crate) fn circuit(&self, state: Circuit) {
        self.circuit.set(state as i64);
    }
}

impl<'a> Counted<'a> {
    fn new(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
