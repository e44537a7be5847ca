//! Who entered which channel by which connection of this node, so that leaving undoes exactly what joining did.

use hashbrown::HashMap;
use skywave_engine::hub::Subscriber;
use skywave_engine::presence::Presence;
use skywave_engine::time::Millis;
use skywave_protocol::ChannelName;
use skywave_protocol::message::Member;

#[derive(Debug)]
struct Stake {
    member: Option<Member>,
    watches: bool,
}

/// Drives the presence machine from joins and leaves. Subscribers of channels without presence cost nothing here.
pub(crate) struct Roll {
    pub(crate) machine: Presence,
    stakes: HashMap<(Subscriber, ChannelName), Stake>,
}

impl Roll {
    pub(crate) fn new(machine: Presence) -> Self {
        Self { machine, stakes: HashMap::new() }
    }

    /// A subscriber asks to join: it watches from now on, and is a member once it has joined.
    pub(crate) fn joining(
        &mut self,
        now: Millis,
        subscriber: Subscriber,
        channel: &ChannelName,
        member: Option<Member>,
        watches: bool,
    ) {
        self.left(now, subscriber, channel);
        if member.is_some() || watches {
            if watches {
                self.machine.watch(now, channel);
            }
            self.stakes.insert((subscriber, channel.clone()), Stake { member, watches });
        }
    }

    /// The hub took the subscriber in. `true`: it wants presence news.
    pub(crate) fn joined(&mut self, now: Millis, subscriber: Subscriber, channel: &ChannelName) -> bool {
        let Some(stake) = self.stakes.get(&(subscriber, channel.clone())) else { return false };
        if let Some(member) = &stake.member {
            self.machine.enter(now, channel, member.clone());
        }
        stake.watches
    }

    pub(crate) fn left(&mut self, now: Millis, subscriber: Subscriber, channel: &ChannelName) {
        let Some(stake) = self.stakes.remove(&(subscriber, channel.clone())) else { return };
        if let Some(member) = &stake.member {
            self.machine.leave(now, channel, &member.client);
        }
        if stake.watches {
            self.machine.unwatch(now, channel);
        }
    }
}
