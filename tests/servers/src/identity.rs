//! A process that is found again by a program which did not start it.
//!
//! A number alone is not enough: the kernel gives it away again. Number, time of start and boot together name one process, and
//! nothing is ever signalled that does not bear all three.

use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::stat::stat;
use crate::{family, wait};

/// One process of this machine, for as long as it has not been reaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub pid: u32,
    /// Clock ticks from the machine's start to the process's.
    pub started: u64,
    /// Which start of the machine.
    pub boot: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Running,
    /// Frozen by SIGSTOP.
    Stopped,
    Gone,
}

impl Identity {
    /// Of a process that runs now; `None` when there is none.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = stat(pid).filter(|stat| !stat.is_over())?;
        Some(Self { pid, started: stat.started, boot: boot() })
    }

    pub fn state(&self) -> State {
        self.reap();
        match stat(self.pid) {
            Some(stat) if stat.is_over() || stat.started != self.started || self.boot != boot() => {
                State::Gone
            }
            Some(stat) if stat.state == 'T' => State::Stopped,
            Some(_) => State::Running,
            None => State::Gone,
        }
    }

    /// Signals the process; one that is gone is left at that.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let Some(pid) = self.present() else { return Ok(()) };
        match kill_process(pid, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends the process and its children without a chance to say good-bye; returns when they are gone.
    pub fn kill9(&self) -> anyhow::Result<()> {
        if self.present().is_none() {
            return Ok(());
        }
        let children = family::freeze(self.pid)?;
        family::kill(&children);
        self.signal(Signal::KILL)?;
        self.wait_gone()?;
        family::wait_gone(&children)
    }

    /// Freezes the process and its children.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.present().map_or(Ok(()), |_| family::freeze(self.pid).map(drop))
    }

    /// Thaws the process and its children.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.present().map_or(Ok(()), |_| family::thaw(self.pid))
    }

    pub fn wait_gone(&self) -> anyhow::Result<()> {
        let gone = || (self.state() == State::Gone).then_some(());
        wait::until(&format!("the end of process {}", self.pid), gone)
    }

    fn present(&self) -> Option<Pid> {
        (self.state() != State::Gone).then(|| i32::try_from(self.pid).ok().and_then(Pid::from_raw))?
    }

    /// Lets the kernel forget it, if it has ended and was started by this very program.
    fn reap(&self) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            // Not a child of ours: then whoever adopted it does this.
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Process;

    fn sleeper(folder: &std::path::Path) -> Identity {
        let mut process = Process::new("sleeper", "sleep", folder.join("log")).args(["1000"]);
        process.start().unwrap();
        Identity::of(process.detach().unwrap()).unwrap()
    }

    #[test]
    fn a_process_is_frozen_thawed_and_killed_by_its_identity() {
        let folder = tempfile::tempdir().unwrap();
        let process = sleeper(folder.path());
        let state = |wanted| wait::until("its state", || (process.state() == wanted).then_some(())).unwrap();
        state(State::Running);
        process.pause().unwrap();
        state(State::Stopped);
        process.resume().unwrap();
        state(State::Running);
        process.kill9().unwrap();
        assert_eq!(process.state(), State::Gone);
        process.kill9().unwrap();
    }

    #[test]
    fn a_number_that_was_given_to_another_process_is_never_signalled() {
        let folder = tempfile::tempdir().unwrap();
        let process = sleeper(folder.path());
        let earlier = Identity { started: process.started - 1, ..process.clone() };
        let other_boot = Identity { boot: "another".into(), ..process.clone() };
        for stranger in [earlier, other_boot] {
            assert_eq!(stranger.state(), State::Gone);
            stranger.kill9().unwrap();
            stranger.pause().unwrap();
            stranger.signal(Signal::KILL).unwrap();
        }
        assert_ne!(process.state(), State::Gone);
        process.kill9().unwrap();
    }
}
