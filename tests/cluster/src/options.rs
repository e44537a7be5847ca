//! What a cluster is to consist of.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;

/// Three regions, unless told otherwise: two edges in each, and the cell in the first.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Everything the cluster writes lies here; made if it is not there.
    pub folder: PathBuf,
    /// The first is the home of the cell: it has the log, the store and the cores.
    pub regions: Vec<String>,
    /// For each region.
    pub nats: usize,
    /// For each region.
    pub edges: usize,
    /// Whether there is a cell at all: Kafka, Postgres and the cores.
    pub cell: bool,
    pub cores: usize,
    pub brokers: usize,
    /// Also put links between the processes inside a region, each named after the two it joins.
    pub inner_links: bool,
    /// Delays between the regions as between Frankfurt, Virginia and Tokyo, to begin with.
    pub distances: bool,
    /// Brokers sync each batch: then what they acknowledge survives a power cut without copies.
    pub flush_each: bool,
    /// Brokers as Kafka's own scripts start them, with more memory: for measurements.
    pub optimised_brokers: bool,
    /// Data of these does not lie in the folder but in these: by name, all brokers together as `eu-kafka`.
    pub elsewhere: BTreeMap<String, PathBuf>,
    /// Go on with what an earlier cluster in this folder has stored.
    pub keep_data: bool,
    /// The edges' ports for clients begin here, where they are free; 0: any free ports.
    pub port: u16,
    /// The `skywave` program; else the one beside this very program, or beside its folder.
    pub binary: Option<PathBuf>,
    /// Settings of every edge and of every core, over those that the cluster needs.
    pub edge_settings: toml::Table,
    pub core_settings: toml::Table,
    /// Configuration of every nats-server in its own syntax, before the rest: users, for example.
    pub nats_text: String,
    /// Where the links' generator of chance begins.
    pub seed: u64,
    /// From the first process on, an interrupt of this program ends the cluster, and then this program. Of several clusters
    /// that one program brings up, it ends the last.
    pub end_on_interrupt: bool,
}

impl ClusterOptions {
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            regions: ["eu", "us", "asia"].map(str::to_owned).into(),
            nats: 1,
            edges: 2,
            cell: true,
            cores: 2,
            brokers: 1,
            inner_links: false,
            distances: false,
            flush_each: false,
            optimised_brokers: false,
            elsewhere: BTreeMap::new(),
            keep_data: false,
            port: 0,
            binary: None,
            edge_settings: toml::Table::new(),
            core_settings: toml::Table::new(),
            nats_text: String::new(),
            seed: 1,
            end_on_interrupt: false,
        }
    }

    pub(crate) fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.regions.is_empty(), "a cluster has at least one region");
        for (at, region) in self.regions.iter().enumerate() {
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            let good = (1..=16).contains(&region.len()) && region.bytes().all(plain) && region != "wan";
            anyhow::ensure!(good, "region {region:?}: 1 to 16 small letters and digits, and not wan");
            anyhow::ensure!(!self.regions[..at].contains(region), "region {region} is named twice");
        }
        for (name, count) in [("nats", self.nats), ("brokers", self.brokers)] {
            anyhow::ensure!((1..=9).contains(&count), "{name}: {count} is not between 1 and 9");
        }
        for (name, count) in [("edges", self.edges), ("cores", self.cores)] {
            anyhow::ensure!(count <= 9, "{name}: {count} is more than 9");
        }
        Ok(())
    }

    pub(crate) fn home(&self) -> &str {
        &self.regions[0]
    }

    /// The program `name`, which is built together with this one.
    pub(crate) fn program(&self, name: &str) -> anyhow::Result<PathBuf> {
        if let Some(binary) = self.binary.as_ref().filter(|_| name == "skywave") {
            anyhow::ensure!(binary.is_file(), "there is no {}", binary.display());
            return Ok(std::path::absolute(binary)?);
        }
        let own = std::env::current_exe()?;
        // A test lies one folder deeper.
        let folders = own.ancestors().skip(1).take(2);
        let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
        found
            .with_context(|| format!("no {name} beside {}: run `cargo build -p {name}` first", own.display()))
    }
}
