//! Print what is published.

use std::process::ExitCode;

/// Print what is published.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not available in this build")
}
