//! What a group has given to a member, and what the member has made of it.
//!
//! The group's thread writes, the member reads differences: however fast the group changes its mind, nothing queues up.
//!
//! - A partition is handed on when the member has given it up, that is, when it asks for the next change.
//! - A member that is cut off from its group goes on to own what it had for a grace time, or until the group says better:
//!   owners depend on nobody else's absence, and a restart of a broker must not make every one of them begin anew.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Condvar, Mutex};
use skywave_ports::log::{Assignment, Assignments, LogError, Partition};
use tokio::sync::Notify;
use tokio::time::Instant;

/// One membership; it ends when dropped.
pub(crate) struct Member {
    ledger: Arc<Ledger>,
}

/// What the group has given to this member, and what the member knows of it.
pub(super) struct Ledger {
    state: Mutex<State>,
    /// For the member: the share has changed.
    changed: Notify,
    /// For the thread: the member has followed a change, or has left.
    followed: Condvar,
    partitions: u32,
}

#[derive(Default)]
struct State {
    share: BTreeSet<Partition>,
    /// What the member has been told that it owns.
    owned: BTreeSet<Partition>,
    /// The member has been told that it owns this no more, and has not asked for the next change yet.
    giving_up: Option<Partition>,
    /// The group has told the member its share since it joined or was cut off for good.
    settled: bool,
    /// The member was cut off and keeps its share until then, or until the group gives it one anew.
    until: Option<Instant>,
    failure: Option<LogError>,
    left: bool,
}

impl State {
    /// The next difference between what the group gives and what the member knows.
    fn change(&mut self) -> Option<Assignment> {
        if let Some(&partition) = self.owned.difference(&self.share).next() {
            self.owned.remove(&partition);
            self.giving_up = Some(partition);
            return Some(Assignment::Revoked(partition));
        }
        let partition = *self.share.difference(&self.owned).next()?;
        self.owned.insert(partition);
        Some(Assignment::Assigned(partition))
    }

    fn works_on(&self, partitions: &[Partition]) -> bool {
        partitions
            .iter()
            .any(|partition| self.owned.contains(partition) || self.giving_up == Some(*partition))
    }
}

impl Ledger {
    pub(super) fn new(partitions: u32) -> Self {
        Self { state: Mutex::default(), changed: Notify::new(), followed: Condvar::new(), partitions }
    }

    /// How many partitions the group gives.
    pub(super) fn share(&self) -> usize {
        self.state.lock().share.len()
    }

    pub(super) fn given(&self, partitions: &[Partition]) {
        let mut state = self.state.lock();
        if state.until.take().is_some() {
            state.share.clear();
        }
        state.share.extend(partitions.iter().filter(|partition| **partition < self.partitions));
        state.settled = true;
        drop(state);
        self.changed.notify_one();
    }

    /// Returns when the member has given them up, or after `patience`. Blocks.
    pub(super) fn taken(&self, partitions: &[Partition], patience: Duration) {
        let mut state = self.state.lock();
        for partition in partitions {
            state.share.remove(partition);
        }
        self.changed.notify_one();
        let still_at_work = |state: &mut State| !state.left && state.works_on(partitions);
        if self.followed.wait_while_for(&mut state, still_at_work, patience).timed_out() {
            tracing::warn!(?partitions, "partitions go to another member before this one has given them up");
        }
    }

    pub(super) fn cut_off(&self, grace: Duration) {
        self.state.lock().until.get_or_insert_with(|| Instant::now() + grace);
        self.changed.notify_one();
    }

    pub(super) fn failed(&self, error: LogError) {
        self.state.lock().failure = Some(error);
        self.changed.notify_one();
    }

    pub(super) fn has_left(&self) -> bool {
        self.state.lock().left
    }

    /// Waits for a change, or for the end of the grace time.
    async fn change(&self) {
        let until = self.state.lock().until;
        match until {
            None => self.changed.notified().await,
            Some(until) => tokio::select! {
                () = self.changed.notified() => {}
                () = tokio::time::sleep_until(until) => self.grace_is_over(until),
            },
        }
    }

    fn grace_is_over(&self, until: Instant) {
        let mut state = self.state.lock();
        if state.until == Some(until) {
            state.share.clear();
            state.until = None;
            state.settled = false;
        }
    }
}

impl Member {
    pub(super) fn new(ledger: Arc<Ledger>) -> Self {
        Self { ledger }
    }
}

#[async_trait]
impl Assignments for Member {
    async fn next(&mut self) -> Result<Assignment, LogError> {
        loop {
            {
                let mut state = self.ledger.state.lock();
                if state.giving_up.take().is_some() {
                    self.ledger.followed.notify_all();
                }
                if let Some(error) = state.failure.take() {
                    return Err(error);
                }
                if let Some(change) = state.change() {
                    return Ok(change);
                }
            }
            self.ledger.change().await;
        }
    }

    fn is_settled(&self) -> bool {
        self.ledger.state.lock().settled
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.ledger.state.lock().left = true;
        self.ledger.followed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn member() -> (Arc<Ledger>, Member) {
        let ledger = Arc::new(Ledger::new(4));
        (Arc::clone(&ledger), Member::new(ledger))
    }

    async fn changes(member: &mut Member) -> Vec<Assignment> {
        let mut changes = Vec::new();
        while let Ok(change) = tokio::time::timeout(Duration::from_millis(1), member.next()).await {
            changes.push(change.expect("a change"));
        }
        changes
    }

    #[tokio::test(start_paused = true)]
    async fn only_differences_are_told() {
        use Assignment::{Assigned, Revoked};
        let (ledger, mut member) = member();
        assert!(!member.is_settled());
        ledger.given(&[]);
        assert!(member.is_settled(), "nothing is a share too");
        ledger.given(&[0, 1, 9]);
        assert_eq!(changes(&mut member).await, [Assigned(0), Assigned(1)], "there is no partition 9");
        ledger.given(&[2]);
        let taking = Arc::clone(&ledger);
        let taken = tokio::task::spawn_blocking(move || taking.taken(&[0], PATIENCE));
        while ledger.share() == 3 {
            tokio::task::yield_now().await;
        }
        assert_eq!(changes(&mut member).await, [Revoked(0), Assigned(2)]);
        taken.await.expect("it ends");
    }

    #[tokio::test]
    async fn a_partition_is_handed_on_when_it_has_been_given_up() {
        let (ledger, mut member) = member();
        ledger.given(&[0]);
        assert_eq!(member.next().await, Ok(Assignment::Assigned(0)));
        let taking = Arc::clone(&ledger);
        let taken = tokio::task::spawn_blocking(move || taking.taken(&[0], PATIENCE));
        assert_eq!(member.next().await, Ok(Assignment::Revoked(0)));
        assert!(!taken.is_finished(), "the member is still at it");
        tokio::select! {
            _ = member.next() => panic!("there is nothing else"),
            taken = taken => taken.expect("it ends"),
        }
    }

    #[tokio::test]
    async fn nobody_waits_for_a_member_that_is_gone_nor_for_ever() {
        let (ledger, mut member) = member();
        ledger.given(&[0, 1]);
        assert_eq!(member.next().await, Ok(Assignment::Assigned(0)));
        // What the member was never told of needs no giving up.
        ledger.taken(&[1], PATIENCE);
        ledger.taken(&[0], Duration::from_millis(5));
        assert_eq!(member.next().await, Ok(Assignment::Revoked(0)));
        ledger.given(&[0]);
        assert_eq!(member.next().await, Ok(Assignment::Assigned(0)));
        let taken = tokio::task::spawn_blocking(move || ledger.taken(&[0], PATIENCE));
        drop(member);
        taken.await.expect("it ends");
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_that_was_cut_off_keeps_its_share_until_it_learns_better() {
        use Assignment::{Assigned, Revoked};
        let (ledger, mut member) = member();
        ledger.given(&[0, 1]);
        assert_eq!(changes(&mut member).await, [Assigned(0), Assigned(1)]);
        ledger.cut_off(PATIENCE);
        assert_eq!(changes(&mut member).await, []);
        ledger.given(&[1, 2]);
        assert_eq!(changes(&mut member).await, [Revoked(0), Assigned(2)]);
        ledger.cut_off(PATIENCE);
        assert_eq!(member.next().await, Ok(Revoked(1)), "after the grace time");
        assert_eq!(changes(&mut member).await, [Revoked(2)]);
        assert!(!member.is_settled(), "what it has now the group has not told");
    }

    #[tokio::test]
    async fn a_failure_is_told() {
        let (ledger, mut member) = member();
        let error = LogError::Unavailable("no".into());
        ledger.failed(error.clone());
        assert_eq!(member.next().await, Err(error));
    }
}
