//! Runs rows of `skywave bench` against a cluster, and reads what they say.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;

use crate::{Arguments, own_program};

/// One row as `skywave bench --json` prints it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) measured: f64,
    pub(crate) unit: String,
    pub(crate) aim: Value,
    pub(crate) reached: bool,
    pub(crate) details: Vec<(String, f64)>,
}

/// A row that runs, and has asked for something to be done.
pub(crate) struct Running(Child);

/// Runs a row to its end.
pub(crate) fn rows(arguments: &Arguments, words: &[String]) -> anyhow::Result<Vec<Row>> {
    start(arguments, words, None)?.rows()
}

/// Starts a row; with `asks`, returns when it says that on standard error.
pub(crate) fn start(arguments: &Arguments, words: &[String], asks: Option<&str>) -> anyhow::Result<Running> {
    println!("\n{}", words.join(" "));
    let mut command = Command::new(own_program()?);
    command.args(["bench", "--json"]).args(words);
    command.args(["--rounds", &arguments.rounds.to_string(), "--seconds", &arguments.seconds.to_string()]);
    command.args(["--clients", &arguments.clients.to_string()]).stdout(Stdio::piped());
    if asks.is_some() {
        command.stderr(Stdio::piped());
    }
    let mut running = Running(command.spawn().context("skywave bench does not start")?);
    if let Some(asks) = asks {
        let lines = BufReader::new(running.0.stderr.take().context("no standard error")?).lines();
        let mut said = Vec::new();
        for line in lines {
            let line = line?;
            if line == asks {
                return Ok(running);
            }
            said.push(line);
        }
        anyhow::bail!("it ended before it said {asks:?}: {}", said.join("\n"));
    }
    Ok(running)
}

impl Running {
    /// Waits for its end. A missed aim is no error; a measurement that failed is.
    pub(crate) fn rows(mut self) -> anyhow::Result<Vec<Row>> {
        let mut text = String::new();
        self.0.stdout.take().context("no standard output")?.read_to_string(&mut text)?;
        let status = self.0.wait()?;
        let rows: Vec<Row> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        anyhow::ensure!(
            !rows.is_empty() && (status.success() || rows.iter().any(|row| !row.reached)),
            "the measurement failed: {status}"
        );
        Ok(rows)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Mostly gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
