//! The response body: what the queue holds, and a comment now and then.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::time::{Instant, Sleep, sleep};

use super::queue::Queue;

/// After so long without an event a comment is sent: proxies close what is silent.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const COMMENT: Bytes = Bytes::from_static(b":\n\n");

/// Abandons the queue when dropped, which is how the session learns that the client has left.
pub(super) struct Events {
    queue: Arc<Queue>,
    silence: Pin<Box<Sleep>>,
}

impl Events {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self { queue, silence: Box::pin(sleep(KEEP_ALIVE)) }
    }
}

impl Stream for Events {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let chunk = match self.queue.poll_chunk(cx) {
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(chunk)) => chunk,
            Poll::Pending => {
                if self.silence.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.queue.moved();
                COMMENT
            }
        };
        self.silence.as_mut().reset(Instant::now() + KEEP_ALIVE);
        Poll::Ready(Some(Ok(chunk)))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.queue.abandon();
    }
}
