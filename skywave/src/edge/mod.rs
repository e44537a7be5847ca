//! `skywave edge`: one of many nodes that clients connect to. NATS is its bus, Redis what it shares with its region.

mod circuits;
mod serve;

use std::net::SocketAddr;
use std::process::ExitCode;

use crate::serving;
use crate::settings::{ConfigArgs, Role};

/// Run an edge: clients on one side, NATS and Redis on the other
#[derive(Debug, Default, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Address for HTTP and WebSocket; WebTransport takes the same port on UDP [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    config: ConfigArgs,
}

const EXAMPLES: &str = "\
Examples:
  skywave edge --config cell.toml
  skywave edge --config cell.toml --listen 0.0.0.0:8080 --set node.region=eu-central
  SKYWAVE_NATS__SERVERS=nats://nats-1:4222,nats://nats-2:4222 skywave edge

It waits for NATS at its start, for at most node.start_seconds. Without Redis it serves all the same: limits are then kept by
each node alone. On SIGTERM it asks its clients to move, over timing.drain_seconds; on a second signal it ends at once.";

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    // The bus's own runtime; every worker of the edge has one more.
    serving::run(Role::Edge, &args.config, Role::Edge.listen_flag(args.listen), 1, serve::serve)
}
