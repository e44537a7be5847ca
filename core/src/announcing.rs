//! Tells the edges that this core takes publishes on a subject of its own, which partitions it owns, and when it no longer does.
//!
//! The beats come from the task that takes the publishes: where nothing is taken, nothing beats. A core that leaves says so, and
//! still takes for a moment what is on its way; when everything is in the log, ingest says that it has gone.

use std::sync::Arc;
use std::time::Duration;

use skywave_ports::{BusError, Inbox, Subscription};
use skywave_protocol::inner::{CoreBeat, CorePhase};
use skywave_protocol::{NodeId, Subject};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use crate::service::Shared;

/// How often a core says that it is there. Edges give it up after four of these.
const BEAT: Duration = Duration::from_millis(500);
/// How long what edges sent before they heard that this core leaves may be on its way.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

pub(crate) struct Announcing {
    shared: Arc<Shared>,
    id: NodeId,
    subject: Subject,
    ticks: Interval,
    /// `None`: nothing more is taken.
    subscription: Option<Subscription>,
    leaves: Option<Instant>,
}

impl Announcing {
    /// Takes publishes into the inbox, and will say so with the first [`Announcing::next`].
    pub(crate) async fn subscribe(shared: &Arc<Shared>, id: NodeId, inbox: &Inbox) -> Result<Self, BusError> {
        let own = Subject::core_ingest(&shared.config.cell, &id);
        let subscription = Some(shared.bus.subscribe(&own, None, inbox).await?);
        let mut ticks = interval(BEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let subject = Subject::cores(&shared.config.cell);
        Ok(Self { shared: shared.clone(), id, subject, ticks, subscription, leaves: None })
    }

    /// Waits for the time of the next beat and says it, or ends the subscription when that is due; for ever if there is nothing
    /// to say any more. Cancel-safe.
    pub(crate) async fn next(announcing: &mut Option<Self>) {
        let Some(it) = announcing.as_mut().filter(|it| it.subscription.is_some()) else {
            return std::future::pending().await;
        };
        match it.leaves {
            None => {
                it.ticks.tick().await;
                it.say(CorePhase::Serving);
            }
            Some(at) => {
                sleep_until(at).await;
                it.subscription = None;
            }
        }
    }

    /// Nothing new, please.
    pub(crate) fn leave(&mut self) {
        self.leaves = Some(Instant::now() + ON_ITS_WAY);
        self.say(CorePhase::Leaving);
    }

    pub(crate) fn say(&self, phase: CorePhase) {
        let mut owned = self.shared.owned.names();
        owned.truncate(CoreBeat::MAX_OWNED);
        let beat = CoreBeat { core: self.id.clone(), phase, partitions: self.shared.log.partitions(), owned };
        if let Err(error) = self.shared.bus.publish(&self.subject, beat.encode()) {
            tracing::debug!(%error, "the edges were not told how this core is");
        }
    }
}
