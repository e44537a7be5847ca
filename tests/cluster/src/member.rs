//! One process of a cluster: what it is, how it is started, how it is found again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use skywave_servers::{CommandLine, Identity, Process, State};

use crate::ready::Ready;

/// What a process is. The order is that of starting; the end comes the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Wan,
    Nats,
    Redis,
    Kafka,
    Postgres,
    Core,
    Edge,
}

impl Kind {
    /// Its list in `cluster.json`.
    pub(crate) fn list(self) -> &'static str {
        match self {
            Self::Wan => "wan",
            Self::Nats => "nats",
            Self::Redis => "redis",
            Self::Kafka => "kafka",
            Self::Postgres => "postgres",
            Self::Core => "core",
            Self::Edge => "edges",
        }
    }
}

/// How a process stands at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub state: State,
    /// It serves those it is there for.
    pub ready: bool,
}

/// A process of the cluster, whether it runs or not. Everything but `identity` stays as it is for the cluster's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub name: String,
    /// The links' own process is in none.
    pub region: Option<String>,
    pub kind: Kind,
    pub(crate) line: Line,
    pub(crate) ready: Ready,
    /// Where it is reached, by what it is reached with: `http`, `ws`, `url` …
    pub addresses: BTreeMap<String, String>,
    pub(crate) identity: Option<Known>,
}

/// A command line as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    user: Option<(u32, u32)>,
    pub(crate) log: PathBuf,
    hidden: Option<String>,
}

/// An [`Identity`] as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) pid: u32,
    started: u64,
    boot: String,
}

impl Line {
    /// The line of a process that others have prepared, with its log at `log`.
    pub(crate) fn of(process: &Process, log: PathBuf) -> anyhow::Result<Self> {
        let text = |text: &std::ffi::OsString| {
            text.clone().into_string().map_err(|text| anyhow::anyhow!("{text:?} is not text"))
        };
        let line = process.line();
        let environment = line.environment.iter().map(|(name, value)| Ok((text(name)?, text(value)?)));
        Ok(Self {
            program: line.program.clone(),
            arguments: line.arguments.iter().map(text).collect::<anyhow::Result<_>>()?,
            environment: environment.collect::<anyhow::Result<_>>()?,
            user: line.user,
            log,
            hidden: line.hidden.clone(),
        })
    }

    pub(crate) fn set_environment(&mut self, variables: &[(&str, &str)]) {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        self.environment = variables.iter().map(owned).collect();
    }

    fn command(&self, name: &str) -> CommandLine {
        CommandLine {
            name: name.to_owned(),
            program: self.program.clone(),
            arguments: self.arguments.iter().map(Into::into).collect(),
            environment: self.environment.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            hidden: self.hidden.clone(),
            user: self.user,
            log: self.log.clone(),
        }
    }
}

impl Member {
    pub fn log(&self) -> &std::path::Path {
        &self.line.log
    }

    /// Its process id, if it was started and not killed since.
    pub fn pid(&self) -> Option<u32> {
        self.identity.as_ref().map(|known| known.pid)
    }

    /// One of its addresses, parsed; of `http://127.0.0.1:80/x`, the host and port.
    pub fn address(&self, name: &str) -> anyhow::Result<SocketAddr> {
        let text = self.addresses.get(name).with_context(|| format!("{} has no {name}", self.name))?;
        let rest = text.split_once("://").map_or(text.as_str(), |(_, rest)| rest);
        let rest = rest.split_once('/').map_or(rest, |(host, _)| host);
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        host.parse().with_context(|| format!("{text} names no address"))
    }

    pub fn state(&self) -> State {
        self.identity().map_or(State::Gone, |identity| identity.state())
    }

    pub fn standing(&self) -> Standing {
        let state = self.state();
        Standing { state, ready: state == State::Running && self.ready.holds() }
    }

    pub(crate) fn identity(&self) -> Option<Identity> {
        let Known { pid, started, boot } = self.identity.clone()?;
        Some(Identity { pid, started, boot })
    }

    /// Starts it, to run on when this program has ended.
    pub(crate) fn start(&mut self) -> anyhow::Result<Identity> {
        let mut process = Process::from(self.line.command(&self.name));
        process.start()?;
        let pid = process.detach()?;
        let identity = Identity::of(pid)
            .with_context(|| format!("{} ended at once; {}", self.name, self.last_words()))?;
        let Identity { pid, started, boot } = identity.clone();
        self.identity = Some(Known { pid, started, boot });
        Ok(identity)
    }

    /// The end of its log, for the report of a failure.
    pub fn last_words(&self) -> String {
        let log = Process::from(self.line.command(&self.name)).log();
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(20);
        format!("its log ({}) ends:\n{}", self.line.log.display(), lines[from..].join("\n"))
    }
}
