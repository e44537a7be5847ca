//! I11: nobody reads or writes a channel that the token does not allow: every try of an intruder is turned down.

use super::{Violation, violation};
use crate::history::{History, Kind};

const I11: &str = "I11";

/// Every try that was recorded; none at all proves nothing.
pub fn nobody_gets_in(history: &History) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut denied = 0;
    for event in &history.events {
        match &event.kind {
            Kind::Denied { .. } => denied += 1,
            Kind::Admitted { what } => {
                violations.push(violation(I11, format!("{} was let in: {what}", event.process)));
            }
            _ => {}
        }
    }
    if denied == 0 {
        violations.push(violation(I11, "nobody tried: the history proves nothing"));
    }
    violations
}
