//! Events between the worker that says them and the HTTP response that carries them.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use crate::transport::{Frame, OutletClosed};

/// Bytes that may wait here; one event may exceed it alone. When full, events stay in the connection's outbox.
const QUEUE_BYTES: usize = 16 * 1024;
/// Events of together at most this many bytes go out as one chunk.
const CHUNK_BYTES: usize = 16 * 1024;

#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    events: VecDeque<Bytes>,
    bytes: usize,
    /// Nothing will be added.
    ended: bool,
    /// The response is gone.
    abandoned: bool,
    /// Chunks and keep-alives the response has taken.
    taken: u64,
    reader: Option<Waker>,
    writer: Option<Waker>,
    watcher: Option<Waker>,
}

impl Queue {
    /// Takes events from the front as long as there is room, and says how many.
    pub(super) fn offer(&self, frames: &[Frame]) -> Result<usize, OutletClosed> {
        let mut inner = self.0.lock();
        if inner.abandoned {
            return Err(OutletClosed);
        }
        let mut count = 0;
        for frame in frames {
            if inner.bytes > 0 && inner.bytes + frame.bytes.len() > QUEUE_BYTES {
                break;
            }
            inner.bytes += frame.bytes.len();
            inner.events.push_back(frame.bytes.clone());
            count += 1;
        }
        inner.wake_reader();
        Ok(count)
    }

    /// Adds a last event, room or not, and ends the stream after it.
    pub(super) fn end(&self, last: Bytes) {
        let mut inner = self.0.lock();
        inner.bytes += last.len();
        inner.events.push_back(last);
        inner.ended = true;
        inner.wake_reader();
    }

    /// Ready when there is room again.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.0.lock();
        if inner.bytes == 0 || inner.abandoned {
            return Poll::Ready(());
        }
        inner.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The next chunk; `None` at the end.
    pub(super) fn poll_chunk(&self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut inner = self.0.lock();
        let Some(first) = inner.events.pop_front() else {
            if inner.ended {
                return Poll::Ready(None);
            }
            inner.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        inner.bytes -= first.len();
        let chunk = match inner.events.front() {
            Some(next) if first.len() + next.len() <= CHUNK_BYTES => inner.join(&first),
            _ => first,
        };
        if inner.events.is_empty() {
            // An idle stream holds no buffer.
            inner.events = VecDeque::new();
        }
        inner.progress();
        Poll::Ready(Some(chunk))
    }

    /// The response has sent a keep-alive: it still moves.
    pub(super) fn moved(&self) {
        self.0.lock().progress();
    }

    /// The response is gone: the client left, or the server gave it up.
    pub(super) fn abandon(&self) {
        let mut inner = self.0.lock();
        inner.abandoned = true;
        inner.events = VecDeque::new();
        inner.bytes = 0;
        inner.progress();
    }

    /// Resolves with `true` when the response has moved since `seen`, with `false` when it is gone.
    pub(super) fn poll_moved(&self, seen: &mut u64, cx: &mut Context<'_>) -> Poll<bool> {
        let mut inner = self.0.lock();
        if inner.abandoned {
            return Poll::Ready(false);
        }
        if inner.taken != *seen {
            *seen = inner.taken;
            return Poll::Ready(true);
        }
        inner.watcher = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Inner {
    fn join(&mut self, first: &Bytes) -> Bytes {
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES.min(first.len() + self.bytes));
        chunk.extend_from_slice(first);
        while let Some(next) = self.events.front() {
            if chunk.len() + next.len() > CHUNK_BYTES {
                break;
            }
            chunk.extend_from_slice(next);
            self.bytes -= next.len();
            self.events.pop_front();
        }
        chunk.freeze()
    }

    fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    fn progress(&mut self) {
        self.taken += 1;
        if self.bytes == 0
            && let Some(waker) = self.writer.take()
        {
            waker.wake();
        }
        if let Some(waker) = self.watcher.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::FrameClass;

    fn frame(bytes: usize) -> Frame {
        Frame { bytes: vec![b'x'; bytes].into(), class: FrameClass::Durable, droppable: false, channel: None }
    }

    fn chunk(queue: &Queue) -> Poll<Option<Bytes>> {
        queue.poll_chunk(&mut Context::from_waker(Waker::noop()))
    }

    fn room(queue: &Queue) -> Poll<()> {
        queue.poll_room(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn it_is_bounded_and_takes_one_large_event_alone() {
        let queue = Queue::default();
        assert_eq!(queue.offer(&vec![frame(1_000); 100]), Ok(QUEUE_BYTES / 1_000));
        assert_eq!(queue.offer(&[frame(1_000)]), Ok(0));
        assert_eq!(room(&queue), Poll::Pending);
        let mut total = 0;
        while let Poll::Ready(Some(chunk)) = chunk(&queue) {
            total += chunk.len();
        }
        assert_eq!(total, QUEUE_BYTES / 1_000 * 1_000);
        assert_eq!(room(&queue), Poll::Ready(()));
        assert_eq!(queue.offer(&[frame(QUEUE_BYTES * 4), frame(1)]), Ok(1));
    }

    #[test]
    fn the_last_event_comes_last_and_fits_always() {
        let queue = Queue::default();
        queue.offer(&[frame(QUEUE_BYTES)]).unwrap();
        queue.end(Bytes::from_static(b"bye"));
        assert!(matches!(chunk(&queue), Poll::Ready(Some(bytes)) if bytes.len() == QUEUE_BYTES));
        assert_eq!(chunk(&queue), Poll::Ready(Some(Bytes::from_static(b"bye"))));
        assert_eq!(chunk(&queue), Poll::Ready(None));
    }

    #[test]
    fn nothing_is_taken_for_a_response_that_is_gone() {
        let queue = Queue::default();
        queue.offer(&[frame(10)]).unwrap();
        queue.abandon();
        assert_eq!(queue.offer(&[frame(1)]), Err(OutletClosed));
        assert_eq!(room(&queue), Poll::Ready(()));
        let mut seen = 0;
        assert_eq!(queue.poll_moved(&mut seen, &mut Context::from_waker(Waker::noop())), Poll::Ready(false));
    }
}
