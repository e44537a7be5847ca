//! What presence decides.

use std::collections::VecDeque;

use skywave_protocol::ChannelName;
use skywave_protocol::inner::PresenceDelta;
use skywave_protocol::message::Member;

#[derive(Debug, Clone, PartialEq)]
pub enum PresenceOutput {
    /// To the channel's live subject.
    Publish { channel: ChannelName, delta: PresenceDelta },
    /// A user's first connection entered; to the channel's watchers on this node.
    Join { channel: ChannelName, member: Member },
    /// A user's last connection left; to the channel's watchers on this node.
    Leave { channel: ChannelName, member: Member },
}

/// Decisions in order. Bounded by what one event can cause, as long as the driver polls everything after each event.
#[derive(Debug, Default)]
pub(super) struct Outputs(VecDeque<PresenceOutput>);

impl Outputs {
    pub(super) fn push(&mut self, output: PresenceOutput) {
        self.0.push_back(output);
    }

    pub(super) fn poll(&mut self) -> Option<PresenceOutput> {
        self.0.pop_front()
    }
}
