//! Round trips to the server: a mark published to a subject of our own comes back when the server has taken in all that
//! was sent before it. That is how a subscription is known to be live.
//!
//! One mark is under way at a time; whoever asks meanwhile shares the next one. A mark that was lost with a connection is
//! sent again.

use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// After this time without an answer a mark is sent again: it was lost, or there was no connection.
const AGAIN: Duration = Duration::from_millis(500);
/// Askers that share one mark. When full, an asker waits for the one before.
const ASKERS: usize = 1_024;

/// Asks for round trips; clones share them. The task behind ends with the last clone.
#[derive(Debug, Clone)]
pub(crate) struct RoundTrips(mpsc::Sender<oneshot::Sender<()>>);

impl RoundTrips {
    pub(crate) async fn start(client: Client) -> Result<Self, async_nats::SubscribeError> {
        let subject = format!("sw.sync.{:032x}", rand::random::<u128>());
        let marks = client.subscribe(subject.clone()).await?;
        let (sender, askers) = mpsc::channel(ASKERS);
        let subject = async_nats::Subject::from(subject);
        tokio::spawn(async move { Marker { client, subject, marks, next: 0 }.run(askers).await });
        Ok(Self(sender))
    }

    /// Returns when the server has taken in all that was sent before the call; while there is no connection it waits.
    /// `false` if there will never be one again.
    pub(crate) async fn wait(&self) -> bool {
        let (done, back) = oneshot::channel();
        self.0.send(done).await.is_ok() && back.await.is_ok()
    }
}

struct Marker {
    client: Client,
    subject: async_nats::Subject,
    marks: Subscriber,
    next: u64,
}

impl Marker {
    async fn run(mut self, mut askers: mpsc::Receiver<oneshot::Sender<()>>) {
        let mut asking = Vec::new();
        while askers.recv_many(&mut asking, ASKERS).await > 0 {
            if !self.round().await {
                return;
            }
            for done in asking.drain(..) {
                // An asker may have given up.
                let _ = done.send(());
            }
        }
    }

    async fn round(&mut self) -> bool {
        let first = self.next;
        loop {
            // Without a connection there is nothing to ask, and a mark would wait in the queue of commands.
            if self.client.connection_state() == State::Connected {
                let mark = Bytes::copy_from_slice(&self.next.to_be_bytes());
                self.next += 1;
                if self.client.publish(self.subject.clone(), mark).await.is_err() {
                    return false;
                }
            }
            let back = timeout(AGAIN, async {
                while let Some(message) = self.marks.next().await {
                    // An older one may still be on its way.
                    if message.payload.as_ref().try_into().is_ok_and(|mark| u64::from_be_bytes(mark) >= first)
                    {
                        return true;
                    }
                }
                false
            });
            if let Ok(back) = back.await {
                return back;
            }
        }
    }
}
