//! The bus: fast, at most once. Loss is repaired from the log by those who need it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use skywave_protocol::Subject;
use tokio::sync::mpsc;

/// Publish/subscribe over subjects.
///
/// Contract:
/// - *Delivery*: at most once, to every subscription (and to one member of each queue group) that stood when the message
///   was accepted. A full [`Inbox`] drops the message for that inbox only and counts it; nobody else waits.
/// - *Ordering*: messages of one publisher on one subject arrive at one inbox in the order of publication; nothing is
///   promised across publishers or subjects.
/// - *Non-blocking*: [`Bus::publish`] never waits for a subscriber or the network.
/// - A subscription is live when [`Bus::subscribe`] returns: whatever is published after it (on the same bus connection;
///   across nodes, as soon as interest has spread) reaches the inbox.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Hands a message to the bus. `Disconnected` means that it was certainly not delivered.
    fn publish(&self, subject: &Subject, payload: Bytes) -> Result<(), BusError>;

    /// Adds `inbox` as a subscriber under `subject`; with `group`, messages are shared among the group's members.
    /// Dropping the returned guard ends the subscription.
    async fn subscribe(
        &self,
        subject: &Subject,
        group: Option<&str>,
        inbox: &Inbox,
    ) -> Result<Subscription, BusError>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    #[error("the bus is not connected")]
    Disconnected,
    #[error("the bus refuses {0} bytes in one message")]
    TooLarge(usize),
}

/// One message as it arrives.
#[derive(Debug, Clone)]
pub struct BusMessage {
    pub subject: Subject,
    pub payload: Bytes,
}

/// The sending side of a bounded queue that many subscriptions may share. When full, messages are dropped and counted.
/// Clones are held for every subject: one pointer each.
#[derive(Debug, Clone)]
pub struct Inbox(Arc<Entrance>);

#[derive(Debug)]
struct Entrance {
    sender: mpsc::Sender<BusMessage>,
    dropped: AtomicU64,
}

impl Inbox {
    /// A queue of at most `capacity` messages.
    pub fn new(capacity: usize) -> (Self, mpsc::Receiver<BusMessage>) {
        let (sender, receiver) = mpsc::channel(capacity);
        (Self(Arc::new(Entrance { sender, dropped: AtomicU64::new(0) })), receiver)
    }

    /// For adapters: delivers, or drops and counts. `false` once the receiver is gone.
    pub fn deliver(&self, message: BusMessage) -> bool {
        match self.0.sender.try_send(message) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.0.dropped.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }

    /// Messages dropped so far because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

/// Ends a subscription when dropped.
#[must_use = "dropping a subscription ends it"]
pub struct Subscription(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Subscription {
    /// For adapters: `end` is called once, on drop, from any thread, and must not block.
    pub fn new(end: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(end)))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            end();
        }
    }
}
