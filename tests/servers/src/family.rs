//! A server with its children, frozen, thawed and killed together. Each child of Postgres leads a process group of its
//! own, so they are found as what they are: children.

use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use crate::stat::{stands_still, stat};
use crate::wait;

/// Freezes a process, and then its children: one that stands still makes no new ones. Returns the children.
pub fn freeze(parent: u32) -> anyhow::Result<Vec<u32>> {
    signal(parent, Signal::STOP)?;
    wait_still(&[parent])?;
    let children = children(parent)?;
    for child in &children {
        signal(*child, Signal::STOP)?;
    }
    wait_still(&children)?;
    Ok(children)
}

fn wait_still(processes: &[u32]) -> anyhow::Result<()> {
    wait::until("a frozen server to stand still", || {
        processes.iter().all(|process| stands_still(*process)).then_some(())
    })
}

pub fn thaw(parent: u32) -> anyhow::Result<()> {
    for child in children(parent)? {
        signal(child, Signal::CONT)?;
    }
    signal(parent, Signal::CONT)
}

pub fn kill(processes: &[u32]) {
    for process in processes {
        // One that has ended by itself is what was wanted.
        let _ = signal(*process, Signal::KILL);
    }
}

/// Waits until none of them runs any more. (Who adopts them may take its time to reap them; their memory is free.)
pub fn wait_gone(processes: &[u32]) -> anyhow::Result<()> {
    wait::until("the end of the server's children", || {
        let gone = |process: &u32| stat(*process).is_none_or(|stat| stat.is_over());
        processes.iter().all(gone).then_some(())
    })
}

fn signal(process: u32, signal: Signal) -> anyhow::Result<()> {
    let Some(process) = i32::try_from(process).ok().and_then(Pid::from_raw) else { return Ok(()) };
    match kill_process(process, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The processes that it has started itself.
pub fn children(parent: u32) -> anyhow::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(process) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if stat(process).is_some_and(|stat| stat.parent == parent) {
            found.push(process);
        }
    }
    Ok(found)
}
