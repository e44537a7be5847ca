//! `skywave-cell-bench`: starts real servers and measures a cell on them, row by row. `cargo xtask bench cell` builds and calls it.
//!
//! - `one_cell` has one region, with one core if not told otherwise: throughput, latency, the store, memory for many channels;
//! - `two_regions` has two, with two cores and a slow link: what distance adds, an edge that dies, a core that dies;
//! - `generator` runs the rows of `skywave bench`, a process of its own;
//! - `table` collects all rows and prints them as they stand in `docs/benchmarks.md`.
//!
//! Never: measures in a process of its own what `skywave bench` can measure.
#![allow(clippy::print_stdout, reason = "a command line tool speaks on standard output")]

mod core_death;
mod generator;
mod one_cell;
mod table;
mod two_regions;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use skywave_cluster::ClusterOptions;

use table::Table;

/// Measure a cell on real NATS, Kafka, Postgres and Redis
#[derive(Debug, Clone, Parser)]
#[command(max_term_width = 110)]
struct Arguments {
    /// Only these rows (may be repeated)
    #[arg(long, value_enum)]
    only: Vec<Rows>,
    /// Rounds of each measurement; the median counts
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of load in each round
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Seconds of the load before latency beside it is measured: a broker that has just started compiles its own code for a
    /// minute, on the cores that are measured (0: none)
    #[arg(long, default_value_t = 20.0, value_name = "SECONDS")]
    warm_up: f64,
    /// Durable publishes a second beside those whose latency is measured; else half of what a cell must bear
    #[arg(long, value_name = "RATE")]
    load: Option<f64>,
    /// Cores of the one region's cell
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    cores: u8,
    /// Partitions of the log: as many as the cell may have cores
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    partitions: u32,
    /// Connections of a core to the broker for its appends; else as many as the product has without being told
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=64))]
    connections: Option<u32>,
    /// Clients of the edge that dies
    #[arg(long, default_value_t = 10_000)]
    clients: usize,
    /// Where the clusters' logs and data lie (a temporary folder without this)
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// The skywave program whose nodes are measured; else the one beside this program, which is the generator in any case
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Rows {
    /// Publishes a second, and latency under half of them
    Publish,
    /// From the log to Postgres
    Store,
    /// Memory of an edge for 100,000 channels
    Channels,
    /// What the way to another region adds
    Between,
    /// An edge dies
    Edge,
    /// A core dies
    Core,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("skywave-cell-bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let temporary = tempfile::Builder::new().prefix("skywave-bench-").tempdir()?;
    let folder = arguments.folder.clone().unwrap_or_else(|| temporary.path().to_owned());
    let mut table = Table::default();
    if [Rows::Publish, Rows::Store, Rows::Channels].iter().any(|rows| arguments.wants(*rows)) {
        let cell = arguments.cluster(folder.join("one-cell"), &["eu"], arguments.cores.into())?;
        one_cell::run(arguments, &cell, &mut table)?;
    }
    if [Rows::Between, Rows::Edge, Rows::Core].iter().any(|rows| arguments.wants(*rows)) {
        two_regions::run(
            arguments,
            &arguments.cluster(folder.join("two-regions"), &["eu", "us"], 2)?,
            &mut table,
        )?;
    }
    println!("\n{}", table.markdown());
    Ok(table.all_reached())
}

/// The skywave program beside this one.
fn own_program() -> anyhow::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("skywave"))
}

impl Arguments {
    fn wants(&self, rows: Rows) -> bool {
        self.only.is_empty() || self.only.contains(&rows)
    }

    fn program(&self) -> anyhow::Result<PathBuf> {
        match &self.binary {
            Some(binary) => Ok(binary.clone()),
            None => own_program(),
        }
    }

    /// One process sends what thousands of clients would: limits of one client are not the point.
    fn cluster(&self, folder: PathBuf, regions: &[&str], cores: usize) -> anyhow::Result<ClusterOptions> {
        let limits = "[log]\nlevel = 'warn'\n[limits]\nconnections = 19000\naddress_handshakes_per_second = 0\n\
            region_address_handshakes_per_minute = 0\nuser_publishes_per_minute = 0\nsubscriptions = 1000\n\
            publishes_per_second = 1000000\npublish_burst = 1000000\nrequests_per_second = 1000000\n\
            request_burst = 1000000\npending_requests = 65536\n";
        let mut core = format!("[log]\nlevel = 'warn'\n[kafka]\npartitions = {}\n", self.partitions);
        core.extend(self.connections.map(|number| format!("connections = {number}\n")));
        Ok(ClusterOptions {
            regions: regions.iter().map(|region| (*region).to_owned()).collect(),
            cores,
            binary: Some(self.program()?),
            optimised_brokers: true,
            end_on_interrupt: true,
            edge_settings: toml::from_str(limits)?,
            core_settings: toml::from_str(&core)?,
            ..ClusterOptions::new(folder)
        })
    }
}
