//! One way of one connection: what is read at one end is written at the other when it is due.
//!
//! Bytes keep their order whatever the line does. On a cut line nothing is written, also nothing that was on its way; when only
//! the way of the acknowledgements is cut, as much gets through as a sender sends unacknowledged, and then nothing.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::Shutdown;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::direction::Direction;

/// Bytes under way in one direction of a connection, as a window would bound them. When they are there, no more are read,
/// and the sender's own socket fills up.
const UNDER_WAY: usize = 4 * 1024 * 1024;

/// What an entry of the queue costs beside its bytes.
const ENTRY: usize = 128;

/// Most that is read at once.
const CHUNK: usize = 64 * 1024;

/// What a sender has on the line before it needs an acknowledgement (ten segments, RFC 6928).
const UNACKNOWLEDGED: usize = 14_480;

/// The connection has been, or must be, reset.
#[derive(Debug)]
pub(super) struct Reset;

enum Parcel {
    Data(Bytes),
    /// The sender has finished.
    End,
    Reset,
}

pub(super) struct Pipe<'a> {
    clock: &'a Clock,
    way: &'a Direction,
    /// The way of the acknowledgements.
    back: &'a Direction,
    /// Under way, with the time of arrival; bounded by [`UNDER_WAY`].
    queue: RefCell<VecDeque<(Instant, Parcel)>>,
    queued: Cell<usize>,
    /// The part of it that is told as `waiting_bytes`.
    waiting: Cell<u64>,
    /// The sender's end has arrived.
    over: Cell<bool>,
    /// Written since the acknowledgements stopped coming.
    unacknowledged: Cell<usize>,
    filled: Notify,
    drained: Notify,
}

impl<'a> Pipe<'a> {
    pub(super) fn new(clock: &'a Clock, way: &'a Direction, back: &'a Direction) -> Self {
        Self {
            clock,
            way,
            back,
            queue: RefCell::default(),
            queued: Cell::new(0),
            waiting: Cell::new(0),
            over: Cell::new(false),
            unacknowledged: Cell::new(0),
            filled: Notify::new(),
            drained: Notify::new(),
        }
    }

    /// Reads from the sender until it has finished or gone.
    pub(super) async fn fill(&self, sender: &TcpStream) -> Result<(), Reset> {
        let mut buffer = BytesMut::new();
        loop {
            while self.queued.get() >= UNDER_WAY {
                self.drained.notified().await;
            }
            if sender.readable().await.is_err() {
                self.put(Parcel::Reset);
                return Ok(());
            }
            buffer.reserve(CHUNK);
            match sender.try_read_buf(&mut buffer) {
                Ok(0) => {
                    self.put(Parcel::End);
                    return Ok(());
                }
                Ok(_) => self.put(Parcel::Data(buffer.split().freeze())),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => {
                    self.put(Parcel::Reset);
                    return Ok(());
                }
            }
        }
    }

    /// Writes to the receiver what is due, until the sender's end has arrived. When the receiver is gone, that goes back through
    /// `other`.
    pub(super) async fn drain(&self, receiver: &TcpStream, other: &Pipe<'_>) -> Result<(), Reset> {
        loop {
            let due = self.queue.borrow().front().map(|(due, _)| *due);
            let Some(due) = due else {
                self.filled.notified().await;
                continue;
            };
            self.clock.sleep_until(due).await;
            self.open(1).await;
            let Some((_, parcel)) = self.queue.borrow_mut().pop_front() else { continue };
            match parcel {
                Parcel::Data(bytes) => {
                    let length = bytes.len();
                    let written = self.write(receiver, bytes).await;
                    self.queued.set(self.queued.get() - length - ENTRY);
                    self.wait_less(length as u64);
                    self.drained.notify_one();
                    if written.is_err() {
                        return other.bring_back_a_reset().await;
                    }
                }
                // A receiver that is gone already has no use for the end.
                Parcel::End => {
                    let _ = SockRef::from(receiver).shutdown(Shutdown::Write);
                    self.over.set(true);
                    return Ok(());
                }
                Parcel::Reset => return Err(Reset),
            }
        }
    }

    fn put(&self, parcel: Parcel) {
        let length = if let Parcel::Data(bytes) = &parcel { bytes.len() } else { 0 };
        let mut queue = self.queue.borrow_mut();
        let arrival = self.way.stream(length, self.back, Instant::now());
        let arrival = queue.back().map_or(arrival, |(before, _)| arrival.max(*before));
        queue.push_back((arrival, parcel));
        self.queued.set(self.queued.get() + length + ENTRY);
        self.waiting.set(self.waiting.get() + length as u64);
        self.way.count(|counters| counters.waiting_bytes += length as u64);
        self.filled.notify_one();
    }

    /// The sender at this pipe's far end does not exist any more.
    async fn bring_back_a_reset(&self) -> Result<(), Reset> {
        if !self.over.get() {
            self.put(Parcel::Reset);
            return Ok(());
        }
        self.clock.sleep_until(self.way.stream(0, self.back, Instant::now())).await;
        self.open(1).await;
        Err(Reset)
    }

    fn wait_less(&self, length: u64) {
        self.waiting.set(self.waiting.get() - length);
        self.way.count(|counters| counters.waiting_bytes -= length);
    }

    async fn write(&self, receiver: &TcpStream, mut bytes: Bytes) -> Result<(), Reset> {
        while !bytes.is_empty() {
            let allowed = self.open(bytes.len()).await;
            // Nothing is awaited between the line's leave and the write: a cut line passes not one byte.
            match receiver.try_write(&bytes[..allowed]) {
                Ok(written) => {
                    bytes.advance(written);
                    self.way.count(|counters| counters.stream_bytes += written as u64);
                    if self.back.is_cut() {
                        self.unacknowledged.set(self.unacknowledged.get() + written);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    receiver.writable().await.map_err(|_| Reset)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Reset),
            }
        }
        Ok(())
    }

    /// Waits until the line lets something pass; how many of `wanted` bytes.
    async fn open(&self, wanted: usize) -> usize {
        let mut held = false;
        loop {
            let (way, back) = (self.way.changed(), self.back.changed());
            if !self.back.is_cut() {
                self.unacknowledged.set(0);
            }
            let left = UNACKNOWLEDGED.saturating_sub(self.unacknowledged.get());
            if !self.way.is_cut() && left > 0 {
                return if self.back.is_cut() { wanted.min(left) } else { wanted };
            }
            if !held {
                held = true;
                self.way.count(|counters| counters.held += 1);
            }
            tokio::select! {
                () = way => {}
                () = back => {}
            }
        }
    }
}

impl Drop for Pipe<'_> {
    fn drop(&mut self) {
        self.wait_less(self.waiting.get());
    }
}
