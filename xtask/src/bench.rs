//! `cargo xtask bench`: a release build, then `skywave bench` with the arguments given; `bench cell` starts real servers
//! and hands over to `skywave-cell-bench`.

use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use crate::step;

/// All rows, on a slow machine.
const MEASURE: Duration = Duration::from_secs(2 * 3600);
/// A first build, on a slow machine.
const BUILD: Duration = Duration::from_secs(3600);

pub(crate) fn run(arguments: &[&str]) -> anyhow::Result<()> {
    match arguments {
        ["cell", options @ ..] if options.first().is_none_or(|option| option.starts_with("--")) => {
            cell(options)
        }
        arguments => {
            let arguments = if arguments.is_empty() { &["all"] } else { arguments };
            let mut command = step::cargo(&["run", "--release", "--package", "skywave", "--", "bench"]);
            step::run(command.args(arguments), MEASURE)
        }
    }
}

/// All of it optimised, the links too: they are part of what is measured.
fn cell(options: &[&str]) -> anyhow::Result<()> {
    let build = ["build", "--quiet", "--release"];
    let servers = ["--package", "skywave", "--package", "skywave-wan"];
    step::run(&mut step::cargo(&[&build[..], &servers[..]].concat()), BUILD)?;
    step::run(&mut step::cargo(&[&build[..], &["--package", "skywave-cell-bench"]].concat()), BUILD)?;
    let optimised = step::built()?.with_file_name("release");
    let mut command = Command::new(optimised.join("skywave-cell-bench"));
    step::run(command.args(options), MEASURE).context("not every aim was reached")
}
