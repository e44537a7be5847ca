//! Make or verify access tokens.

use std::process::ExitCode;

/// Make or verify access tokens.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not available in this build")
}
