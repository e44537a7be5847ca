//! Who among a worker's connections is subscribed to which channel.
//!
//! Two mirrored compact lists: each channel has its members, each connection its subscriptions, and every entry knows
//! its place in the other list. Joining, leaving and walking the members of a channel cost no search, also with
//! 100,000 of them. Never: knows what a connection is beyond its slot.

use hashbrown::HashMap;
use skywave_protocol::ChannelName;
use slab::Slab;

/// A channel's place in this table; stable while it has members.
type ChannelSlot = u32;
/// A connection's place in the worker's connection table.
pub(crate) type ConnectionSlot = u32;

/// One entry of a channel's member list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) connection: ConnectionSlot,
    /// Index in the connection's list; the top bit says that presence news are wanted.
    back: u32,
}

const WATCHES: u32 = 1 << 31;

impl Member {
    pub(crate) fn watches(self) -> bool {
        self.back & WATCHES != 0
    }

    fn index(self) -> usize {
        (self.back & !WATCHES) as usize
    }
}

/// One entry of a connection's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subscription {
    channel: ChannelSlot,
    /// Index in the channel's member list.
    place: u32,
}

/// A connection's subscriptions, kept in its entry.
pub(crate) type Subscriptions = Vec<Subscription>;

#[derive(Debug)]
struct Channel {
    name: ChannelName,
    members: Vec<Member>,
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Subscribers {
    slots: HashMap<ChannelName, ChannelSlot>,
    channels: Slab<Channel>,
}

impl Subscribers {
    fn slot(&self, channel: &ChannelName) -> Option<ChannelSlot> {
        self.slots.get(channel).copied()
    }

    /// The members of a channel, in no particular order.
    pub(crate) fn members(&self, channel: &ChannelName) -> &[Member] {
        self.slot(channel).map_or(&[], |slot| &self.channels[slot as usize].members)
    }

    /// Adds a connection; `false` if it was a member already. `mine` is the connection's list.
    pub(crate) fn add(
        &mut self,
        channel: &ChannelName,
        connection: ConnectionSlot,
        watches: bool,
        mine: &mut Subscriptions,
    ) -> bool {
        let slot = match self.slot(channel) {
            Some(slot) if mine.iter().any(|subscription| subscription.channel == slot) => return false,
            Some(slot) => slot,
            None => {
                let slot = self.channels.insert(Channel { name: channel.clone(), members: Vec::new() })
                    as ChannelSlot;
                self.slots.insert(channel.clone(), slot);
                slot
            }
        };
        let members = &mut self.channels[slot as usize].members;
        let back = mine.len() as u32 | if watches { WATCHES } else { 0 };
        mine.push(Subscription { channel: slot, place: members.len() as u32 });
        members.push(Member { connection, back });
        true
    }

    /// Removes a connection from a channel. `moved(connection, index, place)` says that another connection's entry
    /// `index` now stands at `place`: apply it with [`relocate`]. `false` if it was no member.
    pub(crate) fn remove(
        &mut self,
        channel: &ChannelName,
        mine: &mut Subscriptions,
        moved: impl FnMut(ConnectionSlot, usize, u32),
    ) -> bool {
        let Some(slot) = self.slot(channel) else { return false };
        let Some(index) = mine.iter().position(|subscription| subscription.channel == slot) else {
            return false;
        };
        self.remove_at(index, mine, moved);
        true
    }

    fn remove_at(
        &mut self,
        index: usize,
        mine: &mut Subscriptions,
        mut moved: impl FnMut(ConnectionSlot, usize, u32),
    ) {
        let Subscription { channel, place } = mine.swap_remove(index);
        if let Some(shifted) = mine.get(index) {
            // My last entry took the freed index: its member entry must point there.
            let member = &mut self.channels[shifted.channel as usize].members[shifted.place as usize];
            member.back = index as u32 | (member.back & WATCHES);
        }
        let members = &mut self.channels[channel as usize].members;
        members.swap_remove(place as usize);
        if let Some(shifted) = members.get(place as usize) {
            // The channel's last member took the freed place: its connection must know.
            moved(shifted.connection, shifted.index(), place);
        }
        if members.is_empty() {
            let gone = self.channels.remove(channel as usize);
            self.slots.remove(&gone.name);
        } else if members.capacity() > 64 && members.len() * 4 < members.capacity() {
            members.shrink_to(members.len() * 2);
        }
    }
}

/// Notes that the member entry of subscription `index` has moved.
pub(crate) fn relocate(list: &mut Subscriptions, index: usize, place: u32) {
    list[index].place = place;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(n: u8) -> ChannelName {
        ChannelName::parse(&format!("c:{n}")).unwrap()
    }

    #[derive(Debug, Clone)]
    enum Step {
        Add { connection: u32, channel: u8, watches: bool },
        Remove { connection: u32, channel: u8 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..6u32, 0..5u8, any::<bool>()).prop_map(|(connection, channel, watches)| Step::Add { connection, channel, watches }),
            2 => (0..6u32, 0..5u8).prop_map(|(connection, channel)| Step::Remove { connection, channel }),
        ]
    }

    proptest! {
        /// The two lists always mirror each other, and hold exactly what a plain set of pairs holds.
        #[test]
        fn lists_mirror_each_other(steps in proptest::collection::vec(step(), 0..200)) {
            let mut table = Subscribers::default();
            let mut lists: Vec<Subscriptions> = vec![Vec::new(); 6];
            let mut model = std::collections::BTreeMap::new();
            for step in steps {
                match step {
                    Step::Add { connection, channel, watches } => {
                        let added = table.add(&name(channel), connection, watches, &mut lists[connection as usize]);
                        prop_assert_eq!(added, !model.contains_key(&(connection, channel)));
                        model.entry((connection, channel)).or_insert(watches);
                    }
                    Step::Remove { connection, channel } => {
                        let mut mine = std::mem::take(&mut lists[connection as usize]);
                        let removed = table.remove(&name(channel), &mut mine, |other, index, place| {
                            relocate(&mut lists[other as usize], index, place);
                        });
                        lists[connection as usize] = mine;
                        prop_assert_eq!(removed, model.remove(&(connection, channel)).is_some());
                    }
                }
                for channel in 0..5u8 {
                    let members = table.members(&name(channel));
                    prop_assert_eq!(members.len(), model.keys().filter(|(_, c)| *c == channel).count());
                    for (place, member) in members.iter().enumerate() {
                        prop_assert_eq!(Some(&member.watches()), model.get(&(member.connection, channel)));
                        let entry = lists[member.connection as usize][member.index()];
                        prop_assert_eq!(entry.place as usize, place);
                        prop_assert_eq!(table.slot(&name(channel)), Some(entry.channel));
                    }
                }
                prop_assert_eq!(lists.iter().map(Vec::len).sum::<usize>(), model.len());
            }
        }
    }
}
