//! `skywave check-config`: reads and checks a configuration exactly as a server would, and starts nothing.

use std::io::Write;
use std::process::ExitCode;

use skywave_runtime::config::FlagValue;

use crate::settings::{self, ConfigArgs, Role};

/// Check a configuration without starting anything
#[derive(Debug, Default, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// What shall run with it: each kind of process uses, and needs, other sections
    #[arg(long, value_enum, default_value_t)]
    role: Role,
    /// Print every setting in force, with where it comes from; secrets are redacted
    #[arg(long)]
    show: bool,
}

const EXAMPLES: &str = "\
Examples:
  skywave check-config --config skywave.toml
  skywave check-config --role core --config cell.toml
  SKYWAVE_EDGE__WORKERS=2 skywave check-config --show

Exit code 0: usable. 2: not, and the message says where and why.";

/// Exit code for a configuration that cannot be used.
const UNUSABLE: u8 = 2;

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let loaded = match settings::load(args.role, &args.config, Vec::<FlagValue>::new()) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("skywave: {error}");
            return Ok(ExitCode::from(UNUSABLE));
        }
    };
    if args.show {
        std::io::stdout().write_all(loaded.show().as_bytes())?;
    } else {
        eprintln!("The configuration is usable.");
    }
    Ok(ExitCode::SUCCESS)
}
