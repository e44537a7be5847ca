//! I1: an acknowledged durable publication is never lost: the history read at the end holds it, where it was promised.

use std::collections::HashMap;

use super::{Violation, violation};
use crate::history::{History, Kind};

const I1: &str = "I1";

/// Every acknowledgement against what is stored.
pub fn acknowledged_is_kept(history: &History) -> Vec<Violation> {
    let mut stored = HashMap::new();
    for event in &history.events {
        if let Kind::Stored { message, position } = &event.kind {
            stored.insert((&message.channel, position), message);
        }
    }
    let mut violations = Vec::new();
    let mut acknowledged = 0;
    for event in &history.events {
        let Kind::Acknowledged { message, position, .. } = &event.kind else { continue };
        acknowledged += 1;
        match stored.get(&(&message.channel, position)) {
            Some(kept) if **kept == *message => {}
            Some(kept) => violations.push(violation(
                I1,
                format!("{} was acknowledged at {position:?}, where {} is stored", message.id, kept.id),
            )),
            None => {
                violations.push(violation(I1, format!("{} acknowledged at {position:?} is lost", message.id)))
            }
        }
    }
    if acknowledged == 0 {
        violations.push(violation(I1, "nothing was acknowledged: the history proves nothing"));
    }
    violations
}
