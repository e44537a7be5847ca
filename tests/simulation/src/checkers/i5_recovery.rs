//! I5: recovery from any position inside retention is exact. A gap is only right where retention has really passed the
//! position, or while history could not be read.
//!
//! (That what follows an exact recovery is complete and in order is I2's to judge.)

use std::collections::{BTreeMap, BTreeSet};

use skywave_protocol::message::{GapReason, Recovery};

use super::{Verdict, broken};
use crate::history::{Channel, Fact, History, Time};

/// How long after something was mended its consequences may still be felt (retries, backoff, takeover).
const AFTERMATH: Time = 4_000;

pub(super) fn check(history: &History) -> Verdict {
    let mut first_kept: BTreeMap<Channel, u64> = BTreeMap::new();
    let mut broken_parts = 0u32;
    let mut excused_until: Time = 0;
    let mut announced = BTreeSet::new();
    for entry in &history.entries {
        let (channel, to, reason) = match &entry.fact {
            Fact::Retained { channel, first } => {
                first_kept.insert(*channel, *first);
                continue;
            }
            Fact::Broken => {
                broken_parts += 1;
                // A crashed core is never mended by name: another one takes over.
                excused_until = excused_until.max(entry.time + AFTERMATH);
                continue;
            }
            Fact::Mended | Fact::Healed => {
                broken_parts = broken_parts.saturating_sub(1);
                excused_until = excused_until.max(entry.time + AFTERMATH);
                continue;
            }
            Fact::Subscribed { channel, recovery: Some(Recovery::Gap { to, reason, .. }), .. }
            | Fact::Gap { channel, to, reason, .. } => (channel, to, reason),
            _ => continue,
        };
        // A client that was not reading is told late of what others heard in time.
        if matches!(entry.fact, Fact::Gap { .. }) && !announced.insert((*channel, *to)) {
            continue;
        }
        match reason {
            GapReason::Retention => {
                let first = first_kept.get(channel).copied().unwrap_or(1);
                if *to >= first {
                    let what = format!("a retention gap up to {channel}/{to}, but {first} is still kept");
                    return broken("I5", entry.time, what);
                }
            }
            GapReason::Unavailable => {
                if entry.time > excused_until {
                    let what = format!("history of channel {channel} was unavailable without a reason");
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
