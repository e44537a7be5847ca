//! A connection between a client and an edge: ordered and reliable while it stands, bounded in what it buffers, cut with
//! or without either side noticing.

use std::collections::VecDeque;

use skywave_protocol::{ClientMessage, CloseCode, ServerMessage};

use super::{Event, Time, Up, World};
use crate::history::ConnectionId;

/// Bytes the sockets of both sides hold together.
const SOCKET_BYTES: usize = 1_500;

#[derive(Debug, Clone)]
pub(super) enum Frame {
    Message(ServerMessage),
    Close(CloseCode),
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: usize,
    pub(super) edge: usize,
    pub(super) edge_incarnation: u32,
    /// Data passes. When false, whatever is sent vanishes.
    pub(super) alive: bool,
    /// On their way to, or waiting at, the client.
    down: VecDeque<(Frame, usize)>,
    /// How many of `down` have reached the client.
    arrived: usize,
    /// Bytes of `down` and of a frame that is written in part.
    buffered: usize,
    last_up: Time,
    last_down: Time,
}

impl Link {
    pub(super) fn room(&self) -> usize {
        SOCKET_BYTES.saturating_sub(self.buffered)
    }
}

impl World {
    /// Opens a connection; the edge learns of it a moment later.
    pub(super) fn open_link(&mut self, client: usize, edge: usize) -> ConnectionId {
        self.last_connection += 1;
        let connection = self.last_connection;
        let edge_incarnation = self.edges[edge].incarnation;
        let link = Link {
            client,
            edge,
            edge_incarnation,
            alive: true,
            down: VecDeque::new(),
            arrived: 0,
            buffered: 0,
            last_up: self.now,
            last_down: self.now,
        };
        self.links.insert(connection, link);
        self.send_up(connection, Up::Open);
        connection
    }

    pub(super) fn client_sends(&mut self, connection: ConnectionId, message: ClientMessage) {
        self.send_up(connection, Up::Message(Box::new(message)));
    }

    pub(super) fn send_up(&mut self, connection: ConnectionId, up: Up) {
        let delay = self.random.between(1, 4);
        let Some(link) = self.links.get_mut(&connection) else { return };
        if link.alive {
            link.last_up = link.last_up.max(self.now + delay);
            let at = link.last_up;
            self.at(at, Event::Up(connection, up));
        }
    }

    pub(super) fn link_up(&mut self, connection: ConnectionId, up: Up) {
        let Some(link) = self.links.get(&connection) else { return };
        let (edge, incarnation) = (link.edge, link.edge_incarnation);
        if !link.alive || !self.edges[edge].accepts(incarnation) {
            return;
        }
        if self.edges[edge].paused {
            return self.edges[edge].deferred.push(Event::Up(connection, up));
        }
        self.edge_receives(edge, connection, up);
    }

    /// Writes a whole frame into the socket. The caller has checked the room (a close needs none).
    pub(super) fn write_frame(&mut self, connection: ConnectionId, frame: Frame, rest: usize, bytes: usize) {
        let delay = self.random.between(1, 4);
        let Some(link) = self.links.get_mut(&connection) else { return };
        link.buffered += rest;
        if link.alive {
            link.last_down = link.last_down.max(self.now + delay);
            link.down.push_back((frame, bytes));
            let at = link.last_down;
            self.at(at, Event::Down(connection));
        }
    }

    /// Writes the beginning of a frame.
    pub(super) fn write_part(&mut self, connection: ConnectionId, bytes: usize) {
        if let Some(link) = self.links.get_mut(&connection) {
            link.buffered += bytes;
        }
    }

    pub(super) fn link_down(&mut self, connection: ConnectionId) {
        let Some(link) = self.links.get_mut(&connection) else { return };
        if !link.alive {
            return;
        }
        link.arrived += 1;
        let client = link.client;
        if self.clients[client].reads_at_once() {
            self.client_reads(connection, usize::MAX);
        }
    }

    /// The client takes up to `frames` arrived frames from its socket.
    pub(super) fn client_reads(&mut self, connection: ConnectionId, frames: usize) {
        for _ in 0..frames {
            let Some(link) = self.links.get_mut(&connection).filter(|link| link.arrived > 0) else { break };
            link.arrived -= 1;
            let Some((frame, bytes)) = link.down.pop_front() else { break };
            link.buffered = link.buffered.saturating_sub(bytes);
            let (edge, client, incarnation) = (link.edge, link.client, link.edge_incarnation);
            self.client_receives(client, connection, frame);
            if self.edges[edge].accepts(incarnation) && !self.edges[edge].paused {
                self.edge_flush(edge, connection);
            }
        }
    }

    /// Cuts a connection. `noticed`: both sides learn of it soon; otherwise only silence tells.
    pub(super) fn cut_link(&mut self, connection: ConnectionId, noticed: bool) {
        let Some(link) = self.links.get_mut(&connection) else { return };
        link.alive = false;
        let (edge, incarnation) = (link.edge, link.edge_incarnation);
        if noticed {
            let delay = self.random.between(0, 20);
            self.after(delay, Event::Lost(connection));
            if self.edges[edge].accepts(incarnation) {
                self.edge_lost(edge, connection);
            }
        }
    }
}
