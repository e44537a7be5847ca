//! The cell under test, and hands on its parts.

use std::net::SocketAddr;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use skywave_cluster::{Cluster, ClusterOptions, Kind, Member};
use skywave_harness::{Socket, http, token, wait};
use tempfile::TempDir;

use crate::backend::{self, Backend};
use crate::{live_json, rights};

pub(crate) const REGION: &str = "eu";
pub(crate) const CORES: [&str; 2] = ["eu-core-1", "eu-core-2"];
pub(crate) const EDGES: [&str; 2] = ["eu-edge-1", "eu-edge-2"];
/// Of the log, as a cell has them by default.
pub(crate) const PARTITIONS: usize = 8;

pub(crate) struct Cell {
    pub(crate) cluster: Cluster,
    _folder: TempDir,
}

impl Cell {
    /// Two edges, two cores and one of each server, all ready.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("skywave-cell-").tempdir()?;
        // Members of a dead edge are forgotten within seconds, and little need wait for the store until it is too much.
        let edge = format!(
            "[events]\nactivity = true\nsystem = true\n[timing]\npresence_beat_seconds = 1\npresence_lease_seconds = 3\ndrain_seconds = 1\n{}{}",
            live_json::SETTINGS,
            rights::settings("edge")
        );
        let core = format!(
            "[core]\nunpersisted_records = 2000\n[node]\nstart_seconds = 20\n[events]\nactivity = true\nsystem = true\n{}{}{}",
            backend::TOPICS,
            live_json::SETTINGS,
            rights::settings("core")
        );
        let options = ClusterOptions {
            regions: vec![REGION.to_owned()],
            edge_settings: toml::from_str(&edge)?,
            core_settings: toml::from_str(&core)?,
            nats_text: rights::users(),
            ..ClusterOptions::new(folder.path().join("cell"))
        };
        let cluster = Cluster::up(&options)?;
        // The cores wait for it: it is not theirs to make.
        drop(Backend::open(&cluster)?);
        Ok(Self { cluster, _folder: folder })
    }

    /// Where clients of an edge connect, or a core's health is asked.
    pub(crate) fn address(&self, name: &str) -> anyhow::Result<SocketAddr> {
        self.cluster.member(name)?.address("http")
    }

    /// A raw connection to an edge.
    pub(crate) fn connect(&self, edge: &str, user: &str) -> anyhow::Result<Socket> {
        Socket::connect(self.address(edge)?, Some(&self.token(user)?))
    }

    pub(crate) fn token(&self, user: &str) -> anyhow::Result<String> {
        let secret = std::fs::read_to_string(self.cluster.secret_file())?;
        let claims = serde_json::json!({ "sub": user, "iat": token::now(), "exp": token::now() + 3_600 });
        Ok(token::signed(&claims, secret.trim_end()))
    }

    /// Asks a node to leave, and does not wait for it.
    pub(crate) fn terminate(&self, name: &str) -> anyhow::Result<()> {
        let pid = self.cluster.member(name)?.pid().with_context(|| format!("{name} has no process"))?;
        let pid = Pid::from_raw(i32::try_from(pid)?).context("no process id")?;
        Ok(kill_process(pid, Signal::TERM)?)
    }

    /// `/health/ready` of a node: its status and its body.
    pub(crate) fn health(&self, name: &str) -> anyhow::Result<(u16, Value)> {
        let answer = http::get(self.address(name)?, "/health/ready")?;
        Ok((answer.status, answer.json()?))
    }

    /// The sum of a metric of a node over all its labels, or one of its series if it is named with its labels.
    pub(crate) fn metric(&self, name: &str, metric: &str) -> anyhow::Result<f64> {
        let text = http::get(self.address(name)?, "/metrics")?.text();
        let sample = |line: &str| {
            let (key, value) = line.rsplit_once(' ')?;
            (key == metric || key.split('{').next() == Some(metric)).then(|| value.parse::<f64>().ok())?
        };
        let samples: Vec<f64> = text.lines().filter_map(sample).collect();
        anyhow::ensure!(!samples.is_empty(), "{name} has no {metric}");
        Ok(samples.into_iter().sum())
    }

    /// Partitions that the cores say they serve, of sixteen.
    pub(crate) fn served(&self, core: &str) -> anyhow::Result<usize> {
        let (_, body) = self.health(core)?;
        let components = body["components"].as_array().cloned().unwrap_or_default();
        let partitions = components.iter().find(|it| it["name"] == "partitions");
        let detail = partitions.and_then(|it| it["detail"].as_str()).unwrap_or_default();
        Ok(detail
            .strip_prefix("serves ")
            .map_or(0, |rest| rest.split(" of ").next().map_or(0, |list| list.split(", ").count())))
    }

    /// Waits until every process serves, and the cores share the partitions.
    pub(crate) fn wait_whole(&self) -> anyhow::Result<()> {
        for member in self.cluster.members()? {
            wait::until(&format!("{} to serve", member.name), || member_serves(&self.cluster, &member.name))?;
        }
        wait::until("the cores to share the partitions", || {
            let served = CORES.map(|core| self.served(core).unwrap_or(0));
            (served == [PARTITIONS / 2; 2]).then_some(())
        })
    }

    /// What the nodes have said last.
    pub(crate) fn last_words(&self) -> String {
        let said = |member: &Member| {
            let text = std::fs::read_to_string(member.log()).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let from = lines.len().saturating_sub(15);
            format!("--- {}\n{}", member.name, lines[from..].join("\n"))
        };
        let nodes = self.cluster.members().unwrap_or_default();
        let nodes = nodes.iter().filter(|member| matches!(member.kind, Kind::Core | Kind::Edge));
        nodes.map(said).collect::<Vec<_>>().join("\n")
    }
}

fn member_serves(cluster: &Cluster, name: &str) -> Option<()> {
    cluster.member(name).ok()?.standing().ready.then_some(())
}
