//! What a program does that is interrupted while it holds a cluster: it ends the cluster, and then itself.

use std::path::Path;
use std::sync::Once;

use tokio::signal::unix::{SignalKind, signal};

use crate::cluster::Cluster;

/// From now on an interrupt ends the cluster in this folder. Call it once the first process is about to be started: before,
/// there is nothing to end, and an interrupt does what it always does.
pub fn end_on_interrupt(folder: &Path) {
    static ONCE: Once = Once::new();
    let folder = folder.to_owned();
    ONCE.call_once(|| {
        std::thread::spawn(move || {
            if wait().is_ok() {
                eprintln!("cluster: interrupted, ending what was started");
                if let Err(error) = Cluster::open(&folder).and_then(Cluster::down) {
                    eprintln!("cluster: {error:#}");
                }
                std::process::exit(130);
            }
        });
    });
}

fn wait() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        Ok(())
    })
}
