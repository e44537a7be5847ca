//! `cargo xtask`: the project's chores, as code. `test` is the README's test command and what CI runs.
//!
//! Owns no product code and is depended on by nothing. Needs a toolchain and nothing else: what the tests need beyond it
//! is installed, or asked for, by [`setup`].
#![allow(clippy::print_stdout, reason = "a command line tool speaks on standard output")]

mod bench;
mod cluster;
mod faults;
mod fuzz;
mod lint;
mod setup;
mod step;
mod suite;
mod workspace;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  test                  everything CI runs: formatting, lints, docs, all tests, clients, browser
  lint                  formatting, dependency direction and style only
  fuzz [--seconds N]    the protocol's fuzz targets, N seconds for each (default 60)
  bench [ARGS …]        release build, then `skywave bench ARGS`
  bench cell [--only ROWS]  the same of a cell, on real NATS, Kafka, Postgres and Redis (`bench cell --help`)
  faults [--short] [--report] [--only NAME]   kill, freeze and cut off real processes, and judge (`--list`)
  cluster COMMAND …     three regions on this machine: up, down, kill, link … (`cluster --help`)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["test"] => suite::run(),
        ["lint"] => lint::run(),
        ["fuzz"] => fuzz::run(60),
        ["fuzz", "--seconds", seconds] => match seconds.parse() {
            Ok(seconds) => fuzz::run(seconds),
            Err(_) => Err(anyhow::anyhow!("--seconds wants a whole number, not {seconds:?}")),
        },
        ["bench", rest @ ..] => bench::run(rest),
        ["cluster", rest @ ..] => cluster::run(rest),
        ["faults", rest @ ..] => faults::run(rest),
        ["--help" | "-h" | "help"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => Err(anyhow::anyhow!("unknown command\n\n{HELP}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
