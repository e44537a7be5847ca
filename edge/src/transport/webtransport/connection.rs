//! One client, from its first packet to the last.
//!
//! Two sides turn to a connection: the endpoint's task, when something has arrived or a time has come, and the worker's
//! delivery loop, when there is something to send. They share [`Quic`] and the notes of this struct; the client's life
//! belongs to the endpoint's task alone, and while it hands something to the worker it has not borrowed what the worker
//! will borrow.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use quinn_proto::{ConnectionHandle, Dir, Event, StreamEvent};
use skywave_protocol::{ChannelName, CloseCode};

use super::agenda::Agenda;
use super::endpoint::Handshake;
use super::establish::{Beginning, Failed};
use super::h3::H3Error;
use super::quic::{Quic, control_stream, request_stream};
use super::session::{End, Goodbye, Session};
use super::unidirectional::ClientStreams;
use crate::admission::Permit;
use crate::metrics::Refused;
use crate::transport::{Encoding, Frame, Outlet, OutletClosed};
use crate::worker::Worker;

pub(super) struct Connection {
    pub(super) number: ConnectionHandle,
    agenda: Rc<Agenda>,
    /// It stands on the agenda.
    pub(super) noted: Cell<bool>,
    /// It waits for the hub's room, or for the kernel's.
    pub(super) held: Cell<bool>,
    pub(super) blocked: Cell<bool>,
    /// When it wants a turn, whatever comes.
    pub(super) due: Cell<Option<Instant>>,
    /// Under which deadline it is entered; not after `due`.
    pub(super) entered: Cell<Option<Instant>>,
    encoding: Cell<Encoding>,
    /// The worker has closed the session, and why.
    ending: RefCell<Option<Box<End>>>,
    pub(super) quic: RefCell<Quic>,
    life: RefCell<Life>,
}

struct Life {
    /// Its place among the connections of the node; given back when the session is over.
    permit: Option<Permit>,
    phase: Phase,
    client_streams: ClientStreams,
}

enum Phase {
    /// QUIC's and TLS's.
    Handshake {
        until: Instant,
        _counted: Handshake,
    },
    /// Up to the control stream.
    Beginning(Box<Beginning>),
    Session(Session),
    /// The session is over; the client is told.
    Goodbye(Box<Goodbye>),
    /// The request was refused: the answer is on its way; the client closes when it has it.
    Refused {
        until: Instant,
    },
    /// Nothing of it concerns us any more; QUIC may still answer late packets.
    Over,
}

/// What QUIC had to say in one turn.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) connected: bool,
    pub(super) lost: bool,
    pub(super) request: bool,
    pub(super) control: bool,
    pub(super) unidirectional: bool,
    pub(super) datagrams: bool,
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Done,
    /// There is more to read: it wants another turn after the others.
    Again,
    /// The hub is behind with this worker's commands: nothing more is read until it has room.
    Held,
}

impl Connection {
    pub(super) fn new(
        number: ConnectionHandle,
        protocol: quinn_proto::Connection,
        agenda: Rc<Agenda>,
        worker: &Worker,
        (permit, handshake): (Permit, Handshake),
        now: Instant,
    ) -> Rc<Self> {
        let config = &worker.shared().config;
        let phase = Phase::Handshake { until: now + config.timing.head, _counted: handshake };
        Rc::new(Self {
            number,
            agenda,
            noted: Cell::new(false),
            held: Cell::new(false),
            blocked: Cell::new(false),
            due: Cell::new(None),
            entered: Cell::new(None),
            encoding: Cell::new(Encoding::StreamJson),
            ending: RefCell::new(None),
            quic: RefCell::new(Quic::new(protocol, config.limits.outbox_bytes)),
            life: RefCell::new(Life {
                permit: Some(permit),
                phase,
                client_streams: ClientStreams::default(),
            }),
        })
    }

    /// Puts it on the agenda.
    pub(super) fn note(&self) {
        self.agenda.note(self.number.0, &self.noted);
    }

    /// Why the worker has closed the session, if it has; said once.
    pub(super) fn take_ending(&self) -> Option<End> {
        self.ending.take().map(|end| *end)
    }

    /// Finds out when it wants its next turn.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let own = match &self.life.borrow().phase {
            Phase::Handshake { until, .. } | Phase::Refused { until } => Some(*until),
            Phase::Beginning(beginning) => Some(beginning.until),
            Phase::Goodbye(goodbye) => Some(goodbye.until),
            Phase::Session(_) | Phase::Over => None,
        };
        let protocol = self.quic.borrow_mut().protocol.poll_timeout();
        own.into_iter().chain(protocol).min()
    }

    /// Deals with everything that has happened.
    pub(super) fn turn(self: &Rc<Self>, worker: &Rc<Worker>, now: Instant) -> Turn {
        let mut news = self.news();
        let life = &mut *self.life.borrow_mut();
        if news.lost {
            if let Phase::Handshake { .. } = life.phase {
                worker.metrics().refuse(Refused::Tls);
            }
            life.end();
            return Turn::Done;
        }
        // Each phase goes as far as it can; the next one goes on from there.
        if let Phase::Handshake { until, .. } = &life.phase {
            if news.connected {
                let until = now + worker.shared().config.timing.head;
                life.phase = Phase::Beginning(Box::new(Beginning::new(until)));
            } else if now >= *until {
                worker.metrics().refuse(Refused::Tls);
                return self.close(life, now, 0u32.into(), b"");
            }
        }
        if let Phase::Beginning(_) = life.phase {
            self.begin(life, worker, &mut news, now);
        }
        let mut turn = Turn::Done;
        if let Phase::Session(session) = &mut life.phase {
            match session.serve(self, worker, &news, &mut life.client_streams) {
                Ok(done) => turn = done,
                Err(end) => self.say_goodbye(life, end, now),
            }
        }
        let close = match &mut life.phase {
            Phase::Goodbye(goodbye) => {
                goodbye.is_over(&mut self.quic.borrow_mut(), worker, now).then_some(H3Error::SessionGone)
            }
            Phase::Refused { until } => (now >= *until).then_some(H3Error::NoError),
            _ => None,
        };
        match close {
            Some(code) => self.close(life, now, code.code(), b""),
            None => turn,
        }
    }

    fn news(&self) -> News {
        let quic = &mut *self.quic.borrow_mut();
        let (mut news, mut writable) = (News::default(), false);
        while let Some(event) = quic.protocol.poll() {
            match event {
                Event::Connected => news.connected = true,
                Event::ConnectionLost { .. } => news.lost = true,
                Event::DatagramReceived => news.datagrams = true,
                Event::Stream(StreamEvent::Readable { id }) if id == control_stream() => news.control = true,
                Event::Stream(StreamEvent::Readable { id }) if id == request_stream() => news.request = true,
                Event::Stream(StreamEvent::Readable { .. } | StreamEvent::Opened { dir: Dir::Uni }) => {
                    news.unidirectional = true;
                }
                Event::Stream(StreamEvent::Opened { dir: Dir::Bi }) => {
                    (news.request, news.control) = (true, true);
                    // Not accepting a stream would keep it waiting for ever.
                    while let Some(stream) = quic.protocol.streams().accept(Dir::Bi) {
                        if stream != request_stream() && stream != control_stream() {
                            quic.reject(stream);
                        }
                    }
                }
                Event::Stream(StreamEvent::Writable { .. }) => writable = true,
                Event::Stream(
                    StreamEvent::Available { .. }
                    | StreamEvent::Finished { .. }
                    | StreamEvent::Stopped { .. },
                )
                | Event::HandshakeDataReady
                | Event::DatagramsUnblocked => {}
            }
        }
        if writable {
            quic.flush();
        }
        news
    }

    fn begin(self: &Rc<Self>, life: &mut Life, worker: &Rc<Worker>, news: &mut News, now: Instant) {
        let Phase::Beginning(beginning) = &mut life.phase else { return };
        let advanced = {
            let quic = &mut *self.quic.borrow_mut();
            life.client_streams.read(quic, news).and_then(|()| beginning.advance(quic, worker))
        };
        match advanced {
            Ok(None) if now < beginning.until => {}
            Ok(None) => {
                worker.metrics().refuse(Refused::Head);
                let reason = b"the request did not arrive in time";
                self.close(life, now, H3Error::RequestRejected.code(), reason);
            }
            Ok(Some((encoding, begun))) => {
                self.encoding.set(encoding);
                self.quic.borrow_mut().prefer_control();
                match Session::open(self, worker, encoding) {
                    Ok(mut session) => {
                        let taken = session.take(&begun);
                        // Its end may have come with the request.
                        news.request = true;
                        life.phase = Phase::Session(session);
                        if let Err(end) = taken {
                            self.say_goodbye(life, end, now);
                        }
                    }
                    Err(end) => self.say_goodbye(life, end, now),
                }
            }
            Err(Failed::Gone) => {
                self.close(life, now, 0u32.into(), b"");
            }
            Err(Failed::Protocol(error, reason)) => {
                worker.metrics().refuse(Refused::Handshake);
                self.close(life, now, error.code(), reason.as_bytes());
            }
            Err(Failed::Refused(kind)) => {
                worker.metrics().refuse(kind);
                life.phase = Phase::Refused { until: now + worker.shared().config.timing.close };
            }
        }
    }

    fn say_goodbye(&self, life: &mut Life, end: End, now: Instant) {
        // The channels are left before the goodbye: it may take its time.
        life.phase = Phase::Over;
        let quic = &mut *self.quic.borrow_mut();
        quic.say_goodbye(self.encoding.get(), end.0, &end.1);
        life.phase = Phase::Goodbye(Box::new(Goodbye::new(end, now)));
    }

    fn close(&self, life: &mut Life, now: Instant, code: quinn_proto::VarInt, reason: &[u8]) -> Turn {
        life.end();
        self.quic.borrow_mut().close(now, code, reason);
        Turn::Done
    }

    /// The endpoint ends: leaves the worker without a word to the client.
    pub(super) fn abandon(&self) {
        self.life.borrow_mut().end();
    }
}

impl Life {
    fn end(&mut self) {
        self.phase = Phase::Over;
        self.permit = None;
        self.client_streams = ClientStreams::default();
    }
}

impl Outlet for Connection {
    fn encoding(&self) -> Encoding {
        self.encoding.get()
    }

    fn try_send(&self, frames: &[Frame]) -> Result<usize, OutletClosed> {
        self.note();
        let quic = &mut *self.quic.borrow_mut();
        for frame in frames {
            quic.send(frame, self.encoding.get())?;
        }
        quic.settle();
        Ok(frames.len())
    }

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<()> {
        // Never waited for: everything is taken.
        Poll::Ready(())
    }

    fn owes(&self, bytes: usize) {
        self.quic.borrow_mut().owe(bytes);
    }

    fn poll_drained(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.quic.borrow_mut().poll_drained(cx)
    }

    fn left(&self, channel: &ChannelName) {
        self.note();
        self.quic.borrow_mut().leave(channel);
    }

    fn close(&self, code: CloseCode, reason: &str) {
        *self.ending.borrow_mut() = Some(Box::new((code, reason.to_owned())));
        self.note();
    }
}
