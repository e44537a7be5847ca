//! Announces the newest position of channels that went quiet, so that a subscriber's edge notices a lost *last*
//! publication. A channel in full flow needs none: its next publication shows the hole.
//!
//! A head is announced when its channel has been quiet for the interval (and at most twice that), then twice more after four times as long
//! each, for an announcement may be lost too. Sans-I/O: the driver passes the time and publishes what is due.

use std::collections::VecDeque;

use hashbrown::HashMap;
use skywave_engine::time::Millis;
use skywave_protocol::{ChannelName, Offset};

/// Announcements after the last publication.
const ROUNDS: u8 = 3;
/// Each wait is this many times the one before.
const GROWTH: u64 = 4;

pub(crate) struct Heads {
    interval: Millis,
    most: usize,
    channels: HashMap<ChannelName, Recent>,
    /// One queue per round, each in the order of its due times, since all waits of a round are equal.
    due: [VecDeque<(Millis, ChannelName)>; ROUNDS as usize],
}

struct Recent {
    head: Offset,
    published: Millis,
    /// Announcements made since, and the queue that holds the channel.
    round: u8,
}

impl Heads {
    /// At most `most` channels are remembered; beyond it the one that is due next is announced at once.
    pub(crate) fn new(interval: Millis, most: usize) -> Self {
        Self { interval, most, channels: HashMap::new(), due: Default::default() }
    }

    /// A publication was emitted.
    pub(crate) fn published(&mut self, now: Millis, channel: &ChannelName, head: Offset) {
        if let Some(recent) = self.channels.get_mut(channel) {
            recent.head = head;
            recent.published = now;
            return;
        }
        self.channels.insert(channel.clone(), Recent { head, published: now, round: 0 });
        self.due[0].push_back((now + self.interval, channel.clone()));
    }

    /// The next head to announce, if one is due. Call until `None`.
    pub(crate) fn poll(&mut self, now: Millis) -> Option<(ChannelName, Offset)> {
        let crowded = self.channels.len() > self.most;
        for round in 0..self.due.len() {
            while let Some((_, channel)) =
                self.due[round].pop_front_if(|(due, _)| *due <= now || (crowded && round == 0))
            {
                if let Some(head) = self.announce(now, &channel, crowded) {
                    return Some((channel, head));
                }
            }
        }
        None
    }

    /// When [`Heads::poll`] will next have something to say; it may then turn out to have nothing.
    pub(crate) fn next_due(&self) -> Option<Millis> {
        self.due.iter().filter_map(|queue| queue.front()).map(|(due, _)| *due).min()
    }

    /// Decides about a channel taken from its queue: announce and wait for the next round, or wait on.
    fn announce(&mut self, now: Millis, channel: &ChannelName, crowded: bool) -> Option<Offset> {
        let recent = self.channels.get_mut(channel)?;
        if recent.published + self.interval > now && !crowded {
            // A full interval from now rather than from the publication: so every queue stays in the order of its times.
            recent.round = 0;
            self.due[0].push_back((now + self.interval, channel.clone()));
            return None;
        }
        let head = recent.head;
        recent.round += 1;
        let round = recent.round;
        if round == ROUNDS || crowded {
            self.channels.remove(channel);
        } else {
            let wait = self.interval * GROWTH.pow(round.into());
            self.due[usize::from(round)].push_back((now + wait, channel.clone()));
        }
        Some(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: usize) -> ChannelName {
        ChannelName::parse(&format!("c:{n}")).unwrap()
    }

    fn drain(heads: &mut Heads, now: Millis) -> Vec<(ChannelName, Offset)> {
        std::iter::from_fn(|| heads.poll(now)).collect()
    }

    /// Every announcement until `end`, by asking only when something is due.
    fn run(heads: &mut Heads, end: Millis) -> Vec<(Millis, Offset)> {
        let mut said = Vec::new();
        while let Some(due) = heads.next_due().filter(|due| *due <= end) {
            said.extend(drain(heads, due).into_iter().map(|(_, head)| (due, head)));
        }
        said
    }

    #[test]
    fn a_quiet_channel_is_announced_three_times_at_growing_intervals() {
        let mut heads = Heads::new(1_000, 10);
        heads.published(0, &name(1), 7);
        assert_eq!(run(&mut heads, 100_000), [(1_000, 7), (5_000, 7), (21_000, 7)]);
        assert!(heads.channels.is_empty() && heads.next_due().is_none(), "and then forgotten");
    }

    #[test]
    fn a_busy_channel_waits_until_it_is_quiet() {
        let mut heads = Heads::new(1_000, 10);
        for n in 0..50 {
            heads.published(n * 100, &name(1), n + 1);
            assert_eq!(drain(&mut heads, n * 100), []);
        }
        assert_eq!(run(&mut heads, 6_000), [(6_000, 50)]);
    }

    #[test]
    fn a_publication_between_rounds_begins_them_anew() {
        let mut heads = Heads::new(1_000, 10);
        heads.published(0, &name(1), 1);
        assert_eq!(run(&mut heads, 1_000), [(1_000, 1)]);
        heads.published(4_500, &name(1), 2);
        assert_eq!(run(&mut heads, 100_000), [(6_000, 2), (10_000, 2), (26_000, 2)]);
    }

    #[test]
    fn more_channels_than_remembered_are_announced_early() {
        let mut heads = Heads::new(1_000, 10);
        for n in 0..25 {
            heads.published(0, &name(n), 1);
        }
        let early = drain(&mut heads, 0);
        assert_eq!(early.len(), 15);
        assert_eq!(early[0].0, name(0), "the longest waiting first");
        assert_eq!(heads.channels.len(), 10);
    }
}
