//! SIGTERM and SIGINT into the phases of the end.

use std::io;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use super::{Phase, Shutdown, ShutdownTrigger, channel};

/// A second signal within this time is the same wish: a terminal and a wrapper (`timeout`, `cargo run`) both pass it on.
const SAME_WISH: Duration = Duration::from_millis(300);

/// Listens for SIGTERM and SIGINT in a task of the current runtime: the first signal means graceful, the second
/// immediate. Fails only if the process may not install handlers.
pub fn on_signals() -> io::Result<(ShutdownTrigger, Shutdown)> {
    let (trigger, shutdown) = channel();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let hand = trigger.clone();
    tokio::spawn(async move {
        let handle = hand.handle();
        let mut first: Option<Instant> = None;
        while handle.phase() < Phase::Immediate {
            let name = tokio::select! {
                Some(()) = terminate.recv() => "SIGTERM",
                Some(()) = interrupt.recv() => "SIGINT",
                else => return,
            };
            if first.is_some_and(|at| at.elapsed() < SAME_WISH) {
                continue;
            }
            if handle.phase() == Phase::Running {
                first = Some(Instant::now());
                tracing::info!(signal = name, "ending gracefully; once more to end at once");
                hand.graceful();
            } else {
                tracing::warn!(signal = name, "ending at once");
                hand.immediate();
            }
        }
    });
    Ok((trigger, shutdown))
}
