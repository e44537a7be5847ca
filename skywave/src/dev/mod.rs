//! `skywave dev`: a whole relay in one process, with SQLite as log and store.
//!
//! In this order, so that whatever is wrong is said before anything is touched: settings are read and checked, the port
//! is tried, the data folder is opened, the core replays its log, and only then clients are let in. At the end the edge
//! goes first, then the core writes what it has, so that nothing acknowledged waits behind something that has stopped.

mod banner;
mod serve;
mod trouble;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use skywave_runtime::config::FlagValue;

use crate::serving;
use crate::settings::{ConfigArgs, Role};

/// Run a whole relay in this process, with everything embedded
#[derive(Debug, Default, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Address for HTTP and WebSocket; WebTransport takes the same port on UDP [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Folder for the data; one process per folder [default: ./data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

const EXAMPLES: &str = "\
Examples:
  skywave dev
  skywave dev --listen 0.0.0.0:9000 --data /var/lib/skywave
  skywave dev --config skywave.toml --set limits.connections=50000
  SKYWAVE_EDGE__LISTEN=127.0.0.1:0 skywave dev        a free port; the banner says which

Anonymous clients are allowed unless auth.anonymous is set to false.
Logs go to standard error; RUST_LOG or log.level chooses what is logged.";

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut flags = Vec::new();
    let mut flag = |flag: &str, path: &str, value: Option<String>| {
        flags.extend(value.map(|value| FlagValue { flag: flag.into(), path: path.into(), value }));
    };
    flag("--listen", "edge.listen", args.listen.map(|address| address.to_string()));
    flag("--data", "data.folder", args.data.map(|folder| folder.to_string_lossy().into_owned()));
    // The core's own runtime; every worker of the edge has one more. SQLite works in threads of its own.
    serving::run(Role::Dev, &args.config, flags, 1, serve::serve)
}
