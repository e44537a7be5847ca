//! What a running process has used: CPU time and memory, read from `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::Context;

/// CPU time of all threads that are alive, in user and kernel mode, with nanosecond resolution.
///
/// A thread that ended takes its share along; the servers measured here keep their threads.
pub(super) fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let mut total = 0_u64;
    for task in fs::read_dir(format!("/proc/{pid}/task")).context("the server is gone")? {
        // A thread that ends between listing and reading counts as ended.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        total += text.split_whitespace().next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    }
    anyhow::ensure!(total > 0, "no schedstat of process {pid}: this kernel cannot measure");
    Ok(Duration::from_nanos(total))
}

/// Anonymous resident memory in bytes: heap and stacks, neither program text nor file pages.
pub(super) fn anonymous_memory(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the server is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().context("RssAnon is no number")?;
    Ok(kilobytes * 1024)
}
