//! I6: a slow or stuck client costs only itself: everyone else keeps getting publications in time and keeps its
//! connection.

use std::collections::HashMap;
use std::time::Duration;

use super::{Violation, violation};
use crate::history::{History, Kind};

const I6: &str = "I6";

/// Deliveries to everyone but `stuck`, each within `bound` of being published. The bound tells waiting for a stuck client
/// from a busy machine; it is no measurement of speed.
pub fn slow_costs_only_itself(history: &History, stuck: &[&str], bound: Duration) -> Vec<Violation> {
    let mut published = HashMap::new();
    let mut violations = Vec::new();
    let mut healthy = 0;
    for event in &history.events {
        let bystander = !stuck.contains(&&*event.process);
        match &event.kind {
            Kind::Published { message } => {
                published.insert(message, event.at);
            }
            Kind::Delivered { message, .. } if bystander => {
                healthy += 1;
                let took = published.get(message).map_or(Duration::MAX, |at| event.at.saturating_sub(*at));
                if took > bound {
                    let what = format!("{} got {} after {took:?}", event.process, message.id);
                    violations.push(violation(I6, what));
                }
            }
            Kind::Closed { code } if bystander => {
                violations.push(violation(I6, format!("{} lost its connection ({code:?})", event.process)));
            }
            _ => {}
        }
    }
    if healthy == 0 {
        violations.push(violation(I6, "nobody else received anything: the history proves nothing"));
    }
    violations
}
