//! SIGTERM and SIGINT into the phases of the end.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

use super::{Phase, Shutdown, ShutdownTrigger, channel};

/// Listens for SIGTERM and SIGINT in a task of the current runtime: the first signal means graceful, the second
/// immediate. Fails only if the process may not install handlers.
pub fn on_signals() -> io::Result<(ShutdownTrigger, Shutdown)> {
    let (trigger, shutdown) = channel();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let hand = trigger.clone();
    tokio::spawn(async move {
        let handle = hand.handle();
        while handle.phase() < Phase::Immediate {
            let name = tokio::select! {
                Some(()) = terminate.recv() => "SIGTERM",
                Some(()) = interrupt.recv() => "SIGINT",
                else => return,
            };
            if handle.phase() == Phase::Running {
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
