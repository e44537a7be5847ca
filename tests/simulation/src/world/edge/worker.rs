//! The worker that owns the sockets: what comes from the shard goes to the connections, in order.

use std::sync::Arc;

use skywave_protocol::message::{Member, Recovery};
use skywave_protocol::{ChannelName, ClientId, Position, Publication, Push, Reply, ServerMessage, UserId};

use super::super::World;
use super::super::client::who as member_name;
use super::{Command, Delivery};
use crate::history::{ConnectionId, Fact};
use crate::sabotage::Sabotage;

impl World {
    pub(super) fn edge_worker(&mut self, edge: usize) {
        while let Some(delivery) = self.edges[edge].deliveries.pop_front() {
            self.edge_delivery(edge, delivery);
        }
    }

    pub(super) fn edge_delivery(&mut self, edge: usize, delivery: Delivery) {
        match delivery {
            Delivery::Joined { connection, channel, position, recovery, missed, behind } => {
                self.edge_joined(edge, connection, channel, position, recovery, missed, behind);
            }
            Delivery::CatchUp(step) => self.edge_catches_up(edge, *step),
            Delivery::JoinFailed { connection, channel, error } => {
                if let Some(state) = self.edges[edge].connections.get_mut(&connection) {
                    state.session.handle_join_failed(self.now, &channel, error);
                }
                self.flush_session(edge, connection);
            }
            Delivery::Publication { channel, publication } => {
                self.fan_out(edge, &channel, |channel| Push::Publication {
                    channel,
                    epoch: None,
                    publication: publication.clone(),
                });
            }
            Delivery::Gap { channel, epoch, from, to, reason } => {
                self.tally.count("gaps announced to members");
                self.fan_out(edge, &channel, |channel| Push::Gap {
                    channel,
                    epoch: epoch.clone(),
                    from,
                    to,
                    reason,
                });
            }
            Delivery::Presence { channel, mut member, came } => {
                if self.sabotaged(Sabotage::TabsCountApart) {
                    member.user = self.user_of(&member.client);
                }
                let watchers: Vec<ConnectionId> = self.edges[edge]
                    .connections
                    .iter()
                    .filter(|(_, state)| state.present.get(&channel).copied() == Some(true))
                    .map(|(connection, _)| *connection)
                    .collect();
                let (index, who) = (self.channel_index(&channel), member_name(&member));
                for connection in watchers {
                    let who = who.clone();
                    self.record(Fact::Told { connection, channel: index, who, came });
                    let (channel, member) = (channel.clone(), member.clone());
                    let push =
                        if came { Push::Join { channel, member } } else { Push::Leave { channel, member } };
                    self.edge_sends(edge, connection, ServerMessage::Push(push), false);
                }
            }
            Delivery::Members { connection, request_id, channel, members } => {
                if let Some(state) = self.edges[edge].connections.get_mut(&connection) {
                    let reply = Reply::Presence { channel, members };
                    state.session.handle_answer(self.now, request_id, reply);
                }
                self.flush_session(edge, connection);
            }
        }
    }

    /// The user behind a connection id (sabotage only: edges know it from the session).
    pub(super) fn user_of(&self, client: &ClientId) -> Option<UserId> {
        let connection: ConnectionId = client.as_str().trim_start_matches('c').parse().ok()?;
        let user = self.history.users[self.links.get(&connection)?.client].as_deref()?;
        UserId::parse(user).ok()
    }

    pub(super) fn fan_out(&mut self, edge: usize, channel: &ChannelName, push: impl Fn(ChannelName) -> Push) {
        let subscribers: Vec<ConnectionId> =
            self.edges[edge].table.get(channel).into_iter().flatten().copied().collect();
        let droppable = !self.channels[self.channel_index(channel)].durable;
        for connection in subscribers {
            self.edge_sends(edge, connection, ServerMessage::Push(push(channel.clone())), droppable);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one answer")]
    pub(super) fn edge_joined(
        &mut self,
        edge: usize,
        connection: ConnectionId,
        channel: ChannelName,
        position: Option<Position>,
        recovery: Option<Recovery>,
        missed: Vec<Arc<Publication>>,
        behind: bool,
    ) {
        let now = self.now;
        let Some(state) = self.edges[edge].connections.get_mut(&connection) else { return };
        let stands = state.session.handle_joined(now, &channel, position, recovery);
        self.flush_session(edge, connection);
        if !stands {
            return;
        }
        for publication in missed {
            let push = Push::Publication { channel: channel.clone(), epoch: None, publication };
            self.edge_sends(edge, connection, ServerMessage::Push(push), false);
        }
        let Some(state) = self.edges[edge].connections.get_mut(&connection) else { return };
        if state.session.is_closed() {
            return;
        }
        let user = match self.sabotage {
            Some(Sabotage::TabsCountApart) => None,
            _ => state.session.user().cloned(),
        };
        let presence = channel.namespace() == "chat";
        let watch = state.watches.remove(&channel).unwrap_or(false);
        if presence {
            state.present.insert(channel.clone(), watch);
        }
        let member = Member { client: state.session.client().clone(), user };
        if behind {
            state.catching_up.begin(channel.clone());
        }
        if !behind || self.sabotaged(Sabotage::LiveWhileBehind) {
            self.edges[edge].table.entry(channel.clone()).or_default().insert(connection);
        }
        self.ask_for_page(edge, connection);
        if presence {
            self.command(edge, Command::Enter { channel, member, watch });
        }
    }
}
