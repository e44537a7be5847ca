//! The command line, parsed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::link::{Duration, Rate, Share};

/// Three regions on this machine, from real processes: to develop with, and to break
#[derive(Debug, Parser)]
#[command(name = "cargo xtask cluster", bin_name = "cargo xtask cluster", max_term_width = 110, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Where everything the cluster writes lies
    #[arg(long, value_name = "DIR", default_value = ".cluster", global = true)]
    pub(crate) folder: PathBuf,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask cluster up --distances       eu, us and asia, as far apart as they are
  cargo xtask cluster status
  cargo xtask cluster link eu us --delay 150ms --jitter 50ms --loss 2%
  cargo xtask cluster link eu us --cut     … --heal
  cargo xtask cluster kill eu-core-1       … restart eu-core-1
  cargo xtask cluster restart us           every process of a region, one after the other
  cargo xtask cluster down

.cluster/cluster.json says where everything is. More in docs/cluster.md.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a cluster and return when all of it is ready
    Up(Up),
    /// End every process that `up` or `restart` started, and nothing else
    Down,
    /// Show processes and links
    Status,
    /// kill -9
    Kill {
        /// A process, or a region for all of its processes
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Freeze (SIGSTOP)
    Stop {
        /// A process, or a region for all of its processes
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Thaw (SIGCONT)
    Continue {
        /// A process, or a region for all of its processes
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Ask to leave (SIGTERM) and wait until that is done
    Terminate {
        /// A process, or a region for all of its processes
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Bring back on the same ports and data; what runs is asked to leave first. Several are restarted one after the other
    Restart {
        /// A process, or a region for all of its processes
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Change a link between two regions, or show it
    Link(Link),
    /// Show what a process has said
    Logs {
        name: String,
        /// So many lines from its end
        #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
        lines: usize,
        /// Go on as it says more
        #[arg(short, long)]
        follow: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Regions; the first is the home of the log, the store and the cores
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "eu,us,asia")]
    pub(crate) regions: Vec<String>,
    /// Edges in each region
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) edges: usize,
    /// Cores at home
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) cores: usize,
    /// nats-servers in each region
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) nats: usize,
    /// Kafka brokers at home
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) brokers: usize,
    /// Delays between the regions as they really are, to begin with
    #[arg(long)]
    pub(crate) distances: bool,
    /// Links inside the regions too, between each edge or core and each server it uses
    #[arg(long)]
    pub(crate) inner_links: bool,
    /// Go on with what the last cluster here has stored
    #[arg(long)]
    pub(crate) keep_data: bool,
    /// First port of the edges; where one is taken, any free one. 0: any free ones
    #[arg(long, value_name = "PORT", default_value_t = 8101)]
    pub(crate) port: u16,
    /// Take (and with `cargo xtask`, first make) the optimised build of skywave
    #[arg(long, conflicts_with = "binary")]
    pub(crate) release: bool,
    /// The skywave program [default: the one that is built with this command]
    #[arg(long, value_name = "FILE")]
    pub(crate) binary: Option<PathBuf>,
    /// A setting of every edge, as in its configuration file: `limits.connections=100`
    #[arg(long = "edge-set", value_name = "KEY=VALUE")]
    pub(crate) edge_settings: Vec<String>,
    /// A setting of every core
    #[arg(long = "core-set", value_name = "KEY=VALUE")]
    pub(crate) core_settings: Vec<String>,
    /// Where the links' generator of chance begins
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}

#[derive(Debug, Args)]
#[command(after_help = LINK_HELP)]
pub(crate) struct Link {
    /// A region (or, with inner links, a process)
    pub(crate) from: String,
    /// The other one; without it, every link of the first
    pub(crate) to: Option<String>,
    /// One-way delay: 40ms, 1.5s
    #[arg(long, value_name = "TIME")]
    pub(crate) delay: Option<Duration>,
    /// Delays vary by so much up and down
    #[arg(long, value_name = "TIME")]
    pub(crate) jitter: Option<Duration>,
    /// Share of packets lost: 1%
    #[arg(long, value_name = "PERCENT")]
    pub(crate) loss: Option<Share>,
    /// Share of datagrams that arrive twice
    #[arg(long, value_name = "PERCENT")]
    pub(crate) duplicate: Option<Share>,
    /// Datagrams of more bytes vanish; 0: none do
    #[arg(long, value_name = "BYTES")]
    pub(crate) mtu: Option<usize>,
    /// Throughput each way: 10mbit, 500kbit; 0: unlimited
    #[arg(long, value_name = "RATE")]
    pub(crate) rate: Option<Rate>,
    /// Nothing passes any more
    #[arg(long, conflicts_with = "heal")]
    pub(crate) cut: bool,
    /// What was cut goes on
    #[arg(long)]
    pub(crate) heal: bool,
    /// Reset the connections that go over it
    #[arg(long)]
    pub(crate) sweep: bool,
    /// Back to a line without faults, before anything else that is said here
    #[arg(long)]
    pub(crate) perfect: bool,
    /// Only from the first to the second
    #[arg(long, requires = "to")]
    pub(crate) one_way: bool,
}

const LINK_HELP: &str = "\
What is not named stays as it is. Without any change, the link is shown.

Examples:
  cargo xtask cluster link eu us --delay 40ms --jitter 5ms --loss 1%
  cargo xtask cluster link eu us --cut --one-way      what eu sends does not reach us
  cargo xtask cluster link eu us --heal --sweep       old connections are reset
  cargo xtask cluster link asia --cut                 asia is alone
  cargo xtask cluster link eu us --perfect";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Arguments::command().debug_assert();
    }
}
