//! The outgoing side: takes a message or refuses it, at once.
//!
//! The queue is the client library's, bounded in messages; large payloads are bounded in bytes as well, from here. It is
//! written as soon as the connection's task runs, many messages in one write if many wait. While there is no connection
//! nothing is taken, so that nothing old is sent when it is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_nats::connection::State;
use async_nats::{Client, PublishErrorKind};
use bytes::Bytes;
use futures_util::FutureExt;
use skywave_ports::BusError;
use skywave_protocol::Subject;
use tokio::task::unconstrained;

use crate::metrics::{Metrics, Refused};

/// Payloads from this size on are counted in bytes; of smaller ones the number bounds the bytes well enough.
const LARGE: usize = 4 * 1024;

pub(crate) struct Publisher {
    client: Arc<Client>,
    metrics: Metrics,
    /// Bytes of large payloads that are not written yet.
    waiting: Arc<AtomicUsize>,
    waiting_max: usize,
}

impl Publisher {
    pub(crate) fn new(client: Arc<Client>, metrics: Metrics, waiting_max: usize) -> Self {
        Self { client, metrics, waiting: Arc::default(), waiting_max }
    }

    pub(crate) fn publish(&self, subject: &Subject, payload: Bytes) -> Result<(), BusError> {
        let size = payload.len();
        if size > self.client.max_payload() {
            self.metrics.refuse(Refused::TooLarge);
            return Err(BusError::TooLarge(size));
        }
        if self.client.connection_state() != State::Connected {
            self.metrics.refuse(Refused::Disconnected);
            return Err(BusError::Disconnected);
        }
        let Some(payload) = self.admit(payload) else {
            self.metrics.refuse(Refused::QueueFull);
            return Err(BusError::Disconnected);
        };
        // Polled once: it is ready unless the queue is full. Without the task's budget, which would make it wait too.
        let name = async_nats::Subject::from(subject.as_str());
        match unconstrained(self.client.publish(name, payload)).now_or_never() {
            Some(Ok(())) => {
                self.metrics.published.inc();
                self.metrics.published_bytes.inc_by(size as u64);
                Ok(())
            }
            None => {
                self.metrics.refuse(Refused::QueueFull);
                Err(BusError::Disconnected)
            }
            Some(Err(error)) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                self.metrics.refuse(Refused::TooLarge);
                Err(BusError::TooLarge(size))
            }
            Some(Err(_)) => {
                self.metrics.refuse(Refused::Disconnected);
                Err(BusError::Disconnected)
            }
        }
    }

    /// Counts a large payload until the connection lets go of it; `None` if too many wait.
    fn admit(&self, payload: Bytes) -> Option<Bytes> {
        let size = payload.len();
        if size < LARGE {
            return Some(payload);
        }
        let counted = Counted { payload, waiting: Arc::clone(&self.waiting) };
        let before = self.waiting.fetch_add(size, Ordering::Relaxed);
        (before.saturating_add(size) <= self.waiting_max).then(|| Bytes::from_owner(counted))
    }
}

/// A payload that is counted as long as somebody holds it.
struct Counted {
    payload: Bytes,
    waiting: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.payload
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.payload.len(), Ordering::Relaxed);
    }
}
