//! A cluster in hand: what a command line, or a test, does to it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::Signal;
use skywave_servers::State as Life;
use skywave_wan::Control;

use crate::folder::Folder;
use crate::member::{Kind, Member};
use crate::options::ClusterOptions;
use crate::store::Store;
use crate::up;

/// Longest wait for a process that was asked to leave.
const LEAVING: Duration = Duration::from_secs(60);

/// A cluster that was started. Several may hold the same one; none needs to be its starter.
pub struct Cluster {
    store: Store,
    /// Ends with this value.
    ends: bool,
}

impl Cluster {
    /// Starts a cluster, waits until all of it is ready, and ends it on drop (see [`Self::keep`]). What fails to come up whole
    /// is ended at once, and its logs are left.
    pub fn up(options: &ClusterOptions) -> anyhow::Result<Self> {
        Self::up_telling(options, &|_| {})
    }

    /// As [`Self::up`], telling what is being done.
    pub fn up_telling(options: &ClusterOptions, say: &dyn Fn(&str)) -> anyhow::Result<Self> {
        options.check()?;
        let store = Store { folder: Folder::new(&options.folder)? };
        store.folder.take()?;
        if store.is_there() {
            let state = store.read()?;
            let running = state.members.iter().filter(|member| member.state() != Life::Gone).count();
            anyhow::ensure!(
                running == 0,
                "a cluster runs in {} already ({running} processes): `{}` ends it",
                store.folder.path().display(),
                store.folder.command("down")
            );
            store.remove()?;
        }
        let cluster = Self { store, ends: true };
        up::up(options, &cluster.store, say)?;
        Ok(cluster)
    }

    /// Whether a folder holds a cluster that was not ended.
    pub fn is_in(folder: &Path) -> anyhow::Result<bool> {
        Ok(Store { folder: Folder::new(folder)? }.is_there())
    }

    /// The cluster in a folder.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let store = Store { folder: Folder::new(folder)? };
        store.read()?;
        Ok(Self { store, ends: false })
    }

    /// Ends it when this value is dropped, whoever started it.
    #[must_use]
    pub fn own(mut self) -> Self {
        self.ends = true;
        self
    }

    /// Lets it run on when this value is dropped.
    pub fn keep(mut self) {
        self.ends = false;
    }

    /// Ends every process that was started, the last first, and nothing else. Logs and data stay.
    pub fn down(mut self) -> anyhow::Result<()> {
        self.ends = false;
        self.end()
    }

    fn end(&self) -> anyhow::Result<()> {
        if !self.store.is_there() {
            return Ok(());
        }
        // Whoever is still starting something finds the processes it waits for gone.
        self.store.locked(|state| {
            for member in state.members.iter().rev() {
                if let Some(identity) = member.identity() {
                    identity.kill9().with_context(|| format!("ending {}", member.name))?;
                }
            }
            Ok(())
        })?;
        self.store.remove()
    }

    /// How the command line is called for this cluster, with these words.
    pub fn command(&self, words: &str) -> String {
        self.store.folder.command(words)
    }

    pub fn folder(&self) -> &Path {
        self.store.folder.path()
    }

    /// The file that says where everything is.
    pub fn document(&self) -> PathBuf {
        self.store.folder.document()
    }

    /// The file with the secret (HS256) that the edges' tokens are signed with.
    pub fn secret_file(&self) -> PathBuf {
        self.store.folder.secret()
    }

    pub fn regions(&self) -> anyhow::Result<Vec<String>> {
        Ok(self.store.read()?.regions)
    }

    pub fn members(&self) -> anyhow::Result<Vec<Member>> {
        Ok(self.store.read()?.members)
    }

    pub fn member(&self, name: &str) -> anyhow::Result<Member> {
        self.store.read()?.member(name).cloned()
    }

    /// The names that one name stands for: a process's own, or all of a region.
    pub fn named(&self, name: &str) -> anyhow::Result<Vec<String>> {
        self.store.read()?.named(name)
    }

    /// The processes of a kind in a region.
    pub fn of_kind(&self, region: &str, kind: Kind) -> anyhow::Result<Vec<Member>> {
        let mut members = self.members()?;
        members.retain(|member| member.kind == kind && member.region.as_deref() == Some(region));
        Ok(members)
    }

    /// The links, to be changed and looked at. Their places are the regions, and the processes where inner links were asked for.
    pub fn links(&self) -> anyhow::Result<Control> {
        Control::connect(&self.store.folder.socket())
    }

    /// The other regions that a NATS server has a connection to for sending.
    pub fn gateways(&self, nats: &str) -> anyhow::Result<Vec<String>> {
        Ok(up::gateways(&self.member(nats)?).into_iter().collect())
    }

    /// Ends a process (`kill -9`), with its children.
    pub fn kill9(&self, name: &str) -> anyhow::Result<()> {
        self.store.locked(|state| {
            let member = state.member_mut(name)?;
            let identity = member.identity().filter(|_| member.state() != Life::Gone);
            identity.with_context(|| format!("{name} is not running"))?.kill9()?;
            member.identity = None;
            Ok(())
        })
    }

    /// Freezes a process (SIGSTOP), with its children.
    pub fn pause(&self, name: &str) -> anyhow::Result<()> {
        self.running(name)?.pause()
    }

    /// Thaws a process (SIGCONT), with its children.
    pub fn resume(&self, name: &str) -> anyhow::Result<()> {
        self.running(name)?.resume()
    }

    /// Asks a process to leave, and waits until it has.
    pub fn terminate(&self, name: &str) -> anyhow::Result<()> {
        let member = self.member(name)?;
        let identity = self.running(name)?;
        anyhow::ensure!(
            identity.state() != Life::Stopped,
            "{name} is frozen and cannot leave: continue it first, or kill it"
        );
        // Postgres waits for its clients at SIGTERM.
        identity.signal(if member.kind == Kind::Postgres { Signal::INT } else { Signal::TERM })?;
        let deadline = Instant::now() + LEAVING;
        while identity.state() != Life::Gone {
            anyhow::ensure!(Instant::now() < deadline, "{name} has not left after {LEAVING:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        self.store.locked(|state| {
            state.member_mut(name)?.identity = None;
            Ok(())
        })
    }

    /// Starts a process that does not run, on the same ports and data, without waiting for it.
    pub fn start(&self, name: &str) -> anyhow::Result<()> {
        up::start(&self.store, name).map(drop)
    }

    /// Waits until a process serves those it is there for.
    pub fn wait_ready(&self, name: &str) -> anyhow::Result<()> {
        up::wait_ready(&self.store, name)
    }

    /// Brings a process back on the same ports and data, and waits until it is ready. One that runs is asked to leave first; one
    /// that is frozen is killed.
    pub fn restart(&self, name: &str) -> anyhow::Result<()> {
        match self.member(name)?.state() {
            Life::Running => self.terminate(name)?,
            Life::Stopped => self.kill9(name)?,
            Life::Gone => {}
        }
        self.start(name)?;
        self.wait_ready(name)
    }

    /// From its next start on the process has these variables beside what it inherits, and no others.
    pub fn set_environment(&self, name: &str, variables: &[(&str, &str)]) -> anyhow::Result<()> {
        self.store.locked(|state| {
            state.member_mut(name)?.line.set_environment(variables);
            Ok(())
        })
    }

    fn running(&self, name: &str) -> anyhow::Result<skywave_servers::Identity> {
        let member = self.member(name)?;
        let identity = member.identity().filter(|identity| identity.state() != Life::Gone);
        identity.with_context(|| format!("{name} is not running"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.ends
            && let Err(error) = self.end()
        {
            eprintln!("the cluster in {} was not ended: {error:#}", self.store.folder.path().display());
        }
    }
}
