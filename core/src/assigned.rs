//! Which partitions this core owns: follows what the log's group assigns to it, and starts and ends their owners.
//!
//! - A partition that is taken away is given up before the next change is asked for: what is sequenced is stored first, for a
//!   bounded time.
//! - At a graceful end the owners finish before the group is left, so that the next owner finds everything stored.
//! - A group that is lost is joined again; meanwhile nothing is owned.
//!
//! That two cores believe for a moment that they own the same partition is foreseen everywhere: they compute the same, and
//! the store takes it from one of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skywave_ports::log::Partition;
use skywave_ports::{Assignment, Assignments, LogError};
use tokio::task::JoinHandle;

use crate::backoff::Backoff;
use crate::partition;
use crate::service::Shared;
use crate::stop::{self, Stop, StopSignal, Stopper};

/// How often a new member looks whether the group has told it its share, which may be none.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Why the group was left.
enum Left {
    Lost(LogError),
    Stopped(Stop),
}

/// Follows the assignments until told to stop; returns when all owners have ended.
pub(crate) async fn follow(shared: Arc<Shared>, mut stop: StopSignal) {
    let mut owners = Owners { shared: Arc::clone(&shared), running: BTreeMap::new() };
    let mut backoff = Backoff::default();
    loop {
        let joined = tokio::select! {
            joined = shared.log.join("sequencer") => joined,
            _ = stop.requested() => return,
        };
        let left = match joined {
            Ok(mut assignments) => {
                let left = follow_group(&mut owners, assignments.as_mut(), &mut stop).await;
                shared.set_member(false);
                match left {
                    Left::Stopped(how) => owners.end_all(how).await,
                    Left::Lost(_) => owners.end_all(Stop::HandOver).await,
                }
                left
            }
            Err(error) => Left::Lost(error),
        };
        match left {
            Left::Stopped(_) => return,
            Left::Lost(error) => tracing::warn!(%error, "not in the sequencer group; joining again"),
        }
        tokio::select! {
            () = backoff.wait() => {}
            _ = stop.requested() => return,
        }
    }
}

async fn follow_group(owners: &mut Owners, assignments: &mut dyn Assignments, stop: &mut StopSignal) -> Left {
    loop {
        let unsettled = !owners.shared.is_member();
        let assignment = tokio::select! {
            assignment = assignments.next() => Some(assignment),
            how = stop.requested() => return Left::Stopped(how),
            () = tokio::time::sleep(LOOK_EVERY), if unsettled => None,
        };
        match assignment {
            Some(Ok(Assignment::Assigned(partition))) => owners.begin(partition).await,
            Some(Ok(Assignment::Revoked(partition))) => owners.give_up(partition).await,
            Some(Err(error)) => return Left::Lost(error),
            None => {}
        }
        owners.shared.set_member(assignments.is_settled());
    }
}

/// The owners that run.
struct Owners {
    shared: Arc<Shared>,
    running: BTreeMap<Partition, (Stopper, JoinHandle<()>)>,
}

impl Owners {
    async fn begin(&mut self, partition: Partition) {
        // Assigned twice in a row: the first owner must not write over what the second one says of the partition.
        self.give_up(partition).await;
        self.shared.owned.begin(partition);
        self.shared.update_ready();
        let (stopper, signal) = stop::channel();
        let owner = tokio::spawn(partition::own(Arc::clone(&self.shared), partition, signal));
        self.running.insert(partition, (stopper, owner));
    }

    async fn give_up(&mut self, partition: Partition) {
        let Some((stopper, owner)) = self.running.remove(&partition) else { return };
        // Before anything else: the next owner may be faster, and this one's answers would be old.
        self.shared.owned.remove(partition);
        stopper.stop(Stop::HandOver);
        // An owner catches its panics itself.
        let _ = owner.await;
        self.forget(partition);
        tracing::info!(partition, "a partition was given up");
    }

    /// At a graceful end reads are served until everything is stored: nobody takes over before the group is left.
    async fn end_all(&mut self, how: Stop) {
        for (partition, (stopper, _)) in &self.running {
            if how != Stop::Finish {
                self.shared.owned.remove(*partition);
            }
            stopper.stop(how);
        }
        for (partition, (_, owner)) in std::mem::take(&mut self.running) {
            let _ = owner.await;
            self.forget(partition);
        }
    }

    fn forget(&self, partition: Partition) {
        self.shared.owned.remove(partition);
        self.shared.metrics.forget(partition);
        self.shared.update_ready();
    }
}
