//! Questions who is in a channel that this node has not followed for long enough to know.
//!
//! The shard joins such a channel, which makes the other nodes tell their members, and answers when they have had time for it. It
//! stays a while after the last question, so that who asks again is answered at once and exactly.
//!
//! Owns: who waits for which answer, until when. Never: joins, leaves or answers by itself.

use std::collections::BTreeSet;

use hashbrown::HashMap;
use skywave_engine::hub::Subscriber;
use skywave_engine::time::Millis;
use skywave_protocol::message::Member;
use skywave_protocol::{ChannelName, ErrorCode, WireError};
use tokio::sync::oneshot;

/// Subscriber number of the shard itself.
const SELF: u16 = u16::MAX;
/// After so long without an interest on the bus the question is given up.
const GIVING_UP_MS: Millis = 5_000;
/// The shard follows a channel for so long after the last question.
const LINGER_MS: Millis = 10_000;
/// Channels asked about at a time. When full, the next one is refused with a time to wait.
const CHANNELS: usize = 4_096;

/// Who wants to know.
#[derive(Debug)]
pub(crate) enum Caller {
    Connection { subscriber: Subscriber, request_id: u32 },
    Task(oneshot::Sender<Result<Vec<Member>, WireError>>),
}

/// What a question leads to.
#[derive(Debug)]
pub(crate) enum Asked {
    Known(Caller),
    /// It is answered later.
    Wait,
    /// So it is, and this one has to join the channel for it.
    Join(Subscriber),
    Refused(Caller, WireError),
}

/// What has become due.
#[derive(Debug)]
pub(crate) enum Due {
    Known(ChannelName, Vec<Caller>),
    Failed(Vec<Caller>, WireError),
    /// Nobody has asked for a while.
    Leave(ChannelName, Subscriber),
}

#[derive(Debug)]
struct Enquiry {
    subscriber: Subscriber,
    stage: Stage,
    at: Millis,
    asked_at: Millis,
    callers: Vec<Caller>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Joining,
    Listening,
    Known,
}

#[derive(Debug)]
pub(crate) struct Enquiries {
    /// How long other nodes have for their answers.
    listening_ms: Millis,
    open: HashMap<ChannelName, Enquiry>,
    due: BTreeSet<(Millis, ChannelName)>,
    number: u64,
}

impl Enquiries {
    pub(crate) fn new(listening_ms: Millis) -> Self {
        Self { listening_ms, open: HashMap::new(), due: BTreeSet::new(), number: 0 }
    }

    /// Whether a channel has been followed for long enough to know who is there.
    pub(crate) fn is_known(&self, now: Millis, followed_since: Option<Millis>) -> bool {
        followed_since.is_some_and(|since| since + self.listening_ms <= now)
    }

    /// Whether a subscriber is the shard itself.
    pub(crate) fn owns(subscriber: Subscriber) -> bool {
        subscriber.worker == SELF
    }

    pub(crate) fn is_open(&self, channel: &ChannelName) -> bool {
        self.open.contains_key(channel)
    }

    pub(crate) fn ask(&mut self, now: Millis, channel: &ChannelName, caller: Caller) -> Asked {
        if let Some(enquiry) = self.open.get_mut(channel) {
            enquiry.asked_at = now;
            if enquiry.stage == Stage::Known {
                return Asked::Known(caller);
            }
            enquiry.callers.push(caller);
            return Asked::Wait;
        }
        if self.open.len() >= CHANNELS {
            let error = WireError::new(ErrorCode::StoreUnavailable, "too many channels are asked about");
            return Asked::Refused(caller, error.retry_after_ms(1_000));
        }
        self.number += 1;
        let subscriber = Subscriber { worker: SELF, connection: self.number };
        let at = now + GIVING_UP_MS;
        let enquiry = Enquiry { subscriber, stage: Stage::Joining, at, asked_at: now, callers: vec![caller] };
        self.due.insert((at, channel.clone()));
        self.open.insert(channel.clone(), enquiry);
        Asked::Join(subscriber)
    }

    /// The shard has joined; `false`: nobody waits for that any more.
    pub(crate) fn joined(&mut self, now: Millis, channel: &ChannelName, subscriber: Subscriber) -> bool {
        let Some(enquiry) = self.open.get_mut(channel) else { return false };
        if enquiry.subscriber != subscriber {
            return false;
        }
        enquiry.stage = Stage::Listening;
        self.due.remove(&(enquiry.at, channel.clone()));
        enquiry.at = now + self.listening_ms;
        self.due.insert((enquiry.at, channel.clone()));
        true
    }

    /// It could not join.
    pub(crate) fn failed(&mut self, channel: &ChannelName, subscriber: Subscriber) -> Vec<Caller> {
        match self.open.get(channel) {
            Some(enquiry) if enquiry.subscriber == subscriber => {
                self.due.remove(&(enquiry.at, channel.clone()));
                self.open.remove(channel).map(|enquiry| enquiry.callers).unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Millis> {
        self.due.first().map(|(at, _)| *at)
    }

    /// What is due. Call it until it gives nothing.
    pub(crate) fn poll_due(&mut self, now: Millis) -> Option<Due> {
        loop {
            if self.poll_timeout()? > now {
                return None;
            }
            let (_, channel) = self.due.pop_first()?;
            let enquiry = self.open.get_mut(&channel)?;
            match enquiry.stage {
                Stage::Joining => {
                    let callers = std::mem::take(&mut enquiry.callers);
                    let error =
                        WireError::new(ErrorCode::StoreUnavailable, "the other nodes cannot be asked");
                    // The shard leaves at once: it is due again.
                    (enquiry.stage, enquiry.at, enquiry.asked_at) = (Stage::Known, now, 0);
                    self.due.insert((now, channel));
                    return Some(Due::Failed(callers, error.retry_after_ms(1_000)));
                }
                Stage::Listening => {
                    let callers = std::mem::take(&mut enquiry.callers);
                    (enquiry.stage, enquiry.at) = (Stage::Known, now + LINGER_MS);
                    self.due.insert((enquiry.at, channel.clone()));
                    return Some(Due::Known(channel, callers));
                }
                Stage::Known if enquiry.asked_at + LINGER_MS > now => {
                    enquiry.at = enquiry.asked_at + LINGER_MS;
                    self.due.insert((enquiry.at, channel));
                }
                Stage::Known => {
                    let subscriber = self.open.remove(&channel)?.subscriber;
                    return Some(Due::Leave(channel, subscriber));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTENING_MS: Millis = 500;

    fn channel() -> ChannelName {
        ChannelName::parse("chat:1").unwrap()
    }

    fn caller() -> Caller {
        Caller::Task(oneshot::channel().0)
    }

    #[test]
    fn the_first_question_waits_and_those_that_follow_are_answered_at_once() {
        let mut enquiries = Enquiries::new(LISTENING_MS);
        let Asked::Join(subscriber) = enquiries.ask(0, &channel(), caller()) else { panic!("it joins") };
        assert!(matches!(enquiries.ask(10, &channel(), caller()), Asked::Wait));
        assert!(enquiries.joined(20, &channel(), subscriber));
        assert!(enquiries.poll_due(20 + LISTENING_MS - 1).is_none());
        assert!(
            matches!(enquiries.poll_due(20 + LISTENING_MS), Some(Due::Known(_, callers)) if callers.len() == 2)
        );
        assert!(matches!(enquiries.ask(5_000, &channel(), caller()), Asked::Known(_)));
        assert!(enquiries.poll_due(4_999 + LINGER_MS).is_none(), "somebody asked");
        assert!(matches!(enquiries.poll_due(5_000 + LINGER_MS), Some(Due::Leave(..))));
        assert!(enquiries.poll_timeout().is_none());
        assert!(!enquiries.joined(60_000, &channel(), subscriber));
    }

    #[test]
    fn without_a_bus_the_question_is_given_up_and_the_shard_leaves() {
        let mut enquiries = Enquiries::new(LISTENING_MS);
        let Asked::Join(subscriber) = enquiries.ask(100_000, &channel(), caller()) else {
            panic!("it joins")
        };
        let end = 100_000 + GIVING_UP_MS;
        assert!(matches!(enquiries.poll_due(end), Some(Due::Failed(callers, _)) if callers.len() == 1));
        assert!(matches!(enquiries.poll_due(end), Some(Due::Leave(_, left)) if left == subscriber));
        assert!(enquiries.poll_due(end).is_none() && !enquiries.is_open(&channel()));
        let Asked::Join(subscriber) = enquiries.ask(end, &channel(), caller()) else { panic!("it joins") };
        assert_eq!(enquiries.failed(&channel(), subscriber).len(), 1);
        assert!(enquiries.poll_timeout().is_none());
    }

    #[test]
    fn so_many_channels_are_asked_about_and_no_more() {
        let mut enquiries = Enquiries::new(LISTENING_MS);
        for n in 0..CHANNELS {
            let channel = ChannelName::parse(&format!("chat:{n}")).unwrap();
            assert!(matches!(enquiries.ask(0, &channel, caller()), Asked::Join(_)));
        }
        let one_more = ChannelName::parse("chat:more").unwrap();
        assert!(matches!(enquiries.ask(0, &one_more, caller()), Asked::Refused(..)));
    }
}
