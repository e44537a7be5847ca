//! One nats-server that a test may kill, freeze and start again on the same ports and files.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::Context;
use serde_json::Value;

use super::options::NatsOptions;
use crate::{Process, http, install, wait};

pub struct NatsServer {
    options: NatsOptions,
    process: Process,
}

impl NatsServer {
    /// Writes the configuration; nothing runs yet.
    pub fn prepare(options: NatsOptions) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&options.folder)?;
        let configuration = options.folder.join(format!("{}.conf", options.name));
        std::fs::write(&configuration, options.configuration())?;
        let log = options.folder.join(format!("{}.log", options.name));
        let process =
            Process::new(&format!("nats-server {}", options.name), install::nats::nats_server()?, log);
        let process = process.args(["--config".into(), configuration.into_os_string()]);
        Ok(Self { options, process })
    }

    /// Writes the configuration and starts the server, without waiting: members of a cluster need each other.
    pub fn launch(options: NatsOptions) -> anyhow::Result<Self> {
        let mut server = Self::prepare(options)?;
        server.process.start()?;
        Ok(server)
    }

    /// Starts the server and waits until it serves clients.
    pub fn start(options: NatsOptions) -> anyhow::Result<Self> {
        let mut server = Self::launch(options)?;
        server.wait_ready()?;
        Ok(server)
    }

    /// Waits until it serves clients (and, with JetStream, until that has a leader).
    pub fn wait_ready(&mut self) -> anyhow::Result<()> {
        let monitor = self.options.monitor;
        self.process.wait_ready(|| Self::serves(monitor))
    }

    /// Whether the server with this monitor serves clients.
    pub fn serves(monitor: SocketAddr) -> bool {
        http::get(monitor, "/healthz").is_ok_and(|(status, _)| status == 200)
    }

    pub fn options(&self) -> &NatsOptions {
        &self.options
    }

    /// `nats://HOST:PORT` (`tls://…` with TLS).
    pub fn url(&self) -> String {
        let scheme = if self.options.tls.is_some() { "tls" } else { "nats" };
        format!("{scheme}://{}", self.options.client)
    }

    /// One page of its monitor, e.g. `/varz`.
    pub fn monitor(&self, path: &str) -> anyhow::Result<Value> {
        let (status, body) = http::get(self.options.monitor, path)?;
        anyhow::ensure!(status == 200, "{path}: status {status}: {body}");
        Ok(serde_json::from_str(&body)?)
    }

    /// One number of its `/varz`.
    pub fn count(&self, name: &str) -> anyhow::Result<u64> {
        let page = self.monitor("/varz")?;
        page[name].as_u64().with_context(|| format!("no number {name} in /varz"))
    }

    /// The other members of its cluster that it has a route to.
    pub fn routes(&self) -> anyhow::Result<usize> {
        let page = self.monitor("/routez")?;
        let routes = page["routes"].as_array().map(Vec::as_slice).unwrap_or_default();
        // A pool of connections leads to each member.
        Ok(routes.iter().filter_map(|route| route["remote_id"].as_str()).collect::<BTreeSet<_>>().len())
    }

    /// The names of the other clusters that it can send to.
    pub fn gateways(&self) -> anyhow::Result<BTreeSet<String>> {
        let page = self.monitor("/gatewayz")?;
        // Inbound connections are spread over the members of a cluster; the outbound one is what it sends by.
        let outbound = page["outbound_gateways"].as_object();
        Ok(outbound.map(|all| all.keys().cloned().collect()).unwrap_or_default())
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Ends it without a chance to say good-bye.
    pub fn kill9(&mut self) -> anyhow::Result<()> {
        self.process.kill9()
    }

    /// Freezes it: its sockets stay open, nothing answers.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.process.pause()
    }

    pub fn resume(&self) -> anyhow::Result<()> {
        self.process.resume()
    }

    /// Starts it again on the same ports and files, killing it first if it runs, and waits until it serves clients.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.process.start_again()?;
        self.wait_ready()
    }

    /// Waits until it has routes to `members` other servers.
    pub fn wait_routes(&self, members: usize) -> anyhow::Result<()> {
        let what = format!("{members} routes of {}", self.process.name());
        wait::until(&what, || self.routes().is_ok_and(|routes| routes >= members).then_some(()))
    }

    /// Waits until it can send to each of the clusters `names`.
    pub fn wait_gateways(&self, names: &[String]) -> anyhow::Result<()> {
        let what = format!("gateways of {} to {names:?}", self.process.name());
        wait::until(&what, || {
            let found = self.gateways().unwrap_or_default();
            names.iter().all(|name| found.contains(name)).then_some(())
        })
    }
}
