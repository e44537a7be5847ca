//! Check a configuration without starting anything.

use std::process::ExitCode;

/// Check a configuration without starting anything.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not available in this build")
}
