//! `cargo xtask fuzz`: the protocol's fuzz targets for a chosen time. CI runs the same targets briefly as tests.
//!
//! With a nightly toolchain and cargo-fuzz the targets run under libFuzzer, guided by coverage; without them the same
//! bodies run under the seeded generator of `crates/protocol/tests/fuzz.rs`, which needs neither.

use std::process::Command;
use std::time::Duration;

use crate::{step, workspace};

/// Runs every target for so many seconds.
pub(crate) fn run(seconds: u64) -> anyhow::Result<()> {
    let folder = workspace::root().join("crates/protocol/fuzz");
    if !folder.join("Cargo.toml").exists() || !cargo_fuzz_works() {
        println!(
            "fuzz: no cargo-fuzz with a nightly toolchain; running the targets under the seeded generator"
        );
        let mut command =
            step::cargo(&["test", "--package", "skywave-protocol", "--test", "fuzz", "--release"]);
        command.env("SKYWAVE_FUZZ_SECONDS", seconds.to_string());
        return step::run(&mut command, Duration::from_secs(seconds * 32 + 1800));
    }
    let list = Command::new("cargo").args(["+nightly", "fuzz", "list"]).current_dir(&folder).output()?;
    for target in String::from_utf8_lossy(&list.stdout).lines() {
        println!("fuzz: {target}, {seconds} s");
        let mut command = Command::new("cargo");
        command.args(["+nightly", "fuzz", "run", target, "--", &format!("-max_total_time={seconds}")]);
        step::run(command.current_dir(&folder), Duration::from_secs(seconds + 1800))?;
    }
    Ok(())
}

fn cargo_fuzz_works() -> bool {
    let asked = Command::new("cargo").args(["+nightly", "fuzz", "--version"]).output();
    asked.is_ok_and(|output| output.status.success())
}
