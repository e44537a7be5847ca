//! `skywave token`: makes access tokens, and checks them exactly as an edge does.

mod capability;
mod key;
mod make;
mod verify;

use std::process::ExitCode;

/// Make an access token, or verify one
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Verify>,
    #[command(flatten)]
    make: make::MakeArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Verify {
    Verify(verify::VerifyArgs),
}

const EXAMPLES: &str = "\
Examples:
  openssl rand -base64 32 > secret
  skywave token --user ada --cap 'chat:*=subscribe,publish' --expires 1h --secret-file secret
  skywave token --user ada --cap '*=*' --key private.pem --kid 2026-01
  skywave token verify --secret-file secret eyJhbGciOi…

The relay accepts tokens of a secret file when its configuration says:
  [[auth.keys]]
  algorithm = \"HS256\"
  secret_file = \"secret\"

Operations: subscribe, publish, history, presence, or * for all of them. Without --cap the token names its user only,
and the namespaces' own access rules apply.";

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Some(Verify::Verify(args)) => verify::run(args),
        None => make::run(args.make),
    }
}
