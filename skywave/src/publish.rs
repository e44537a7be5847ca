//! Publish to a channel.

use std::process::ExitCode;

/// Publish to a channel.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not available in this build")
}
