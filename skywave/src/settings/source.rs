//! The flags that every command with a configuration has, and loading with them.

use std::path::PathBuf;

use skywave_runtime::config::{self, ConfigError, FlagValue, Loaded, Sources};

use super::{Settings, check};

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

/// Loads and checks the configuration of this process: defaults, file, environment, `flags`. Nothing is bound.
pub(crate) fn load(args: &ConfigArgs, flags: Vec<FlagValue>) -> Result<Loaded<Settings>, ConfigError> {
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
    let loaded = config::load(&sources)?;
    check::check(&loaded)?;
    Ok(loaded)
}
