//! Topics of backends: what an application writes to its own Kafka topics is published in channels, each record once.
//!
//! 1. The cores of a cell share the topics' partitions as one consumer group; each reads a few hundred records at a time.
//! 2. `mapping` makes a publication of each, with the `template`s that the operator has written; what cannot become one is
//!    a dead letter (`letters`).
//! 3. `publish` appends them to the log: those of one partition for one channel one after the other, in order.
//! 4. When all are in the log or dead letters, the group is told (and only then): a core that dies before has done part of
//!    the work, and the next one does it again. Every copy of a record has the same message id, so that the log's
//!    sequencer drops it; after a longer outage than it remembers ids for, `doubt` says which records may be copies and
//!    `found` looks them up in history.
//!
//! Bounded: nothing more is read while records wait. So when log, store or dead letters take nothing, this pauses, and the
//! lag grows in Kafka.
//! Never: publishes to ephemeral channels, or commits a position that is not dealt with.

mod doubt;
mod found;
mod letters;
mod mapping;
mod metrics;
mod publish;
mod template;
mod trouble;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use prometheus_client::registry::Registry;
use skywave_ports::log::Partition;
use skywave_ports::{Event, EventStream, Events, EventsError, Log, Store};
use skywave_protocol::{ChannelName, NamespaceOptions};
use skywave_runtime::Shutdown;
use tokio::task::JoinHandle;

use crate::backoff::Backoff;
use crate::service::CoreFailed;
use doubt::{Doubts, READ};
pub use mapping::{Mapping, MappingError, TopicFormat, TopicSettings};
use metrics::TopicMetrics;
use publish::Pending;
use trouble::Trouble;

/// The consumer group of a cell's cores.
const GROUP: &str = "topics";
/// Channels that are worked on at a time.
const CHANNELS_IN_FLIGHT: usize = 64;
/// How often it is looked whether trouble is over while no record comes.
const CHECK_EVERY: Duration = Duration::from_secs(2);
/// Failures in a row after which the group is joined anew.
const PATIENCE: u32 = 8;

/// What an operator may set.
#[derive(Debug, Clone)]
pub struct TopicsConfig {
    pub topics: Vec<Mapping>,
    /// Stamped on records as the region they were published in.
    pub region: Arc<str>,
    pub namespaces: BTreeMap<String, NamespaceOptions>,
    /// How long the sequencer remembers message ids.
    pub dedup_window_ms: u64,
}

/// What it stands on.
#[derive(Clone)]
pub struct TopicsPorts {
    pub events: Arc<dyn Events>,
    pub log: Arc<dyn Log>,
    pub store: Arc<dyn Store>,
    /// Whether a partition of the log takes nothing at present ([`crate::Core::stalled`]).
    pub stalled: Arc<dyn Fn(Partition) -> bool + Send + Sync>,
}

/// Publishes what backends write to their topics.
pub struct BackendTopics {
    consumer: Arc<Consumer>,
    task: JoinHandle<()>,
}

impl BackendTopics {
    /// Starts on the current runtime. It ends at once at either phase of `shutdown`: what it was doing is done by the next one.
    pub fn start(
        config: TopicsConfig,
        ports: TopicsPorts,
        registry: &mut Registry,
        shutdown: Shutdown,
    ) -> Self {
        let metrics = TopicMetrics::register(registry);
        let consumer = Arc::new(Consumer { config, ports, metrics, trouble: Trouble::default() });
        let running = Arc::clone(&consumer);
        let task = tokio::spawn(async move {
            tokio::select! {
                () = running.run() => {}
                () = shutdown.requested() => {}
            }
        });
        Self { consumer, task }
    }

    /// Why it has to wait, if it has to, at any time.
    pub fn trouble(&self) -> impl Fn() -> Option<String> + Send + Sync + 'static {
        // Health checks outlive it: they must not hold on to the ports.
        let consumer = Arc::downgrade(&self.consumer);
        move || consumer.upgrade().and_then(|consumer| consumer.trouble.now())
    }

    /// Returns when it has ended: after its shutdown, or (with an error) because it has died, and then the process should end
    /// too. Cancel-safe; not to be called again after it returned.
    pub async fn ended(&mut self) -> Result<(), CoreFailed> {
        (&mut self.task).await.map_err(|_| CoreFailed("backend topics"))
    }
}

struct Consumer {
    config: TopicsConfig,
    ports: TopicsPorts,
    metrics: TopicMetrics,
    trouble: Trouble,
}

impl Consumer {
    /// Joins the group again and again, for ever.
    async fn run(&self) {
        let topics: Vec<&str> = self.config.topics.iter().map(|mapping| &mapping.topic[..]).collect();
        let mut backoff = Backoff::default();
        loop {
            match self.ports.events.subscribe(GROUP, &topics).await {
                Ok(mut stream) => self.follow(&mut *stream).await,
                Err(error) => self.trouble.met(&error),
            }
            self.metrics.retries.inc();
            backoff.wait().await;
        }
    }

    /// Reads and publishes until the stream fails for long.
    async fn follow(&self, stream: &mut dyn EventStream) {
        let (mut doubts, mut failures) = (Doubts::default(), Backoff::default());
        while failures.failures() < PATIENCE {
            match self.next(stream).await {
                Ok(events) => {
                    failures = Backoff::default();
                    self.trouble.over();
                    self.work(events, &mut doubts).await;
                    if !self.confirm(stream).await {
                        return;
                    }
                }
                Err(error) => {
                    self.trouble.met(&error);
                    self.metrics.retries.inc();
                    failures.wait().await;
                }
            }
        }
    }

    /// The next records. After trouble they may be long in coming: then it is over when the topics are there.
    async fn next(&self, stream: &mut dyn EventStream) -> Result<Vec<Event>, EventsError> {
        while self.trouble.now().is_some() {
            match tokio::time::timeout(CHECK_EVERY, stream.next(READ)).await {
                Ok(result) => return result,
                Err(_) if stream.check().await.is_ok() => self.trouble.over(),
                Err(_) => {}
            }
        }
        stream.next(READ).await
    }

    /// Nothing more is read before: what may be given again must stay bounded. `false`: it could not be done.
    async fn confirm(&self, stream: &mut dyn EventStream) -> bool {
        let mut failures = Backoff::default();
        while failures.failures() < PATIENCE {
            match stream.confirm().await {
                Ok(()) => return true,
                Err(error) => {
                    tracing::debug!(%error, "records were not confirmed");
                    self.metrics.retries.inc();
                    failures.wait().await;
                }
            }
        }
        false
    }

    /// Returns when every record is published or a dead letter.
    async fn work(&self, events: Vec<Event>, doubts: &mut Doubts) {
        let mut queues = BTreeMap::<(String, u32, ChannelName), Vec<Pending>>::new();
        for event in events {
            let doubtful = doubts.holds(&event);
            let Some(mapping) = self.config.topics.iter().find(|mapping| mapping.topic == event.topic) else {
                continue;
            };
            match mapping.map(&event, &self.config.namespaces, self.ports.log.record_bytes()) {
                Ok(record) => {
                    let queue = (event.topic.clone(), event.partition, record.channel.clone());
                    queues.entry(queue).or_default().push(Pending { event, record, doubtful });
                }
                Err(refusal) => self.bury(&event, &refusal).await,
            }
        }
        stream::iter(queues)
            .for_each_concurrent(CHANNELS_IN_FLIGHT, async |((.., channel), records)| {
                self.publish(&channel, records).await;
            })
            .await;
    }
}
