//! What the kernel tells about a process.

use std::fs;
use std::path::Path;

pub(crate) struct Stat {
    process: u32,
    pub(crate) state: char,
    pub(crate) parent: u32,
    /// Clock ticks from the machine's start to the process's.
    pub(crate) started: u64,
}

impl Stat {
    /// It runs no more, though it may not have been reaped. The first thread may have ended before the others, which then
    /// still hold its files and ports.
    pub(crate) fn is_over(&self) -> bool {
        let threads = || fs::read_dir(format!("/proc/{}/task", self.process)).map_or(0, Iterator::count);
        self.state == 'X' || (self.state == 'Z' && threads() <= 1)
    }
}

/// `None`: there is no such process any more.
pub(crate) fn stat(process: u32) -> Option<Stat> {
    read(process, Path::new(&format!("/proc/{process}/stat")))
}

/// A thread's file is written as its process's is.
fn read(process: u32, file: &Path) -> Option<Stat> {
    let stat = fs::read_to_string(file).ok()?;
    // The name stands in brackets and may hold anything. What follows are fields 3 (state), 4 (parent) … 22 (started).
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    Some(Stat { process, state, parent, started })
}

/// Whether none of its threads runs: it was stopped, or is gone. A signal to stop is obeyed a moment after it was sent.
pub(crate) fn stands_still(process: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return true };
    threads.flatten().all(|thread| {
        // One that has ended meanwhile does not run either.
        let stat = read(process, &thread.path().join("stat"));
        stat.is_none_or(|stat| matches!(stat.state, 'T' | 't' | 'X' | 'Z'))
    })
}
