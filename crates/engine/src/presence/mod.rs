//! Who is in the channels of one shard, on every node.
//!
//! Each node numbers the changes of its own members per channel and publishes them; every node keeps what it heard of the
//! others. The bus may lose, double and reorder: a hole in the numbers makes the receiver `Ask`, and `All` (in parts, where
//! it is large) repairs it; a
//! node that is silent for its lease is taken for dead, and its members leave. So all nodes agree after any partition.
//!
//! - A channel is *tracked* while this node has members or watchers in it; what happens in others is ignored.
//! - `Join` and `Leave` speak of users: the first connection joins, the last one leaves. Anonymous connections count each
//!   for itself.
//!
//! Owns: members, versions, leases. Never: sends, or checks who may watch.

mod config;
mod few;
mod node;
mod output;
mod room;

use hashbrown::HashMap;
use skywave_protocol::inner::PresenceDelta;
use skywave_protocol::message::Member;
use skywave_protocol::{ChannelName, ClientId, NodeId};

pub use config::PresenceConfig;
pub use output::PresenceOutput;

use crate::time::{Deadline, Deadlines, Millis};
use output::Outputs;
use room::Room;

/// Presence of one shard. Call `poll_output` until it is empty after every other call.
#[derive(Debug)]
pub struct Presence {
    node: NodeId,
    config: PresenceConfig,
    /// Boxed: most of a table is room to grow.
    rooms: HashMap<ChannelName, Box<Room>>,
    deadlines: Deadlines,
    out: Outputs,
    /// Highest version any forgotten channel has reached: a channel that is tracked again goes on above it, so that
    /// numbers of one node never go back.
    retired: u64,
}

/// What a channel's decisions need besides its own state.
struct Context<'a> {
    now: Millis,
    node: &'a NodeId,
    config: &'a PresenceConfig,
    channel: &'a ChannelName,
    out: &'a mut Outputs,
}

impl Presence {
    /// `node` must be new with every start of the process: its version numbers begin again.
    pub fn new(node: NodeId, config: PresenceConfig) -> Self {
        let (rooms, deadlines, out) = (HashMap::new(), Deadlines::default(), Outputs::default());
        Self { node, config, rooms, deadlines, out, retired: 0 }
    }

    /// A connection of this node entered the channel. Entering twice changes nothing.
    pub fn enter(&mut self, now: Millis, channel: &ChannelName, member: Member) {
        self.track(now, channel, |room, context| room.enter(context, member));
    }

    /// A connection of this node left the channel. Unknown ones are ignored.
    pub fn leave(&mut self, now: Millis, channel: &ChannelName, client: &ClientId) {
        self.with(now, channel, |room, context| room.leave(context, client));
    }

    /// Somebody on this node wants the channel's joins and leaves. Counted: each `watch` needs its `unwatch`.
    pub fn watch(&mut self, now: Millis, channel: &ChannelName) {
        self.track(now, channel, |room, _| room.watch());
    }

    pub fn unwatch(&mut self, now: Millis, channel: &ChannelName) {
        self.with(now, channel, |room, _| room.unwatch());
    }

    /// News from the channel's live subject; this node's own is ignored.
    pub fn handle_delta(&mut self, now: Millis, channel: &ChannelName, delta: PresenceDelta) {
        if delta.node != self.node {
            self.with(now, channel, |room, context| room.delta(context, delta));
        }
    }

    pub fn handle_timeout(&mut self, now: Millis) {
        while let Some(name) = self.deadlines.pop_due(now) {
            if let Some(room) = self.rooms.get_mut(&name) {
                room.deadline = Deadline::NEVER;
            }
            self.with(now, &name, |room, context| room.timeout(context));
        }
    }

    pub fn poll_timeout(&self) -> Option<Millis> {
        self.deadlines.next()
    }

    pub fn poll_output(&mut self) -> Option<PresenceOutput> {
        self.out.poll()
    }

    /// Every connection in the channel, on all nodes, ordered by client. Empty for a channel that is not tracked; complete
    /// one exchange with the other nodes after tracking began.
    pub fn members(&self, channel: &ChannelName) -> Vec<Member> {
        self.rooms.get(channel).map_or_else(Vec::new, |room| room.members())
    }

    /// Since when news of this channel have been kept; `None`: they are not.
    pub fn tracked_since(&self, channel: &ChannelName) -> Option<Millis> {
        self.rooms.get(channel).map(|room| room.since())
    }

    /// Whether news of this channel is kept.
    pub fn is_tracked(&self, channel: &ChannelName) -> bool {
        self.rooms.contains_key(channel)
    }

    fn track(&mut self, now: Millis, channel: &ChannelName, act: impl FnOnce(&mut Room, &mut Context<'_>)) {
        let fresh = !self.rooms.contains_key(channel);
        if fresh {
            self.rooms.insert(channel.clone(), Box::new(Room::new(now, self.retired)));
        }
        // In one step: a room that has been asked about and holds nobody yet would be dropped as idle.
        self.with(now, channel, |room, context| {
            if fresh {
                room.begin(context);
            }
            act(room, context);
        });
    }

    fn with(&mut self, now: Millis, name: &ChannelName, act: impl FnOnce(&mut Room, &mut Context<'_>)) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        let mut context =
            Context { now, node: &self.node, config: &self.config, channel: name, out: &mut self.out };
        act(room, &mut context);
        if room.is_idle() {
            self.retired = self.retired.max(room.version());
            self.deadlines.set(name, &mut room.deadline, None);
            self.rooms.remove(name);
        } else {
            let next = room.next_deadline(&self.config);
            self.deadlines.set(name, &mut room.deadline, next);
        }
    }
}

#[cfg(test)]
mod tests;
