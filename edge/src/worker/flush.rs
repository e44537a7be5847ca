//! From chains of frames to writes: one non-blocking write per touched connection; what the client does not take is queued
//! for it, bounded, and a task that lives as long as that queue pushes it out.

use std::io::IoSlice;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use skywave_engine::outbox::{Outbox, Pushed};
use skywave_protocol::CloseCode;

use super::Worker;
use super::connection::Line;
use super::state::State;
use super::subscribers::ConnectionSlot;
use crate::transport::Frame;
use crate::transport::websocket::socket::SocketWriter;

/// Frames of together at most this many bytes are copied into one buffer; above, they go out as a vector.
const COALESCE_BYTES: usize = 32 * 1024;
/// Buffers in one vectored write.
const VECTOR: usize = 64;

/// Buffers a round needs, kept between rounds.
#[derive(Debug, Default)]
pub(crate) struct Flusher {
    chain: Vec<u32>,
    /// The frames now standing concatenated in `joined`: subscribers of one channel share the concatenation.
    joined_chain: Vec<u32>,
    joined: Vec<u8>,
    offered: Vec<Frame>,
}

/// How a write to one connection went.
enum Written {
    All,
    /// The first `frames` frames and `bytes` bytes of the next one.
    Part {
        frames: usize,
        bytes: usize,
    },
    Broken,
}

impl State {
    /// Ends the round: writes what was linked.
    pub(crate) fn flush(&mut self) {
        if self.batch.is_empty() {
            self.batch.clear();
            return self.ask_for_pages();
        }
        let mut flusher = std::mem::take(&mut self.flusher);
        flusher.joined_chain.clear();
        let mut next = 0;
        while let Some(&slot) = self.batch.touched().get(next) {
            next += 1;
            self.flush_one(&mut flusher, slot);
        }
        self.batch.clear();
        flusher.joined.shrink_to(2 * COALESCE_BYTES);
        self.flusher = flusher;
        self.ask_for_pages();
    }

    fn flush_one(&mut self, flusher: &mut Flusher, slot: ConnectionSlot) {
        let Some(connection) = self.connections.get_mut(slot as usize) else { return };
        self.batch.take(&mut connection.chain, &mut flusher.chain);
        if flusher.chain.is_empty() {
            return;
        }
        self.metrics.frames.add(flusher.chain.len() as u64);
        let written = if connection.outbox.is_some() {
            Written::Part { frames: 0, bytes: 0 }
        } else {
            self.metrics.writes.add(1);
            match &connection.line {
                Line::WebSocket(socket) => write_chain(socket, flusher, &self.batch, &self.metrics.bytes_out),
                Line::Outlet(outlet) => {
                    flusher.offered.clear();
                    flusher.offered.extend(flusher.chain.iter().map(|index| self.batch.get(*index).clone()));
                    let offered = outlet.try_send(&flusher.offered);
                    flusher.offered.clear();
                    match offered {
                        Ok(taken) if taken >= flusher.chain.len() => Written::All,
                        Ok(taken) => Written::Part { frames: taken, bytes: 0 },
                        Err(_) => Written::Broken,
                    }
                }
            }
        };
        match written {
            // The task that pushes TLS's rest out also ends the close, if this was one.
            Written::All if self.holds_back(slot) => self.queue(slot, &[], 0),
            Written::All => {
                self.connections[slot as usize].owed_bytes = 0;
                self.closing_flushed(slot);
            }
            Written::Part { frames, bytes } => self.queue(slot, &flusher.chain[frames..], bytes),
            Written::Broken => self.broken(slot),
        }
    }

    fn holds_back(&self, slot: ConnectionSlot) -> bool {
        match &self.connections[slot as usize].line {
            Line::WebSocket(socket) => socket.holds_back(),
            Line::Outlet(_) => false,
        }
    }

    /// Queues what was not written; `begun` bytes of the first frame are already out.
    fn queue(&mut self, slot: ConnectionSlot, frames: &[u32], begun: usize) {
        let connection = &mut self.connections[slot as usize];
        let limit = self.shared.config.limits.outbox_bytes + connection.owed_bytes as usize;
        let fresh = connection.outbox.is_none();
        let outbox = connection.outbox.get_or_insert_with(|| Box::new(Outbox::new(limit)));
        outbox.set_limit(limit);
        let mut slow = false;
        for (position, index) in frames.iter().enumerate() {
            let frame = self.batch.get(*index);
            match outbox.push(frame.clone(), frame.bytes.len(), frame.droppable) {
                Pushed::Queued => {}
                Pushed::DroppedOldest(n) => self.metrics.dropped_frames.add(n as u64),
                Pushed::Full => {
                    slow = true;
                    break;
                }
            }
            if position == 0 && begun > 0 {
                outbox.consume(begun);
            }
        }
        if fresh {
            self.metrics.blocked.add(1);
            let key = connection.key;
            let worker = self.worker.clone();
            tokio::task::spawn_local(std::future::poll_fn(move |cx| poll_flush(&worker, key, cx)));
        }
        if slow {
            if self.connections[slot as usize].ending.is_some() {
                // Not even the close frame fits.
                self.abort(slot);
            } else {
                self.metrics.slow.add(1);
                self.end(slot, CloseCode::Slow, CloseCode::Slow.reason());
            }
        }
    }

    /// Empties the outbox of a client that is too slow, except for a frame of which a part is already out.
    pub(crate) fn keep_only_begun_frame(&mut self, slot: ConnectionSlot) {
        let limit = self.shared.config.limits.outbox_bytes;
        let Some(outbox) = &mut self.connections[slot as usize].outbox else { return };
        let written = outbox.written();
        let begun = outbox.frames().next().filter(|_| written > 0).cloned();
        **outbox = Outbox::new(limit);
        if let Some(frame) = begun {
            let bytes = frame.bytes.len();
            // An empty outbox takes any frame.
            let _ = outbox.push(frame, bytes, false);
            outbox.consume(written);
        }
    }

    /// Everything said so far is out; if that includes the close frame, the socket's turn has come.
    fn closing_flushed(&mut self, slot: ConnectionSlot) {
        let connection = &mut self.connections[slot as usize];
        let Some(ending) = &mut connection.ending else { return };
        if ending.finished {
            return;
        }
        if let Line::WebSocket(socket) = &connection.line {
            ending.finished = true;
            // When the client has answered already, nobody waits for anything: close for good. Otherwise its close frame
            // is awaited, until the deadline.
            if ending.answered {
                socket.finish();
            }
        }
    }

    /// The socket is gone: cut it, so that the read task sees the end.
    fn broken(&mut self, slot: ConnectionSlot) {
        let connection = &mut self.connections[slot as usize];
        if connection.ending.is_none() && matches!(connection.line, Line::Outlet(_)) {
            self.metrics.slow.add(1);
            self.end(slot, CloseCode::Slow, CloseCode::Slow.reason());
        } else {
            self.abort(slot);
        }
    }
}

fn write_chain(
    socket: &SocketWriter,
    flusher: &mut Flusher,
    batch: &super::batch::Batch,
    bytes_out: &crate::metrics::Count,
) -> Written {
    let Flusher { chain, joined_chain, joined, .. } = flusher;
    let result = match chain.as_slice() {
        [only] => socket.try_write(&batch.get(*only).bytes),
        several => {
            if joined_chain != several {
                let total: usize = several.iter().map(|index| batch.get(*index).bytes.len()).sum();
                if total > COALESCE_BYTES {
                    let written = write_vectors(socket, several, batch);
                    return account(written, several, batch, bytes_out);
                }
                joined.clear();
                for index in several {
                    joined.extend_from_slice(&batch.get(*index).bytes);
                }
                joined_chain.clone_from(chain);
            }
            socket.try_write(joined)
        }
    };
    account(result, chain, batch, bytes_out)
}

fn write_vectors(
    socket: &SocketWriter,
    frames: &[u32],
    batch: &super::batch::Batch,
) -> std::io::Result<usize> {
    let mut total = 0;
    for part in frames.chunks(VECTOR) {
        let mut vector = [IoSlice::new(&[]); VECTOR];
        let mut bytes = 0;
        for (slice, index) in vector.iter_mut().zip(part) {
            let frame = &batch.get(*index).bytes;
            bytes += frame.len();
            *slice = IoSlice::new(frame);
        }
        let written = socket.try_write_vectored(&vector[..part.len()])?;
        total += written;
        if written < bytes {
            break;
        }
    }
    Ok(total)
}

/// Turns a number of bytes into a place in the chain.
fn account(
    written: std::io::Result<usize>,
    chain: &[u32],
    batch: &super::batch::Batch,
    bytes_out: &crate::metrics::Count,
) -> Written {
    let Ok(mut bytes) = written else { return Written::Broken };
    bytes_out.add(bytes as u64);
    for (frames, index) in chain.iter().enumerate() {
        let length = batch.get(*index).bytes.len();
        if bytes < length {
            return Written::Part { frames, bytes };
        }
        bytes -= length;
    }
    Written::All
}

/// The flush task of one connection: ready when its outbox is empty (or the connection is gone).
fn poll_flush(worker: &Weak<Worker>, key: u64, cx: &mut Context<'_>) -> Poll<()> {
    let Some(worker) = worker.upgrade() else { return Poll::Ready(()) };
    let mut state = worker.state();
    state.poll_outbox(key, cx)
}

impl State {
    fn poll_outbox(&mut self, key: u64, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(slot) = self.find(key) else { return Poll::Ready(()) };
            let connection = &mut self.connections[slot as usize];
            let Some(outbox) = &mut connection.outbox else { return Poll::Ready(()) };
            let progress = match &connection.line {
                Line::WebSocket(socket) => push_socket(socket, outbox, &self.metrics.bytes_out),
                Line::Outlet(outlet) => push_outlet(outlet, outbox),
            };
            match progress {
                Ok(true) => {
                    connection.outbox = None;
                    connection.owed_bytes = 0;
                    self.metrics.blocked.sub(1);
                    self.closing_flushed(slot);
                    self.ask_for_page(slot);
                    return Poll::Ready(());
                }
                Ok(false) => {
                    let ready = match &connection.line {
                        Line::WebSocket(socket) => socket.poll_writable(cx).map(|_| ()),
                        Line::Outlet(outlet) => outlet.poll_ready(cx),
                    };
                    if ready.is_pending() {
                        return Poll::Pending;
                    }
                }
                Err(()) => {
                    connection.outbox = None;
                    self.metrics.blocked.sub(1);
                    self.broken(slot);
                    self.flush();
                    return Poll::Ready(());
                }
            }
        }
    }
}

/// `Ok(true)`: everything is out, also what TLS held.
fn push_socket(
    socket: &SocketWriter,
    outbox: &mut Outbox<Frame>,
    bytes_out: &crate::metrics::Count,
) -> Result<bool, ()> {
    while !outbox.is_empty() {
        let written = {
            let mut vector = [IoSlice::new(&[]); VECTOR];
            let mut skip = outbox.written();
            let mut used = 0;
            for (slice, frame) in vector.iter_mut().zip(outbox.frames()) {
                *slice = IoSlice::new(&frame.bytes[skip..]);
                skip = 0;
                used += 1;
            }
            socket.try_write_vectored(&vector[..used]).map_err(|_| ())?
        };
        if written == 0 {
            return Ok(false);
        }
        bytes_out.add(written as u64);
        outbox.consume(written);
    }
    socket.try_flush().map_err(|_| ())
}

fn push_outlet(outlet: &Rc<dyn crate::transport::Outlet>, outbox: &mut Outbox<Frame>) -> Result<bool, ()> {
    while !outbox.is_empty() {
        let offered: Vec<Frame> = outbox.frames().take(VECTOR).cloned().collect();
        let taken = outlet.try_send(&offered).map_err(|_| ())?;
        if taken == 0 {
            return Ok(false);
        }
        outbox.consume(offered[..taken].iter().map(|frame| frame.bytes.len()).sum());
    }
    Ok(true)
}
