//! Where a session's frames go.
//!
//! Replies and news go to the control stream. Each channel's publications have a stream of their own, opened with the first
//! of them and finished when the client leaves. Ephemeral publications travel as datagrams while they fit. Everything is
//! tried at once, from the delivery loop; what QUIC refuses waits in its stream's queue, and one task per connection, alive
//! only while something waits, pushes it on. So a stream that stalls holds up nothing but itself.
//!
//! What waits in all queues together is bounded (a recovery under way adds what it owes): droppable frames are left out beyond a quarter of the bound, beyond the
//! whole of it the connection is closed as slow.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use bytes::{Buf as _, Bytes};
use hashbrown::HashMap;
use quinn::{Connection, SendStream};
use skywave_protocol::{ChannelName, CloseCode, Push, ServerMessage};

use super::h3;
use crate::encoding;
use crate::transport::{Encoding, Frame, FrameClass, Outlet, OutletClosed};
use crate::worker::OWED_BYTES;

/// Streams with more of it are sent first: answers before publications.
const CONTROL_PRIORITY: i32 = 1;

pub(super) struct WebTransportOutlet {
    lines: Rc<Lines>,
    encoding: Encoding,
}

struct Lines {
    connection: Connection,
    /// Bytes that may wait.
    limit: usize,
    state: RefCell<State>,
}

struct State {
    control: Line,
    /// `None`: there was no credit for a stream when the channel's first publication came; it stays with the control stream
    /// until the client leaves, for on another stream later ones could overtake earlier ones.
    channels: HashMap<ChannelName, Option<Line>>,
    /// Bytes that wait in all lines.
    waiting: usize,
    /// Bytes that may wait beyond the limit, because a recovery is under way.
    owed: usize,
    /// Wakes the flush task; `None` while there is none.
    flusher: Flusher,
}

enum Flusher {
    Absent,
    Running(Waker),
}

/// A stream and what it has not taken.
struct Line {
    stream: SendStream,
    waiting: VecDeque<Bytes>,
}

impl WebTransportOutlet {
    pub(super) fn new(
        connection: Connection,
        control: SendStream,
        encoding: Encoding,
        limit: usize,
    ) -> Rc<Self> {
        // Fails only when the stream is gone, which the first write notices.
        let _ = control.set_priority(CONTROL_PRIORITY);
        let state = State {
            control: Line { stream: control, waiting: VecDeque::new() },
            channels: HashMap::new(),
            waiting: 0,
            owed: 0,
            flusher: Flusher::Absent,
        };
        let lines = Rc::new(Lines { connection, limit, state: RefCell::new(state) });
        Rc::new(Self { lines, encoding })
    }

    /// Says on the control stream why the session ends, and finishes all streams: what QUIC has taken still arrives.
    pub(super) fn say_goodbye(&self, code: CloseCode, reason: &str) {
        let mut state = self.lines.state.borrow_mut();
        let close = ServerMessage::Push(Push::Close { code, reason: reason.to_owned() });
        // A client that takes no more learns the code from the session's end.
        let _ = self.lines.put(&mut state, None, &encoding::control(self.encoding, &close, usize::MAX).bytes);
        let State { control, channels, .. } = &mut *state;
        for line in channels.values_mut().flatten().chain([control]) {
            let _ = line.stream.finish();
        }
    }
}

impl Outlet for WebTransportOutlet {
    fn encoding(&self) -> Encoding {
        self.encoding
    }

    fn try_send(&self, frames: &[Frame]) -> Result<usize, OutletClosed> {
        let mut state = self.lines.state.borrow_mut();
        let blocked = state.waiting;
        for frame in frames {
            self.lines.send(&mut state, frame, self.encoding)?;
        }
        if state.waiting > blocked {
            self.lines.flush_later(&mut state);
        }
        if state.waiting == 0 {
            state.owed = 0;
        }
        Ok(frames.len())
    }

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<()> {
        // Never waited for: everything is taken.
        Poll::Ready(())
    }

    fn owes(&self, bytes: usize) {
        let mut state = self.lines.state.borrow_mut();
        state.owed = (state.owed + bytes).min(OWED_BYTES as usize);
    }

    fn left(&self, channel: &ChannelName) {
        let mut state = self.lines.state.borrow_mut();
        let left = state.channels.remove(channel);
        if state.channels.is_empty() {
            state.channels = HashMap::new();
        }
        let Some(Some(mut line)) = left else { return };
        if line.waiting.is_empty() {
            let _ = line.stream.finish();
        } else {
            // What waits is not wanted any more.
            state.waiting -= line.waiting.iter().map(Bytes::len).sum::<usize>();
            let _ = line.stream.reset(h3::H3Error::NoError.code());
        }
    }
}

impl Lines {
    fn send(&self, state: &mut State, frame: &Frame, encoding: Encoding) -> Result<(), OutletClosed> {
        let Some(channel) = frame.channel.as_ref().filter(|_| frame.class != FrameClass::Control) else {
            return self.put(state, None, &frame.bytes);
        };
        if frame.class == FrameClass::Ephemeral && self.send_datagram(&frame.bytes, encoding) {
            return Ok(());
        }
        if frame.droppable && state.waiting > self.limit / 4 {
            return Ok(());
        }
        if !state.channels.contains_key(channel) {
            self.open(state, channel)?;
        }
        self.put(state, Some(channel), &frame.bytes)
    }

    /// `false`: it does not fit, or the client takes none.
    fn send_datagram(&self, bytes: &Bytes, encoding: Encoding) -> bool {
        // A datagram is a message; the newline only ends one on a stream.
        let message = match encoding {
            Encoding::StreamJson => bytes.strip_suffix(b"\n").unwrap_or(bytes),
            _ => bytes,
        };
        let fits = self.connection.max_datagram_size().is_some_and(|limit| message.len() < limit);
        fits && self.connection.send_datagram(h3::datagram(message).into()).is_ok()
    }

    /// Opens a channel's stream, if the client gives credit for another one.
    fn open(&self, state: &mut State, channel: &ChannelName) -> Result<(), OutletClosed> {
        let mut cx = Context::from_waker(Waker::noop());
        let line = match pin!(self.connection.open_uni()).poll(&mut cx) {
            Poll::Pending => None,
            Poll::Ready(Err(_)) => return Err(OutletClosed),
            Poll::Ready(Ok(stream)) => Some(Line { stream, waiting: VecDeque::new() }),
        };
        let opened = line.is_some();
        state.channels.insert(channel.clone(), line);
        if opened { self.put(state, Some(channel), &h3::stream_prefix().into()) } else { Ok(()) }
    }

    /// Writes what the stream takes and queues the rest.
    fn put(
        &self,
        state: &mut State,
        channel: Option<&ChannelName>,
        bytes: &Bytes,
    ) -> Result<(), OutletClosed> {
        let own = channel.and_then(|channel| state.channels.get_mut(channel)).and_then(Option::as_mut);
        let line = own.unwrap_or(&mut state.control);
        let mut rest = bytes.clone();
        if line.waiting.is_empty() {
            let mut cx = Context::from_waker(Waker::noop());
            if let Poll::Ready(written) = write(&mut line.stream, &mut rest, &mut cx) {
                return written;
            }
        }
        state.waiting += rest.len();
        line.waiting.push_back(rest);
        if state.waiting > self.limit + state.owed { Err(OutletClosed) } else { Ok(()) }
    }

    /// Something waits that did not wait before: somebody has to look after it.
    fn flush_later(self: &Rc<Self>, state: &mut State) {
        match &state.flusher {
            Flusher::Running(waker) => waker.wake_by_ref(),
            Flusher::Absent => {
                // Until its first turn, waking it is not needed.
                state.flusher = Flusher::Running(Waker::noop().clone());
                let lines = Rc::downgrade(self);
                tokio::task::spawn_local(poll_fn(move |cx| poll_flush(&lines, cx)));
            }
        }
    }
}

/// Writes all of `rest`; what is left of it when the stream takes no more stays in it.
fn write(stream: &mut SendStream, rest: &mut Bytes, cx: &mut Context<'_>) -> Poll<Result<(), OutletClosed>> {
    while !rest.is_empty() {
        match Pin::new(&mut *stream).poll_write(cx, rest) {
            Poll::Ready(Ok(written)) => rest.advance(written),
            Poll::Ready(Err(_)) => return Poll::Ready(Err(OutletClosed)),
            Poll::Pending => return Poll::Pending,
        }
    }
    Poll::Ready(Ok(()))
}

/// The flush task: ready when nothing waits, or nothing can be sent any more.
fn poll_flush(lines: &Weak<Lines>, cx: &mut Context<'_>) -> Poll<()> {
    let Some(lines) = lines.upgrade() else { return Poll::Ready(()) };
    let mut state = lines.state.borrow_mut();
    let State { control, channels, waiting, owed, flusher } = &mut *state;
    let mut pending = false;
    for line in channels.values_mut().flatten().chain([control]) {
        while let Some(front) = line.waiting.front_mut() {
            let before = front.len();
            let written = write(&mut line.stream, front, cx);
            *waiting -= before - front.len();
            match written {
                Poll::Ready(Ok(())) => {
                    line.waiting.pop_front();
                }
                Poll::Ready(Err(OutletClosed)) => {
                    // The next frame finds out; if none comes, the session's task does.
                    *waiting -= line.waiting.drain(..).map(|bytes| bytes.len()).sum::<usize>();
                }
                Poll::Pending => {
                    pending = true;
                    break;
                }
            }
        }
        if line.waiting.is_empty() {
            line.waiting = VecDeque::new();
        }
    }
    if pending {
        *flusher = Flusher::Running(cx.waker().clone());
        return Poll::Pending;
    }
    debug_assert_eq!(*waiting, 0, "what waits stands in a line");
    *owed = 0;
    *flusher = Flusher::Absent;
    Poll::Ready(())
}
