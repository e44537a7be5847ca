//! I3: all see the same data at the same position, and nothing that nobody published.

use std::collections::{HashMap, HashSet};

use super::{Violation, violation};
use crate::history::{History, Kind, Message};

const I3: &str = "I3";

/// Every sighting of a position against the first one, and every message against what was published.
pub fn same_data_everywhere(history: &History) -> Vec<Violation> {
    let published: HashSet<&Message> = history
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            Kind::Published { message } => Some(message),
            _ => None,
        })
        .collect();
    let mut first = HashMap::new();
    let mut violations = Vec::new();
    for event in &history.events {
        let (message, position) = match &event.kind {
            Kind::Acknowledged { message, position, .. }
            | Kind::Delivered { message, position }
            | Kind::Stored { message, position } => (message, position),
            _ => continue,
        };
        if !published.contains(message) {
            let what = format!(
                "{} at {position:?} was seen by {}, but never published so",
                message.id, event.process
            );
            violations.push(violation(I3, what));
        }
        let other = *first.entry((&message.channel, position)).or_insert(message);
        if other != message {
            let what =
                format!("{position:?} is {} for some and {} for {}", other.id, message.id, event.process);
            violations.push(violation(I3, what));
        }
    }
    if first.is_empty() {
        violations.push(violation(I3, "nobody saw anything: the history proves nothing"));
    }
    violations
}
