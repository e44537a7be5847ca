//! I3: everybody sees the same data at the same position: subscribers on all edges, acknowledged publishers, the log.

use std::collections::BTreeMap;

use super::{Verdict, broken};
use crate::history::{Fact, History};

pub(super) fn check(history: &History) -> Verdict {
    let mut data = BTreeMap::new();
    let mut hashes = BTreeMap::new();
    for entry in &history.entries {
        if let Fact::Publish { id, hash, .. } = &entry.fact {
            hashes.insert(*id, *hash);
        }
        let (channel, offset, id, hash) = match &entry.fact {
            Fact::Delivered { channel, offset, id, hash, .. } if *offset > 0 => {
                (channel, offset, id, Some(*hash))
            }
            Fact::Kept { channel, offset, id, hash } => (channel, offset, id, Some(*hash)),
            Fact::Acked { channel, offset, id, .. } => (channel, offset, id, hashes.get(id).copied()),
            _ => continue,
        };
        let first = data.entry((*channel, *offset)).or_insert((*id, hash));
        if *first != (*id, hash) {
            let what = format!("{channel}/{offset} is {:#x} for one and {id:#x} for another", first.0);
            return broken("I3", entry.time, what);
        }
    }
    Ok(())
}
