//! The flags that every command with a configuration has, and loading with them.

use std::path::PathBuf;

use skywave_runtime::config::{self, ConfigError, FlagValue, Loaded, Source, Sources};

use super::{Role, Settings, check};

/// Variables of the client commands, which are no settings.
const RESERVED: &[&str] = &["SKYWAVE_URL", "SKYWAVE_TOKEN", "SKYWAVE_CONFIG", "SKYWAVE_SECRET"];

#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ConfigArgs {
    /// TOML file with settings; see docs/configuration.md
    #[arg(long, value_name = "FILE", env = "SKYWAVE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Set one key, e.g. --set limits.connections=50000 (may be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// A commit of the embedded store writes a page for each channel, however little is new in it: fewer commits are cheaper, and
/// what waits for the store is in the log beside it.
const DEV_PERSIST_MS: u64 = 250;

/// Loads the configuration (defaults, file, environment, `flags`) and checks what a process of this role uses of it.
/// Nothing is bound.
pub(crate) fn load(
    role: Role,
    args: &ConfigArgs,
    flags: Vec<FlagValue>,
) -> Result<Loaded<Settings>, ConfigError> {
    let assignments = args.set.iter().map(|text| {
        let (path, value) = text.split_once('=').unwrap_or((text, ""));
        FlagValue { flag: "--set".into(), path: path.trim().into(), value: value.into() }
    });
    let sources = Sources {
        file: args.config.clone(),
        environment: std::env::vars_os().collect(),
        reserved: RESERVED,
        flags: assignments.chain(flags).collect(),
    };
    let mut loaded: Loaded<Settings> = config::load(&sources)?;
    if role != Role::Dev && loaded.source("node.name") == Source::Default {
        loaded.value.node.name = role.name().to_owned();
    }
    if role == Role::Dev && loaded.source("core.persist_ms") == Source::Default {
        loaded.value.core.persist_ms = DEV_PERSIST_MS;
    }
    check::check(role, &loaded)?;
    Ok(loaded)
}
