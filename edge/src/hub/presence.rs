//! Who entered which channel by which connection of this node, so that leaving undoes exactly what joining did.

use hashbrown::HashMap;
use skywave_engine::hub::Subscriber;
use skywave_engine::presence::Presence;
use skywave_engine::storm::GiveBack;
use skywave_engine::time::Millis;
use skywave_protocol::message::Member;
use skywave_protocol::{ChannelName, ClientId};

#[derive(Debug)]
struct Stake {
    /// It becomes a member when it has joined.
    member: Option<Member>,
    watches: bool,
}

/// Drives the presence machine from joins and leaves. Whoever has joined and does not watch costs nothing here.
pub(crate) struct Roll {
    pub(crate) machine: Presence,
    /// Of those that are joining, or watch.
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
        self.left(now, subscriber, channel, member.as_ref().map(|member| &member.client));
        if member.is_some() || watches {
            if watches {
                self.machine.watch(now, channel);
            }
            self.stakes.insert((subscriber, channel.clone()), Stake { member, watches });
        }
    }

    /// The hub took the subscriber in. `true`: it wants presence news.
    pub(crate) fn joined(&mut self, now: Millis, subscriber: Subscriber, channel: &ChannelName) -> bool {
        let Some(stake) = self.stakes.get_mut(&(subscriber, channel.clone())) else { return false };
        let watches = stake.watches;
        if let Some(member) = stake.member.take() {
            self.machine.enter(now, channel, member);
        }
        if !watches {
            self.remove(subscriber, channel);
        }
        watches
    }

    /// `client`: who may have become a member by it.
    pub(crate) fn left(
        &mut self,
        now: Millis,
        subscriber: Subscriber,
        channel: &ChannelName,
        client: Option<&ClientId>,
    ) {
        let stake = self.remove(subscriber, channel);
        if let Some(client) = client {
            self.machine.leave(now, channel, client);
        }
        if stake.is_some_and(|stake| stake.watches) {
            self.machine.unwatch(now, channel);
        }
    }

    fn remove(&mut self, subscriber: Subscriber, channel: &ChannelName) -> Option<Stake> {
        let stake = self.stakes.remove(&(subscriber, channel.clone()));
        self.stakes.give_back();
        stake
    }
}

#[cfg(test)]
mod tests {
    use skywave_engine::presence::PresenceConfig;
    use skywave_engine::storm::ROOM;
    use skywave_protocol::NodeId;

    use super::*;

    const WHO: Subscriber = Subscriber { worker: 0, connection: 1 };

    fn roll() -> (Roll, ChannelName, Member) {
        let machine = Presence::new(NodeId::parse("here").unwrap(), PresenceConfig::default());
        let member = Member { client: ClientId::parse("here.1").unwrap(), user: None };
        (Roll::new(machine), ChannelName::parse("chat:1").unwrap(), member)
    }

    #[test]
    fn a_member_that_does_not_watch_is_in_the_channel_and_not_here() {
        let (mut roll, channel, member) = roll();
        roll.joining(0, WHO, &channel, Some(member.clone()), false);
        assert!(roll.machine.members(&channel).is_empty(), "not before it has joined");
        assert!(!roll.joined(0, WHO, &channel));
        assert!(roll.stakes.is_empty());
        assert_eq!(roll.machine.members(&channel), std::slice::from_ref(&member));
        roll.left(0, WHO, &channel, Some(&member.client));
        assert!(!roll.machine.is_tracked(&channel));
    }

    #[test]
    fn a_watcher_watches_from_the_request_until_it_leaves() {
        let (mut roll, channel, member) = roll();
        roll.joining(0, WHO, &channel, None, true);
        assert!(roll.machine.is_tracked(&channel));
        assert!(roll.joined(0, WHO, &channel));
        // Once more, without having left.
        roll.joining(0, WHO, &channel, None, true);
        assert!(roll.joined(0, WHO, &channel));
        roll.left(0, WHO, &channel, Some(&member.client));
        assert!(!roll.machine.is_tracked(&channel) && roll.stakes.is_empty());
    }

    #[test]
    fn a_join_that_failed_leaves_nothing() {
        let (mut roll, channel, member) = roll();
        roll.joining(0, WHO, &channel, Some(member), true);
        roll.left(0, WHO, &channel, None);
        assert!(!roll.machine.is_tracked(&channel) && roll.stakes.is_empty());
    }

    #[test]
    fn a_storm_of_joins_gives_its_memory_back() {
        let (mut roll, _, member) = roll();
        let channels: Vec<_> =
            (0..4 * ROOM).map(|n| ChannelName::parse(&format!("chat:{n}")).unwrap()).collect();
        channels.iter().for_each(|channel| roll.joining(0, WHO, channel, Some(member.clone()), false));
        for channel in &channels {
            roll.joined(0, WHO, channel);
        }
        assert!(roll.stakes.is_empty() && roll.stakes.capacity() <= 2 * ROOM, "{}", roll.stakes.capacity());
    }
}
