//! I4: publishes with the same channel, publisher and id yield one publication, and all get its position.
//!
//! Runs are shorter than the dedup window, so this holds for the whole run. A publish that timed out is unknown: it may
//! have been kept once, or not at all.

use std::collections::BTreeMap;

use super::{Verdict, broken};
use crate::history::{Fact, History};

pub(super) fn check(history: &History) -> Verdict {
    // Ids hold the client, and a client has one user: the publisher needs no place of its own in the key.
    let mut positions = BTreeMap::new();
    for entry in &history.entries {
        let (channel, id, offset) = match &entry.fact {
            Fact::Acked { channel, id, offset, .. }
            | Fact::Kept { channel, id, offset, .. }
            | Fact::Delivered { channel, id, offset, .. }
                if *offset > 0 =>
            {
                (channel, id, offset)
            }
            _ => continue,
        };
        let first = positions.entry((*channel, *id)).or_insert(*offset);
        if first != offset {
            let what = format!("{id:#x} stands at {channel}/{first} and at {channel}/{offset}");
            return broken("I4", entry.time, what);
        }
    }
    Ok(())
}
