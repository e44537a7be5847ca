//! Which core the server runs on and which one the generator: the two must not share one.
//!
//! A child process inherits the affinity of the thread that starts it, so a server is pinned by pinning ourselves for
//! the moment of its start.

use anyhow::Context;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The two cores of a measurement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cores {
    pub(super) server: usize,
    pub(super) generator: usize,
}

impl Cores {
    /// The first two cores this process may use; pins the calling thread to the generator's.
    ///
    /// Call it before any other thread starts: threads inherit the affinity too.
    pub(super) fn claim() -> anyhow::Result<Self> {
        let allowed = sched_getaffinity(None).context("reading the allowed cores")?;
        let mut list = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let (Some(server), Some(generator)) = (list.next(), list.next()) else {
            anyhow::bail!("a benchmark needs two cores: one for the server, one for the load generator");
        };
        let cores = Self { server, generator };
        pin(generator)?;
        Ok(cores)
    }

    /// For a row that starts no server and pins nothing.
    pub(super) fn unpinned() -> Self {
        Self { server: 0, generator: 0 }
    }

    /// Runs `start` with the calling thread on the server's core.
    pub(super) fn on_server_core<T>(self, start: impl FnOnce() -> T) -> anyhow::Result<T> {
        pin(self.server)?;
        let started = start();
        pin(self.generator)?;
        Ok(started)
    }
}

fn pin(core: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("pinning to core {core}"))
}
