//! Waiting on state: a condition that is looked at again and again, and a deadline that only a failure reaches.

use std::time::{Duration, Instant};

/// How long any state of a test may take. Generous: only a failure ever waits so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `look` finds something; the error says what was waited for.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        anyhow::ensure!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
