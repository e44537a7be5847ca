//! Who among a worker's connections is subscribed to which channel.
//!
//! Two mirrored compact lists: each channel has its members, each connection its subscriptions, and every entry knows
//! its place in the other list. Joining, leaving and walking the members of a channel cost no search, also with
//! 100,000 of them. Never: knows what a connection is beyond its slot.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use skywave_protocol::ChannelName;
use slab::Slab;
use smallvec::SmallVec;

/// A channel's place in this table; stable while it has members.
type ChannelSlot = u32;
/// A connection's place in the worker's connection table.
pub(crate) type ConnectionSlot = u32;

/// One entry of a channel's member list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) connection: ConnectionSlot,
    /// Index in the connection's list, and the flags below.
    back: u32,
}

/// Presence news are wanted.
const WATCHES: u32 = 1 << 31;
/// It is catching up: what is for everyone is not for it yet.
const BEHIND: u32 = 1 << 30;
const FLAGS: u32 = WATCHES | BEHIND;

impl Member {
    pub(crate) fn watches(self) -> bool {
        self.back & WATCHES != 0
    }

    pub(crate) fn is_behind(self) -> bool {
        self.back & BEHIND != 0
    }

    fn index(self) -> usize {
        (self.back & !FLAGS) as usize
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
    members: SmallVec<[Member; 2]>,
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Subscribers {
    hasher: DefaultHashBuilder,
    /// Places of channels, found by the names that stand there.
    slots: HashTable<ChannelSlot>,
    channels: Slab<Channel>,
}

impl Subscribers {
    fn slot(&self, channel: &ChannelName) -> Option<ChannelSlot> {
        let is_it = |slot: &ChannelSlot| self.channels[*slot as usize].name == *channel;
        self.slots.find(self.hasher.hash_one(channel), is_it).copied()
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
        behind: bool,
        mine: &mut Subscriptions,
    ) -> bool {
        let slot = match self.slot(channel) {
            Some(slot) if mine.iter().any(|subscription| subscription.channel == slot) => return false,
            Some(slot) => slot,
            None => {
                let fresh = Channel { name: channel.clone(), members: SmallVec::new() };
                let slot = self.channels.insert(fresh) as ChannelSlot;
                let hash = |slot: &ChannelSlot| self.hasher.hash_one(&self.channels[*slot as usize].name);
                self.slots.insert_unique(hash(&slot), slot, hash);
                slot
            }
        };
        let members = &mut self.channels[slot as usize].members;
        let flags = if watches { WATCHES } else { 0 } | if behind { BEHIND } else { 0 };
        let back = mine.len() as u32 | flags;
        mine.push(Subscription { channel: slot, place: members.len() as u32 });
        members.push(Member { connection, back });
        true
    }

    /// Whether the connection with this list is in the channel and catching up.
    pub(crate) fn is_behind(&self, channel: &ChannelName, mine: &Subscriptions) -> bool {
        let found = self.slot(channel).and_then(|slot| mine.iter().find(|entry| entry.channel == slot));
        found.is_some_and(|entry| {
            self.channels[entry.channel as usize].members[entry.place as usize].is_behind()
        })
    }

    /// The connection with this list has caught up.
    pub(crate) fn caught_up(&mut self, channel: &ChannelName, mine: &Subscriptions) {
        let found = self.slot(channel).and_then(|slot| mine.iter().find(|entry| entry.channel == slot));
        if let Some(entry) = found {
            self.channels[entry.channel as usize].members[entry.place as usize].back &= !BEHIND;
        }
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
            member.back = index as u32 | (member.back & FLAGS);
        }
        let members = &mut self.channels[channel as usize].members;
        members.swap_remove(place as usize);
        if let Some(shifted) = members.get(place as usize) {
            // The channel's last member took the freed place: its connection must know.
            moved(shifted.connection, shifted.index(), place);
        }
        if members.is_empty() {
            let gone = self.channels.remove(channel as usize);
            let entry = self.slots.find_entry(self.hasher.hash_one(&gone.name), |slot| *slot == channel);
            if let Ok(entry) = entry {
                entry.remove();
            }
        } else if members.capacity() > 64 && members.len() * 4 < members.capacity() {
            members.shrink_to_fit();
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
        Add { connection: u32, channel: u8, watches: bool, behind: bool },
        CaughtUp { connection: u32, channel: u8 },
        Remove { connection: u32, channel: u8 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..6u32, 0..5u8, any::<bool>(), any::<bool>()).prop_map(|(connection, channel, watches, behind)| {
                Step::Add { connection, channel, watches, behind }
            }),
            1 => (0..6u32, 0..5u8).prop_map(|(connection, channel)| Step::CaughtUp { connection, channel }),
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
                    Step::Add { connection, channel, watches, behind } => {
                        let mine = &mut lists[connection as usize];
                        let added = table.add(&name(channel), connection, watches, behind, mine);
                        prop_assert_eq!(added, !model.contains_key(&(connection, channel)));
                        model.entry((connection, channel)).or_insert((watches, behind));
                    }
                    Step::CaughtUp { connection, channel } => {
                        let mine = &lists[connection as usize];
                        let was = table.is_behind(&name(channel), mine);
                        table.caught_up(&name(channel), mine);
                        let entry = model.get_mut(&(connection, channel));
                        prop_assert_eq!(was, entry.is_some_and(|(_, behind)| std::mem::take(behind)));
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
                        let flags = (member.watches(), member.is_behind());
                        prop_assert_eq!(Some(&flags), model.get(&(member.connection, channel)));
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
