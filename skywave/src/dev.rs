//! Run a whole relay in this process.

use std::process::ExitCode;

/// Run a whole relay in this process.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not available in this build")
}
