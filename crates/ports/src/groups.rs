//! Shares partitions among the members of a group within one process: partition `p` belongs to member `p mod n` in the
//! order of joining. For adapters whose log has no group protocol of its own.
//!
//! A member learns of a change when it next asks, so two may for a moment both believe that they own a partition: just
//! what the contract of [`crate::log::Log::join`] allows.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::log::{Assignment, Assignments, LogError, Partition};

/// Every group of one log; clones share it.
#[derive(Clone)]
pub struct Groups(Arc<Shared>);

struct Shared {
    partitions: u32,
    groups: Mutex<HashMap<String, Vec<u64>>>,
    /// Counts joins and leaves of all groups; also where member numbers come from.
    changes: watch::Sender<u64>,
}

/// One membership; it ends when dropped.
pub struct Member {
    groups: Groups,
    group: String,
    number: u64,
    owned: BTreeSet<Partition>,
    changes: watch::Receiver<u64>,
}

impl Groups {
    pub fn new(partitions: u32) -> Self {
        Self(Arc::new(Shared { partitions, groups: Mutex::default(), changes: watch::Sender::new(0) }))
    }

    pub fn join(&self, group: &str) -> Member {
        let mut groups = self.0.groups.lock();
        let mut number = 0;
        self.0.changes.send_modify(|count| {
            *count += 1;
            number = *count;
        });
        groups.entry_ref(group).or_default().push(number);
        drop(groups);
        let changes = self.0.changes.subscribe();
        Member { groups: self.clone(), group: group.into(), number, owned: BTreeSet::new(), changes }
    }

    fn leave(&self, group: &str, number: u64) {
        let mut groups = self.0.groups.lock();
        if let Some(members) = groups.get_mut(group) {
            members.retain(|member| *member != number);
        }
        self.0.changes.send_modify(|count| *count += 1);
    }
}

impl Member {
    fn share(&self) -> BTreeSet<Partition> {
        let groups = self.groups.0.groups.lock();
        let members = groups.get(&self.group).map_or(&[][..], Vec::as_slice);
        let is_mine = |partition: &Partition| {
            members.get(*partition as usize % members.len().max(1)) == Some(&self.number)
        };
        (0..self.groups.0.partitions).filter(is_mine).collect()
    }
}

#[async_trait]
impl Assignments for Member {
    async fn next(&mut self) -> Result<Assignment, LogError> {
        loop {
            self.changes.mark_unchanged();
            let share = self.share();
            if let Some(&partition) = self.owned.difference(&share).next() {
                self.owned.remove(&partition);
                return Ok(Assignment::Revoked(partition));
            }
            if let Some(&partition) = share.difference(&self.owned).next() {
                self.owned.insert(partition);
                return Ok(Assignment::Assigned(partition));
            }
            // The sending side lives in `self.groups`.
            let _ = self.changes.changed().await;
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.groups.leave(&self.group, self.number);
    }
}
