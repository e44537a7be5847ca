//! One checker for each invariant that a recorded history can show (I1–I7, I11; `docs/invariants.md`).
//!
//! Each is a function from a history to violations, knows nothing of how the run was made, and refuses to pass a history
//! that lacks what it needs: an empty history proves nothing.

mod i11_access;
mod i1_kept;
mod i2_order;
mod i3_same_data;
mod i4_once;
mod i5_recovery;
mod i6_isolation;
mod i7_outages;
#[cfg(test)]
mod tests;

use std::fmt;

pub use i1_kept::acknowledged_is_kept;
pub use i2_order::order_without_silent_holes;
pub use i3_same_data::same_data_everywhere;
pub use i4_once::one_id_one_publication;
pub use i5_recovery::recovery_is_exact;
pub use i6_isolation::slow_costs_only_itself;
pub use i7_outages::outages_are_survived;
pub use i11_access::nobody_gets_in;

use crate::history::History;

/// An invariant that does not hold in a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub invariant: &'static str,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

fn violation(invariant: &'static str, what: impl Into<String>) -> Violation {
    Violation { invariant, what: what.into() }
}

/// I1–I5 over one history, which must stay within retention.
pub fn check(history: &History) -> Vec<Violation> {
    [
        acknowledged_is_kept(history),
        order_without_silent_holes(history),
        same_data_everywhere(history),
        one_id_one_publication(history),
        recovery_is_exact(history),
    ]
    .concat()
}

/// Fails with the first violations of I1–I5, after writing the history to a file that the message names.
pub fn assert_holds(history: &History) -> anyhow::Result<()> {
    assert_none(history, &check(history))
}

/// Fails with the first of these violations, after writing the history to a file that the message names.
pub fn assert_none(history: &History, violations: &[Violation]) -> anyhow::Result<()> {
    if violations.is_empty() {
        return Ok(());
    }
    let file = std::env::temp_dir().join(format!("skywave-history-{}.jsonl", std::process::id()));
    std::fs::write(&file, history.to_lines())?;
    let first: Vec<String> = violations.iter().take(10).map(ToString::to_string).collect();
    anyhow::bail!("{} violations; history in {}\n{}", violations.len(), file.display(), first.join("\n"))
}
