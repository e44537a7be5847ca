//! The client of a control socket: blocking, for command lines and tests.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use super::message::{Answer, ForwardSpec, Request, Status};
use crate::conditions::Change;

/// Longest wait for an answer; all of them come at once unless the process is frozen.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to running links. When a call returns, what it asked for is in effect.
pub struct Control {
    stream: BufReader<UnixStream>,
}

impl Control {
    pub fn connect(socket: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(socket)
            .with_context(|| format!("no links answer at {}", socket.display()))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Asks, and waits for the answer; an answer that says no is an error.
    pub fn ask(&mut self, request: &Request) -> anyhow::Result<Answer> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line).context("asking the links")?;
        let mut answer = String::new();
        let read = self.stream.read_line(&mut answer).context("waiting for the links")?;
        anyhow::ensure!(read > 0, "the links have ended");
        match serde_json::from_str(&answer).with_context(|| format!("not an answer: {answer}"))? {
            Answer::Error(reason) => anyhow::bail!(reason),
            answer => Ok(answer),
        }
    }

    pub fn link(&mut self, a: &str, b: &str) -> anyhow::Result<()> {
        self.ask(&Request::Link { a: a.into(), b: b.into() }).map(drop)
    }

    /// Adds a forward and says where it listens.
    pub fn forward(&mut self, spec: ForwardSpec) -> anyhow::Result<SocketAddr> {
        match self.ask(&Request::Forward(spec))? {
            Answer::Listening(address) => Ok(address),
            other => anyhow::bail!("not an answer to a forward: {other:?}"),
        }
    }

    pub fn remove(&mut self, name: &str) -> anyhow::Result<()> {
        self.ask(&Request::Remove { name: name.into() }).map(drop)
    }

    /// Changes a link both ways.
    pub fn shape(&mut self, a: &str, b: &str, change: Change) -> anyhow::Result<()> {
        self.ask(&Request::Shape { from: a.into(), to: b.into(), one_way: false, change }).map(drop)
    }

    /// Changes a link in one direction.
    pub fn shape_way(&mut self, from: &str, to: &str, change: Change) -> anyhow::Result<()> {
        self.ask(&Request::Shape { from: from.into(), to: to.into(), one_way: true, change }).map(drop)
    }

    /// Nothing passes any more, either way.
    pub fn cut(&mut self, a: &str, b: &str) -> anyhow::Result<()> {
        self.shape(a, b, Change::cut(true))
    }

    /// What a cut has stopped goes on.
    pub fn heal(&mut self, a: &str, b: &str) -> anyhow::Result<()> {
        self.shape(a, b, Change::cut(false))
    }

    /// Resets every connection of a link and forgets its UDP peers.
    pub fn sweep(&mut self, a: &str, b: &str) -> anyhow::Result<()> {
        self.ask(&Request::Sweep { a: a.into(), b: b.into() }).map(drop)
    }

    pub fn status(&mut self) -> anyhow::Result<Status> {
        match self.ask(&Request::Status)? {
            Answer::Status(status) => Ok(status),
            other => anyhow::bail!("not an answer to status: {other:?}"),
        }
    }

    /// Ends the process that serves the links.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.ask(&Request::Stop).map(drop)
    }
}
