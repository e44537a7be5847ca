//! The shard that owns the channels: commands from the worker, messages from the bus, decisions of hub and presence.

use skywave_engine::hub::Subscriber;
use skywave_engine::{HubOutput, PresenceOutput};
use skywave_protocol::Reply;
use skywave_protocol::inner::{CoreAnswer, CoreReply, Live};
use skywave_protocol::message::{HistoryPage, Published};

use super::super::{EdgeStep, Event, Message, Node, World};
use super::{Call, Command, Delivery};
use crate::sabotage::Sabotage;

impl World {
    /// The bus connection of this edge flaps: all interest is lost.
    pub(in crate::world) fn edge_loses_interest(&mut self, edge: usize) {
        let incarnation = self.edges[edge].incarnation;
        for channel in self.edges[edge].interest.clone() {
            self.edge_step(edge, incarnation, EdgeStep::Interest(channel, false));
        }
    }

    pub(in crate::world) fn edge_message(&mut self, edge: usize, message: Message) {
        let now = self.now;
        match message {
            Message::Live(Live::Presence { channel, delta }) => {
                self.edges[edge].presence.handle_delta(now, &channel, delta);
            }
            Message::Live(Live::Publication { channel, publication, .. })
                if self.sabotaged(Sabotage::GapCheckOff) =>
            {
                self.edges[edge].deliveries.push_back(Delivery::Publication { channel, publication });
                self.wake_worker(edge);
            }
            Message::Live(live) => self.edges[edge].hub.handle_live(now, live),
            Message::Reply(reply) => self.edge_reply(edge, reply),
            Message::Request(_) => {}
        }
        self.edge_pump(edge);
    }

    pub(super) fn edge_reply(&mut self, edge: usize, reply: CoreReply) {
        let now = self.now;
        let Some(call) = self.edges[edge].calls.remove(&reply.correlation) else { return };
        if let Call::Fetch(_) = call {
            self.read_is_answered(edge, reply.correlation, reply.result.is_ok());
        }
        if let (Call::Fetch(id), Ok(CoreAnswer::History(answer))) = (&call, &reply.result) {
            self.keep_copies(edge, *id, answer);
        }
        let state = &mut self.edges[edge];
        match call {
            Call::Fetch(id) => {
                let result = reply.result.map(|answer| match answer {
                    CoreAnswer::History(history) => history,
                    CoreAnswer::Published { .. } | CoreAnswer::Missing { .. } => {
                        unreachable!("core answers what it is asked")
                    }
                });
                state.hub.handle_history(now, id, result);
            }
            Call::Publish { connection, request_id } | Call::History { connection, request_id } => {
                let answer = match reply.result {
                    Ok(CoreAnswer::Published { position, duplicate }) => {
                        Reply::Published(Published { position: Some(position), duplicate })
                    }
                    Ok(CoreAnswer::History(history)) => Reply::History(HistoryPage {
                        channel: history.channel,
                        epoch: history.head.epoch,
                        head: history.head.offset,
                        publications: history.publications,
                    }),
                    Ok(CoreAnswer::Missing { .. }) => unreachable!("nothing was numbered"),
                    Err(error) => Reply::Error(error),
                };
                if let Some(connection) = state.connections.get_mut(&connection) {
                    connection.session.handle_answer(now, request_id, answer);
                }
            }
        }
    }

    pub(super) fn wake_worker(&mut self, edge: usize) {
        let (delay, incarnation) = (self.random.between(0, 1), self.edges[edge].incarnation);
        self.after(delay, Event::Edge(edge, incarnation, EdgeStep::Worker));
    }

    pub(super) fn deliver(&mut self, edge: usize, delivery: Delivery) {
        if self.edges[edge].deliveries.is_empty() {
            self.wake_worker(edge);
        }
        self.edges[edge].deliveries.push_back(delivery);
    }

    pub(super) fn command(&mut self, edge: usize, command: Command) {
        if self.edges[edge].commands.is_empty() {
            let (delay, incarnation) = (self.random.between(0, 1), self.edges[edge].incarnation);
            self.after(delay, Event::Edge(edge, incarnation, EdgeStep::Shard));
        }
        self.edges[edge].commands.push_back(command);
    }

    pub(super) fn hub_output(&mut self, edge: usize, output: HubOutput) {
        let incarnation = self.edges[edge].incarnation;
        match output {
            HubOutput::AddInterest(channel) => {
                let (delay, fails) = (self.random.between(0, 3), !self.healed && self.random.chance(20));
                self.after(delay, Event::Edge(edge, incarnation, EdgeStep::Interest(channel, !fails)));
            }
            HubOutput::DropInterest(channel) => {
                self.edges[edge].interest.remove(&channel);
            }
            HubOutput::Fetch { id, query, past } => {
                self.tally.count("history reads");
                self.hub_reads(edge, id, query, past);
            }
            HubOutput::Joined { subscriber, channel, position, recovery, mut missed, behind, .. } => {
                if self.sabotaged(Sabotage::RecoveryOffByOne) && !missed.is_empty() {
                    missed.remove(0);
                }
                let connection = subscriber.connection;
                let joined = Delivery::Joined { connection, channel, position, recovery, missed, behind };
                self.deliver(edge, joined);
            }
            HubOutput::CatchUp(step) => self.deliver(edge, Delivery::CatchUp(step)),
            HubOutput::JoinFailed { subscriber, channel, error } => {
                let connection = subscriber.connection;
                self.deliver(edge, Delivery::JoinFailed { connection, channel, error });
            }
            HubOutput::Deliver { channel, publication, .. } => {
                if !self.sabotaged(Sabotage::GapCheckOff) {
                    self.deliver(edge, Delivery::Publication { channel, publication });
                }
            }
            HubOutput::Gap { channel, epoch, from, to, reason } => {
                if !self.sabotaged(Sabotage::GapsSilent) {
                    self.deliver(edge, Delivery::Gap { channel, epoch, from, to, reason });
                }
            }
        }
    }

    pub(super) fn presence_output(&mut self, edge: usize, output: PresenceOutput) {
        match output {
            PresenceOutput::Publish { channel, delta } => {
                let live = Live::Presence { channel: channel.clone(), delta };
                self.publish_live(Node::Edge(edge), &channel, &live);
            }
            PresenceOutput::Join { channel, member } => {
                self.deliver(edge, Delivery::Presence { channel, member, came: true });
            }
            PresenceOutput::Leave { channel, member } => {
                self.deliver(edge, Delivery::Presence { channel, member, came: false });
            }
        }
    }

    pub(super) fn edge_shard(&mut self, edge: usize) {
        let now = self.now;
        while let Some(command) = self.edges[edge].commands.pop_front() {
            let state = &mut self.edges[edge];
            match command {
                Command::Join(join) => state.hub.join(now, join),
                Command::More { subscriber, channel } => state.hub.more(now, subscriber, &channel),
                Command::Leave { connection, channel, present } => {
                    state.hub.leave(now, Subscriber { worker: 0, connection }, &channel);
                    if let Some((client, watched)) = present {
                        state.presence.leave(now, &channel, &client);
                        if watched {
                            state.presence.unwatch(now, &channel);
                        }
                    }
                }
                Command::Enter { channel, member, watch } => {
                    if watch {
                        state.presence.watch(now, &channel);
                    }
                    state.presence.enter(now, &channel, member);
                }
                Command::ReadPresence { connection, request_id, channel } => {
                    let members = state.presence.members(&channel);
                    self.deliver(edge, Delivery::Members { connection, request_id, channel, members });
                }
            }
        }
    }
}
