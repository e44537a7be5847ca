//! The shard's subscriptions on the bus, one per channel. Subscribing may take a round trip, so it happens beside the
//! shard; an outcome that comes after the channel was dropped ends its subscription at once.
//!
//! At most [`AT_ONCE`] are on their way to the bus; the others wait here, a name each, until one of them is done. Nothing is
//! refused: a client waits for its answer, and how much one client may wait for is bounded by its session.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use skywave_engine::storm::GiveBack;
use skywave_ports::{Bus, BusError, Inbox, Subscription};
use skywave_protocol::{ChannelName, Subject};
use tokio::sync::mpsc;

/// Outcomes on their way to the shard. When full, the subscribing task waits.
const OUTCOMES: usize = 1_024;
/// Subscriptions on their way to the bus, each a task. Enough for a bus that confirms many with one round trip.
const AT_ONCE: usize = 1_024;

/// How a subscription went.
pub(crate) struct Outcome {
    pub(crate) channel: ChannelName,
    attempt: u64,
    result: Result<Subscription, BusError>,
}

pub(crate) struct Interests {
    bus: Arc<dyn Bus>,
    inbox: Inbox,
    held: HashMap<ChannelName, Subscription>,
    /// The attempt that counts, of those that are not held yet.
    pending: HashMap<ChannelName, u64>,
    attempts: u64,
    under_way: usize,
    /// Those that wait for their turn; some may have been dropped meanwhile.
    waiting: VecDeque<(ChannelName, u64)>,
    outcomes: mpsc::Sender<Outcome>,
}

impl Interests {
    pub(crate) fn new(bus: Arc<dyn Bus>, inbox: Inbox) -> (Self, mpsc::Receiver<Outcome>) {
        let (outcomes, receiver) = mpsc::channel(OUTCOMES);
        let (held, pending, waiting) = (HashMap::new(), HashMap::new(), VecDeque::new());
        (Self { bus, inbox, held, pending, attempts: 0, under_way: 0, waiting, outcomes }, receiver)
    }

    pub(crate) fn add(&mut self, channel: ChannelName) {
        self.attempts += 1;
        let attempt = self.attempts;
        self.held.remove(&channel);
        self.pending.insert(channel.clone(), attempt);
        if self.under_way < AT_ONCE {
            self.subscribe(channel, attempt);
        } else {
            self.waiting.push_back((channel, attempt));
            if self.waiting.len() > 2 * self.pending.len() + AT_ONCE {
                // Channels that came and went while the bus did not answer.
                let mut waiting = std::mem::take(&mut self.waiting);
                waiting.retain(|(channel, attempt)| self.is_wanted(channel, *attempt));
                self.waiting = waiting;
            }
        }
    }

    fn subscribe(&mut self, channel: ChannelName, attempt: u64) {
        self.under_way += 1;
        let (bus, inbox, outcomes) = (self.bus.clone(), self.inbox.clone(), self.outcomes.clone());
        tokio::task::spawn_local(async move {
            let result = bus.subscribe(&Subject::live(&channel), None, &inbox).await;
            // The shard is gone only when the process stops.
            let _ = outcomes.send(Outcome { channel, attempt, result }).await;
        });
    }

    pub(crate) fn drop_interest(&mut self, channel: &ChannelName) {
        self.held.remove(channel);
        self.pending.remove(channel);
    }

    fn is_wanted(&self, channel: &ChannelName, attempt: u64) -> bool {
        self.pending.get(channel) == Some(&attempt)
    }

    /// Takes an outcome in; `None` if it is no longer wanted.
    pub(crate) fn settle(&mut self, outcome: Outcome) -> Option<Result<(), BusError>> {
        self.under_way -= 1;
        while self.under_way < AT_ONCE
            && let Some((channel, attempt)) = self.waiting.pop_front()
        {
            if self.is_wanted(&channel, attempt) {
                self.subscribe(channel, attempt);
            }
        }
        self.waiting.give_back();
        if !self.is_wanted(&outcome.channel, outcome.attempt) {
            return None;
        }
        self.pending.remove(&outcome.channel);
        self.pending.give_back();
        Some(outcome.result.map(|subscription| _ = self.held.insert(outcome.channel, subscription)))
    }

    pub(crate) fn len(&self) -> usize {
        self.held.len() + self.pending.len()
    }

    /// Bus messages the shard's inbox has dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.inbox.dropped()
    }
}

#[cfg(test)]
mod tests {
    use skywave_ports::memory::MemoryBus;
    use tokio::task::LocalSet;

    use super::*;

    fn name(number: usize) -> ChannelName {
        ChannelName::parse(&format!("room:{number}")).unwrap()
    }

    #[tokio::test]
    async fn a_crowd_takes_turns_and_those_who_left_meanwhile_are_passed_over() {
        const CROWD: usize = 3 * AT_ONCE;
        let (inbox, _messages) = Inbox::new(1);
        let (mut interests, mut outcomes) = Interests::new(Arc::new(MemoryBus::default()), inbox);
        let turns = async {
            (0..CROWD).for_each(|number| interests.add(name(number)));
            assert_eq!(interests.under_way, AT_ONCE);
            (0..CROWD).step_by(3).for_each(|number| interests.drop_interest(&name(number)));
            // One that left and came back is subscribed for its second coming only.
            interests.add(name(CROWD - 3));
            let mut live = 0;
            while interests.under_way > 0 {
                let outcome = outcomes.recv().await.unwrap();
                live += usize::from(interests.settle(outcome).is_some());
                assert!(interests.under_way <= AT_ONCE);
            }
            assert_eq!((live, interests.len()), (2 * AT_ONCE + 1, 2 * AT_ONCE + 1));
            assert!(interests.waiting.is_empty());
        };
        LocalSet::new().run_until(turns).await;
    }

    #[tokio::test]
    async fn who_comes_and_goes_all_the_time_does_not_fill_the_queue() {
        let (inbox, _messages) = Inbox::new(1);
        let (mut interests, _outcomes) = Interests::new(Arc::new(MemoryBus::default()), inbox);
        let turns = async {
            (0..AT_ONCE).for_each(|number| interests.add(name(number)));
            for _ in 0..10 * AT_ONCE {
                interests.add(name(AT_ONCE));
                interests.drop_interest(&name(AT_ONCE));
            }
            interests.add(name(AT_ONCE));
            assert!(interests.waiting.len() <= 3 * AT_ONCE + 2, "{}", interests.waiting.len());
            assert!(
                interests.waiting.iter().any(|(channel, attempt)| interests.is_wanted(channel, *attempt))
            );
        };
        LocalSet::new().run_until(turns).await;
    }
}
