//! `cargo xtask bench`: a release build, then `skywave bench` with the arguments given.

use std::time::Duration;

use crate::step;

pub(crate) fn run(arguments: &[&str]) -> anyhow::Result<()> {
    let arguments = if arguments.is_empty() { &["all"] } else { arguments };
    let mut command = step::cargo(&["run", "--release", "--package", "skywave", "--", "bench"]);
    step::run(command.args(arguments), Duration::from_secs(2 * 3600))
}
