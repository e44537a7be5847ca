//! The channels of one hub shard: who is in them, what they have been given, what they must still get.
//!
//! - `join` → interest on the bus → (durable) the head is read from core → `Joined` with what the subscriber missed.
//! - A live publication is delivered if it is the next one; a duplicate is dropped; a hole is read from history first.
//! - An announced head beyond the known one means that the last publications were lost: they are read as well.
//! - What cannot be had is announced (`Gap`), and delivery goes on.
//! - Who missed more than the ring holds is told its position and catches up: a page of history each time it says that it
//!   has room (`more`), until it reaches the ring and is a member like the others.
//! - History is read by one request at a time per channel, whatever the number of subscribers and positions waiting.
//! - When the last member leaves, the channel lingers, stays live, and is then dropped.
//!
//! Owns: membership, the ring of recent publications, holes and recoveries. Never: encodes, sends, or keeps anything per
//! subscriber beyond its membership. Presence deltas are not its business (`crate::presence`).

mod answer;
mod behind;
mod catch_up;
mod channel;
mod config;
mod follower;
mod members;
mod output;
mod page;
mod pending;
mod resolve;
mod ring;

use hashbrown::HashMap;
use skywave_protocol::hash::fnv1a;
use skywave_protocol::inner::{Excerpt, HistoryAnswer, Live};
use skywave_protocol::{ChannelName, WireError};

pub use config::HubConfig;
pub use output::{CatchUp, FetchId, HubOutput, Join, Missing, PagePart, Subscriber};

use crate::time::{Deadline, Deadlines, Millis};
use channel::Channel;
use output::Outputs;

/// One shard of channels. Call `poll_output` until it is empty after every `handle_*`, `join` and `leave`.
#[derive(Debug)]
pub struct Hub {
    config: HubConfig,
    /// Boxed: most of a table is room to grow.
    channels: HashMap<ChannelName, Box<Channel>>,
    deadlines: Deadlines,
    out: Outputs,
}

/// What a channel's decisions need besides its own state.
struct Context<'a> {
    now: Millis,
    config: &'a HubConfig,
    channel: &'a ChannelName,
    out: &'a mut Outputs,
}

impl Context<'_> {
    fn backoff(&self, failures: u32) -> Millis {
        self.now + self.config.backoff(failures, fnv1a(self.channel.as_str().as_bytes()))
    }
}

impl Hub {
    pub fn new(config: HubConfig) -> Self {
        Self { config, channels: HashMap::new(), deadlines: Deadlines::default(), out: Outputs::default() }
    }

    /// Asks for membership; answered by exactly one `Joined` or `JoinFailed`, unless `leave` comes first. Joining again
    /// replaces the earlier request or membership of the same subscriber.
    pub fn join(&mut self, now: Millis, join: Join) {
        let name = join.channel.clone();
        self.channels.entry(name.clone()).or_default();
        self.with(now, &name, |channel, context| channel.join(context, join));
    }

    /// Ends a membership or a request for one. Unknown subscribers are ignored.
    pub fn leave(&mut self, now: Millis, subscriber: Subscriber, channel: &ChannelName) {
        self.with(now, channel, |channel, context| channel.leave(context, subscriber));
    }

    /// A member that is catching up has room for the next page: answered by one `CatchUp`, as soon as there is one. Ignored
    /// from anybody else, and from whoever has asked already.
    pub fn more(&mut self, now: Millis, subscriber: Subscriber, channel: &ChannelName) {
        self.with(now, channel, |channel, context| channel.more(context, subscriber));
    }

    /// A message from the channel's live subject. Presence deltas are ignored.
    pub fn handle_live(&mut self, now: Millis, live: Live) {
        match live {
            Live::Publication { channel: name, epoch, publication } => {
                self.with(now, &name, |channel, context| channel.publication(context, epoch, publication));
            }
            Live::Head { channel: name, position } => {
                self.with(now, &name, |channel, context| channel.head(context, position));
            }
            Live::Presence { .. } => {}
        }
    }

    /// Outcome of `AddInterest`, or (with an error, at any later time) news that the interest was lost.
    pub fn handle_interest(&mut self, now: Millis, channel: &ChannelName, result: Result<(), WireError>) {
        self.with(now, channel, |channel, context| channel.interest(context, result));
    }

    /// Outcome of a `Fetch`. Late answers (after the hub's own timeout) and unknown ids are ignored.
    pub fn handle_history(&mut self, now: Millis, id: FetchId, result: Result<HistoryAnswer, WireError>) {
        let Some(name) = self.out.end_fetch(id) else { return };
        self.with(now, &name, |channel, context| channel.history(context, id, result));
    }

    /// A copy of what a `Fetch` with a past asks for, instead of its outcome. `false`: it is of no use, and the outcome is still
    /// waited for.
    pub fn handle_copy(&mut self, now: Millis, id: FetchId, copy: &Excerpt) -> bool {
        let Some(name) = self.out.fetched(id).cloned() else { return false };
        let mut used = false;
        self.with(now, &name, |channel, context| used = channel.copy(context, id, copy));
        used
    }

    pub fn handle_timeout(&mut self, now: Millis) {
        while let Some(name) = self.deadlines.pop_due(now) {
            if let Some(channel) = self.channels.get_mut(&name) {
                channel.deadline = Deadline::NEVER;
            }
            self.with(now, &name, |channel, context| channel.timeout(context));
        }
    }

    /// When `handle_timeout` wants to be called next.
    pub fn poll_timeout(&self) -> Option<Millis> {
        self.deadlines.next()
    }

    pub fn poll_output(&mut self) -> Option<HubOutput> {
        self.out.poll()
    }

    /// How many members of the channel each worker has; a worker without any is not listed.
    pub fn workers(&self, channel: &ChannelName) -> &[(u16, u32)] {
        self.channels.get(channel).map_or(&[], |channel| channel.crew.workers())
    }

    /// Members of the channel on this node, those that are catching up included.
    pub fn member_count(&self, channel: &ChannelName) -> usize {
        self.channels.get(channel).map_or(0, |channel| channel.crew.members())
    }

    /// Channels held, lingering ones included.
    pub fn channel_count(&self) -> usize {
        self.channels.len()
    }

    /// History reads under way.
    pub fn fetches(&self) -> usize {
        self.out.fetches()
    }

    /// Whether this read's outcome is still waited for.
    pub fn is_reading(&self, id: FetchId) -> bool {
        self.out.fetched(id).is_some()
    }

    fn with(&mut self, now: Millis, name: &ChannelName, act: impl FnOnce(&mut Channel, &mut Context<'_>)) {
        let Some(channel) = self.channels.get_mut(name) else { return };
        let mut context = Context { now, config: &self.config, channel: name, out: &mut self.out };
        act(channel, &mut context);
        let next = if channel.is_over() { None } else { channel.next_deadline() };
        self.deadlines.set(name, &mut channel.deadline, next);
        if channel.is_over() {
            self.channels.remove(name);
            assert!(!self.channels.is_empty() || self.out.pages_bytes == 0, "pages go with their channels");
        }
    }
}

#[cfg(test)]
mod tests;
