//! The channels of one connection. Sorted by name and kept in one allocation: most connections have few, none more than
//! the configured limit.

use skywave_protocol::{ChannelName, Position};

#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) channel: ChannelName,
    /// The client wants joins and leaves.
    pub(super) presence: bool,
    /// A backend put the connection here: the token's rights do not matter.
    pub(super) granted: bool,
    pub(super) state: State,
}

#[derive(Debug)]
pub(super) enum State {
    /// The hub has been asked; the client's request is unanswered.
    Joining {
        request_id: u32,
    },
    /// As `Joining`, but nobody has asked: the client is told by a push.
    Granted,
    Standing,
    /// The hub has been asked, but the client does not want it any more. The hub's answer is waited for, so that the
    /// leave cannot cross it; then the channel is left, and joined again if the client has changed its mind once more.
    Unwanted {
        again: Option<Box<Again>>,
    },
}

#[derive(Debug)]
pub(super) struct Again {
    pub(super) request_id: u32,
    pub(super) recover: Option<Position>,
    pub(super) presence: bool,
}

#[derive(Debug, Default)]
pub(super) struct Subscriptions(Vec<Subscription>);

impl Subscriptions {
    pub(super) fn get_mut(&mut self, channel: &ChannelName) -> Option<&mut State> {
        let at = self.find(channel).ok()?;
        Some(&mut self.0[at].state)
    }

    pub(super) fn insert(&mut self, channel: ChannelName, presence: bool, state: State) {
        match self.find(&channel) {
            Ok(at) => {
                let granted = self.0[at].granted;
                self.0[at] = Subscription { channel, presence, granted, state };
            }
            Err(at) => {
                if self.0.is_empty() {
                    self.0.reserve_exact(1);
                }
                self.0.insert(at, Subscription { channel, presence, granted: false, state });
            }
        }
    }

    /// Notes that the channel was granted; `false` if it is not there.
    pub(super) fn grant(&mut self, channel: &ChannelName, granted: bool) -> bool {
        let found = self.find(channel);
        if let Ok(at) = found {
            self.0[at].granted = granted;
        }
        found.is_ok()
    }

    pub(super) fn remove(&mut self, channel: &ChannelName) {
        if let Ok(at) = self.find(channel) {
            self.0.remove(at);
        }
    }

    pub(super) fn take(&mut self) -> Vec<Subscription> {
        std::mem::take(&mut self.0)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Subscription> {
        self.0.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn find(&self, channel: &ChannelName) -> Result<usize, usize> {
        self.0.binary_search_by(|subscription| subscription.channel.cmp(channel))
    }
}
