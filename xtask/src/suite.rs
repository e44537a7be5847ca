//! `cargo xtask test`: every check there is, cheapest first, each once; a summary with durations at the end.
//!
//! A failed step does not stop the later ones (one run shows everything that is wrong), except that nothing is run
//! after a failed set-up or against a build that failed.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::{faults, lint, setup, step, workspace};

/// A step that hangs is ended after this; all of them together stay far below it.
const LIMIT: Duration = Duration::from_secs(40 * 60);

struct Outcome {
    name: &'static str,
    took: Duration,
    error: Option<anyhow::Error>,
}

/// Runs the whole suite; an error when any step failed.
pub(crate) fn run() -> anyhow::Result<()> {
    let begin = Instant::now();
    let mut outcomes = Vec::new();
    if attempt(&mut outcomes, "set-up", setup::run) {
        attempt(&mut outcomes, "formatting", || cargo(&["fmt", "--all", "--check"]));
        attempt(&mut outcomes, "house rules", lint::house_rules);
        attempt(&mut outcomes, "clippy", || {
            cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
        });
        attempt(&mut outcomes, "documentation", documentation);
        // The binary first, in the profile of the tests: end-to-end tests start it.
        if attempt(&mut outcomes, "build", || cargo(&["build", "--workspace"])) {
            attempt(&mut outcomes, "cargo test", || cargo(&["test", "--workspace", "--no-fail-fast"]));
            attempt(&mut outcomes, "faults", || faults::play(&["--short"]));
            attempt(&mut outcomes, "edge in a browser", edge_in_a_browser);
            npm(&mut outcomes);
        }
    }
    summary(&outcomes, begin.elapsed())
}

fn documentation() -> anyhow::Result<()> {
    let mut command = step::cargo(&["doc", "--workspace", "--no-deps", "--quiet"]);
    step::run(command.env("RUSTDOCFLAGS", "-D warnings"), LIMIT)
}

/// The one Rust test that needs Chromium, and is therefore left out of a plain `cargo test`.
fn edge_in_a_browser() -> anyhow::Result<()> {
    let mut command = step::cargo(&["test", "--workspace", "--test", "chromium", "--", "--ignored"]);
    if let Some(chromium) = setup::chromium() {
        command.env("CHROMIUM", chromium);
    }
    step::run(&mut command, LIMIT)
}

/// The JavaScript client's tests, its checked-in build, and the browser's tests.
fn npm(outcomes: &mut Vec<Outcome>) {
    attempt(outcomes, "js client", || npm_run("clients/js", &["test"]));
    attempt(outcomes, "js client build", || npm_run("clients/js", &["run", "check-dist"]));
    attempt(outcomes, "browser", || npm_run("tests/browser", &["test"]));
}

fn npm_run(folder: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let path = workspace::root().join(folder);
    anyhow::ensure!(path.join("package.json").exists(), "{folder}/package.json is not there");
    let mut command = Command::new("npm");
    command
        .args(["--silent"])
        .args(arguments)
        .current_dir(path)
        .env("SKYWAVE_BIN", step::built()?.join("skywave"));
    if let Some(chromium) = setup::chromium() {
        command.env("SKYWAVE_CHROMIUM", chromium);
    }
    step::run(&mut command, LIMIT)
}

fn cargo(arguments: &[&str]) -> anyhow::Result<()> {
    step::run(&mut step::cargo(arguments), LIMIT)
}

/// Runs one step and notes how it went; true when it went well.
fn attempt(
    outcomes: &mut Vec<Outcome>,
    name: &'static str,
    work: impl FnOnce() -> anyhow::Result<()>,
) -> bool {
    println!("\n=== {name}");
    let begin = Instant::now();
    let error = work().err();
    if let Some(error) = &error {
        println!("=== {name} FAILED: {error:#}");
    }
    outcomes.push(Outcome { name, took: begin.elapsed(), error });
    outcomes.last().is_some_and(|outcome| outcome.error.is_none())
}

fn summary(outcomes: &[Outcome], took: Duration) -> anyhow::Result<()> {
    println!("\n=== summary");
    for outcome in outcomes {
        let verdict = if outcome.error.is_none() { "ok    " } else { "FAILED" };
        println!("{verdict} {:>7.1} s  {}", outcome.took.as_secs_f64(), outcome.name);
    }
    let failed = outcomes.iter().filter(|outcome| outcome.error.is_some()).count();
    println!(
        "{} steps in {:.1} s: {} passed, {failed} failed",
        outcomes.len(),
        took.as_secs_f64(),
        outcomes.len() - failed
    );
    anyhow::ensure!(failed == 0, "{failed} of {} steps failed", outcomes.len());
    Ok(())
}
