//! A process that dies at a chosen call of its ports.
//!
//! Owns the count of calls, and a log whose calls count. Never: ends what called; that hangs, until the test takes it down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use skywave_ports::memory::MemoryLog;
use skywave_ports::{Assignments, Log, LogError, LogReader};

/// Calls of the ports, of which one is never returned from: the process died there, before or after the call took place.
pub struct Crash {
    calls_left: AtomicI64,
    after: bool,
    crashed: AtomicBool,
}

impl Crash {
    pub fn at(call: i64, after: bool) -> Arc<Self> {
        Arc::new(Self { calls_left: AtomicI64::new(call), after, crashed: AtomicBool::new(false) })
    }

    pub fn never() -> Arc<Self> {
        Self::at(i64::MAX, false)
    }

    pub async fn call<T>(&self, call: impl Future<Output = T>) -> T {
        let here = self.calls_left.fetch_sub(1, Ordering::SeqCst) == 0;
        if here && !self.after {
            self.die().await;
        }
        let result = call.await;
        if here {
            self.die().await;
        }
        result
    }

    async fn die(&self) {
        self.crashed.store(true, Ordering::SeqCst);
        std::future::pending().await
    }

    pub fn crashed(&self) -> bool {
        self.crashed.load(Ordering::SeqCst)
    }
}

/// Counts what a publisher does to a log: appending, and asking how far it goes.
pub struct CrashingLog(pub MemoryLog, pub Arc<Crash>);

#[async_trait]
impl Log for CrashingLog {
    fn partitions(&self) -> u32 {
        self.0.partitions()
    }
    async fn append(&self, partition: u32, key: Bytes, value: Bytes) -> Result<u64, LogError> {
        self.1.call(self.0.append(partition, key, value)).await
    }
    fn record_bytes(&self) -> usize {
        self.0.record_bytes()
    }
    async fn bounds(&self, partition: u32) -> Result<(u64, u64), LogError> {
        self.1.call(self.0.bounds(partition)).await
    }
    async fn read(&self, partition: u32, from: u64) -> Result<Box<dyn LogReader>, LogError> {
        self.0.read(partition, from).await
    }
    async fn trim(&self, partition: u32, before: u64) -> Result<(), LogError> {
        self.0.trim(partition, before).await
    }
    async fn join(&self, group: &str) -> Result<Box<dyn Assignments>, LogError> {
        self.0.join(group).await
    }
}
