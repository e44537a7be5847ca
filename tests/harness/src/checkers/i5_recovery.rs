//! I5: recovery from a position inside retention is exact. For runs that stay inside retention, so that every gap is one
//! too many. (That what was promised did come is I2's part.)

use super::{Violation, violation};
use crate::history::{History, Kind};

const I5: &str = "I5";

/// Every recovery's outcome.
pub fn recovery_is_exact(history: &History) -> Vec<Violation> {
    let mut violations = Vec::new();
    for event in &history.events {
        match &event.kind {
            Kind::Subscribed { channel, asked: Some(asked), exact: false, .. } => violations.push(violation(
                I5,
                format!("{} recovered {channel} from {asked:?}, and not exactly", event.process),
            )),
            Kind::Gap { channel, from, to, reason } => violations.push(violation(
                I5,
                format!("{} was told that {from}–{to} of {channel} are gone ({reason})", event.process),
            )),
            _ => {}
        }
    }
    violations
}
