//! I1: an acknowledged durable publication is never lost. At the end it stands at the very position it was acknowledged
//! with, with the data that was published.

use std::collections::BTreeMap;

use super::{Verdict, broken};
use crate::history::{Fact, History};

pub(super) fn check(history: &History) -> Verdict {
    let kept = history.kept();
    let mut published = BTreeMap::new();
    for entry in &history.entries {
        match &entry.fact {
            Fact::Publish { id, hash, .. } => {
                published.insert(*id, *hash);
            }
            Fact::Acked { channel, id, offset, .. } => {
                let Some(hash) = published.get(id) else {
                    return broken("I1", entry.time, format!("{id:#x} was acknowledged but never published"));
                };
                match kept.get(&(*channel, *offset)) {
                    Some(found) if *found == (*id, *hash) => {}
                    Some((other, _)) => {
                        let what = format!(
                            "{id:#x} was acknowledged as {channel}/{offset}, where {other:#x} stands"
                        );
                        return broken("I1", entry.time, what);
                    }
                    None => {
                        let what = format!("{id:#x} was acknowledged as {channel}/{offset} and is lost");
                        return broken("I1", entry.time, what);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}
