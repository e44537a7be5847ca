//! Connections that are given what they missed page by page: one page at a time, when the last one is through.

use std::collections::{BTreeSet, VecDeque};

use skywave_engine::hub::{CatchUp, Subscriber};
use skywave_protocol::message::GapReason;
use skywave_protocol::{ChannelName, Push, ServerMessage};

use super::super::World;
use super::Command;
use crate::history::ConnectionId;
use crate::sabotage::Sabotage;

/// One connection's channels that are behind.
#[derive(Debug, Default)]
pub(super) struct CatchingUp {
    pub(super) behind: BTreeSet<ChannelName>,
    waiting: VecDeque<ChannelName>,
    asked: Option<ChannelName>,
}

impl CatchingUp {
    pub(super) fn begin(&mut self, channel: ChannelName) {
        self.behind.insert(channel.clone());
        self.waiting.push_back(channel);
    }

    /// `true`: it was behind.
    pub(super) fn end(&mut self, channel: &ChannelName) -> bool {
        self.given(channel);
        self.behind.remove(channel)
    }

    fn given(&mut self, channel: &ChannelName) {
        self.asked.take_if(|asked| asked == channel);
        self.waiting.retain(|waiting| waiting != channel);
    }
}

impl World {
    /// Some connection of the edge is being given its past.
    pub(in crate::world) fn edge_is_recovering(&self, edge: usize) -> bool {
        let mut connections = self.edges[edge].connections.values();
        connections.any(|connection| !connection.catching_up.behind.is_empty())
    }

    /// Some page has been asked for and is not there yet.
    pub(in crate::world) fn page_is_awaited(&self) -> bool {
        let connections = self.edges.iter().flat_map(|edge| edge.connections.values());
        connections.into_iter().any(|connection| connection.catching_up.asked.is_some())
    }

    pub(super) fn edge_catches_up(&mut self, edge: usize, step: CatchUp) {
        let CatchUp { subscriber, channel, epoch, gap, page, recent, live } = step;
        let connection = subscriber.connection;
        let Some(state) = self.edges[edge].connections.get(&connection) else { return };
        if !state.catching_up.behind.contains(&channel) {
            return;
        }
        if let Some(gap) = gap.filter(|_| !self.sabotaged(Sabotage::GapsSilent)) {
            if gap.reason == GapReason::Retention {
                self.tally.count("recoveries overtaken by retention");
            }
            let (from, to, reason) = (gap.from, gap.to, gap.reason);
            let push = Push::Gap { channel: channel.clone(), epoch, from, to, reason };
            self.edge_sends(edge, connection, ServerMessage::Push(push), false);
        }
        let page = page.iter().flat_map(|part| &part.page[part.from..part.to]);
        let skipped = usize::from(self.sabotaged(Sabotage::PagesOffByOne));
        for publication in page.skip(skipped).chain(&recent) {
            let (channel, publication) = (channel.clone(), publication.clone());
            let push = Push::Publication { channel, epoch: None, publication };
            self.edge_sends(edge, connection, ServerMessage::Push(push), false);
        }
        let Some(state) = self.edges[edge].connections.get_mut(&connection) else { return };
        if live {
            self.tally.count("members that caught up");
            state.catching_up.end(&channel);
            self.edges[edge].table.entry(channel).or_default().insert(connection);
        } else {
            self.tally.count("pages given");
            state.catching_up.given(&channel);
            state.catching_up.waiting.push_back(channel);
        }
        self.ask_for_page(edge, connection);
    }

    /// Asks for the next page, if nothing waits in front of it.
    pub(super) fn ask_for_page(&mut self, edge: usize, connection: ConnectionId) {
        let Some(state) = self.edges[edge].connections.get_mut(&connection) else { return };
        let catching_up = &mut state.catching_up;
        if catching_up.asked.is_some() || !state.outbox.is_empty() || state.session.is_closed() {
            return;
        }
        if let Some(channel) = catching_up.waiting.pop_front() {
            catching_up.asked = Some(channel.clone());
            let subscriber = Subscriber { worker: 0, connection };
            self.command(edge, Command::More { subscriber, channel });
        }
    }
}
