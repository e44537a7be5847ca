//! Appends records, and keeps a producer to do so.
//!
//! - An append goes to the current [`session`] at once, so order is that of the first polls; the session's thread answers
//!   it. The [`gate`] of its partition refuses it when Kafka does not acknowledge, the [`queue`] when too many wait. It is sent
//!   when its turn comes ([`turns`]).
//! - A *watchdog* gives up a session that is spoiled or whose appends have waited too long, and opens the next.
//!
//! Never: sends a record twice on its own.

mod gate;
mod queue;
mod session;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::RwLock;
use rdkafka::error::KafkaError as ClientError;
use skywave_ports::log::{LogError, LogPosition, Partition};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::admin::reason;
use crate::background::{Background, Detached};
use crate::client::Complaint;
use crate::config::KafkaConfig;
use crate::error::KafkaError;
use crate::metrics::{KafkaMetrics, PartitionLabel};
use crate::reader::own::Own;
use gate::{Clock, Gate};
use session::{Answer, Session};

/// Between two looks of the watchdog.
const LOOK_EVERY: Duration = Duration::from_millis(250);

pub(crate) struct Producer {
    shared: Arc<Shared>,
    watchdog: JoinHandle<()>,
}

struct Shared {
    config: Arc<KafkaConfig>,
    clock: Clock,
    metrics: KafkaMetrics,
    background: Background,
    own: Own,
    /// Told when the current session is spoiled.
    trouble: Arc<Notify>,
    /// `None` while a session is being replaced, and after the end: appends are refused.
    session: RwLock<Option<Arc<Detached<Session>>>>,
}

/// What the cluster says of the topic.
pub(crate) struct TopicState {
    pub(crate) partitions: usize,
    /// Partitions that have a leader.
    pub(crate) led: usize,
}

impl Producer {
    /// Contacts nobody yet.
    pub(crate) fn open(
        config: Arc<KafkaConfig>,
        metrics: KafkaMetrics,
        background: Background,
        own: Own,
    ) -> Result<Self, KafkaError> {
        let shared = Arc::new(Shared {
            config,
            clock: Clock::start(),
            metrics,
            background,
            own,
            trouble: Arc::default(),
            session: RwLock::new(None),
        });
        let gates = (0..shared.config.partitions).map(|_| Gate::default()).collect();
        shared.open_session(gates)?;
        let watchdog = tokio::spawn(watch(Arc::clone(&shared)));
        Ok(Self { shared, watchdog })
    }

    /// The caller has checked partition and size.
    pub(crate) async fn append(&self, partition: Partition, key: Bytes, value: Bytes) -> Answer {
        let answer = match self.shared.send(partition, key, value) {
            Ok(answer) => answer,
            Err(refusal) => {
                self.shared.metrics.appends_refused.inc();
                return Err(refusal);
            }
        };
        let timeout = self.shared.config.append_timeout;
        let answer = match tokio::time::timeout(timeout, answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(LogError::Unavailable("the log was closed".into()))),
            Err(_) => Err(LogError::Unavailable(format!("Kafka has not acknowledged within {timeout:?}"))),
        };
        self.shared.count(&answer);
        answer
    }

    pub(crate) fn complaint(&self) -> Arc<Complaint> {
        self.shared.current().map_or_else(Arc::default, |session| session.complaint())
    }

    /// Asks the cluster for the topic; `None` if it is not there.
    pub(crate) async fn topic_state(&self) -> Result<Option<TopicState>, String> {
        let Some(session) = self.shared.current() else { return Err("the producer is made anew".into()) };
        let (topic, timeout) = (self.shared.config.topic(), self.shared.config.request_timeout);
        let ask = move || -> Result<Option<TopicState>, ClientError> {
            // All topics: asking for one would make it, on brokers that are set to make topics on their own.
            let metadata = session.client().fetch_metadata(None, timeout)?;
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            Ok(found.map(|found| TopicState {
                partitions: found.partitions().len(),
                led: found.partitions().iter().filter(|partition| partition.leader() >= 0).count(),
            }))
        };
        let state = tokio::task::spawn_blocking(ask).await.map_err(|error| error.to_string())?;
        state.map_err(|error| reason(&error))
    }

    /// Takes no more appends and waits for those under way, at most as long as an append may take.
    pub(crate) async fn close(self) {
        self.watchdog.abort();
        let Some(session) = self.shared.session.write().take() else { return };
        let timeout = self.shared.config.append_timeout;
        let flush = move || {
            session.flush(timeout);
            session.give_up();
        };
        // It has no way to fail but a panic, which has been reported.
        let _ = tokio::task::spawn_blocking(flush).await;
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.watchdog.abort();
        // Ending it answers what is under way as unknown.
        drop(self.shared.session.write().take());
    }
}

impl Shared {
    fn current(&self) -> Option<Arc<Detached<Session>>> {
        self.session.read().clone()
    }

    fn open_session(&self, gates: Vec<Gate>) -> Result<(), KafkaError> {
        let (metrics, trouble) = (self.metrics.clone(), Arc::clone(&self.trouble));
        let session = Session::open(&self.config, gates, self.clock, metrics, trouble, self.own.clone())?;
        *self.session.write() = Some(Arc::new(Detached::new(session, self.background.clone())));
        Ok(())
    }

    /// Everything up to the queue, without waiting. An error is certain: it was not appended.
    fn send(
        &self,
        partition: Partition,
        key: Bytes,
        value: Bytes,
    ) -> Result<oneshot::Receiver<Answer>, LogError> {
        let session = self.session.read();
        let Some(session) = session.as_ref() else {
            return Err(LogError::Refused("the producer is being made anew".into()));
        };
        let gate = &session.gates()[partition as usize];
        if !gate.enter(self.clock.now(), self.config.stall_after) {
            self.say_shut(partition, gate);
            return Err(LogError::Refused(format!(
                "Kafka does not acknowledge appends to partition {partition}"
            )));
        }
        session.send(partition, key, value).inspect_err(|_| gate.withdrawn())
    }

    fn say_shut(&self, partition: Partition, gate: &Gate) {
        if gate.say(true) {
            tracing::warn!(partition, "Kafka acknowledges no appends; more are refused until it does");
            self.metrics.refusing.get_or_create(&PartitionLabel { partition }).set(1);
        }
    }

    fn count(&self, answer: &Result<LogPosition, LogError>) {
        match answer {
            Ok(_) => self.metrics.appended.inc(),
            Err(LogError::Unavailable(_)) => self.metrics.appends_unknown.inc(),
            Err(_) => self.metrics.appends_refused.inc(),
        };
    }

    fn is_due(&self, session: &Session) -> bool {
        let (now, patience) = (self.clock.now(), self.config.abandon_after);
        session.is_spoiled() || session.gates().iter().any(|gate| gate.has_waited(now, patience))
    }

    /// Gives up the session, if there is one, and opens the next. Blocks.
    fn replace(&self) {
        let old = self.session.write().take();
        self.metrics.producer_restarts.inc();
        let gates = match &old {
            Some(old) => old.gates().iter().map(|gate| self.successor(gate)).collect(),
            None => (0..self.config.partitions).map(|_| Gate::doubtful()).collect(),
        };
        if let Some(old) = old {
            old.give_up();
        }
        if let Err(error) = self.open_session(gates) {
            // The watchdog comes back to it.
            tracing::error!(%error, "a new producer could not be made");
        }
    }

    fn successor(&self, gate: &Gate) -> Gate {
        let doubtful = gate.has_failed() || gate.is_shut(self.clock.now(), self.config.stall_after);
        if doubtful { Gate::doubtful() } else { Gate::default() }
    }
}

async fn watch(shared: Arc<Shared>) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shared.trouble.notified() => {}
            _ = look.tick() => {}
        }
        if shared.current().is_none_or(|session| shared.is_due(&session)) {
            let shared = Arc::clone(&shared);
            let _ = tokio::task::spawn_blocking(move || shared.replace()).await;
        }
    }
}
