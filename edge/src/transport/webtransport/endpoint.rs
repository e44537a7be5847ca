//! QUIC on one worker's UDP socket: one task for all of its connections.
//!
//! What arrives goes to its connection at once; connections with something to do have a turn each, then what they have to
//! send is sent. There is no task, no queue and no buffer per connection: [`quinn_proto`] is quinn without those.
//!
//! Owns: the socket, the table of connections, their deadlines. Never: holds up the worker: after half a
//! millisecond the other tasks have their turn.

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::UdpSocket;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use quinn_proto::{ConnectionHandle, DatagramEvent, EndpointConfig, Incoming, ServerConfig, TransportConfig};
use tokio::sync::watch;

use super::agenda::Agenda;
use super::connection::{Connection, Turn};
use super::crypto::{QuicTls, VERSION};
use super::deadlines::Deadlines;
use super::socket::{Arrived, Socket};
use super::{limits, reset};
use crate::metrics::Refused;
use crate::tls::Identity;
use crate::worker::Worker;

/// Work after which the worker's other tasks have their turn, and connections between two looks at the clock.
const BUSY: Duration = Duration::from_micros(500);
const LOOK: usize = 8;
/// Datagrams sent for one connection before the others have their turn.
const DATAGRAMS: usize = 20;

/// Serves until the worker ends. Errors: the socket cannot be used.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    socket: UdpSocket,
    mut tls: watch::Receiver<Arc<Identity>>,
) -> std::io::Result<()> {
    let transport = limits::transport(&worker.shared().config);
    let mut endpoint = Endpoint::new(worker.clone(), socket, &tls.borrow_and_update(), &transport)?;
    loop {
        tokio::select! {
            Ok(()) = tls.changed() => {
                let config = server_config(&tls.borrow_and_update(), &transport);
                endpoint.protocol.set_server_config(config.map(Arc::new));
            }
            () = worker.room(), if !endpoint.held.is_empty() => endpoint.release(),
            // Ready when some connection is held that was not before.
            served = std::future::poll_fn(|cx| endpoint.poll(cx)) => served?,
        }
    }
}

/// `None`, so that nobody is let in, if QUIC could not use the certificate's configuration.
fn server_config(identity: &Identity, transport: &Arc<TransportConfig>) -> Option<ServerConfig> {
    match QuicTls::new(identity.quic()) {
        Ok(crypto) => {
            let mut config = ServerConfig::with_crypto(Arc::new(crypto));
            config.transport_config(transport.clone());
            Some(config)
        }
        Err(error) => {
            tracing::error!(%error, "WebTransport cannot use this certificate");
            None
        }
    }
}

struct Endpoint {
    worker: Rc<Worker>,
    protocol: quinn_proto::Endpoint,
    socket: Socket,
    /// By the number the protocol gives them.
    connections: Vec<Option<Rc<Connection>>>,
    deadlines: Deadlines,
    agenda: Rc<Agenda>,
    handshakes: Rc<Cell<usize>>,
    /// Those that wait for the hub's room, and for the kernel's; each once.
    held: Vec<Rc<Connection>>,
    blocked: Vec<Rc<Connection>>,
    /// Kept between batches for its memory; empty in between.
    arrived: Vec<Arrived>,
    /// Whose turn it is, taken from the agenda.
    turns: VecDeque<usize>,
}

impl Endpoint {
    fn new(
        worker: Rc<Worker>,
        socket: UdpSocket,
        identity: &Identity,
        transport: &Arc<TransportConfig>,
    ) -> std::io::Result<Self> {
        let mut config: EndpointConfig = reset::endpoint_config(identity.secret("stateless reset"));
        config.supported_versions(vec![VERSION]);
        let socket = Socket::new(socket, config.get_max_udp_payload_size() as usize)?;
        let server = server_config(identity, transport).map(Arc::new);
        let probes = socket.never_fragments();
        Ok(Self {
            worker,
            protocol: quinn_proto::Endpoint::new(Arc::new(config), server, probes, None),
            socket,
            connections: Vec::new(),
            deadlines: Deadlines::new(),
            agenda: Rc::default(),
            handshakes: Rc::default(),
            held: Vec::new(),
            blocked: Vec::new(),
            arrived: Vec::new(),
            turns: VecDeque::new(),
        })
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.agenda.wake();
        let held = self.held.len();
        self.unblock(cx)?;
        let begun = Instant::now();
        let mut now = begun;
        loop {
            let arrived = self.receive(cx, now)?;
            self.expire(now);
            while !self.take_turns(now) {
                now = Instant::now();
                if now - begun > BUSY {
                    break;
                }
            }
            if arrived.is_pending() && self.turns.is_empty() {
                break;
            }
            now = Instant::now();
            if now - begun > BUSY {
                cx.waker().wake_by_ref();
                break;
            }
        }
        if self.deadlines.poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        // The socket wakes the task when it has room only if it is asked.
        self.unblock(cx)?;
        self.agenda.rest(cx);
        if self.held.len() > held { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Gives those who wait for the kernel a turn, if it has room.
    fn unblock(&mut self, cx: &mut Context<'_>) -> std::io::Result<()> {
        if !self.blocked.is_empty() && self.socket.poll_unblocked(cx)?.is_ready() {
            for connection in self.blocked.drain(..) {
                connection.blocked.set(false);
                connection.note();
            }
        }
        Ok(())
    }

    /// Hands on one batch of what has arrived.
    fn receive(&mut self, cx: &mut Context<'_>, now: Instant) -> std::io::Result<Poll<()>> {
        let mut arrived = std::mem::take(&mut self.arrived);
        let received = self.socket.poll_receive(cx, &mut arrived)?;
        for datagram in arrived.drain(..) {
            self.arrived(datagram, now);
        }
        self.arrived = arrived;
        Ok(received)
    }

    fn arrived(&mut self, arrived: Arrived, now: Instant) {
        let Arrived { from, to, ecn, data } = arrived;
        let mut answer = Vec::new();
        match self.protocol.handle(now, from, to, ecn, data, &mut answer) {
            None => {}
            Some(DatagramEvent::ConnectionEvent(number, event)) => {
                let Some(connection) = self.connections.get(number.0).and_then(Option::as_ref) else {
                    return;
                };
                connection.quic.borrow_mut().protocol.handle_event(event);
                connection.note();
            }
            Some(DatagramEvent::Response(transmit)) => self.socket.answer(&transmit, &answer),
            Some(DatagramEvent::NewConnection(incoming)) => self.admit(incoming, now),
        }
    }

    fn admit(&mut self, incoming: Incoming, now: Instant) {
        let worker = self.worker.clone();
        let (metrics, shared) = (worker.metrics(), worker.shared());
        let mut answer = Vec::new();
        if shared.is_draining() {
            metrics.refuse(Refused::Draining);
            let transmit = self.protocol.refuse(incoming, &mut answer);
            return self.socket.answer(&transmit, &answer);
        }
        if self.handshakes.get() >= limits::HANDSHAKES {
            metrics.refuse(Refused::Handshake);
            return self.protocol.ignore(incoming);
        }
        // An address that may be made up must not use up what the real one is allowed.
        let counted = shared.limits_addresses() || self.handshakes.get() >= limits::UNPROVEN_HANDSHAKES;
        if counted && !incoming.remote_address_validated() && incoming.may_retry() {
            if let Ok(transmit) = self.protocol.retry(incoming, &mut answer) {
                self.socket.answer(&transmit, &answer);
            }
            return;
        }
        metrics.accepted.add(1);
        let Ok(permit) = shared.admit(incoming.remote_address().ip()) else {
            metrics.refuse(Refused::ServerFull);
            let transmit = self.protocol.refuse(incoming, &mut answer);
            return self.socket.answer(&transmit, &answer);
        };
        let handshake = Handshake::begin(&self.handshakes);
        match self.protocol.accept(incoming, now, &mut answer, None) {
            Ok((number, protocol)) => {
                let agenda = self.agenda.clone();
                let connection = Connection::new(number, protocol, agenda, &worker, (permit, handshake), now);
                connection.note();
                self.enter(number, connection);
            }
            Err(error) => {
                metrics.refuse(Refused::Tls);
                if let Some(transmit) = error.response {
                    self.socket.answer(&transmit, &answer);
                }
            }
        }
    }

    fn enter(&mut self, number: ConnectionHandle, connection: Rc<Connection>) {
        if self.connections.len() <= number.0 {
            self.connections.resize(number.0 + 1, None);
        }
        self.connections[number.0] = Some(connection);
    }

    /// Notes those whose time has come. Most often the deadline has moved away since it was entered, by an
    /// acknowledgement: then the connection itself is not touched.
    fn expire(&mut self, now: Instant) {
        while let Some(number) = self.deadlines.take(now) {
            let Some(connection) = self.connections.get(number).and_then(Option::as_ref) else { continue };
            connection.entered.set(None);
            match connection.due.get() {
                Some(due) if due > now => self.deadlines.enter(number, &connection.entered, due),
                _ => {
                    connection.quic.borrow_mut().protocol.handle_timeout(now);
                    connection.note();
                }
            }
        }
    }

    /// Some turns of those who stand on the agenda; `true` when all of them have had theirs. Who is noted meanwhile has
    /// the next one.
    fn take_turns(&mut self, now: Instant) -> bool {
        if self.turns.is_empty() {
            self.agenda.take(&mut self.turns);
        }
        for _ in 0..LOOK {
            let Some(number) = self.turns.pop_front() else { return true };
            let Some(Some(connection)) = self.connections.get(number) else { continue };
            let connection = connection.clone();
            connection.noted.set(false);
            self.turn_to(&connection, now);
        }
        self.turns.is_empty()
    }

    fn turn_to(&mut self, connection: &Rc<Connection>, now: Instant) {
        let turn = connection.turn(&self.worker, now);
        // Whatever the turn has led to is on its way before the next packet is made.
        let mut drained = self.exchange(connection);
        self.transmit(connection, now);
        drained |= self.exchange(connection);
        if drained {
            connection.abandon();
            self.deadlines.remove(connection.number.0, &connection.entered);
            // Whoever waits for it to be through holds it.
            connection.quic.borrow_mut().give_up();
            self.connections[connection.number.0] = None;
            return;
        }
        match turn {
            Turn::Done => {}
            Turn::Again => connection.note(),
            Turn::Held => {
                if !connection.held.replace(true) {
                    self.held.push(connection.clone());
                }
            }
        }
        connection.due.set(connection.deadline());
        if let Some(due) = connection.due.get() {
            self.deadlines.enter(connection.number.0, &connection.entered, due);
        }
    }

    /// Lets the connection and the endpoint tell each other what they must know; `true` when that was the connection's last
    /// word.
    fn exchange(&mut self, connection: &Connection) -> bool {
        let quic = &mut *connection.quic.borrow_mut();
        let mut drained = false;
        while let Some(event) = quic.protocol.poll_endpoint_events() {
            drained |= event.is_drained();
            if let Some(answer) = self.protocol.handle_event(connection.number, event) {
                quic.protocol.handle_event(answer);
            }
        }
        drained
    }

    fn transmit(&mut self, connection: &Rc<Connection>, now: Instant) {
        let quic = &mut *connection.quic.borrow_mut();
        let mut sent = 0;
        while sent < DATAGRAMS {
            match self.socket.send(|segments, out| quic.protocol.poll_transmit(now, segments, out)) {
                Some(0) => return,
                Some(datagrams) => sent += datagrams,
                None => {
                    if !connection.blocked.replace(true) {
                        self.blocked.push(connection.clone());
                    }
                    return;
                }
            }
        }
        connection.note();
    }

    /// The hub has room again.
    fn release(&mut self) {
        for connection in self.held.drain(..) {
            connection.held.set(false);
            connection.note();
        }
    }
}

/// The connections hold handles on the worker, which holds the connections.
impl Drop for Endpoint {
    fn drop(&mut self) {
        self.connections.iter().flatten().for_each(|connection| connection.abandon());
    }
}

/// Counts a handshake as long as it lasts.
pub(super) struct Handshake(Rc<Cell<usize>>);

impl Handshake {
    fn begin(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(count.clone())
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
