//! What a program does that is interrupted while it holds a cluster: it ends the cluster, and then itself.

use std::path::{Path, PathBuf};
use std::sync::Once;

use parking_lot::Mutex;
use tokio::signal::unix::{SignalKind, signal};

use crate::cluster::Cluster;

/// The cluster that an interrupt ends.
static FOLDER: Mutex<Option<PathBuf>> = Mutex::new(None);

/// From now on an interrupt ends the cluster in this folder. To be called when the first process is about to be started: before,
/// there is nothing to end, and an interrupt does what it always does.
pub(crate) fn ends(folder: &Path) {
    static ONCE: Once = Once::new();
    *FOLDER.lock() = Some(folder.to_owned());
    ONCE.call_once(|| {
        std::thread::spawn(|| {
            if wait().is_ok() {
                eprintln!("cluster: interrupted, ending what was started");
                // One that was ended in order is there no more.
                let folder = FOLDER.lock().clone().filter(|folder| folder.is_dir());
                if let Some(Err(error)) = folder.map(|folder| end(&folder)) {
                    eprintln!("cluster: {error:#}");
                }
                std::process::exit(130);
            }
        });
    });
}

fn end(folder: &Path) -> anyhow::Result<()> {
    if Cluster::is_in(folder)? { Cluster::open(folder)?.down() } else { Ok(()) }
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
