//! I4: publishes with the same (channel, publisher, id) are one publication with one position.

use std::collections::HashMap;

use super::{Violation, violation};
use crate::history::{History, Kind};

const I4: &str = "I4";

/// Every sighting of an id against the first one.
pub fn one_id_one_publication(history: &History) -> Vec<Violation> {
    let mut first = HashMap::new();
    let mut violations = Vec::new();
    for event in &history.events {
        let (message, position) = match &event.kind {
            Kind::Acknowledged { message, position, .. }
            | Kind::Delivered { message, position }
            | Kind::Stored { message, position } => (message, position),
            _ => continue,
        };
        let key = (&message.channel, &message.publisher, &message.id);
        let other = *first.entry(key).or_insert(position);
        if other != position {
            let what = format!("{} is at {other:?} and, for {}, at {position:?}", message.id, event.process);
            violations.push(violation(I4, what));
        }
    }
    if first.is_empty() {
        violations.push(violation(I4, "nobody saw anything: the history proves nothing"));
    }
    violations
}
