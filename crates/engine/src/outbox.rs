//! The frames a socket has refused so far: bounded in bytes, so that a client that does not read costs only itself (I6).
//!
//! What happens when full: the oldest *droppable* frames (ephemeral publications where the namespace says drop-oldest)
//! make room; when that is not enough the answer is [`Pushed::Full`], and the connection is closed with a resumable code.
//! A frame of which a part has been written is never dropped: it would break the stream.

use std::collections::VecDeque;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Pushed {
    Queued,
    /// Room was made by dropping this many droppable frames. The new one may be among them, if it is droppable itself.
    DroppedOldest(usize),
    /// Not queued, nothing dropped: close the connection.
    Full,
}

#[derive(Debug)]
struct Entry<F> {
    frame: F,
    bytes: usize,
    droppable: bool,
}

/// A queue of frames of at most `limit` bytes together. Empty, it holds no heap memory.
#[derive(Debug)]
pub struct Outbox<F> {
    entries: VecDeque<Entry<F>>,
    bytes: usize,
    droppable_bytes: usize,
    /// Bytes of the first frame that have been written.
    written: usize,
    limit: usize,
}

impl<F> Outbox<F> {
    pub fn new(limit: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, droppable_bytes: 0, written: 0, limit }
    }

    /// Changes the limit, in bytes, for what is pushed from now on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Queues a frame of `bytes` bytes. One frame is always accepted by an empty outbox, however large.
    pub fn push(&mut self, frame: F, bytes: usize, droppable: bool) -> Pushed {
        let mut dropped = 0;
        if !self.entries.is_empty() && self.bytes + bytes > self.limit {
            let excess = self.bytes + bytes - self.limit;
            if self.removable_bytes() < excess {
                return if droppable { Pushed::DroppedOldest(1) } else { Pushed::Full };
            }
            dropped = self.drop_oldest(excess);
        }
        self.bytes += bytes;
        if droppable {
            self.droppable_bytes += bytes;
        }
        self.entries.push_back(Entry { frame, bytes, droppable });
        if dropped == 0 { Pushed::Queued } else { Pushed::DroppedOldest(dropped) }
    }

    /// Queued frames, oldest first. The first [`Outbox::written`] bytes of the first one are already on the wire.
    pub fn frames(&self) -> impl Iterator<Item = &F> {
        self.entries.iter().map(|entry| &entry.frame)
    }

    /// Bytes of the first frame that have been written.
    pub fn written(&self) -> usize {
        self.written
    }

    /// Takes note that the socket took `bytes` more bytes, and forgets the frames that are through.
    pub fn consume(&mut self, bytes: usize) {
        self.written += bytes;
        while let Some(first) = self.entries.front() {
            if self.written < first.bytes {
                return;
            }
            self.written -= first.bytes;
            self.bytes -= first.bytes;
            if first.droppable {
                self.droppable_bytes -= first.bytes;
            }
            self.entries.pop_front();
        }
        assert_eq!(self.written, 0, "more was written than was queued");
        self.entries = VecDeque::new();
    }

    /// Bytes queued and not yet written.
    pub fn bytes(&self) -> usize {
        self.bytes - self.written
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn removable_bytes(&self) -> usize {
        match self.entries.front() {
            Some(first) if self.written > 0 && first.droppable => self.droppable_bytes - first.bytes,
            _ => self.droppable_bytes,
        }
    }

    fn drop_oldest(&mut self, excess: usize) -> usize {
        let started = self.written > 0;
        let (mut freed, mut dropped, mut index) = (0, 0, 0);
        self.entries.retain(|entry| {
            let keep = freed >= excess || !entry.droppable || (index == 0 && started);
            index += 1;
            if !keep {
                freed += entry.bytes;
                dropped += 1;
            }
            keep
        });
        self.bytes -= freed;
        self.droppable_bytes -= freed;
        dropped
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn queued(outbox: &Outbox<u32>) -> Vec<u32> {
        outbox.frames().copied().collect()
    }

    #[test]
    fn a_full_outbox_refuses_what_may_not_be_lost() {
        let mut outbox = Outbox::new(10);
        assert_eq!(outbox.push(1, 6, false), Pushed::Queued);
        assert_eq!(outbox.push(2, 4, false), Pushed::Queued);
        assert_eq!(outbox.push(3, 1, false), Pushed::Full);
        assert_eq!(queued(&outbox), [1, 2]);
    }

    #[test]
    fn the_oldest_droppable_frames_make_room() {
        let mut outbox = Outbox::new(10);
        for (frame, droppable) in [(1, false), (2, true), (3, true)] {
            assert_eq!(outbox.push(frame, 3, droppable), Pushed::Queued);
        }
        assert_eq!(outbox.push(4, 3, false), Pushed::DroppedOldest(1));
        assert_eq!(queued(&outbox), [1, 3, 4]);
        assert_eq!(outbox.push(5, 7, true), Pushed::DroppedOldest(1), "the new one itself is dropped");
        assert_eq!(queued(&outbox), [1, 3, 4]);
    }

    #[test]
    fn a_frame_that_has_begun_is_never_dropped() {
        let mut outbox = Outbox::new(6);
        assert_eq!(outbox.push(1, 3, true), Pushed::Queued);
        assert_eq!(outbox.push(2, 3, true), Pushed::Queued);
        outbox.consume(1);
        assert_eq!(outbox.push(3, 3, true), Pushed::DroppedOldest(1));
        assert_eq!(queued(&outbox), [1, 3]);
    }

    proptest! {
        #[test]
        fn bounded_and_in_order(
            steps in prop::collection::vec((1usize..40, any::<bool>(), 0usize..60), 1..200),
        ) {
            let mut outbox = Outbox::new(100);
            let mut model: Vec<(u32, usize, bool)> = Vec::new();
            for (n, (bytes, droppable, write)) in steps.into_iter().enumerate() {
                let frame = n as u32;
                match outbox.push(frame, bytes, droppable) {
                    Pushed::Queued => model.push((frame, bytes, droppable)),
                    Pushed::DroppedOldest(_) => {
                        model.push((frame, bytes, droppable));
                        let kept = queued(&outbox);
                        prop_assert!(model.iter().all(|entry| entry.2 || kept.contains(&entry.0)));
                        model.retain(|entry| kept.contains(&entry.0));
                    }
                    Pushed::Full => prop_assert!(!droppable),
                }
                prop_assert_eq!(queued(&outbox), model.iter().map(|entry| entry.0).collect::<Vec<_>>());
                prop_assert!(outbox.bytes() <= 100);
                let write = write.min(outbox.bytes());
                outbox.consume(write);
                let gone = model.len() - outbox.len();
                model.drain(..gone);
            }
        }
    }
}
