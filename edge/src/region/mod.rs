//! This node among the nodes of its region: heartbeats on the bus, which node serves a key, and who is asked to move.
//!
//! - `sw.node.<region>` carries every node's beat to every other; the machine of `crates/engine/src/region` makes a ring of them.
//! - A connection that arrives elsewhere than at its key's node is served all the same; if the operator wants it so, it is
//!   asked to move (`redirect`).
//! - A node that joins takes keys over: the connections that were placed here by such a key are asked to move, so many a
//!   second (`moves`). A node that drains gives each client a target.
//!
//! Owns: the beats of this node, the pace of moves. Never: refuses or delays a connection because of its place.

mod metrics;
mod moves;
mod task;

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use skywave_engine::region::{KeyDigest, MovedRanges, Place, Region as Machine, RegionConfig, RegionOutput};
use skywave_engine::time::Millis;
use skywave_ports::Bus;
use skywave_protocol::{NodeId, Subject};
use tokio::sync::mpsc;

use crate::config::{EdgeConfig, PlacementConfig, Redirect};
use crate::recent::Recent;
use crate::reporting::{Happening, Reporter};
use metrics::Counts;
pub(crate) use metrics::{Move, RegionCollector};
pub(crate) use task::run;

/// Changes of the ring whose moves wait for earlier ones. When full, the next one is not followed: who is in a wrong place is
/// served there.
const CHANGES: usize = 16;
/// How long it is remembered that connections of a key were asked to move, and how many keys are.
const ASKED_MS: Millis = 60_000;
const ASKED: usize = 50_000;
/// How long a connection that is asked to move, though its node goes on, may take.
pub(crate) const UNHURRIED: Duration = Duration::from_secs(30);

pub(crate) struct Region {
    machine: Mutex<Machine>,
    bus: Arc<dyn Bus>,
    subject: Subject,
    node: NodeId,
    redirect: Redirect,
    moves_per_second: u32,
    /// Keys whose connections were asked to move a moment ago: not again, should they come back.
    asked: Mutex<Recent<KeyDigest>>,
    changes: mpsc::Sender<MovedRanges>,
    counts: Counts,
    started: Instant,
}

/// The receiving end of [`Region`]'s decisions, for its task.
pub(crate) struct Changes(mpsc::Receiver<MovedRanges>);

impl Region {
    pub(crate) fn new(
        config: &EdgeConfig,
        placement: &PlacementConfig,
        bus: Arc<dyn Bus>,
        started: Instant,
    ) -> (Self, Changes) {
        let ms = |duration: Duration| duration.as_millis() as Millis;
        let machine = RegionConfig {
            beat_ms: ms(placement.beat),
            lease_ms: ms(placement.lease),
            settle_ms: ms(placement.settle),
            ..RegionConfig::default()
        };
        let capacity = u32::try_from(config.limits.connections).unwrap_or(u32::MAX);
        let now = started.elapsed().as_millis() as Millis;
        let url = placement.url.trim_end_matches('/').into();
        let (changes, receiver) = mpsc::channel(CHANGES);
        let region = Self {
            machine: Mutex::new(Machine::new(now, config.node.clone(), url, capacity, machine)),
            bus,
            subject: Subject::node(&config.region),
            node: config.node.clone(),
            redirect: placement.redirect,
            moves_per_second: placement.moves_per_second,
            asked: Mutex::new(Recent::new(ASKED_MS, ASKED)),
            changes,
            counts: Counts::default(),
            started,
        };
        (region, Changes(receiver))
    }

    /// The nodes for a key, best first. Empty when every node is leaving.
    pub(crate) fn route(&self, key: KeyDigest) -> Vec<Place> {
        let mut machine = self.machine.lock();
        let places = machine.route(key);
        if let Some(first) = places.first() {
            machine.sent(&first.node);
        }
        places
    }

    /// Where a connection goes that has to leave this node, if there is a node for it.
    pub(crate) fn elsewhere(&self, key: KeyDigest) -> Option<String> {
        let place = self.route(key).into_iter().find(|place| place.node != self.node)?;
        Some(place.url.to_string())
    }

    /// Where a connection belongs that came here unasked for: `None` if here, if nobody is to be sent on, or if it was sent on
    /// a moment ago and has come back.
    pub(crate) fn redirect(&self, key: KeyDigest) -> Option<String> {
        if self.redirect == Redirect::Off {
            return None;
        }
        let machine = self.machine.lock();
        // While nodes come and go they disagree, and would send clients to and fro.
        if !machine.is_settled() || machine.is_mine(key) {
            return None;
        }
        drop(machine);
        let fresh = self.asked.lock().insert(key, self.now());
        if fresh { self.elsewhere(key) } else { None }
    }

    /// Whether connections that say nothing of a place have one all the same.
    pub(crate) fn places_everyone(&self) -> bool {
        self.redirect == Redirect::Route
    }

    /// Where a connection goes whose key has moved: `None` if the key is here (again).
    pub(crate) fn followed(&self, key: KeyDigest) -> Option<String> {
        let away = !self.machine.lock().is_mine(key);
        if away { self.elsewhere(key) } else { None }
    }

    /// This node takes no further keys, and says so at once.
    pub(crate) fn leave(&self, reporter: &Reporter) {
        self.machine.lock().leave(self.now());
        self.act(reporter);
    }

    pub(crate) fn count(&self, reason: Move) {
        self.counts.moved(reason);
    }

    /// Does what the machine has decided.
    fn act(&self, reporter: &Reporter) {
        loop {
            let Some(output) = self.machine.lock().poll_output() else { return };
            match output {
                // A beat that is lost is followed by others.
                RegionOutput::Publish(beat) => _ = self.bus.publish(&self.subject, beat.encode()),
                RegionOutput::Lost(node) => {
                    tracing::warn!(%node, "a node of the region is not heard of any more");
                    reporter.report(Happening::NodeLost(node));
                }
                RegionOutput::Moved(ranges) => {
                    if self.moves_per_second > 0 && self.changes.try_send(ranges).is_err() {
                        tracing::warn!("nodes come faster than connections follow; some stay where they are");
                    }
                }
            }
        }
    }

    fn now(&self) -> Millis {
        self.started.elapsed().as_millis() as Millis
    }
}
