//! Redis: on the path, or from Debian's packages (as root only).

use std::path::PathBuf;

use anyhow::Context;

use super::{apt, on_path, once};

/// The program, in Debian's package of tools. The package of the server adds a link to it, but also starts a server at once.
const PROGRAM: &str = "redis-check-rdb";

/// The redis-server program: `$SKYWAVE_REDIS_SERVER`, one on the path, or the installed one.
pub fn redis_server() -> anyhow::Result<PathBuf> {
    if let Some(program) = std::env::var_os("SKYWAVE_REDIS_SERVER") {
        return Ok(program.into());
    }
    if let Some(program) = on_path("redis-server") {
        return Ok(program);
    }
    // It acts as the server when it is called by that name.
    Ok(once("redis", |folder| {
        let program = on_path(PROGRAM).map_or_else(install, Ok)?;
        Ok(std::os::unix::fs::symlink(program, folder.join("redis-server"))?)
    })?
    .join("redis-server"))
}

fn install() -> anyhow::Result<PathBuf> {
    anyhow::ensure!(
        rustix::process::geteuid().is_root() && on_path("apt-get").is_some(),
        "Redis is needed and not on the path: install it (Debian, Ubuntu: `sudo apt-get install redis-server`), or name \
         a redis-server in SKYWAVE_REDIS_SERVER"
    );
    apt(&["update", "-qq"])?;
    apt(&["install", "-y", "-qq", "--no-install-recommends", "redis-tools"])?;
    on_path(PROGRAM).with_context(|| format!("redis-tools is installed, but {PROGRAM} is not on the path"))
}
