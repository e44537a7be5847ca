//! `skywave core`: one of the nodes beside the log of a cell. Kafka is the log, Postgres the store, NATS the bus.

mod dead_letters;
mod events;
mod serve;
mod topics;

use std::net::SocketAddr;
use std::process::ExitCode;

use crate::serving;
use crate::settings::{ConfigArgs, Role};

/// Run a core: order and history, over Kafka, Postgres and NATS
#[derive(Debug, Default, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Address for health checks and metrics [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    config: ConfigArgs,
}

const EXAMPLES: &str = "\
Examples:
  skywave core --config cell.toml
  skywave core --config cell.toml --listen 0.0.0.0:8081
  SKYWAVE_POSTGRES__PASSWORD=… skywave core --config cell.toml

Servers may start in any order: a core waits for NATS, Kafka and Postgres at its start, for at most node.start_seconds, and
then ends with exit code 2 and says which one is missing. On SIGTERM it stores what it has and hands its partitions over, for
at most core.stop_ms; on a second signal it ends at once, and the next owner replays the log.";

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    serving::run(Role::Core, &args.config, Role::Core.listen_flag(args.listen), 0, serve::serve)
}
