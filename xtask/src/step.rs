//! Running one command of a longer list: in a process group of its own, under a time limit, and leaving nothing behind.

use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::workspace;

/// How often a running step is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// `cargo ARGUMENTS` in the workspace's root, by the very cargo that runs xtask.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(arguments).current_dir(workspace::root());
    command
}

/// Where this build's programs are: beside this very one.
pub(crate) fn built() -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe()?;
    Ok(here.parent().context("a program without a folder")?.to_owned())
}

/// Runs the command to its end, at most for `limit`; afterwards nothing it started is left.
///
/// Unattended, the command leads a process group of its own, so that what it forgot to stop can be found and ended. On a
/// terminal it stays in ours: Ctrl-C must reach it.
pub(crate) fn run(command: &mut Command, limit: Duration) -> anyhow::Result<()> {
    let shown = format!("{command:?}");
    let unattended = !std::io::stdin().is_terminal();
    if unattended {
        command.process_group(0);
    }
    let mut child = command.spawn().with_context(|| format!("{shown} does not start"))?;
    let status = wait(&mut child, limit);
    if unattended {
        // ESRCH, an empty group, is the good case.
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
    } else if !matches!(status, Ok(Some(_))) {
        let _ = child.kill();
    }
    match status? {
        Some(status) if status.success() => Ok(()),
        Some(status) => anyhow::bail!("{shown}: {status}"),
        None => {
            let _ = child.wait();
            anyhow::bail!("{shown}: not done after {} minutes, ended", limit.as_secs() / 60)
        }
    }
}

fn wait(child: &mut Child, limit: Duration) -> anyhow::Result<Option<ExitStatus>> {
    let until = Instant::now() + limit;
    while Instant::now() < until {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(LOOK);
    }
    Ok(None)
}
