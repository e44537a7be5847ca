//! I5: recovery from any position inside retention is exact. A gap is only right where retention has really passed the
//! position, or where history was asked for again and again in vain, each time for a reason that lies outside the product.
//!
//! (That what follows an exact recovery is complete and in order is I2's to judge.)

use std::collections::{BTreeMap, BTreeSet};

use skywave_protocol::message::{GapReason, Recovery};

use super::{Verdict, broken};
use crate::history::{Channel, ConnectionId, Fact, History, ReadId, Time};

/// How long after something was broken or mended its consequences may still be felt (retries, backoff, takeover).
const AFTERMATH: Time = 4_000;
/// An edge that goes on without history has tried within such a time: its waits, reads for another purpose in between, and a
/// standstill.
const TRIES: Time = 5_500;

pub(super) fn check(history: &History) -> Verdict {
    let reads = Reads::of(history);
    reads.each_failure_has_a_reason(history)?;
    let mut first_kept: BTreeMap<Channel, u64> = BTreeMap::new();
    let mut connected: BTreeMap<ConnectionId, (usize, Time)> = BTreeMap::new();
    for entry in &history.entries {
        let (connection, channel, to, reason) = match &entry.fact {
            Fact::Retained { channel, first } => {
                first_kept.insert(*channel, *first);
                continue;
            }
            Fact::Connected { connection, edge, .. } => {
                connected.insert(*connection, (*edge, entry.time));
                continue;
            }
            Fact::Subscribed {
                connection,
                channel,
                recovery: Some(Recovery::Gap { to, reason, .. }),
                ..
            }
            | Fact::Gap { connection, channel, to, reason, .. } => (connection, channel, to, reason),
            _ => continue,
        };
        match reason {
            GapReason::Retention => {
                let first = first_kept.get(channel).copied().unwrap_or(1);
                if *to >= first {
                    let what = format!("a retention gap up to {channel}/{to}, but {first} is still kept");
                    return broken("I5", entry.time, what);
                }
            }
            GapReason::Unavailable => {
                let known = connected.get(connection);
                let tried = known.is_some_and(|(edge, _)| reads.failed(*edge, *channel, entry.time));
                if !tried {
                    let what = format!(
                        "connection {connection} was told that history of channel {channel} is unavailable; its edge has \
                         not read in vain {} times",
                        history.read_attempts
                    );
                    return broken("I5", entry.time, what);
                }
            }
            GapReason::Epoch | GapReason::Failover => {
                let what = format!("a gap for {reason:?} in channel {channel}, but there was no failover");
                return broken("I5", entry.time, what);
            }
        }
    }
    Ok(())
}

/// What became of the reads of history.
struct Reads {
    /// Those that failed: when they were over, and what they were.
    failed: BTreeMap<(usize, Channel), Vec<Time>>,
    without_reason: Option<(Time, ReadId)>,
    attempts: usize,
}

impl Reads {
    fn of(history: &History) -> Self {
        let (mut served, mut refused) = (BTreeMap::new(), BTreeMap::new());
        let mut hindered = BTreeSet::new();
        let mut troubles = Vec::new();
        for entry in &history.entries {
            match &entry.fact {
                Fact::ReadAnswered { read, served: true } => _ = served.insert(*read, entry.time),
                Fact::ReadAnswered { read, served: false } => _ = refused.insert(*read, entry.time),
                Fact::ReadHindered { read } => _ = hindered.insert(*read),
                Fact::Broken | Fact::Mended | Fact::Healed => troubles.push(entry.time),
                _ => {}
            }
        }
        let end = history.entries.last().map_or(0, |entry| entry.time);
        let mut failed: BTreeMap<(usize, Channel), Vec<Time>> = BTreeMap::new();
        let mut without_reason = None;
        for entry in &history.entries {
            let Fact::Read { edge, channel, read } = &entry.fact else { continue };
            let deadline = entry.time + history.read_timeout;
            let over = refused.get(read).copied().unwrap_or(deadline).min(deadline);
            let answer = served.get(read);
            if over >= end || answer.is_some_and(|at| *at < deadline) {
                continue;
            }
            failed.entry((*edge, *channel)).or_default().push(over);
            // At the same moment either may come first.
            if answer == Some(&deadline) {
                continue;
            }
            let near = |trouble: &Time| *trouble <= over && entry.time <= trouble + AFTERMATH;
            if !hindered.contains(read) && !troubles.iter().any(near) {
                without_reason = without_reason.or(Some((over, *read)));
            }
        }
        for times in failed.values_mut() {
            times.sort_unstable();
        }
        Self { failed, without_reason, attempts: history.read_attempts }
    }

    fn each_failure_has_a_reason(&self, history: &History) -> Verdict {
        let Some((time, read)) = self.without_reason else { return Ok(()) };
        let asked = history.entries.iter().find_map(|entry| match entry.fact {
            Fact::Read { edge, channel, read: of } if of == read => Some((edge, channel)),
            _ => None,
        });
        broken("I5", time, format!("a read of history failed without a reason (edge, channel): {asked:?}"))
    }

    /// The edge has read the channel's history in vain as often as it should before it goes on without.
    fn failed(&self, edge: usize, channel: Channel, by: Time) -> bool {
        let Some(times) = self.failed.get(&(edge, channel)) else { return false };
        let before = &times[..times.partition_point(|time| *time <= by)];
        before.windows(self.attempts).any(|tries| tries[tries.len() - 1] - tries[0] <= TRIES)
    }
}
