//! A session while it stands, and its end.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use skywave_protocol::{CloseCode, ErrorCode};

use super::connection::{Connection, News, Turn};
use super::establish::Failed;
use super::h3;
use super::input::Input;
use super::quic::{Quic, Stopped, control_stream, request_stream};
use super::unidirectional::ClientStreams;
use crate::transport::{Encoding, Outlet, Transport};
use crate::worker::{Handle, InputFormat, NewConnection, Worker};

/// How long a client has for closing the session itself once it was told why it ends.
const CLIENT_CLOSES: Duration = Duration::from_secs(1);
/// Bytes read from a client's control stream before it is the others' turn.
const TURN_BYTES: usize = 64 * 1024;

/// With which code the session ends, and why.
pub(super) type End = (CloseCode, String);

/// The client goes first.
fn gone() -> End {
    (CloseCode::Normal, String::new())
}

pub(super) struct Session {
    handle: Handle,
    input: Input,
    /// The control stream may hold something that has not been read.
    unread: bool,
    /// The same of datagrams.
    datagrams: bool,
}

impl Session {
    /// Takes the client in. Errors: what to tell it instead.
    pub(super) fn open(
        connection: &Rc<Connection>,
        worker: &Rc<Worker>,
        encoding: Encoding,
    ) -> Result<Self, End> {
        let outlet: Rc<dyn Outlet> = connection.clone();
        let address = connection.quic.borrow().protocol.remote_address().ip();
        let handle = worker
            .open(NewConnection { transport: Transport::WebTransport, outlet, address })
            .map_err(|error| match error.code {
                ErrorCode::Draining => (CloseCode::Drain, error.message.to_string()),
                _ => (CloseCode::ServerFull, error.message.to_string()),
            })?;
        let format = if encoding == Encoding::StreamBinary { InputFormat::Binary } else { InputFormat::Json };
        let input = Input::new(format, worker.shared().config.limits.message_bytes);
        Ok(Self { handle, input, unread: true, datagrams: true })
    }

    /// One turn. Errors: it is over.
    pub(super) fn serve(
        &mut self,
        connection: &Connection,
        worker: &Worker,
        news: &News,
        client_streams: &mut ClientStreams,
    ) -> Result<Turn, End> {
        if let Some(end) = connection.take_ending() {
            return Err(end);
        }
        client_streams.read(&mut connection.quic.borrow_mut(), news).map_err(|failed| match failed {
            Failed::Protocol(..) => (CloseCode::ProtocolError, CloseCode::ProtocolError.reason().to_owned()),
            Failed::Gone | Failed::Refused(_) => gone(),
        })?;
        // Whatever comes on it, only its end means something to us.
        if news.request && connection.quic.borrow_mut().discard(request_stream()) {
            return Err(gone());
        }
        self.unread |= news.control;
        self.datagrams |= news.datagrams;
        if !self.unread && !self.datagrams {
            return Ok(Turn::Done);
        }
        if worker.state().is_congested() {
            return Ok(Turn::Held);
        }
        self.read_datagrams(connection);
        let turn = self.read_control(connection)?;
        // What the client has asked for may have ended the session.
        connection.take_ending().map_or(Ok(turn), Err)
    }

    fn read_datagrams(&mut self, connection: &Connection) {
        // No more than QUIC keeps for us.
        while self.datagrams {
            let datagram = connection.quic.borrow_mut().protocol.datagrams().recv();
            match datagram {
                Some(datagram) => self.datagram(&datagram),
                None => self.datagrams = false,
            }
        }
    }

    fn datagram(&self, datagram: &Bytes) {
        // Of another session, or larger than a message may be: nothing is owed to a datagram.
        if let Some(message) = h3::datagram_payload(datagram) {
            self.handle.receive_encoded(self.input.format(), message);
        }
    }

    fn read_control(&mut self, connection: &Connection) -> Result<Turn, End> {
        if !self.unread {
            return Ok(Turn::Done);
        }
        let mut chunks = Vec::new();
        let stopped = connection.quic.borrow_mut().read(control_stream(), TURN_BYTES, &mut chunks);
        chunks.iter().try_for_each(|chunk| self.take(chunk))?;
        match stopped {
            Stopped::Full => Ok(Turn::Again),
            Stopped::End => Err(gone()),
            Stopped::Empty => {
                self.unread = false;
                Ok(Turn::Done)
            }
        }
    }

    /// Takes bytes of the control stream. Errors: they are no messages.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), End> {
        let Self { handle, input, .. } = self;
        let format = input.format();
        input.take(bytes, |batch| handle.receive_encoded(format, batch)).map_err(|code| {
            handle.close(code, code.reason());
            (code, code.reason().to_owned())
        })
    }
}

/// Says why the session ends, lets the client close it, and closes it with the code if the client does not.
///
/// The client goes first because Chromium's renderer has been seen to crash, now and then, when a server ends a session
/// with streams on their way; it never did when the page closed it.
pub(super) struct Goodbye {
    end: End,
    /// When the next step is taken, whatever the client does.
    pub(super) until: Instant,
    /// What is left to say of the session's end; `None` as long as it is the client's turn.
    capsule: Option<Bytes>,
    finished: bool,
}

impl Goodbye {
    /// The reason has been said on the control stream.
    pub(super) fn new(end: End, now: Instant) -> Self {
        Self { end, until: now + CLIENT_CLOSES, capsule: None, finished: false }
    }

    /// Takes the steps that are due; `true` when nothing more is waited for.
    pub(super) fn is_over(&mut self, quic: &mut Quic, worker: &Worker, now: Instant) -> bool {
        if self.capsule.is_none() && (quic.discard(request_stream()) || now >= self.until) {
            self.capsule = Some(h3::close(self.end.0, &self.end.1).into());
            self.until = now + worker.shared().config.timing.close;
        }
        let Some(capsule) = &mut self.capsule else { return false };
        if !self.finished {
            if quic.write(request_stream(), capsule).is_err() {
                return true;
            }
            if capsule.is_empty() {
                quic.finish(request_stream());
                self.finished = true;
            }
        }
        // The client closes the connection when it has read it.
        now >= self.until
    }
}
