//! The log as services see it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use prometheus_client::registry::Registry;
use skywave_ports::log::{Assignments, Log, LogError, LogPosition, LogReader, Partition};
use tokio::time::Instant;

use crate::admin::Admin;
use crate::background::{Background, Finished};
use crate::config::KafkaConfig;
use crate::error::KafkaError;
use crate::events::{EventTopics, KafkaEvents};
use crate::metrics::KafkaMetrics;
use crate::producer::Producer;
use crate::reader::own::Own;
use crate::reader::pool::Pool;
use crate::reader::{Reader, Sources};
use crate::{group, topic};

/// How long clients may take to end.
const CLOSE: Duration = Duration::from_secs(10);

/// A cell's log. It lives on the runtime it was opened on; dropping it abandons appends that are under way, [`KafkaLog::close`]
/// waits for them.
pub struct KafkaLog {
    config: Arc<KafkaConfig>,
    metrics: KafkaMetrics,
    /// A partition's appends all go through one of them.
    producers: Vec<Producer>,
    readers: Sources,
    background: Background,
    finished: Finished,
}

impl KafkaLog {
    /// Opens the log of a cell, and makes its topic if it is missing. Takes at most `config.start_timeout` and a request.
    pub async fn connect(config: KafkaConfig, registry: &mut Registry) -> Result<Self, KafkaError> {
        config.check()?;
        let deadline = Instant::now() + config.start_timeout;
        let config = Arc::new(config);
        let metrics = KafkaMetrics::register(registry);
        let (background, finished) = Background::new();
        let admin = Admin::new(&config, &background)?;
        let own = Own::new(config.partitions);
        let producers: Vec<Producer> = (0..config.producers())
            .map(|_| Producer::open(Arc::clone(&config), metrics.clone(), background.clone(), own.clone()))
            .collect::<Result<_, _>>()?;
        topic::ensure(&config, &producers[0], &admin, deadline).await?;
        let pool = Pool::new(Arc::clone(&config), metrics.clone(), background.clone());
        let readers = Sources { pool, own, admin, metrics: metrics.clone() };
        Ok(Self { config, metrics, producers, readers, background, finished })
    }

    /// Events on the same brokers. To be dropped before the log is closed.
    pub async fn events(&self, topics: &EventTopics) -> Result<KafkaEvents, KafkaError> {
        let (config, metrics) = (Arc::clone(&self.config), self.metrics.clone());
        KafkaEvents::open(config, topics, &self.readers.admin, metrics, self.background.clone()).await
    }

    /// Ends the log: appends under way are waited for (at most `config.append_timeout`), and groups are told that their
    /// members leave. Readers and memberships are to be dropped before.
    pub async fn close(self) {
        let Self { producers, readers, background, finished, .. } = self;
        join_all(producers.into_iter().map(Producer::close)).await;
        drop((readers, background));
        if tokio::time::timeout(CLOSE, finished.wait()).await.is_err() {
            tracing::warn!(
                "Kafka clients did not end within {CLOSE:?}; is a reader or a membership still held?"
            );
        }
    }

    fn check(&self, partition: Partition) -> Result<(), LogError> {
        if partition < self.config.partitions { Ok(()) } else { Err(LogError::NoPartition(partition)) }
    }
}

#[async_trait]
impl Log for KafkaLog {
    fn partitions(&self) -> u32 {
        self.config.partitions
    }

    async fn append(&self, partition: Partition, key: Bytes, value: Bytes) -> Result<LogPosition, LogError> {
        self.check(partition)?;
        let (limit, got) = (self.config.record_bytes, value.len());
        if got > limit {
            return Err(LogError::TooLarge { limit, got });
        }
        let producer = &self.producers[partition as usize % self.producers.len()];
        producer.append(partition, key, value).await
    }

    fn record_bytes(&self) -> usize {
        self.config.record_bytes
    }

    async fn bounds(&self, partition: Partition) -> Result<(LogPosition, LogPosition), LogError> {
        self.check(partition)?;
        self.readers.admin.bounds(partition).await
    }

    async fn read(&self, partition: Partition, from: LogPosition) -> Result<Box<dyn LogReader>, LogError> {
        self.check(partition)?;
        let own_bytes = self.config.prefetch_bytes;
        Ok(Box::new(Reader::open(self.readers.clone(), own_bytes, partition, from).await?))
    }

    async fn trim(&self, partition: Partition, before: LogPosition) -> Result<(), LogError> {
        self.check(partition)?;
        self.readers.admin.delete_before(partition, before).await
    }

    async fn join(&self, group: &str) -> Result<Box<dyn Assignments>, LogError> {
        Ok(Box::new(group::join(&self.config, &self.metrics, &self.background, group)?))
    }
}
