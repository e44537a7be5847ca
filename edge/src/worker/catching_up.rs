//! Connections that are given what they missed page by page: the next page is asked for when the last one is through.
//!
//! One page at a time per connection, however many of its channels are behind: they take turns. So a client that does not
//! read has one page waiting for it, and one that reads slowly is served at its own pace instead of being closed.
//! Never: knows positions or publications; those are the hub's.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Waker};

use skywave_engine::hub::Subscriber;
use skywave_protocol::ChannelName;

use super::connection::{Line, OWED_BYTES};
use super::state::State;
use super::subscribers::ConnectionSlot;
use crate::delivery::CatchUp;
use crate::hub::HubCommand;
use crate::transport::Frame;

/// A connection's channels that are behind.
#[derive(Debug, Default)]
pub(crate) struct CatchingUp {
    /// Those that wait for their turn. Bounded by the connection's subscriptions.
    waiting: VecDeque<ChannelName>,
    /// The one whose page is under way.
    asked: Option<ChannelName>,
    /// A task waits for the outlet to be through.
    watched: bool,
}

impl CatchingUp {
    fn forget(&mut self, channel: &ChannelName) {
        self.asked.take_if(|asked| asked == channel);
        self.waiting.retain(|waiting| waiting != channel);
    }
}

impl State {
    /// The channel's past is to come page by page.
    pub(crate) fn begin_catching_up(&mut self, slot: ConnectionSlot, channel: ChannelName) {
        self.metrics.catching_up.add(1);
        let connection = &mut self.connections[slot as usize];
        connection.catching_up.get_or_insert_default().waiting.push_back(channel);
        self.paged.push(connection.key);
    }

    /// The channel is left, or its subscriber is live.
    pub(crate) fn end_catching_up(&mut self, slot: ConnectionSlot, channel: &ChannelName) {
        self.metrics.catching_up.sub(1);
        let connection = &mut self.connections[slot as usize];
        if let Some(catching_up) = &mut connection.catching_up {
            catching_up.forget(channel);
            self.paged.push(connection.key);
        }
    }

    /// What the hub has for a subscriber that is behind. One that has left meanwhile is not, even if it is back: its new
    /// membership begins with a `Joined` that comes after this.
    pub(crate) fn catch_up(&mut self, step: CatchUp) {
        let CatchUp { connection: key, channel, gap, page, recent, live } = step;
        let Some(slot) = self.find(key) else { return };
        let connection = &mut self.connections[slot as usize];
        let encoding = connection.encoding;
        if !self.subscribers.is_behind(&channel, &connection.subscriptions) {
            return;
        }
        if let Some(gap) = gap {
            self.metrics.deliveries.add(1);
            self.owe(slot, gap.frame(encoding));
        }
        if let Some((page, part)) = page {
            self.metrics.deliveries.add(part.len() as u64);
            self.owe(slot, page.frame(encoding, &part));
        }
        self.metrics.deliveries.add(recent.len() as u64);
        for encoded in recent {
            self.owe(slot, encoded.frame(encoding));
        }
        let connection = &mut self.connections[slot as usize];
        if live {
            self.subscribers.caught_up(&channel, &connection.subscriptions);
            return self.end_catching_up(slot, &channel);
        }
        if let Some(catching_up) = &mut connection.catching_up {
            catching_up.forget(&channel);
            catching_up.waiting.push_back(channel);
            self.paged.push(key);
        }
    }

    /// Sends what the server owes at once, whatever the client's pace.
    pub(crate) fn owe(&mut self, slot: ConnectionSlot, frame: Frame) {
        let connection = &mut self.connections[slot as usize];
        let owed = connection.owed_bytes.saturating_add(frame.bytes.len() as u32);
        connection.owed_bytes = owed.min(OWED_BYTES);
        if let Line::Outlet(outlet) = &connection.line {
            outlet.owes(frame.bytes.len());
        }
        let frame = self.batch.frame(frame);
        self.batch.link(slot, &mut connection.chain, frame);
    }

    /// After a flush: asks for those whose last page has gone out whole.
    pub(crate) fn ask_for_pages(&mut self) {
        while let Some(key) = self.paged.pop() {
            if let Some(slot) = self.find(key) {
                self.ask_for_page(slot);
            }
        }
    }

    /// Asks for a connection's next page, if nothing waits in front of it.
    pub(crate) fn ask_for_page(&mut self, slot: ConnectionSlot) {
        let worker = self.worker.clone();
        let connection = &mut self.connections[slot as usize];
        if connection.outbox.is_some() || connection.ending.is_some() {
            return;
        }
        let key = connection.key;
        let Some(catching_up) = &mut connection.catching_up else { return };
        if catching_up.asked.is_some() || catching_up.watched {
            return;
        }
        if let Line::Outlet(outlet) = &connection.line
            && outlet.poll_drained(&mut Context::from_waker(Waker::noop())).is_pending()
        {
            catching_up.watched = true;
            let outlet = outlet.clone();
            tokio::task::spawn_local(async move {
                poll_fn(|cx| outlet.poll_drained(cx)).await;
                let Some(worker) = worker.upgrade() else { return };
                let mut state = worker.state();
                let Some(slot) = state.find(key) else { return };
                if let Some(catching_up) = &mut state.connections[slot as usize].catching_up {
                    catching_up.watched = false;
                    state.ask_for_page(slot);
                }
            });
            return;
        }
        let Some(channel) = catching_up.waiting.pop_front() else {
            connection.catching_up = None;
            return;
        };
        catching_up.asked = Some(channel.clone());
        let subscriber = Subscriber { worker: self.index, connection: key };
        self.command(HubCommand::More { subscriber, channel });
    }
}
