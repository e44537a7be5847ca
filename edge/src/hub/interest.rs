//! The shard's subscriptions on the bus, one per channel. Subscribing may take a round trip, so it happens beside the
//! shard; an outcome that comes after the channel was dropped ends its subscription at once.

use std::sync::Arc;

use hashbrown::HashMap;
use skywave_ports::{Bus, BusError, Inbox, Subscription};
use skywave_protocol::{ChannelName, Subject};
use tokio::sync::mpsc;

/// Outcomes on their way to the shard. When full, the subscribing task waits.
const OUTCOMES: usize = 1_024;

/// How a subscription went.
pub(crate) struct Outcome {
    pub(crate) channel: ChannelName,
    attempt: u64,
    result: Result<Subscription, BusError>,
}

enum Interest {
    Pending { attempt: u64 },
    Held { _subscription: Subscription },
}

pub(crate) struct Interests {
    bus: Arc<dyn Bus>,
    inbox: Inbox,
    held: HashMap<ChannelName, Interest>,
    attempts: u64,
    outcomes: mpsc::Sender<Outcome>,
}

impl Interests {
    pub(crate) fn new(bus: Arc<dyn Bus>, inbox: Inbox) -> (Self, mpsc::Receiver<Outcome>) {
        let (outcomes, receiver) = mpsc::channel(OUTCOMES);
        (Self { bus, inbox, held: HashMap::new(), attempts: 0, outcomes }, receiver)
    }

    pub(crate) fn add(&mut self, channel: ChannelName) {
        self.attempts += 1;
        let attempt = self.attempts;
        self.held.insert(channel.clone(), Interest::Pending { attempt });
        let (bus, inbox, outcomes) = (self.bus.clone(), self.inbox.clone(), self.outcomes.clone());
        tokio::task::spawn_local(async move {
            let result = bus.subscribe(&Subject::live(&channel), None, &inbox).await;
            // The shard is gone only when the process stops.
            let _ = outcomes.send(Outcome { channel, attempt, result }).await;
        });
    }

    pub(crate) fn drop_interest(&mut self, channel: &ChannelName) {
        self.held.remove(channel);
    }

    /// Takes an outcome in; `None` if it is no longer wanted.
    pub(crate) fn settle(&mut self, outcome: Outcome) -> Option<Result<(), BusError>> {
        match self.held.get(&outcome.channel) {
            Some(Interest::Pending { attempt }) if *attempt == outcome.attempt => {}
            _ => return None,
        }
        match outcome.result {
            Ok(subscription) => {
                self.held.insert(outcome.channel, Interest::Held { _subscription: subscription });
                Some(Ok(()))
            }
            Err(error) => {
                self.held.remove(&outcome.channel);
                Some(Err(error))
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// Bus messages the shard's inbox has dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.inbox.dropped()
    }
}
