//! Finding servers, and installing those that no package of the system brings.
//!
//! What is installed lives in one folder for all who use it (`$SKYWAVE_SERVERS`, else `~/.cache/skywave/servers`) and is
//! made once: in a folder of another name, which is then renamed, so that two at once do each other no harm.

pub mod kafka;
pub mod nats;
pub mod postgres;
pub mod redis;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

/// The folder `name` among the installed servers; `install` fills it when it is not there yet.
pub(crate) fn once(name: &str, install: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<PathBuf> {
    let servers = servers()?;
    let installed = servers.join(name);
    if installed.is_dir() {
        return Ok(installed);
    }
    std::fs::create_dir_all(&servers)?;
    let fresh = tempfile::Builder::new().prefix(".installing-").tempdir_in(&servers)?;
    install(fresh.path()).with_context(|| format!("installing {name}"))?;
    // Made for the starter alone until now; a server that runs as another user must get at it too.
    std::fs::set_permissions(fresh.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    match std::fs::rename(fresh.path(), &installed) {
        Ok(()) => _ = fresh.keep(),
        // Another has been faster; a folder that is not empty cannot be renamed over.
        Err(_) if installed.is_dir() => {}
        Err(error) => return Err(error).context(format!("moving {name} to {}", installed.display())),
    }
    Ok(installed)
}

fn servers() -> anyhow::Result<PathBuf> {
    match (std::env::var_os("SKYWAVE_SERVERS"), std::env::var_os("HOME")) {
        (Some(servers), _) => Ok(servers.into()),
        (None, Some(home)) => Ok(Path::new(&home).join(".cache/skywave/servers")),
        (None, None) => {
            anyhow::bail!("neither SKYWAVE_SERVERS nor HOME says where servers are to be installed")
        }
    }
}

/// The first program of this name on the path.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// Runs Debian's package tool, which only root may.
pub(crate) fn apt(arguments: &[&str]) -> anyhow::Result<()> {
    // Two at once wait for each other at apt's own lock.
    let output = Command::new("apt-get")
        .args(["-o", "DPkg::Lock::Timeout=300"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output()
        .context("starting apt-get")?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "apt-get {} failed: {said}", arguments.join(" "));
    Ok(())
}

/// Runs a program to its end; the error shows what it said.
pub(crate) fn run(program: impl AsRef<OsStr>, arguments: &[&OsStr], folder: &Path) -> anyhow::Result<String> {
    let program = program.as_ref();
    let output = Command::new(program).args(arguments).current_dir(folder).output();
    let output = output.with_context(|| format!("running {program:?}: is it installed?"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(
        output.status.success(),
        "{program:?} {arguments:?}: {}\n{said}{complained}",
        output.status
    );
    Ok(said)
}
