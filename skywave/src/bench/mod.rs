//! `skywave bench`: the rows of `docs/benchmarks.md`, measured on this machine.
//!
//! The server is a process of its own, pinned to one core; the generator is this process, pinned to another. Where a row
//! is about CPU per delivery, the plainest possible server ([`floor_server`]) gets the same load in the same run, round
//! by round in turns, and the quotient is the result: absolute figures drift from machine to machine.
//! Never: shares code with the server it measures, except the command line.

mod cores;
mod crowd;
mod dialog;
mod fleet;
mod floor_server;
mod frames;
mod latency;
mod load;
mod process;
mod report;
mod rows;
mod server;
mod speech;
mod tls;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};

use cores::Cores;
use report::Row;

/// Measure speed and memory on this machine: server on one core, load generator on another.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    options: Options,
}

/// How to measure.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Measuring")]
struct Options {
    /// Rounds of each measurement; the median counts
    #[arg(long, global = true, default_value_t = 5)]
    rounds: usize,
    /// Seconds of load in each round
    #[arg(long, global = true, default_value_t = 4.0)]
    seconds: f64,
    /// Connections of the memory and connect rows
    #[arg(long, global = true, default_value_t = 5_000)]
    connections: usize,
    /// Clients of the recover and moving rows
    #[arg(long, global = true, default_value_t = 10_000)]
    clients: usize,
    /// Folder for the servers' data, on the disk to be measured; a new folder is made in it and removed [default: the
    /// system's folder for temporary files]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Only rows of the fan-out whose name contains this
    #[arg(long, global = true, value_name = "TEXT")]
    only: Option<String>,
    /// Measure this build of skywave too in the fan-out rows, round by round in turns
    #[arg(long, global = true, value_name = "BINARY")]
    against: Option<PathBuf>,
    /// Print one JSON object per row instead of the table
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// CPU per delivery of the plainest possible server, under each fan-out load
    Floor,
    /// CPU per delivery of the relay, under the same loads, in multiples of the floor
    Fanout,
    /// Memory per idle connection with one subscription: ws, wss, WebTransport
    Memory,
    /// CPU for connect + authenticate + subscribe
    Connect,
    /// Durable publishes a second, synced to disk
    Publish,
    /// Many clients reconnect at once and recover what they missed
    Recover,
    /// Every row above
    All,
    /// Durable publishes a second of a cell that runs already, and latency under half of that
    Cell(rows::cell::Cell),
    /// How much later a publication arrives in another region, beyond what the link delays
    Between(rows::between::Between),
    /// How long until the clients of an edge that dies are delivered again at another one
    Moving(rows::moving::Moving),
    /// Memory of a running edge for very many channels
    Channels(rows::channels::Channels),
    /// From the log to the store of a cell that runs already: lag at a rate, and the most
    Storing(rows::storing::Storing),
    /// The yardstick itself; trusts every byte, for this benchmark only
    #[command(hide = true)]
    FloorServer {
        #[arg(long)]
        listen: SocketAddr,
    },
}

/// What every row needs.
struct Bench {
    cores: Cores,
    options: Options,
    rows: Vec<Row>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let What::FloorServer { listen } = args.what {
        return floor_server::run(listen);
    }
    use What::{Between, Cell, Channels, Moving, Storing};
    let pinned = !matches!(args.what, Cell(_) | Between(_) | Moving(_) | Channels(_) | Storing(_));
    let cores = if pinned { Cores::claim()? } else { Cores::unpinned() };
    let mut bench = Bench { cores, options: args.options, rows: Vec::new() };
    if cfg!(debug_assertions) {
        eprintln!("skywave bench: this is a debug build; its figures mean nothing");
    }
    match args.what {
        What::Floor => rows::fanout::floor(&mut bench)?,
        What::Fanout => rows::fanout::run(&mut bench)?,
        What::Memory => rows::memory::run(&mut bench)?,
        What::Connect => rows::connect::run(&mut bench)?,
        What::Publish => rows::publish::run(&mut bench)?,
        What::Recover => rows::recover::run(&mut bench)?,
        What::All => {
            let all: [fn(&mut Bench) -> anyhow::Result<()>; 5] = [
                rows::fanout::run,
                rows::memory::run,
                rows::connect::run,
                rows::publish::run,
                rows::recover::run,
            ];
            all.iter().try_for_each(|row| row(&mut bench))?;
        }
        Cell(cell) => rows::cell::run(&mut bench, &cell)?,
        Between(between) => rows::between::run(&mut bench, &between)?,
        Moving(moving) => rows::moving::run(&mut bench, &moving)?,
        Channels(channels) => rows::channels::run(&mut bench, &channels)?,
        Storing(storing) => rows::storing::run(&mut bench, &storing)?,
        What::FloorServer { .. } => {}
    }
    Ok(if bench.rows.iter().all(|row| row.reached) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Bench {
    fn round(&self) -> Duration {
        Duration::from_secs_f64(self.options.seconds)
    }

    /// A row is said as soon as it is known.
    fn report(&mut self, row: Row) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        if self.options.json {
            writeln!(out, "{}", serde_json::to_string(&row)?)?;
        } else {
            row.print(&mut out)?;
        }
        self.rows.push(row);
        Ok(())
    }

    /// A new data folder, removed when dropped.
    fn data(&self) -> anyhow::Result<tempfile::TempDir> {
        let parent = self.options.data.clone().unwrap_or_else(std::env::temp_dir);
        tempfile::Builder::new().prefix("skywave-bench-").tempdir_in(parent).context("making a data folder")
    }
}
