//! Work that may block (ending a client, taking back an assignment), on threads of its own.
//!
//! The client library ends its clients synchronously. No thread of the runtime waits for that: what is dropped there is
//! handed over to here, and [`Finished`] tells when all of it is done.

use std::ops::Deref;
use std::thread;

use tokio::sync::mpsc;

#[derive(Clone)]
pub(crate) struct Background(mpsc::Sender<()>);

/// The other end of a [`Background`].
pub(crate) struct Finished(mpsc::Receiver<()>);

impl Background {
    pub(crate) fn new() -> (Self, Finished) {
        // Nothing is ever sent: what counts is that the senders are gone.
        let (sender, receiver) = mpsc::channel(1);
        (Self(sender), Finished(receiver))
    }

    pub(crate) fn run(&self, work: impl FnOnce() + Send + 'static) {
        let running = self.0.clone();
        let thread = thread::Builder::new().name("kafka-background".into()).spawn(move || {
            work();
            drop(running);
        });
        if let Err(error) = thread {
            tracing::error!(%error, "no thread could be started to end a Kafka client; it has ended in place");
        }
    }
}

impl Finished {
    /// Returns when every [`Background`] is gone and its work is done.
    pub(crate) async fn wait(mut self) {
        let _ = self.0.recv().await;
    }
}

/// A value whose end may block: it is dropped in the background.
pub(crate) struct Detached<T: Send + 'static> {
    value: Option<T>,
    background: Background,
}

impl<T: Send + 'static> Detached<T> {
    pub(crate) fn new(value: T, background: Background) -> Self {
        Self { value: Some(value), background }
    }

    /// Drops the value here and now. Blocks.
    pub(crate) fn end(mut self) {
        drop(self.value.take());
    }
}

impl<T: Send + 'static> Deref for Detached<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // Invariant: only `drop` and `end` take it.
        self.value.as_ref().expect("it is there until it is dropped")
    }
}

impl<T: Send + 'static> Drop for Detached<T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            self.background.run(move || drop(value));
        }
    }
}
