//! A core's own view of the common log: the test says what it owns, and can freeze what it reads, as a pause would.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use skywave_ports::memory::MemoryLog;
use skywave_ports::{Assignment, Assignments, Log, LogEntry, LogError, LogReader};
use tokio::sync::{mpsc, watch};

/// The log as one core sees it.
pub struct ScriptedLog {
    log: MemoryLog,
    assignments: Mutex<Option<mpsc::UnboundedReceiver<Assignment>>>,
    frozen: watch::Receiver<bool>,
    share: Arc<Share>,
}

/// What the member asks about its share.
#[derive(Default)]
struct Share {
    settled: AtomicBool,
    looked: AtomicUsize,
}

/// The test's hand on it.
pub struct Hand {
    assignments: mpsc::UnboundedSender<Assignment>,
    frozen: watch::Sender<bool>,
    share: Arc<Share>,
}

impl ScriptedLog {
    pub fn over(log: &MemoryLog) -> (Arc<Self>, Hand) {
        let (assign, assignments) = mpsc::unbounded_channel();
        let (freeze, frozen) = watch::channel(false);
        let share = Arc::<Share>::default();
        let scripted = Self {
            log: log.clone(),
            assignments: Mutex::new(Some(assignments)),
            frozen,
            share: Arc::clone(&share),
        };
        (Arc::new(scripted), Hand { assignments: assign, frozen: freeze, share })
    }
}

impl Hand {
    pub fn assign(&self, partition: u32) {
        self.settle();
        self.assignments.send(Assignment::Assigned(partition)).unwrap();
    }

    pub fn revoke(&self, partition: u32) {
        self.assignments.send(Assignment::Revoked(partition)).unwrap();
    }

    /// Says that the share is complete, whatever it is.
    pub fn settle(&self) {
        self.share.settled.store(true, Ordering::Relaxed);
    }

    /// How often the core has looked whether its share is complete.
    pub fn looked(&self) -> usize {
        self.share.looked.load(Ordering::Relaxed)
    }

    /// Nothing more is read until it thaws.
    pub fn freeze(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }
}

#[async_trait]
impl Log for ScriptedLog {
    fn partitions(&self) -> u32 {
        self.log.partitions()
    }
    async fn append(&self, partition: u32, key: Bytes, value: Bytes) -> Result<u64, LogError> {
        self.log.append(partition, key, value).await
    }
    fn record_bytes(&self) -> usize {
        self.log.record_bytes()
    }
    async fn bounds(&self, partition: u32) -> Result<(u64, u64), LogError> {
        self.log.bounds(partition).await
    }
    async fn read(&self, partition: u32, from: u64) -> Result<Box<dyn LogReader>, LogError> {
        let reader = self.log.read(partition, from).await?;
        Ok(Box::new(FreezingReader { reader, frozen: self.frozen.clone() }))
    }
    async fn trim(&self, partition: u32, before: u64) -> Result<(), LogError> {
        self.log.trim(partition, before).await
    }
    async fn join(&self, _group: &str) -> Result<Box<dyn Assignments>, LogError> {
        let assignments = self.assignments.lock().take();
        let assignments = assignments.ok_or_else(|| LogError::Unavailable("joined already".into()))?;
        Ok(Box::new(ScriptedAssignments { assignments, share: Arc::clone(&self.share) }))
    }
}

struct FreezingReader {
    reader: Box<dyn LogReader>,
    frozen: watch::Receiver<bool>,
}

#[async_trait]
impl LogReader for FreezingReader {
    async fn next(&mut self, max: usize) -> Result<Vec<LogEntry>, LogError> {
        loop {
            let _ = self.frozen.wait_for(|frozen| !*frozen).await;
            let mut frozen = self.frozen.clone();
            tokio::select! {
                biased;
                _ = frozen.wait_for(|frozen| *frozen) => {}
                entries = self.reader.next(max) => return entries,
            }
        }
    }
}

struct ScriptedAssignments {
    assignments: mpsc::UnboundedReceiver<Assignment>,
    share: Arc<Share>,
}

#[async_trait]
impl Assignments for ScriptedAssignments {
    async fn next(&mut self) -> Result<Assignment, LogError> {
        match self.assignments.recv().await {
            Some(assignment) => Ok(assignment),
            None => std::future::pending().await,
        }
    }

    fn is_settled(&self) -> bool {
        self.share.looked.fetch_add(1, Ordering::Relaxed);
        self.share.settled.load(Ordering::Relaxed)
    }
}
