//! One QUIC connection with what waits to be sent on it.
//!
//! Replies and news go to the control stream. Each channel's publications have a stream of their own, opened with the first
//! of them and finished when the client leaves. Ephemeral publications travel as datagrams while they fit. Everything is
//! tried at once, from the delivery loop, and shares the publication's bytes; what QUIC refuses waits in its stream's queue
//! until QUIC says that there is room. So a stream that stalls holds up nothing but itself.
//!
//! What waits in all queues together is bounded (a recovery under way adds what it owes): droppable frames are left out
//! beyond a quarter of the bound, beyond the whole of it the connection is closed as slow.
//!
//! Never: touches a socket, the worker or the session; it is borrowed while they call.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use hashbrown::HashMap;
use quinn_proto::{Connection, Dir, ReadError, Side, StreamId, VarInt, WriteError};
use skywave_protocol::{ChannelName, CloseCode, Push, ServerMessage};

use super::h3::{self, Bidirectional, H3Error};
use super::limits::REQUEST_BYTES;
use crate::encoding;
use crate::transport::{Encoding, Frame, FrameClass, OutletClosed};
use crate::worker::OWED_BYTES;

/// Streams with more of it are sent first: answers before publications.
const CONTROL_PRIORITY: i32 = 1;

pub(super) struct Quic {
    pub(super) protocol: Connection,
    control: VecDeque<Bytes>,
    /// `None`: there was no credit for a stream when the channel's first publication came; it stays with the control stream
    /// until the client leaves, for on another stream later ones could overtake earlier ones.
    channels: HashMap<ChannelName, Option<Line>>,
    /// Bytes that may wait.
    limit: usize,
    /// Bytes that wait in all lines.
    waiting: usize,
    /// Bytes that may wait beyond the limit, because a recovery is under way.
    owed: usize,
    /// Who wants to know when nothing waits any more.
    drained: Option<Waker>,
}

/// A channel's stream and what it has not taken.
struct Line {
    stream: StreamId,
    waiting: VecDeque<Bytes>,
}

/// Why nothing more was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// There was no more.
    Empty,
    /// There may be more.
    Full,
    /// Nothing will come any more.
    End,
}

/// The client's first bidirectional stream: the CONNECT request. Its end is the session's.
pub(super) fn request_stream() -> StreamId {
    StreamId::new(Side::Client, Dir::Bi, 0)
}

/// The client's second one: requests and replies.
pub(super) fn control_stream() -> StreamId {
    StreamId::new(Side::Client, Dir::Bi, 1)
}

impl Quic {
    /// `limit`: bytes that may wait to be sent.
    pub(super) fn new(protocol: Connection, limit: usize) -> Self {
        Self {
            protocol,
            control: VecDeque::new(),
            channels: HashMap::new(),
            limit,
            waiting: 0,
            owed: 0,
            drained: None,
        }
    }

    /// Reads about `limit` bytes at most into `out`.
    pub(super) fn read(&mut self, stream: StreamId, limit: usize, out: &mut Vec<Bytes>) -> Stopped {
        let mut stream = self.protocol.recv_stream(stream);
        let Ok(mut chunks) = stream.read(true) else { return Stopped::End };
        let mut room = limit;
        // The chunks give the credit for what was read when they are dropped.
        while room > 0 {
            match chunks.next(room) {
                Ok(Some(chunk)) => {
                    room -= chunk.bytes.len();
                    out.push(chunk.bytes);
                }
                Ok(None) | Err(ReadError::Reset(_)) => return Stopped::End,
                Err(ReadError::Blocked) => return Stopped::Empty,
            }
        }
        Stopped::Full
    }

    /// Reads what means nothing to us; `true` when nothing will come any more.
    pub(super) fn discard(&mut self, stream: StreamId) -> bool {
        // At most the stream's window, which is opened again only now.
        self.read(stream, usize::MAX, &mut Vec::new()) == Stopped::End
    }

    /// Appends to `bytes`, the beginning of a stream that is not yet understood. `false` at the stream's end.
    pub(super) fn read_beginning(&mut self, stream: StreamId, bytes: &mut Vec<u8>) -> Result<bool, H3Error> {
        // Twice the limit: a frame's header comes on top of its content.
        let room = (2 * REQUEST_BYTES).saturating_sub(bytes.len());
        if room == 0 {
            return Err(H3Error::ExcessiveLoad);
        }
        let mut chunks = Vec::new();
        let stopped = self.read(stream, room, &mut chunks);
        chunks.iter().for_each(|chunk| bytes.extend_from_slice(chunk));
        Ok(stopped != Stopped::End)
    }

    /// What a bidirectional stream begins with, once that has arrived; what follows is left in `bytes`.
    pub(super) fn bidirectional(
        &mut self,
        stream: StreamId,
        bytes: &mut Vec<u8>,
    ) -> Result<Option<Bidirectional>, (H3Error, &'static str)> {
        let goes_on = self.read_beginning(stream, bytes).map_err(|error| (error, ""))?;
        match h3::bidirectional(bytes).map_err(|error| (error, ""))? {
            Some((start, used)) => {
                bytes.drain(..used);
                Ok(Some(start))
            }
            None if goes_on => Ok(None),
            None => Err((H3Error::GeneralProtocol, "a stream that ends before it says what it is")),
        }
    }

    /// Turns away a bidirectional stream.
    pub(super) fn reject(&mut self, stream: StreamId) {
        // Errors: the client has ended it itself.
        let code = H3Error::BufferedStreamRejected.code();
        let _ = self.protocol.send_stream(stream).reset(code);
        let _ = self.protocol.recv_stream(stream).stop(code);
    }

    /// Writes all of `rest`; what is left of it when the stream takes no more stays in it.
    pub(super) fn write(&mut self, stream: StreamId, rest: &mut Bytes) -> Result<(), OutletClosed> {
        let mut stream = self.protocol.send_stream(stream);
        while !rest.is_empty() {
            match stream.write_chunks(std::slice::from_mut(rest)) {
                Ok(_) => {}
                Err(WriteError::Blocked) => break,
                Err(WriteError::Stopped(_) | WriteError::ClosedStream) => return Err(OutletClosed),
            }
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, stream: StreamId) {
        // Errors: it has ended already.
        let _ = self.protocol.send_stream(stream).finish();
    }

    /// The session begins: answers go out first.
    pub(super) fn prefer_control(&mut self) {
        // Fails only when the stream is gone, which the first write notices.
        let _ = self.protocol.send_stream(control_stream()).set_priority(CONTROL_PRIORITY);
    }

    pub(super) fn send(&mut self, frame: &Frame, encoding: Encoding) -> Result<(), OutletClosed> {
        let Some(channel) = frame.channel.as_ref().filter(|_| frame.class != FrameClass::Control) else {
            return self.put(None, &frame.bytes);
        };
        if frame.class == FrameClass::Ephemeral && self.send_datagram(&frame.bytes, encoding) {
            return Ok(());
        }
        if frame.droppable && self.waiting > self.limit / 4 {
            return Ok(());
        }
        if !self.channels.contains_key(channel) {
            self.open(channel)?;
        }
        self.put(Some(channel), &frame.bytes)
    }

    /// `false`: it does not fit, or the client takes none.
    fn send_datagram(&mut self, bytes: &Bytes, encoding: Encoding) -> bool {
        // A datagram is a message; the newline only ends one on a stream.
        let message = match encoding {
            Encoding::StreamJson => bytes.strip_suffix(b"\n").unwrap_or(bytes),
            _ => bytes,
        };
        let mut datagrams = self.protocol.datagrams();
        let fits = datagrams.max_size().is_some_and(|limit| message.len() < limit);
        fits && datagrams.send(h3::datagram(message).into(), true).is_ok()
    }

    /// Opens a channel's stream, if the client gives credit for another one.
    fn open(&mut self, channel: &ChannelName) -> Result<(), OutletClosed> {
        let stream = self.protocol.streams().open(Dir::Uni);
        let line = stream.map(|stream| Line { stream, waiting: VecDeque::new() });
        let opened = line.is_some();
        self.channels.insert(channel.clone(), line);
        if opened { self.put(Some(channel), &h3::stream_prefix().into()) } else { Ok(()) }
    }

    /// Writes what the stream takes and queues the rest.
    fn put(&mut self, channel: Option<&ChannelName>, bytes: &Bytes) -> Result<(), OutletClosed> {
        let mut rest = bytes.clone();
        let own = channel.and_then(|channel| self.channels.get(channel)).and_then(Option::as_ref);
        let (stream, idle) = match own {
            Some(line) => (line.stream, line.waiting.is_empty()),
            None => (control_stream(), self.control.is_empty()),
        };
        if idle {
            self.write(stream, &mut rest)?;
            if rest.is_empty() {
                return Ok(());
            }
        }
        self.waiting += rest.len();
        match channel.and_then(|channel| self.channels.get_mut(channel)).and_then(Option::as_mut) {
            Some(line) => line.waiting.push_back(rest),
            None => self.control.push_back(rest),
        }
        if self.waiting > self.limit + self.owed { Err(OutletClosed) } else { Ok(()) }
    }

    /// So many bytes of a recovery follow.
    pub(super) fn owe(&mut self, bytes: usize) {
        self.owed = (self.owed + bytes).min(OWED_BYTES as usize);
    }

    /// Everything of a recovery that was to follow has been taken, if nothing waits.
    pub(super) fn settle(&mut self) {
        if self.waiting == 0 {
            self.owed = 0;
            self.tell_drained();
        }
    }

    /// Ready when nothing waits; one task at a time polls it.
    pub(super) fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.waiting == 0 {
            return Poll::Ready(());
        }
        self.drained = Some(cx.waker().clone());
        Poll::Pending
    }

    fn tell_drained(&mut self) {
        if let Some(waker) = self.drained.take() {
            waker.wake();
        }
    }

    /// Nothing more can be sent: what waits never will be.
    pub(super) fn give_up(&mut self) {
        (self.control, self.channels, self.waiting) = (VecDeque::new(), HashMap::new(), 0);
        self.tell_drained();
    }

    /// The client has left a channel: its stream ends.
    pub(super) fn leave(&mut self, channel: &ChannelName) {
        let left = self.channels.remove(channel);
        if self.channels.is_empty() {
            self.channels = HashMap::new();
        }
        let Some(Some(line)) = left else { return };
        if line.waiting.is_empty() {
            self.finish(line.stream);
        } else {
            // What waits is not wanted any more.
            self.waiting -= line.waiting.iter().map(Bytes::len).sum::<usize>();
            let _ = self.protocol.send_stream(line.stream).reset(H3Error::NoError.code());
            self.settle();
        }
    }

    /// QUIC has room: pushes on what waits.
    pub(super) fn flush(&mut self) {
        if self.waiting == 0 {
            return;
        }
        let mut control = std::mem::take(&mut self.control);
        self.flush_line(control_stream(), &mut control);
        self.control = control;
        let mut channels = std::mem::take(&mut self.channels);
        for line in channels.values_mut().flatten() {
            self.flush_line(line.stream, &mut line.waiting);
        }
        self.channels = channels;
        self.settle();
    }

    fn flush_line(&mut self, stream: StreamId, line: &mut VecDeque<Bytes>) {
        while let Some(front) = line.front_mut() {
            let before = front.len();
            let written = self.write(stream, front);
            self.waiting -= before - front.len();
            if written.is_err() {
                // The next frame finds out; if none comes, the session's end does.
                self.waiting -= line.drain(..).map(|bytes| bytes.len()).sum::<usize>();
            } else if front.is_empty() {
                line.pop_front();
            } else {
                return;
            }
        }
        *line = VecDeque::new();
    }

    /// Says on the control stream why the session ends, and finishes all streams: what QUIC has taken still arrives.
    pub(super) fn say_goodbye(&mut self, encoding: Encoding, code: CloseCode, reason: &str) {
        let close = ServerMessage::Push(Push::Close { code, reason: reason.to_owned() });
        // A client that takes no more learns the code from the session's end.
        let _ = self.put(None, &encoding::control(encoding, &close, usize::MAX).bytes);
        let lines: Vec<StreamId> = self.channels.values().flatten().map(|line| line.stream).collect();
        lines.into_iter().chain([control_stream()]).for_each(|stream| self.finish(stream));
        self.give_up();
    }

    /// Ends the connection at once.
    pub(super) fn close(&mut self, now: std::time::Instant, code: VarInt, reason: &[u8]) {
        self.protocol.close(now, code, Bytes::copy_from_slice(reason));
    }
}
