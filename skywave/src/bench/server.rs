//! A server under measurement: a process of its own on its own core, killed when dropped.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::cores::Cores;
use super::process;

pub(super) struct Server {
    child: Child,
    pub(super) address: SocketAddr,
}

impl Server {
    /// The floor server, this very program under another subcommand.
    pub(super) fn floor(cores: Cores) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "floor-server", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
        let mut child = cores.on_server_core(|| command.spawn())?.context("starting the floor server")?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim().parse().context("the floor server did not say its address")?;
        Ok(Self { child, address })
    }

    /// The product: `dev` of `binary` with its data in `folder`, on `address`, configured by `config`; returns when it is
    /// ready.
    pub(super) fn product(
        cores: Cores,
        binary: &Path,
        folder: &Path,
        address: SocketAddr,
        config: &Path,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(binary);
        command.arg("dev").arg("--data").arg(folder).arg("--config").arg(config);
        let log = folder.with_extension("log");
        command.arg("--listen").arg(address.to_string()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let child = cores.on_server_core(|| command.spawn())?.context("starting the relay")?;
        let mut server = Self { child, address };
        match server.wait_ready(Duration::from_secs(20)) {
            Ok(()) => Ok(server),
            Err(error) => Err(error.context(std::fs::read_to_string(&log).unwrap_or_default())),
        }
    }

    fn wait_ready(&mut self, limit: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("the relay ended before it was ready: {status}");
            }
            if self.get("/health/ready").is_ok_and(|(status, _)| status == 200) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        anyhow::bail!("the relay is not ready after {limit:?}")
    }

    /// CPU time used so far.
    pub(super) fn cpu(&self) -> anyhow::Result<Duration> {
        process::cpu(self.child.id())
    }

    /// Anonymous memory in bytes.
    pub(super) fn memory(&self) -> anyhow::Result<u64> {
        process::anonymous_memory(self.child.id())
    }

    /// The sum of a metric over all its labels. A counter's `_total` is left out.
    pub(super) fn metric(&self, name: &str) -> anyhow::Result<f64> {
        metric_at(self.address, name)
    }

    /// A plain HTTP request: status and body.
    pub(super) fn get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        get_at(self.address, path)
    }

    /// Ends it the hard way, as a crash would.
    pub(super) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As [`Server::metric`], of any process.
pub(super) fn metric_at(address: SocketAddr, name: &str) -> anyhow::Result<f64> {
    let (status, text) = get_at(address, "/metrics")?;
    anyhow::ensure!(status == 200, "/metrics answers {status}");
    anyhow::ensure!(text.contains(&format!("# HELP {name}")), "there is no metric {name}");
    let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let (key, value) = line.rsplit_once(' ')?;
        let family = key.split('{').next().unwrap_or(key);
        (family.trim_end_matches("_total") == name).then(|| value.parse::<f64>().ok())?
    });
    Ok(samples.sum())
}

fn get_at(address: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split_whitespace().nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok((status, answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned()))
}

/// A port of this machine that was free a moment ago.
pub(super) fn free_port() -> anyhow::Result<SocketAddr> {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").context("looking for a free port")?;
    Ok(probe.local_addr()?)
}
