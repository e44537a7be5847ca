//! `cargo xtask faults`: builds what it needs and hands over to `skywave-faults`; whatever becomes of that, no process of its
//! cluster is left.

use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use crate::{step, workspace};

/// A first build, on a slow machine.
const BUILD: Duration = Duration::from_secs(3600);
/// All faults in full length.
const PLAY: Duration = Duration::from_secs(2 * 3600);
/// The short ones, on a machine that has other things to do.
const PLAY_SHORT: Duration = Duration::from_secs(30 * 60);
const SWEEP: Duration = Duration::from_secs(60);
/// What `--report` without a file means.
const DOCUMENT: &str = "docs/reliability.md";

/// Builds, and plays.
pub(crate) fn run(arguments: &[&str]) -> anyhow::Result<()> {
    let mut build = vec!["build", "--quiet"];
    for package in ["skywave", "skywave-wan", "skywave-faults"] {
        build.extend(["--package", package]);
    }
    step::run(&mut step::cargo(&build), BUILD)?;
    play(arguments)
}

/// Plays with what has been built.
pub(crate) fn play(arguments: &[&str]) -> anyhow::Result<()> {
    let program = step::built()?.join("skywave-faults");
    let mut command = Command::new(&program);
    let folder = step::built()?.with_file_name("faults");
    if !arguments.iter().any(|argument| argument.starts_with("--folder")) {
        command.arg("--folder").arg(&folder);
    }
    let document = workspace::root().join(DOCUMENT);
    for (at, argument) in arguments.iter().enumerate() {
        command.arg(argument);
        let alone = arguments.get(at + 1).is_none_or(|next| next.starts_with("--"));
        if *argument == "--report" && alone {
            command.arg(&document);
        }
    }
    let limit = if arguments.contains(&"--short") { PLAY_SHORT } else { PLAY };
    let played = step::run(&mut command, limit).context("not everything held");
    // It ends its cluster itself, unless it was ended before: because it hung, say.
    let swept = step::run(Command::new(program).arg("--folder").arg(&folder).arg("--sweep"), SWEEP);
    played.and(swept)
}
