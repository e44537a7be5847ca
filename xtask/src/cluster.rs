//! `cargo xtask cluster`: builds what it needs and hands over to `skywave-cluster`, which does the work: xtask itself stays
//! quick to build.

use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use crate::{step, workspace};

/// A first build, on a slow machine.
const BUILD: Duration = Duration::from_secs(3600);

/// Hands over; how that ended is how we end.
pub(crate) fn run(arguments: &[&str]) -> anyhow::Result<()> {
    let up = arguments.contains(&"up");
    let release = arguments.contains(&"--release");
    let mut build = vec!["build", "--quiet", "--package", "skywave-cluster", "--bin", "skywave-cluster"];
    if up {
        build.extend(["--package", "skywave-wan", "--bin", "skywave-wan"]);
        if !release {
            build.extend(["--package", "skywave", "--bin", "skywave"]);
        }
    }
    step::run(&mut step::cargo(&build), BUILD)?;
    if up && release {
        step::run(&mut step::cargo(&["build", "--release", "--package", "skywave", "--quiet"]), BUILD)?;
    }
    let mut command = Command::new(step::built()?.join("skywave-cluster"));
    if !arguments.iter().any(|argument| argument.starts_with("--folder")) {
        // The same cluster wherever in the repository this is called.
        command.arg("--folder").arg(workspace::root().join(".cluster"));
    }
    let status = command.args(arguments).status().context("skywave-cluster does not start")?;
    if status.success() {
        return Ok(());
    }
    // It has said itself what went wrong.
    std::process::exit(status.code().unwrap_or(1))
}
