//! Time as the engine sees it: a number that is passed in, and an ordered set of what is due when.

use std::collections::BTreeSet;

use skywave_protocol::ChannelName;

/// Monotonic time in milliseconds from an arbitrary start.
pub type Millis = u64;

/// A time, or none. (An option would take twice the room, and there is one or two for each channel.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deadline(Millis);

impl Deadline {
    pub(crate) const NEVER: Self = Self(Millis::MAX);

    pub(crate) fn at(self) -> Option<Millis> {
        (self != Self::NEVER).then_some(self.0)
    }
}

impl From<Millis> for Deadline {
    fn from(at: Millis) -> Self {
        Self(at)
    }
}

impl Default for Deadline {
    fn default() -> Self {
        Self::NEVER
    }
}

/// At most one deadline per channel, earliest first. The channel keeps its own deadline beside its state, so that moving
/// it needs no second index.
#[derive(Debug, Default)]
pub(crate) struct Deadlines(BTreeSet<(Millis, ChannelName)>);

impl Deadlines {
    /// Moves the deadline of `channel` from `*current` to `next`.
    pub(crate) fn set(&mut self, channel: &ChannelName, current: &mut Deadline, next: Option<Millis>) {
        let next = next.map_or(Deadline::NEVER, Deadline::from);
        if *current == next {
            return;
        }
        if let Some(at) = current.at() {
            let removed = self.0.remove(&(at, channel.clone()));
            debug_assert!(removed, "a channel's deadline is always in the set");
        }
        if let Some(at) = next.at() {
            self.0.insert((at, channel.clone()));
        }
        *current = next;
    }

    pub(crate) fn next(&self) -> Option<Millis> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Takes out a channel whose deadline has come. The caller clears the copy kept with the channel.
    pub(crate) fn pop_due(&mut self, now: Millis) -> Option<ChannelName> {
        if self.next()? > now {
            return None;
        }
        self.0.pop_first().map(|(_, channel)| channel)
    }
}

/// The smaller of two deadlines, where `None` is never.
pub(crate) fn earlier(a: Option<Millis>, b: Option<Millis>) -> Option<Millis> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
