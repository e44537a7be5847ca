//! One judge per invariant. Each sees nothing but the recorded history, and each can fail (`tests/checkers.rs` proves it).

mod i12_presence;
mod i1_acknowledged_is_kept;
mod i2_order;
mod i3_same_data;
mod i4_one_per_id;
mod i5_recovery;
mod i6_slow_clients;
mod i7_outages;

use std::fmt;

use crate::history::{History, Time};

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub invariant: &'static str,
    pub time: Time,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} broken at {} ms: {}", self.invariant, self.time, self.what)
    }
}

pub type Verdict = Result<(), Violation>;
pub type Checker = fn(&History) -> Verdict;

/// Every checker, by the invariant's number.
pub const ALL: [(&str, Checker); 8] = [
    ("I1", i1_acknowledged_is_kept::check),
    ("I2", i2_order::check),
    ("I3", i3_same_data::check),
    ("I4", i4_one_per_id::check),
    ("I5", i5_recovery::check),
    ("I6", i6_slow_clients::check),
    ("I7", i7_outages::check),
    ("I12", i12_presence::check),
];

/// Every invariant the history breaks (the first offence of each).
pub fn check_all(history: &History) -> Vec<Violation> {
    ALL.iter().filter_map(|(_, check)| check(history).err()).collect()
}

fn broken(invariant: &'static str, time: Time, what: impl Into<String>) -> Verdict {
    Err(Violation { invariant, time, what: what.into() })
}
