//! What one round of work has to say to whom, before it is written: frames once, and per connection a chain of links to
//! them. So a publication for 1,000 subscribers costs 1,000 links of 8 bytes and no allocation, and a connection with
//! several frames gets them in one write.
//!
//! Never: outlives a round. Every piece of synchronous work on a worker that may send ends with a flush.

use crate::transport::Frame;

use super::subscribers::ConnectionSlot;

/// "No link".
pub(crate) const NONE: u32 = u32::MAX;
/// Links after which a round is flushed before more is added: bounds the memory of a round.
pub(crate) const LINKS: usize = 64 * 1024;
/// Bytes of frames after which the same happens.
const BYTES: usize = 4 * 1024 * 1024;

/// First and last link of a connection's chain; kept in the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chain {
    first: u32,
    last: u32,
}

impl Default for Chain {
    fn default() -> Self {
        Self { first: NONE, last: NONE }
    }
}

#[derive(Debug, Clone, Copy)]
struct Link {
    frame: u32,
    next: u32,
}

/// A frame's number in this round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameIndex(u32);

/// One round's frames and links.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    frames: Vec<Frame>,
    links: Vec<Link>,
    touched: Vec<ConnectionSlot>,
    bytes: usize,
}

impl Batch {
    /// Adds a frame for whoever it is linked to next.
    pub(crate) fn frame(&mut self, frame: Frame) -> FrameIndex {
        self.bytes += frame.bytes.len();
        self.frames.push(frame);
        FrameIndex(self.frames.len() as u32 - 1)
    }

    /// Appends a frame to a connection's chain.
    pub(crate) fn link(&mut self, slot: ConnectionSlot, chain: &mut Chain, frame: FrameIndex) {
        let link = self.links.len() as u32;
        self.links.push(Link { frame: frame.0, next: NONE });
        if chain.first == NONE {
            chain.first = link;
            self.touched.push(slot);
        } else {
            self.links[chain.last as usize].next = link;
        }
        chain.last = link;
    }

    /// Time to flush before adding more.
    pub(crate) fn is_full(&self) -> bool {
        self.links.len() >= LINKS || self.bytes >= BYTES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.touched.is_empty()
    }

    /// Connections with something in this round, in the order they were first touched.
    pub(crate) fn touched(&self) -> &[ConnectionSlot] {
        &self.touched
    }

    pub(crate) fn get(&self, index: u32) -> &Frame {
        &self.frames[index as usize]
    }

    /// Takes a chain: its frames' numbers, in order, into `out` (cleared first).
    pub(crate) fn take(&self, chain: &mut Chain, out: &mut Vec<u32>) {
        out.clear();
        let mut at = chain.first;
        while at != NONE {
            let link = self.links[at as usize];
            out.push(link.frame);
            at = link.next;
        }
        *chain = Chain::default();
    }

    /// Ends the round. Every chain must have been taken.
    pub(crate) fn clear(&mut self) {
        self.frames.clear();
        self.links.clear();
        self.touched.clear();
        self.bytes = 0;
    }
}
