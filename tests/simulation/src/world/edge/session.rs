//! Sessions and their sockets: what clients send, what sessions decide, what waits in the outbox.

use std::collections::BTreeMap;
use std::sync::Arc;

use skywave_engine::hub::{Join, Subscriber};
use skywave_engine::{Outbox, Pushed, Session, SessionOutput};
use skywave_protocol::inner::{CoreRequest, Live, LogRecord};
use skywave_protocol::message::Published;
use skywave_protocol::{ChannelName, CloseCode, Payload, Publication, Reply, ServerMessage, UserId};

use super::super::link::Frame;
use super::super::{Message, Node, Up, World};
use super::catching_up::CatchingUp;
use super::{Call, Command, Connection, authorize, frame_bytes};
use crate::history::{ConnectionId, Fact};
use crate::sabotage::Sabotage;

impl World {
    pub(in crate::world) fn edge_receives(&mut self, edge: usize, connection: ConnectionId, up: Up) {
        let now = self.now;
        match up {
            Up::Open => {
                let state = &mut self.edges[edge];
                let session = Session::new(now, state.session_config.clone(), state.client_id(connection));
                let unbounded = self.sabotage == Some(Sabotage::OutboxUnbounded);
                let limit = if unbounded { usize::MAX / 2 } else { self.outbox_limit };
                state.connections.insert(
                    connection,
                    Connection {
                        session,
                        outbox: Outbox::new(limit),
                        most_queued: 0,
                        catching_up: CatchingUp::default(),
                        present: BTreeMap::new(),
                        watches: BTreeMap::new(),
                    },
                );
            }
            Up::Message(message) => {
                if let Some(state) = self.edges[edge].connections.get_mut(&connection) {
                    state.session.handle_message(now, *message);
                }
            }
            Up::Closed => return self.edge_lost(edge, connection),
        }
        self.edge_pump(edge);
    }

    /// The socket is gone.
    pub(in crate::world) fn edge_lost(&mut self, edge: usize, connection: ConnectionId) {
        if let Some(state) = self.edges[edge].connections.get_mut(&connection) {
            state.session.close(CloseCode::Normal, "gone");
            self.edge_pump(edge);
        }
    }

    pub(super) fn session_output(&mut self, edge: usize, connection: ConnectionId) -> Option<SessionOutput> {
        self.edges[edge].connections.get_mut(&connection)?.session.poll_output()
    }

    /// Does what one session has decided, before anything else is written to its socket.
    pub(super) fn flush_session(&mut self, edge: usize, connection: ConnectionId) {
        while let Some(output) = self.session_output(edge, connection) {
            self.do_session_output(edge, connection, output);
        }
    }

    pub(super) fn do_session_output(&mut self, edge: usize, connection: ConnectionId, output: SessionOutput) {
        let now = self.now;
        match output {
            SessionOutput::Send(message) => self.edge_sends(edge, connection, message, false),
            SessionOutput::Authenticate { token } => {
                if let Some(state) = self.edges[edge].connections.get_mut(&connection) {
                    state.session.handle_authorized(now, now / 1_000, Ok(authorize(token)));
                }
            }
            SessionOutput::Join { channel, durable, recover, presence } => {
                if self.sabotaged(Sabotage::SeamOpen) {
                    self.edges[edge].table.entry(channel.clone()).or_default().insert(connection);
                }
                if let Some(state) = self.edges[edge].connections.get_mut(&connection) {
                    state.watches.insert(channel.clone(), presence);
                }
                let subscriber = Subscriber { worker: 0, connection };
                self.command(edge, Command::Join(Join { subscriber, channel, durable, recover }));
            }
            SessionOutput::Leave { channel } => self.edge_leaves(edge, connection, channel),
            SessionOutput::Publish { request_id, channel, id, data, durable } => {
                let user =
                    self.edges[edge].connections.get(&connection).and_then(|state| state.session.user());
                let from = user.cloned();
                if durable {
                    let reply = Some(self.edges[edge].call(Call::Publish { connection, request_id }));
                    let (time_ms, region) = (now, "here".into());
                    let record = LogRecord { channel, time_ms, from, id, region, data, reply };
                    self.edge_asks_core(edge, CoreRequest::Publish(record));
                } else {
                    self.edge_publishes_ephemeral(edge, connection, request_id, channel, id, from, data);
                }
            }
            SessionOutput::ReadHistory { request_id, query } => {
                let reply = self.edges[edge].call(Call::History { connection, request_id });
                self.edge_asks_core(edge, CoreRequest::History { query, reply });
            }
            SessionOutput::ReadPresence { request_id, channel } => {
                self.command(edge, Command::ReadPresence { connection, request_id, channel });
            }
            // Clients here go where chance sends them.
            SessionOutput::Place { .. } => {}
            SessionOutput::Close { code, .. } => self.edge_closes(edge, connection, code),
        }
    }

    /// A request goes to any core that lives; the bus does not know who owns what.
    pub(super) fn edge_asks_core(&mut self, edge: usize, request: CoreRequest) {
        let alive: Vec<usize> = (0..self.cores.len()).filter(|core| !self.cores[*core].down).collect();
        if let Some(core) = self.random.pick(&alive).copied() {
            self.send(Node::Edge(edge), Node::Core(core), Message::Request(request));
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one publish")]
    pub(super) fn edge_publishes_ephemeral(
        &mut self,
        edge: usize,
        connection: ConnectionId,
        request_id: u32,
        channel: ChannelName,
        id: Option<skywave_protocol::MessageId>,
        from: Option<UserId>,
        data: Payload,
    ) {
        let publication = Arc::new(Publication { offset: 0, id, from, time_ms: self.now, data });
        let live = Live::Publication { channel: channel.clone(), epoch: None, publication };
        self.publish_live(Node::Edge(edge), &channel, &live);
        let reply = Reply::Published(Published { position: None, duplicate: false });
        if let Some(state) = self.edges[edge].connections.get_mut(&connection) {
            state.session.handle_answer(self.now, request_id, reply);
        }
    }

    pub(super) fn edge_leaves(&mut self, edge: usize, connection: ConnectionId, channel: ChannelName) {
        self.record(Fact::Left { connection, channel: self.channel_index(&channel) });
        let state = &mut self.edges[edge];
        if let Some(subscribers) = state.table.get_mut(&channel) {
            subscribers.remove(&connection);
        }
        let client = state.client_id(connection);
        let watched = state.connections.get_mut(&connection).and_then(|state| {
            if state.catching_up.end(&channel) {
                self.tally.count("channels left in mid-recovery");
            }
            state.present.remove(&channel)
        });
        let present = watched.map(|watched| (client, watched));
        self.command(edge, Command::Leave { connection, channel, present });
        self.ask_for_page(edge, connection);
    }

    pub(super) fn edge_sends(
        &mut self,
        edge: usize,
        connection: ConnectionId,
        message: ServerMessage,
        droppable: bool,
    ) {
        let bytes = frame_bytes(&message);
        let Some(state) = self.edges[edge].connections.get_mut(&connection) else { return };
        if state.session.is_closed() && matches!(message, ServerMessage::Push(_)) {
            return;
        }
        match state.outbox.push(Frame::Message(message), bytes, droppable) {
            Pushed::Queued => {}
            Pushed::DroppedOldest(dropped) => self.tally.add("ephemeral frames dropped", dropped as u64),
            Pushed::Full => {
                self.tally.count("slow clients closed");
                state.session.close(CloseCode::Slow, "too slow");
                return self.flush_session(edge, connection);
            }
        }
        self.edge_flush(edge, connection);
    }

    /// Writes what the socket takes.
    pub(in crate::world) fn edge_flush(&mut self, edge: usize, connection: ConnectionId) {
        while let Some(state) = self.edges[edge].connections.get_mut(&connection) {
            let Some(frame) = state.outbox.frames().next() else { break };
            let Frame::Message(message) = frame else { break };
            let bytes = frame_bytes(message);
            let rest = bytes - state.outbox.written();
            let room = self.links.get(&connection).map_or(0, |link| link.room());
            if room < rest {
                if room > 0 {
                    state.outbox.consume(room);
                    self.write_part(connection, room);
                }
                break;
            }
            let frame = frame.clone();
            state.outbox.consume(rest);
            self.write_frame(connection, frame, rest, bytes);
        }
        let Some(state) = self.edges[edge].connections.get_mut(&connection) else { return };
        if state.outbox.bytes() > state.most_queued {
            state.most_queued = state.outbox.bytes();
            let bytes = state.most_queued;
            self.record(Fact::Queued { connection, bytes });
        }
        self.ask_for_page(edge, connection);
    }

    pub(super) fn edge_closes(&mut self, edge: usize, connection: ConnectionId, code: CloseCode) {
        self.edges[edge].connections.remove(&connection);
        self.edges[edge].calls.retain(|_, call| match call {
            Call::Publish { connection: of, .. } | Call::History { connection: of, .. } => *of != connection,
            Call::Fetch(_) => true,
        });
        for subscribers in self.edges[edge].table.values_mut() {
            subscribers.remove(&connection);
        }
        self.write_frame(connection, Frame::Close(code), 0, 0);
    }
}
